//! Limits for connections of malicious or broken clients: how many there may be, and how long each may take.
//!
//! | a client that | is met by |
//! |---|---|
//! | opens connections without end | a bound; what comes beyond it waits in the kernel's queue until one ends |
//! | takes every file descriptor | the same bound, below the process's limit by what its own connections need |
//! | sends the head of a request bit by bit | 408 on a new connection (actix), the end of one that was used before ([`ConnectionWatch`]) |
//! | sends a body bit by bit | 408 (`Body`), and the end of the connection |
//! | sends a body that nobody reads | the end of the connection ([`ConnectionWatch`]) |
//! | sends requests ahead without end | one at a time is taken, the others wait in the kernel ([`super::paced`]) |
//! | reads no answer | the end of the connection, by the kernel: what it sent is not taken (`TCP_USER_TIMEOUT`) |
//! | does nothing | the end of the keep-alive (actix) |
//! | sends requests side by side without end (HTTP/2) | 503 beyond a bound ([`not_crowded`]): actix has none |
//! | makes no end of the handshake of TLS | the end of the connection, after [`HANDSHAKE_MAX`]; it counts as a connection meanwhile |
//!
//! actix times the head of a connection's first request only, stops the keep-alive's clock with the first byte of the next one, and
//! has no limit for writing. So each connection is watched: one that has had no request in hand for longer than keep-alive
//! and head together may take is shut. That needs a second descriptor a connection, since actix owns the first.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::middleware::Next;
use actix_web::rt::net::TcpStream;
use actix_web::web::Bytes;
use actix_web::{Error, HttpMessage as _, ResponseError};
use anyhow::ensure;
use socket2::{SockRef, Socket};
use tracing::{debug, info, warn};

use super::kind::CROWDED_CONNECTION;
use super::paced::Pace;
use super::problem::Problem;

/// With fewer, a handful of clients could keep out all others.
const CONNECTIONS_MIN: u64 = 16;
/// Descriptors a connection takes: actix', and the one by which it is shut.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Open connections of all workers.
static OPEN: AtomicUsize = AtomicUsize::new(0);
/// What a client may take for the handshake of TLS.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
/// Requests in hand on one connection, which HTTP/2 sends side by side. RFC 9113 recommends no fewer than 100.
const REQUESTS_MAX: usize = 128;
/// Between two looks at the connections of a worker.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Open at a time, of all workers together.
    pub connections_max: usize,
    /// For the head of a request; for its body; and without taking anything of an answer.
    pub timeout: Duration,
    /// Between an answer and the next request.
    pub keep_alive: Duration,
}

impl ConnectionLimits {
    /// How long a connection may have no running request: the answer is taken, then a pause, then the next head arrives.
    fn quiet_max(&self) -> Duration {
        self.keep_alive + self.timeout
    }
}

/// How many connections HTTP may have of `wanted`, so that `own` descriptors stay for everything else. Raises the process's limit
/// as far as it may.
pub fn within_descriptors(wanted: usize, own: u64) -> anyhow::Result<usize> {
    let limit = match rlimit::increase_nofile_limit(rlimit::INFINITY) {
        Ok(limit) => limit,
        Err(error) => {
            warn!(%error, "The limit of open files cannot be raised");
            rlimit::getrlimit(rlimit::Resource::NOFILE)?.0
        }
    };
    let room = limit.saturating_sub(own) / DESCRIPTORS_PER_CONNECTION;
    let least = own + CONNECTIONS_MIN * DESCRIPTORS_PER_CONNECTION;
    ensure!(
        room >= CONNECTIONS_MIN,
        "a limit of {limit} open files is too low; raise it to {least} at least (ulimit -n)"
    );
    let connections = wanted.min(usize::try_from(room).unwrap_or(usize::MAX));
    if connections < wanted {
        warn!(
            connections,
            wanted,
            open_files = limit,
            own,
            "The limit of open files bounds the connections of clients"
        );
    } else {
        info!(connections, open_files = limit, own, "Connections of clients are bounded");
    }
    Ok(connections)
}

/// Called with each new connection, on the worker that serves it.
pub(super) fn watch(
    stream: &TcpStream,
    pace: &Rc<Pace>,
    limits: ConnectionLimits,
    extensions: &mut Extensions,
) {
    let socket = SockRef::from(stream);
    // On other systems a client that reads nothing is closed by the watch, once its answer was handed to the kernel.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_user_timeout(Some(limits.timeout)) {
        debug!(%error, "A connection has no limit for writing");
    }
    match socket.try_clone() {
        Ok(shutter) => {
            extensions.insert(ConnectionWatch::begin(shutter, Rc::clone(pace), limits.quiet_max()));
        }
        // No descriptor is left: a connection that cannot be ended is refused.
        Err(error) => {
            debug!(%error, "A connection cannot be watched");
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// The watch of a connection. Ends with the connection.
#[derive(Clone)]
struct ConnectionWatch(Rc<WatchedConnection>);

struct WatchedConnection {
    shutter: Socket,
    pace: Rc<Pace>,
    quiet_max: Duration,
    quiet_since: Cell<Instant>,
}

thread_local! {
    /// The connections of this worker. When it is empty, no task checks them.
    static WATCHED: RefCell<Vec<Weak<WatchedConnection>>> = const { RefCell::new(Vec::new()) };
}

impl ConnectionWatch {
    fn begin(shutter: Socket, pace: Rc<Pace>, quiet_max: Duration) -> Self {
        let quiet_since = Cell::new(Instant::now());
        OPEN.fetch_add(1, Ordering::Relaxed);
        let watched = Rc::new(WatchedConnection { shutter, pace, quiet_max, quiet_since });
        let is_first = WATCHED.with_borrow_mut(|all| {
            all.push(Rc::downgrade(&watched));
            all.len() == 1
        });
        if is_first {
            actix_web::rt::spawn(look());
        }
        Self(watched)
    }

    fn hold(&self) -> RequestGuard {
        self.0.pace.begin_request();
        RequestGuard(self.clone())
    }
}

/// Checks the worker's connections until there are none.
async fn look() {
    let mut ticks = actix_web::rt::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let left = WATCHED.with_borrow_mut(|all| {
            all.retain(|connection| connection.upgrade().is_some_and(|connection| connection.stays()));
            all.len()
        });
        if left == 0 {
            return;
        }
    }
}

impl WatchedConnection {
    /// False once it is shut: its dispatcher then ends, and with it the connection.
    fn stays(&self) -> bool {
        let stays = self.pace.in_hand() > 0 || self.quiet_since.get().elapsed() < self.quiet_max;
        if !stays {
            debug!("A connection without a request in hand is shut");
            let _ = self.shutter.shutdown(Shutdown::Both);
        }
        stays
    }
}

impl Drop for WatchedConnection {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Open connections of clients.
pub fn open() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// A running request, until its answer's body is sent.
struct RequestGuard(ConnectionWatch);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let ConnectionWatch(watched) = &self.0;
        watched.quiet_since.set(Instant::now());
        watched.pace.end_request();
    }
}

/// The outermost middleware: registers each request with its connection's watch.
pub async fn in_hand<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<GuardedBody<B>>, Error> {
    let watch = request.conn_data::<ConnectionWatch>().cloned();
    if let Some(watch) = &watch {
        let length = request.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.trim().parse().ok());
        let body = watch.0.pace.watched(request.take_payload(), length);
        request.set_payload(body);
    }
    let hold = watch.as_ref().map(ConnectionWatch::hold);
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| GuardedBody { body, _hold: hold }))
}

/// Middleware inside of [`in_hand`].
pub(super) async fn not_crowded(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let in_hand = request.conn_data::<ConnectionWatch>().map_or(0, |watch| watch.0.pace.in_hand());
    if in_hand > REQUESTS_MAX {
        let problem = Problem::new(&CROWDED_CONNECTION, CROWDED_CONNECTION.example);
        return Ok(request.into_response(problem.error_response()));
    }
    next.call(request).await
}

/// An answer's body that counts as a running request until it is dropped.
pub struct GuardedBody<B> {
    body: B,
    _hold: Option<RequestGuard>,
}

impl<B: MessageBody> MessageBody for GuardedBody<B>
where
    B: Unpin,
{
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, _hold } = self;
        body.try_into_bytes().map_err(|body| Self { body, _hold })
    }
}
