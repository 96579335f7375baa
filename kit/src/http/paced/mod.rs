//! One request after the other (HTTP/1.1): what a client sends ahead is read as what it sent before is answered. The rest stays in the
//! kernel, which takes no more from the client once its buffer is full.
//!
//! actix reads up to 128 KiB of a connection in one go, and decodes every request in it before it answers: thousands of
//! them, several KiB each. It reads on while a handler is at work and while the client takes no answers, and once its buffer is full
//! it asks again and again without a pause. If a body is behind a request in hand, and not whole yet, it closes the connection
//! with the answer. So [`PacedStream`] stands between the socket and actix. It gives out
//!
//! - nothing while an answer waits for the client to take it;
//! - nothing while a request is in hand, but of its body as much as its handler waits for;
//! - no more than the head of a request in one turn of actix, which then answers it.
//!
//! HTTP/2 is not touched: it has flow control of its own, and has to read while its writes wait, as the client's consent to more
//! comes that way.

mod lines;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use actix_http::Protocol;
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::web::Bytes;
use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use lines::Lines;

#[cfg(test)]
mod tests;

/// Bytes that are taken from the kernel and not given out yet, at most.
const AHEAD_MAX: usize = 4_096;

/// What the handler of the request in hand waits for.
#[derive(Clone, Copy, PartialEq)]
enum Awaited {
    Nothing,
    /// So many bytes are missing of its body.
    Bytes(usize),
    /// The next part of a body that does not say how long it is.
    Chunks,
}

/// What is known of a connection, and by that whether more is read from it.
pub(super) struct Pace {
    /// Requests, until the bodies of their answers are sent.
    in_hand: Cell<usize>,
    awaited: Cell<Awaited>,
    /// The client does not take what is written.
    blocked: Cell<bool>,
    /// Whose read was refused though there was something to read.
    refused: Cell<Option<Waker>>,
}

impl Pace {
    fn new() -> Self {
        let awaited = Cell::new(Awaited::Nothing);
        Self { in_hand: Cell::default(), awaited, blocked: Cell::default(), refused: Cell::default() }
    }

    pub(super) fn in_hand(&self) -> usize {
        self.in_hand.get()
    }

    pub(super) fn begin_request(&self) {
        self.in_hand.set(self.in_hand.get() + 1);
        self.awaited.set(Awaited::Nothing);
    }

    pub(super) fn end_request(&self) {
        self.in_hand.set(self.in_hand.get() - 1);
        self.resume();
    }

    /// The body of a request in hand, which tells when it is waited for. `length`: what its head announces.
    pub(super) fn watched(self: &Rc<Self>, body: Payload, length: Option<usize>) -> Payload {
        match body {
            Payload::H1 { payload } => {
                let body = Payload::H1 { payload };
                let body = WatchedBody { body, missing: length, pace: Rc::clone(self) };
                Payload::Stream { payload: Box::pin(body) }
            }
            other => other,
        }
    }

    fn may_read(&self) -> bool {
        !self.blocked.get() && (self.in_hand.get() == 0 || self.awaited.get() != Awaited::Nothing)
    }

    /// Wakes whose read was refused, if it is refused no longer.
    fn resume(&self) {
        if self.may_read()
            && let Some(refused) = self.refused.take()
        {
            refused.wake();
        }
    }

    fn written<T>(&self, written: Poll<T>) -> Poll<T> {
        self.blocked.set(written.is_pending());
        self.resume();
        written
    }
}

struct WatchedBody {
    body: Payload,
    /// `None`: it comes in chunks.
    missing: Option<usize>,
    pace: Rc<Pace>,
}

impl Stream for WatchedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = Pin::new(&mut self.body).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &part {
            self.missing = self.missing.map(|missing| missing.saturating_sub(bytes.len()));
        }
        if part.is_pending() {
            self.pace.awaited.set(match self.missing {
                Some(0) => Awaited::Nothing,
                Some(missing) => Awaited::Bytes(missing),
                None => Awaited::Chunks,
            });
            self.pace.resume();
        }
        part
    }
}

/// A connection, encrypted or not, that gives out what a client sends only as it is answered.
pub(super) struct PacedStream<S> {
    stream: S,
    pace: Rc<Pace>,
    is_paced: bool,
    /// Read, and not given out.
    ahead: Vec<u8>,
    ended: bool,
    lines: Lines,
    /// The head of a request was given out; the next one comes in the next turn.
    turn_is_over: bool,
}

impl<S> PacedStream<S> {
    pub(super) fn new(stream: S, protocol: Protocol) -> Self {
        Self {
            stream,
            pace: Rc::new(Pace::new()),
            is_paced: protocol != Protocol::Http2,
            ahead: Vec::new(),
            ended: false,
            lines: Lines::default(),
            turn_is_over: false,
        }
    }

    pub(super) fn stream(&self) -> &S {
        &self.stream
    }

    pub(super) fn pace(&self) -> &Rc<Pace> {
        &self.pace
    }

    /// How much of this is given out now.
    fn portion(&mut self, most: usize) -> usize {
        let awaited = self.pace.awaited.replace(Awaited::Nothing);
        if let Awaited::Bytes(missing) = awaited {
            self.lines = Lines::default();
            return most.min(missing);
        }
        let Some(head) = self.lines.until_blank(&self.ahead[..most]) else { return most };
        self.turn_is_over = true;
        head
    }
}

impl<S: AsyncRead + Unpin> PacedStream<S> {
    /// Ready when there is something to give out, or nothing to come.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && !self.ended {
            let mut room = [0; AHEAD_MAX];
            let mut buffer = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            self.ahead.extend_from_slice(buffer.filled());
            self.ended = self.ahead.is_empty();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PacedStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_paced {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let turn_is_over = std::mem::take(&mut this.turn_is_over);
        // Whatever is refused below: that the connection is broken is told at once.
        ready!(this.poll_ahead(context))?;
        if turn_is_over {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !this.pace.may_read() {
            this.pace.refused.set(Some(context.waker().clone()));
            return Poll::Pending;
        }
        let length = this.portion(this.ahead.len().min(buffer.remaining()));
        buffer.put_slice(&this.ahead[..length]);
        this.ahead.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PacedStream<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, pace, .. } = self.get_mut();
        pace.written(Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, pace, .. } = self.get_mut();
        pace.written(Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { stream, pace, .. } = self.get_mut();
        pace.written(Pin::new(stream).poll_write_vectored(context, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
