//! Clients that mean no good. One whose connection is ended opens the next one.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde::Serialize;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// Between two bytes of who sends bit by bit, and between two hundred requests of who reads nothing.
const DRIP: Duration = Duration::from_secs(1);
/// Before who was refused comes again.
const PAUSE: Duration = Duration::from_millis(100);
/// Bodies have 64 KiB at most (`ORDERS_HTTP_BODY_BYTES_MAX`).
pub(super) const BODY_BYTES: usize = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// The head of a request, a byte a second.
    SlowHeads,
    /// A body, a byte a second.
    SlowBodies,
    /// Requests without end, of whose answers nothing is taken.
    SlowReaders,
    /// Bodies that are cheap to make and dear to take.
    HeavyBodies,
    /// More connections than there is room for, on which nothing comes.
    SilentCrowd,
}

impl Kind {
    pub(super) const ALL: [Self; 5] =
        [Self::SlowHeads, Self::SlowBodies, Self::SlowReaders, Self::HeavyBodies, Self::SilentCrowd];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::SlowHeads => "slow heads",
            Self::SlowBodies => "slow bodies",
            Self::SlowReaders => "slow readers",
            Self::HeavyBodies => "heavy bodies",
            Self::SilentCrowd => "silent crowd",
        }
    }

    fn attackers(self) -> usize {
        match self {
            Self::SlowHeads | Self::SlowBodies | Self::SlowReaders => 500,
            // They send as fast as they can, on the processors of everybody.
            Self::HeavyBodies => 16,
            Self::SilentCrowd => 10_000,
        }
    }

    /// Until the service ends the connection.
    async fn act(self, number: usize, mut stream: TcpStream, tally: &Tally) -> io::Result<()> {
        match self {
            Self::SlowHeads => drip(stream, "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await,
            Self::SlowBodies => drip(stream, &head_of_post(1_000)).await,
            Self::SilentCrowd => drip(stream, "").await,
            Self::SlowReaders => {
                let requests = "GET /api-docs/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
                loop {
                    stream.write_all(requests.as_bytes()).await?;
                    tokio::time::sleep(DRIP).await;
                }
            }
            Self::HeavyBodies => heavy(number, stream, tally).await,
        }
    }
}

/// What became of attackers.
#[derive(Default)]
struct Tally {
    standing: AtomicUsize,
    shut: AtomicU64,
    refused: AtomicU64,
    answered: AtomicU64,
    /// Bytes, of the largest answer to one request.
    answer_max: AtomicU64,
}

#[derive(Debug, Serialize)]
pub(super) struct Attackers {
    pub(super) attackers: usize,
    /// Connected at the end.
    pub(super) connected: usize,
    /// Times that the service ended a connection.
    pub(super) shut: u64,
    /// Times that no connection came about, but an error.
    pub(super) refused: u64,
    /// Bodies that were answered, and the largest answer to one of 60,000 bytes.
    pub(super) answered: u64,
    pub(super) answer_bytes_max: u64,
}

/// Attackers at work. They end with this value.
pub(super) struct Attack {
    tasks: JoinSet<()>,
    tally: Arc<Tally>,
}

impl Attack {
    pub(super) fn begin(kind: Kind, service: SocketAddr) -> Self {
        let (mut tasks, tally) = (JoinSet::new(), Arc::<Tally>::default());
        for number in 0..kind.attackers().min(descriptors()) {
            let tally = Arc::clone(&tally);
            tasks.spawn(async move {
                loop {
                    let Ok(stream) = connect(kind, number, service).await else {
                        tally.refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    };
                    tally.standing.fetch_add(1, Ordering::Relaxed);
                    // However it ends: the next one follows.
                    let _ = kind.act(number, stream, &tally).await;
                    tally.standing.fetch_sub(1, Ordering::Relaxed);
                    tally.shut.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { tasks, tally }
    }

    pub(super) async fn end(mut self) -> Attackers {
        let tally = &self.tally;
        let attackers = Attackers {
            attackers: self.tasks.len(),
            connected: tally.standing.load(Ordering::Relaxed),
            shut: tally.shut.load(Ordering::Relaxed),
            refused: tally.refused.load(Ordering::Relaxed),
            answered: tally.answered.load(Ordering::Relaxed),
            answer_bytes_max: tally.answer_max.load(Ordering::Relaxed),
        };
        self.tasks.shutdown().await;
        attackers
    }
}

/// How many connections this process may have, besides its own.
fn descriptors() -> usize {
    let limit = rlimit::increase_nofile_limit(rlimit::INFINITY).unwrap_or(1_024);
    usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(512)
}

/// From one of several addresses: a machine has some 28,000 ports for each.
async fn connect(kind: Kind, number: usize, service: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let source = u8::try_from(2 + number % 16).unwrap_or(2);
    socket.bind((Ipv4Addr::new(127, 0, 0, source), 0).into())?;
    if kind == Kind::SlowReaders {
        // Small, so that the service's answers wait in the service, and not in the kernel.
        SockRef::from(&socket).set_tcp_mss(4_096)?;
        socket.set_recv_buffer_size(2_048)?;
    }
    socket.connect(service).await
}

/// Sends these bytes, then one more every second.
async fn drip(mut stream: TcpStream, begin: &str) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    writer.write_all(begin.as_bytes()).await?;
    let dripping = async {
        loop {
            tokio::time::sleep(DRIP).await;
            if !begin.is_empty() {
                writer.write_all(b"x").await?;
            }
        }
    };
    let mut nowhere = tokio::io::sink();
    tokio::select! {
        ended = tokio::io::copy(&mut reader, &mut nowhere) => ended.map(drop),
        failed = dripping => failed,
    }
}

fn head_of_post(length: usize) -> String {
    format!(
        "POST /api/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// One body after the other, each as soon as the last one is answered.
async fn heavy(number: usize, stream: TcpStream, tally: &Tally) -> io::Result<()> {
    let bodies = heavy_bodies();
    let mut stream = BufReader::new(stream);
    for body in bodies.iter().cycle().skip(number) {
        stream.write_all((head_of_post(body.len()) + body).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut answer = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut answer).await?;
        tally.answered.fetch_add(1, Ordering::Relaxed);
        let bytes = u64::try_from(head.len() + answer.len()).unwrap_or(u64::MAX);
        tally.answer_max.fetch_max(bytes, Ordering::Relaxed);
    }
    Ok(())
}

fn heavy_bodies() -> [String; 5] {
    let repeated = |part: &str| vec![part; BODY_BYTES / (part.len() + 1)].join(",");
    let fields: Vec<_> = (0..BODY_BYTES / 16).map(|number| format!(r#""field{number}":[]"#)).collect();
    [
        format!(r#"{{"items":[{}]}}"#, repeated("{}")),
        format!(r#"{{"items":[{}]}}"#, repeated(r#"{"sku":"tea","quantity":1,"unit_price_minor":1}"#)),
        format!("{{{}}}", fields.join(",")),
        "[".repeat(BODY_BYTES),
        format!(r#"{{"currency":"{}"}}"#, "\\u0000".repeat(BODY_BYTES / 6 - 10)),
    ]
}
