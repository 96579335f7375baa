//! Clients that send requests ahead, on one connection, before they have the answers.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod support;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stack::certificates::{Authority, THIS_MACHINE, Validity};
use support::{DEADLINE, Orders, Stage, an_order};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const AHEAD: usize = 3_000;
/// What the service may take for a connection that is served one request after the other.
const MIB_A_CONNECTION_MAX: f64 = 0.5;
/// For the service's own work meanwhile.
const MIB_BESIDES: f64 = 24.0;

async fn connect(orders: &Orders) -> TcpStream {
    TcpStream::connect(("127.0.0.1", orders.service.port())).await.unwrap()
}

/// A connection whose client sends all this and reads nothing.
async fn connect_deaf(orders: &Orders, requests: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let address = format!("127.0.0.1:{}", orders.service.port()).parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    // As much as the kernels take.
    let _ = timeout(Duration::from_secs(1), stream.write_all(requests.as_bytes())).await;
    stream
}

fn memory_mib(orders: &Orders) -> f64 {
    let pid = orders.service.identity().unwrap().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    resident.unwrap().trim().parse::<f64>().unwrap() / 1_024.0
}

/// What the service's threads have computed since it began.
fn processor_time(orders: &Orders) -> Duration {
    let pid = orders.service.identity().unwrap().pid;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Honest clients are answered; returns the most memory that was seen meanwhile.
async fn others_are_served(orders: &Orders) -> f64 {
    let mut most = memory_mib(orders);
    for _ in 0..20 {
        timeout(Duration::from_secs(10), orders.create()).await.expect("an honest client is served");
        for _ in 0..5 {
            let asked = timeout(Duration::from_secs(5), orders.http.get(orders.url("/livez")).send());
            assert_eq!(asked.await.expect("a probe is answered").unwrap().status(), 200);
        }
        most = most.max(memory_mib(orders));
    }
    most
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_ahead_and_reads_nothing_takes_little_memory() {
    const CLIENTS: usize = 100;
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.create().await;
    let before = memory_mib(&orders);
    let requests = get("/api-docs/openapi.json").repeat(AHEAD);
    let deaf = join_all((0..CLIENTS).map(|_| connect_deaf(&orders, &requests))).await;
    let grown = others_are_served(&orders).await - before;
    println!("{grown:.1} MiB for {CLIENTS} connections");
    assert!(grown < MIB_A_CONNECTION_MAX * CLIENTS as f64 + MIB_BESIDES, "{grown} MiB");
    drop(deaf);
}

/// Behind a request whose answer goes on for ever. Its connection takes neither memory nor the processor for what is behind it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_a_long_answer_waits_for_its_end() {
    const CLIENTS: usize = 20;
    let stage = Stage::new().await;
    let orders = stage.start().await;
    orders.create().await;
    let requests = get("/dashboard/feed") + &get("/livez").repeat(3 * AHEAD);
    let before = memory_mib(&orders);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let stream = connect(&orders).await;
        let (mut reader, mut writer) = stream.into_split();
        let requests = requests.clone();
        let writing = tokio::spawn(async move { writer.write_all(requests.as_bytes()).await });
        let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
        clients.push((writing, reading));
    }
    let grown = others_are_served(&orders).await - before;
    let (begun, computed) = (Instant::now(), processor_time(&orders));
    // A rate needs a while to be measured in.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let busy = (processor_time(&orders) - computed).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!("{grown:.1} MiB for {CLIENTS} connections, {busy:.2} processors busy");
    assert!(grown < MIB_A_CONNECTION_MAX * CLIENTS as f64 + MIB_BESIDES, "{grown} MiB");
    assert!(busy < 0.6, "{busy:.2} processors are busy with clients that wait");
    assert!(clients.iter().all(|(_, reading)| !reading.is_finished()), "their answers go on");
    clients.iter().for_each(|(writing, reading)| {
        writing.abort();
        reading.abort();
    });
}

/// Requests of several kinds with their statuses, in an order that does not repeat itself.
fn mixed() -> (String, Vec<u16>) {
    let order = an_order().to_string();
    let long = format!("{}{order}", " ".repeat(5_000));
    let post = |body: &str| {
        let length = body.len();
        let head = "POST /api/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
        format!("{head}content-length: {length}\r\n\r\n{body}")
    };
    let chunked = format!(
        "POST /api/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n{:x}\r\n{order}\r\n0\r\n\r\n",
        order.len()
    );
    let (mut requests, mut statuses) = (String::new(), Vec::new());
    for number in 0..AHEAD {
        let (request, status) = match (number % 100, number.count_ones() % 2) {
            (7, _) => (post(&order), 201),
            (11, _) => (post(&long), 201),
            (13, _) => (chunked.clone(), 201),
            (17, _) => (post("{}"), 422),
            (_, 0) => (get("/livez"), 200),
            _ => (get("/nowhere"), 404),
        };
        write!(requests, "{request}").unwrap();
        statuses.push(status);
    }
    (requests, statuses)
}

/// The next answer's status.
async fn status(reader: &mut (impl AsyncRead + Unpin)) -> std::io::Result<u16> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(reader.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).await?;
    Ok(head.split(' ').nth(1).unwrap().parse().unwrap())
}

async fn all_are_answered(stream: impl AsyncRead + AsyncWrite + Send + 'static) {
    let (requests, statuses) = mixed();
    let (reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        writer.write_all(requests.as_bytes()).await.unwrap();
        writer.flush().await.unwrap();
        writer
    });
    let mut reader = BufReader::new(reader);
    for (number, wanted) in statuses.into_iter().enumerate() {
        let status =
            timeout(DEADLINE, status(&mut reader)).await.map(|status| status.map_err(|error| error.kind()));
        assert_eq!(status, Ok(Ok(wanted)), "of request {number}");
    }
    drop(writing.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_ahead_and_reads_gets_every_answer_in_order() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    all_are_answered(connect(&orders).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_ahead_by_tls_and_reads_gets_every_answer_in_order() {
    let stage = Stage::new().await;
    let authority = Authority::new(&stage.directory.path().join("certificates")).unwrap();
    let identity = authority.server("orders", &THIS_MACHINE, Validity::Valid).unwrap();
    let orders = stage.start_with(stage.settings("orders").encrypted("ORDERS", &identity)).await;
    all_are_answered(stack::tls::connect(authority.file(), orders.service.port()).await.unwrap()).await;
}
