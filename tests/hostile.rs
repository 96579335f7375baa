//! Clients that mean no good, or whose network is none. Raw bytes where a well-behaved client would not do.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use stack::servers::ServiceSettings;
use support::{DEADLINE, Orders, Stage, an_order, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// A service that waits for clients as short as it can.
fn impatient(stage: &Stage) -> ServiceSettings {
    let settings = stage.settings("orders").with("ORDERS_HTTP_CLIENT_TIMEOUT_SECONDS", "1");
    settings.with("ORDERS_HTTP_KEEP_ALIVE_SECONDS", "1")
}

async fn connect(orders: &Orders) -> TcpStream {
    TcpStream::connect(("127.0.0.1", orders.service.port())).await.unwrap()
}

/// A connection that takes a few hundred bytes and then no more.
async fn connect_deaf(orders: &Orders, asks: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let address = format!("127.0.0.1:{}", orders.service.port()).parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    stream.write_all(asks.as_bytes()).await.unwrap();
    stream
}

/// Sends these bytes, then one more every now and then, until the service ends the connection; returns what it answered.
async fn drip(mut stream: TcpStream, begin: &str, drop: &[u8]) -> String {
    stream.write_all(begin.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut answer = Vec::new();
    let dripping = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if writer.write_all(drop).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let begun = Instant::now();
    tokio::select! {
        // An end with a reset, because it has not read everything, is an end.
        _ = reader.read_to_end(&mut answer) => (),
        () = dripping => (),
        () = tokio::time::sleep(Duration::from_secs(15)) => {
            panic!("{begin:?} is still served after {:?}: {}", begun.elapsed(), String::from_utf8_lossy(&answer))
        }
    }
    String::from_utf8(answer).unwrap()
}

/// One exchange on a connection that stays.
async fn exchange(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        loop {
            let mut part = [0; 4_096];
            let length = stream.read(&mut part).await.unwrap();
            assert!(length > 0, "closed: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..length]);
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if announced.is_none_or(|length| body.len() >= length.parse().unwrap()) {
                return text.into_owned();
            }
        }
    };
    timeout(DEADLINE, read).await.unwrap()
}

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_bit_by_bit_is_cut_off() {
    let stage = Stage::new().await;
    let orders = stage.start_with(impatient(&stage)).await;
    let mut used_before = connect(&orders).await;
    assert!(exchange(&mut used_before, LIVEZ).await.starts_with("HTTP/1.1 200"));
    let head = "GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
    let post = "POST /api/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n";
    let body = format!("{post}content-length: 1000\r\n\r\n{{");
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n");
    let unread = "POST /nowhere HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let (first_head, next_head, body, chunked, unread, silent) = tokio::join!(
        drip(connect(&orders).await, head, b"x"),
        drip(used_before, head, b"x"),
        drip(connect(&orders).await, &body, b" "),
        drip(connect(&orders).await, &chunked, b"1\r\n \r\n"),
        drip(connect(&orders).await, unread, b"1\r\n \r\n"),
        drip(connect(&orders).await, "", b""),
    );
    assert!(first_head.starts_with("HTTP/1.1 408 "), "{first_head}");
    assert!(silent.is_empty() || silent.starts_with("HTTP/1.1 408 "), "{silent}");
    assert_eq!(next_head, "");
    for body in [body, chunked] {
        assert!(body.starts_with("HTTP/1.1 408 ") && body.contains("request-timeout"), "{body}");
    }
    assert!(unread.starts_with("HTTP/1.1 404 "), "{unread}");
    assert_eq!(stage.events().await, 0);
    orders.create().await;
}

/// Open connections of clients, as the service counts them; the one that asks is one.
async fn connections(orders: &Orders) -> u64 {
    let (_, metrics) = orders.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("orders_http_connections "));
    line.unwrap_or_else(|| panic!("no such metric in {metrics}")).parse().unwrap()
}

/// Neither a page of the control room nor an answer larger than all buffers keeps its connection if nobody reads it.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_cut_off() {
    let stage = Stage::new().await;
    let orders = stage.start_with(impatient(&stage)).await;
    let feed = "GET /dashboard/feed HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let large = "GET /api-docs/openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
    let mut deaf = Vec::new();
    for _ in 0..4 {
        deaf.push(connect_deaf(&orders, feed).await);
        deaf.push(connect_deaf(&orders, &large).await);
    }
    let mut listening = connect(&orders).await;
    listening.write_all(feed.as_bytes()).await.unwrap();
    let reading = tokio::spawn(async move {
        let mut part = vec![0; 65_536];
        while listening.read(&mut part).await.unwrap() > 0 {}
    });
    eventually("all are there", async || (connections(&orders).await >= 10).then_some(())).await;
    eventually("who takes nothing is gone", async || (connections(&orders).await <= 2).then_some(())).await;
    assert!(!reading.is_finished(), "who reads stays");
    reading.abort();
    drop(deaf);
}

/// The service with no more file descriptors than this.
fn confined(stage: &Stage, files: u32) -> ServiceSettings {
    let mut settings = stage.settings("orders").with("ORDERS_HTTP_WORKERS", "2").with("ORDERS_ARBITERS", "2");
    let script = format!("#!/bin/sh\nulimit -n {files}\nexec {} \"$@\"\n", settings.program.display());
    settings.program = stage.directory.path().join("confined");
    std::fs::write(&settings.program, script).unwrap();
    std::fs::set_permissions(&settings.program, PermissionsExt::from_mode(0o755)).unwrap();
    settings
}

/// Clients take every connection there is. Those to the service's own servers can still be made anew.
#[tokio::test(flavor = "multi_thread")]
async fn clients_leave_the_service_its_file_descriptors() {
    let stage = Stage::new().await;
    let orders = stage.start_with(confined(&stage, 400)).await;
    let mut early = connect(&orders).await;
    assert!(exchange(&mut early, LIVEZ).await.starts_with("HTTP/1.1 200"));
    let mut greedy = join_all((0..500).map(|_| connect(&orders))).await;
    for stream in &mut greedy {
        stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    }
    eventually("they take what there is", async || {
        let mut late = connect(&orders).await;
        late.write_all(LIVEZ.as_bytes()).await.unwrap();
        let served = timeout(Duration::from_millis(500), late.read(&mut [0; 16])).await;
        served.is_err().then_some(())
    })
    .await;
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'orders'",
    )
    .fetch_one(&stage.database)
    .await
    .unwrap();
    assert!(ended > 0);
    let body = an_order().to_string();
    let create = format!(
        "POST /api/orders HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // What of the service's own is not connected at this moment still has room.
    let files = format!("/proc/{}/fd", orders.service.identity().unwrap().pid);
    let files = std::fs::read_dir(files).unwrap().count();
    assert!(files < 350, "{files} of 400 descriptors are taken");
    let created = exchange(&mut early, &create).await;
    assert!(created.starts_with("HTTP/1.1 201 "), "{created}");
    assert!(orders.log().contains("bounds the connections of clients"), "{}", orders.log());
    assert!(!orders.log().contains("Error accepting connection"), "it ran out of descriptors");
    drop(greedy);
    orders.create().await;
    stage.outbox_empties().await;
}

/// Clients take every connection of the public address. Operators and Prometheus have others.
#[tokio::test(flavor = "multi_thread")]
async fn clients_do_not_keep_operators_out() {
    let stage = Stage::new().await;
    let settings = stage.settings("orders").with("ORDERS_HTTP_CONNECTIONS_MAX", "16");
    let settings = settings.with("ORDERS_HTTP_WORKERS", "2").with("ORDERS_ADMIN_ADDR", "127.0.0.1:0");
    let orders = stage.start_with(settings).await;
    let operators = orders.operators();
    let mut greedy = Vec::new();
    eventually("they take what there is", async || {
        for _ in 0..16 {
            let mut stream = connect(&orders).await;
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\n").await;
            greedy.push(stream);
        }
        let mut late = connect(&orders).await;
        late.write_all(LIVEZ.as_bytes()).await.unwrap();
        let served = timeout(Duration::from_millis(500), late.read(&mut [0; 16])).await;
        served.is_err().then_some(())
    })
    .await;
    for path in ["/livez", "/readyz", "/metrics", "/api/outbox"] {
        let answer = timeout(Duration::from_secs(5), orders.http.get(format!("{operators}{path}")).send());
        assert_eq!(answer.await.unwrap().unwrap().status(), 200, "{path}");
    }
    let late = timeout(Duration::from_millis(500), orders.http.get(orders.url("/livez")).send()).await;
    assert!(late.is_err(), "the public address still has none left");
}

/// The answer to nonsense is no larger than the nonsense.
#[tokio::test(flavor = "multi_thread")]
async fn nonsense_is_answered_briefly() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let empty = vec!["{}"; 20_000].join(",");
    let unknown = (0..4_000).map(|n| format!(r#""field{n}":[]"#)).collect::<Vec<_>>().join(",");
    for body in [
        format!(r#"{{"items":[{empty}]}}"#),
        format!("{{{unknown}}}"),
        format!(r#"{{"{}":1}}"#, "x".repeat(60_000)),
    ] {
        assert!(body.len() > 40_000 && body.len() < 65_536, "{}", body.len());
        let request = orders.http.post(orders.url("/api/orders")).header("content-type", "application/json");
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), 422);
        let answer = response.text().await.unwrap();
        assert!(answer.len() < 10_000, "{} bytes", answer.len());
        let problem: Value = serde_json::from_str(&answer).unwrap();
        assert!(problem["errors"].as_array().unwrap().len() <= 20);
    }
}

/// What is not HTTP, or says two things, is refused and never half understood.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_in_two_ways_is_refused() {
    let stage = Stage::new().await;
    let orders = stage.start().await;
    let post = |headers: &str, body: &str| {
        format!("POST /api/orders HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}")
    };
    let order = an_order().to_string();
    let length = format!("content-length: {}\r\n", order.len());
    let json = "content-type: application/json\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let table = [
        ("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n".to_owned(), 400),
        ("nonsense\r\n\r\n".to_owned(), 400),
        (format!("GET /livez HTTP/1.1\r\nx-long: {}\r\n\r\n", "x".repeat(200_000)), 431),
        (post(&format!("{json}content-length: 99999999999999999999\r\n"), ""), 400),
        (post(&format!("{json}content-length: -1\r\n"), ""), 400),
        (post(&format!("{json}content-length: 5\r\ncontent-length: 6\r\n"), &order), 400),
        (post(&format!("{json}content-length: 9223372036854775807\r\n"), ""), 413),
        (post(&format!("{json}{length}{chunked}"), &order), 400),
        (post(&format!("{json}{length}idempotency-key: a\r\nidempotency-key: b\r\n"), &order), 400),
        (post(&format!("{json}{length}if-match: \"1\"\r\nif-match: \"2\"\r\n"), &order), 400),
        (post(&format!("{json}content-type: text/plain\r\n{length}"), &order), 400),
        ("BREW /api/orders HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), 405),
        ("OPTIONS /api/orders HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), 405),
        ("OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), 404),
        ("GET /api/orders/ HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), 404),
        ("GET /api/orders?cursor=%00 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), 422),
        ("GET /api/orders?limit=99999999999999999999 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_owned(), 400),
        ("GET /livez HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_owned(), 421),
        (post(&format!("{json}{length}origin: http://evil.example\r\n"), &order), 403),
        (post(&format!("{json}{length}sec-fetch-site: cross-site\r\n"), &order), 403),
    ];
    for (request, status) in table {
        let mut stream = connect(&orders).await;
        // The service may answer, and close, before it has taken everything.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = vec![0; 4_096];
        let length = timeout(DEADLINE, stream.read(&mut answer)).await.unwrap().unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        let shown = &request[..request.len().min(200)];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {answer}");
    }
    assert_eq!(stage.events().await, 0);
    let twice = orders.http.post(orders.url("/api/orders")).header("Idempotency-Key", "same");
    let twice = twice.header("Idempotency-Key", "same").json(&an_order()).send().await.unwrap();
    assert_eq!(twice.status(), 201, "two equal lines are one");
    let own = orders.http.post(orders.url("/api/orders")).header("Origin", orders.service.url());
    assert_eq!(own.json(&an_order()).send().await.unwrap().status(), 201, "its own page's");
    let crash =
        orders.http.post(orders.url("/api/actors/journal/crash")).header("Sec-Fetch-Site", "cross-site");
    assert_eq!(crash.send().await.unwrap().status(), 403);
    assert_eq!(orders.actor("journal").await["restarts"], json!(0));
}
