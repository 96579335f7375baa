//! One connection over a link, in both directions.

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::{Passage, Terms};

/// How long a connection to a server on this machine may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// What is read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// What is read at once where the bandwidth is limited, as time: connections take turns this often.
const TURN: Duration = Duration::from_millis(20);
/// Chunks under way in one direction of one connection: with [`CHUNK_BYTES`], what a delayed link can hold.
const CHUNKS_UNDER_WAY: usize = 16;

/// When each direction is free again for the next bytes, of whichever connection.
#[derive(Debug, Default)]
pub(super) struct Road {
    to_server: Mutex<Option<Instant>>,
    to_client: Mutex<Option<Instant>>,
}

/// Waits for the end of a connection's turn of `length` bytes.
async fn pace(lane: &Mutex<Option<Instant>>, length: usize, bytes_per_second: Option<u32>) {
    let Some(rate) = bytes_per_second else { return };
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    let end = {
        let mut free = lane.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let begin = free.map_or(now, |free| free.max(now));
        *free.insert(begin + Duration::from_secs(1) * length / rate.max(1))
    };
    tokio::time::sleep_until(end).await;
}

pub(super) async fn accept(listener: TcpListener, terms: Arc<watch::Sender<Terms>>, road: Arc<Road>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let now = *terms.borrow();
        if now.passage != Passage::Cut {
            tokio::spawn(relay(client, now, terms.subscribe(), Arc::clone(&road)));
        }
    }
}

/// `then`: the terms when the connection was made. Whatever is cut or abandoned later concerns it.
async fn relay(client: TcpStream, then: Terms, mut terms: watch::Receiver<Terms>, road: Arc<Road>) {
    let mut watched = terms.clone();
    let mut talking = pin!(talk(client, then, terms.clone(), road));
    let concerned =
        |now: &Terms| now.closed || now.cuts != then.cuts || now.abandonments != then.abandonments;
    tokio::select! {
        // First: what is held must not slip through when a cut is over at once.
        biased;
        now = watched.wait_for(concerned) => match now {
            Ok(now) if !now.closed && now.cuts == then.cuts => {}
            _ => return,
        },
        _ = &mut talking => return,
    }
    // Abandoned. `talking` holds both sockets and goes on no more.
    let _ = terms.wait_for(|now| now.closed).await;
}

/// Whichever side closes first ends both directions.
async fn talk(
    client: TcpStream,
    then: Terms,
    mut terms: watch::Receiver<Terms>,
    road: Arc<Road>,
) -> io::Result<()> {
    let gone = || io::Error::other("the link is gone");
    let server = terms
        .wait_for(|terms| terms.passage != Passage::Stalled)
        .await
        .map(|terms| terms.server)
        .map_err(|_| gone())?;
    let connecting = TcpStream::connect(("127.0.0.1", server));
    let server = tokio::time::timeout(CONNECT_PATIENCE, connecting).await??;
    // Small questions and answers: each goes at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let held = |passages: &'static [Passage]| Held { passages, cuts: then.cuts };
    let (towards, back) = (held(&[Passage::Stalled]), held(&[Passage::Stalled, Passage::Unanswered]));
    tokio::select! {
        ended = forward(from_client, to_server, terms.clone(), towards, &road.to_server) => ended,
        ended = forward(from_server, to_client, terms.clone(), back, &road.to_client) => ended,
    }
}

/// When nothing is passed on: while the passage is one of these, and for ever once the connection was cut.
struct Held {
    passages: &'static [Passage],
    /// How often the link had been cut when the connection was made.
    cuts: u64,
}

/// Passes on what it reads, except what is held.
async fn forward(
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    terms: watch::Receiver<Terms>,
    held: Held,
    lane: &Mutex<Option<Instant>>,
) -> io::Result<()> {
    let (chunks, arriving) = mpsc::channel(CHUNKS_UNDER_WAY);
    // The reader ends with its side of the connection; what it has read by then still arrives.
    let ((), written) =
        tokio::join!(read(from, chunks, terms.clone(), lane), write(to, arriving, terms, held));
    written
}

/// Bytes, and when they arrive.
type Chunk = (Instant, Vec<u8>);

async fn read(
    mut from: OwnedReadHalf,
    chunks: mpsc::Sender<Chunk>,
    terms: watch::Receiver<Terms>,
    lane: &Mutex<Option<Instant>>,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let rate = terms.borrow().throttle.bytes_per_second;
        let turn = rate.map_or(CHUNK_BYTES, |rate| {
            let bytes = u128::from(rate) * TURN.as_millis() / 1_000;
            usize::try_from(bytes).unwrap_or(CHUNK_BYTES).clamp(1, CHUNK_BYTES)
        });
        let Some(room) = buffer.get_mut(..turn) else { return };
        let Ok(length) = from.read(room).await else { return };
        let Some(bytes) = room.get(..length).filter(|bytes| !bytes.is_empty()) else { return };
        let throttle = terms.borrow().throttle;
        pace(lane, length, throttle.bytes_per_second).await;
        if chunks.send((Instant::now() + throttle.delay, bytes.to_vec())).await.is_err() {
            return;
        }
    }
}

async fn write(
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<Chunk>,
    mut terms: watch::Receiver<Terms>,
    held: Held,
) -> io::Result<()> {
    loop {
        let chunk = chunks.recv().await;
        if let Some((due, _)) = chunk {
            tokio::time::sleep_until(due).await;
        }
        // The end of a connection is held back like everything else. What was held when the connection was cut must not slip through: the
        // one who ends this task may be told of the cut a moment later.
        let passes = |now: &Terms| now.cuts != held.cuts || !held.passages.contains(&now.passage);
        let now = terms.wait_for(passes).await.map(|now| *now);
        let (Ok(now), Some((_, bytes))) = (now, chunk) else { return Ok(()) };
        if now.cuts != held.cuts {
            return Ok(());
        }
        to.write_all(&bytes).await?;
    }
}
