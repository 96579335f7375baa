//! The service's own HTTP by TLS: handshakes, renewals of the certificate, and clients that mean no good.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use kit::tls::Fault;
use reqwest::{Certificate, Client};
use serde_json::Value;
use stack::certificates::{Authority, Identity, THIS_MACHINE, Validity};
use stack::scrape::value;
use stack::servers::{Service, ServiceSettings};
use stack::tls::{Connection, connect, connect_by, shown};
use support::{DEADLINE, Orders, Stage, an_order, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
const EXPIRY: &str = "orders_http_certificate_expiry_timestamp_seconds";

/// A service with a certificate, and a client that trusts its authority alone.
struct Secured {
    stage: Stage,
    authority: Authority,
    identity: Identity,
    orders: Orders,
    http: Client,
}

impl Secured {
    async fn start() -> Self {
        Self::start_with(Validity::Valid, |settings| settings).await
    }

    async fn start_with(validity: Validity, more: impl FnOnce(ServiceSettings) -> ServiceSettings) -> Self {
        let stage = Stage::new().await;
        let authority = Authority::new(&stage.directory.path().join("certificates")).unwrap();
        let identity = authority.server("orders", &THIS_MACHINE, validity).unwrap();
        let settings = more(stage.settings("orders").encrypted("ORDERS", &identity));
        let orders = stage.start_with(settings).await;
        let http = trusting(authority.file()).build().unwrap();
        Self { stage, authority, identity, orders, http }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.orders.service.port())
    }

    fn renew(&self) {
        self.authority.server("orders", &THIS_MACHINE, Validity::Valid).unwrap();
    }

    /// The certificate that a new connection is shown.
    async fn shown(&self) -> Vec<u8> {
        let stream = connect(self.authority.file(), self.orders.service.port()).await.unwrap();
        shown(&stream).unwrap().to_vec()
    }

    /// The certificate that is in the file.
    fn filed(&self) -> Vec<u8> {
        let content = fs::read(&self.identity.certificate).unwrap();
        kit::tls::pem::certificates(&self.identity.certificate, &content).unwrap()[0].to_vec()
    }

    async fn metric(&self, name: &str) -> f64 {
        let answer = self.http.get(self.url("/metrics")).send().await.unwrap();
        value(&answer.text().await.unwrap(), name)
    }

    /// The service's own command, with its settings.
    fn command(&self, arguments: &[&str]) -> Output {
        let port = self.orders.service.port();
        Command::new(env!("CARGO_BIN_EXE_orders"))
            .args(arguments)
            .env("ORDERS_HTTP_ADDR", format!("127.0.0.1:{port}"))
            .env("ORDERS_TLS_CERT_FILE", &self.identity.certificate)
            .output()
            .unwrap()
    }
}

fn trusting(authority: &Path) -> reqwest::ClientBuilder {
    let authority = Certificate::from_pem(&fs::read(authority).unwrap()).unwrap();
    stack::http_client().tls_certs_only([authority]).timeout(DEADLINE).pool_max_idle_per_host(0)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// One exchange on a connection that stays.
async fn exchange(stream: &mut Connection, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"}") {
            let mut part = [0; 4_096];
            let length = stream.read(&mut part).await.unwrap();
            assert!(length > 0, "closed: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..length]);
        }
    };
    timeout(DEADLINE, read).await.expect("an answer");
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_served_by_tls_1_2_and_1_3_and_compared_with_their_scheme() {
    let secured = Secured::start_with(Validity::Valid, |settings| {
        settings.with("ORDERS_HTTP_HOSTS", "orders.example").with("ORDERS_ADMIN_ADDR", "127.0.0.1:0")
    })
    .await;
    for version in [reqwest::tls::Version::TLS_1_2, reqwest::tls::Version::TLS_1_3] {
        let client = trusting(secured.authority.file()).tls_version_min(version).tls_version_max(version);
        let answer = client.build().unwrap().get(secured.url("/livez")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{version:?}");
        assert!(
            answer.headers().get("strict-transport-security").is_none(),
            "other services of this machine"
        );
    }
    let named =
        secured.http.get(secured.url("/livez")).header("host", "orders.example").send().await.unwrap();
    assert_eq!(named.headers().get("strict-transport-security").unwrap(), "max-age=31536000");
    let own = secured.url("");
    for (origin, status) in [(own.clone(), 201), (own.replace("https", "http"), 403)] {
        let order = secured.http.post(secured.url("/api/orders")).header("origin", &origin).json(&an_order());
        assert_eq!(order.send().await.unwrap().status(), status, "{origin}");
    }
    let foreign =
        secured.http.get(secured.url("/livez")).header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 421);

    // The operators' address has the same certificate, and events go by it as they come.
    let operators = secured.orders.operators().replace("http://127.0.0.1", "https://localhost");
    let mut feed = secured.http.get(format!("{operators}/dashboard/feed")).send().await.unwrap();
    let first = timeout(DEADLINE, feed.chunk()).await.unwrap().unwrap().unwrap();
    assert!(first.starts_with(b"event: "), "{first:?}");

    let stranger = Authority::new(&secured.stage.directory.path().join("stranger")).unwrap();
    let refused =
        trusting(stranger.file()).build().unwrap().get(secured.url("/livez")).send().await.unwrap_err();
    assert_eq!(Fault::of(&refused), Some(Fault::UnknownAuthority), "{refused:?}");
    let elsewhere = ([127, 0, 0, 1], secured.orders.service.port()).into();
    let elsewhere = trusting(secured.authority.file()).resolve("other.example", elsewhere).build().unwrap();
    let other_name = secured.url("/livez").replace("localhost", "other.example");
    let refused = elsewhere.get(other_name).send().await.unwrap_err();
    assert_eq!(Fault::of(&refused), Some(Fault::OtherHost), "{refused:?}");
    let log = secured.orders.log();
    assert!(log.contains("Control room: https://") && log.contains("HTTP is served by TLS"), "{log}");
}

/// What the control room shows of the bonus service it asks by TLS too.
#[tokio::test(flavor = "multi_thread")]
async fn the_control_room_asks_a_bonus_service_with_tls() {
    let stage = Stage::new().await;
    let authority = Authority::new(&stage.directory.path().join("certificates")).unwrap();
    let identity = authority.server("bonus", &THIS_MACHINE, Validity::Valid).unwrap();
    let settings = ServiceSettings::bonus()
        .unwrap()
        .encrypted("BONUS", &identity)
        .with("DATABASE_URL", &stage.database_url)
        .with("KAFKA_BROKERS", &stage.servers.kafka)
        .with("ORDERS_TOPIC", &stage.topic)
        .with("BONUS_GROUP_ID", &stage.topic);
    let bonus = tokio::task::block_in_place(|| Service::start(stage.directory.path(), settings)).unwrap();
    let settings = stage.settings("orders").with("BONUS_URL", bonus.url());
    let orders =
        stage.start_with(settings.with("BONUS_CA_FILE", authority.file().display().to_string())).await;
    let mut feed = orders.http.get(orders.url("/dashboard/feed")).send().await.unwrap();
    let mut heard = String::new();
    let shown = async {
        while !heard.contains("\"credited_events\":0") {
            heard.push_str(&String::from_utf8_lossy(&feed.chunk().await.unwrap().unwrap()));
        }
    };
    timeout(DEADLINE, shown).await.expect("the bonus service is shown");
}

/// curl, because the client of the tests speaks HTTP/1.1 alone.
#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_agreed_upon_and_compared_with_its_authority() {
    let secured = Secured::start().await;
    let curl = |more: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--output", "/dev/null", "--max-time", "30"]);
        command
            .args(["--write-out", "%{http_version} %{http_code}", "--cacert"])
            .arg(secured.authority.file());
        let output = command.args(more).arg(secured.url(path)).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(curl(&["--http2"], "/livez"), "2 200");
    assert_eq!(curl(&["--http1.1"], "/livez"), "1.1 200");
    let origin = |origin: &str| {
        let header = format!("origin: {origin}");
        curl(&["--http2", "--request", "POST", "--header", &header], "/api/actors/nobody/crash")
    };
    // 404: the request was let in, and there is no such actor.
    assert_eq!(origin(&secured.url("")), "2 404");
    assert_eq!(origin("https://evil.example"), "2 403");
    assert_eq!(curl(&["--http2", "--header", "host: evil.example"], "/livez"), "2 421");
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Requests without their bodies, side by side on one connection: those beyond the bound are answered at once, the others are waited for.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_of_http_2_does_not_take_everything() {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const END_HEADERS: u8 = 4;
    let secured = Secured::start().await;
    let (authority, port) = (secured.authority.file(), secured.orders.service.port());
    let mut connection = connect_by(authority, port, Some("h2")).await.unwrap();
    // POST and https of the static table, then its names :path, :authority and content-type with values.
    let names: [&[u8]; 6] = [
        &[0x83, 0x87, 0x04, 11],
        b"/api/orders",
        &[0x01, 9],
        b"localhost",
        &[0x0f, 0x10, 16],
        b"application/json",
    ];
    let request = names.concat();
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    for stream in (1..=399).step_by(2) {
        sent.extend(frame(HEADERS, END_HEADERS, stream, &request));
    }
    connection.write_all(&sent).await.unwrap();
    let mut answered = Vec::new();
    let reading = async {
        while answered.len() < 72 {
            let mut head = [0; 9];
            connection.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            connection.read_exact(&mut payload).await.unwrap();
            if head[3] == HEADERS {
                answered.push(u32::from_be_bytes([head[5], head[6], head[7], head[8]]));
            }
        }
    };
    timeout(DEADLINE, reading).await.expect("what is beyond the bound is answered");
    answered.sort_unstable();
    let beyond: Vec<u32> = (257..=399).step_by(2).collect();
    assert_eq!(answered, beyond);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_refused_and_harms_nobody() {
    let secured = Secured::start().await;
    let mut plain = TcpStream::connect(("127.0.0.1", secured.orders.service.port())).await.unwrap();
    plain.write_all(LIVEZ.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An end with a reset is an end.
    let _ = timeout(DEADLINE, plain.read_to_end(&mut answer)).await.expect("the connection ends");
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"), "{answer:?}");
    assert_eq!(secured.http.get(secured.url("/livez")).send().await.unwrap().status(), 200);
    assert!(!secured.orders.log().contains(" ERROR "), "{}", secured.orders.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_and_connections_go_on() {
    let secured = Secured::start().await;
    let first = secured.shown().await;
    let expiry = secured.metric(EXPIRY).await;
    assert!(expiry > now() + 86_400.0 && expiry < now() + 400.0 * 86_400.0, "{expiry}");
    let mut open = connect(secured.authority.file(), secured.orders.service.port()).await.unwrap();
    assert!(exchange(&mut open, LIVEZ).await.starts_with("HTTP/1.1 200"));
    secured.renew();
    assert_ne!(secured.filed(), first);
    let mut kept = 0;
    eventually("the renewed certificate is shown", async || {
        assert!(exchange(&mut open, LIVEZ).await.starts_with("HTTP/1.1 200"));
        kept += 1;
        (secured.shown().await == secured.filed()).then_some(())
    })
    .await;
    assert!(exchange(&mut open, LIVEZ).await.starts_with("HTTP/1.1 200"), "after {kept} exchanges");
    assert!(secured.metric(EXPIRY).await >= expiry);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_cannot_be_used_leaves_the_former_certificate() {
    let secured = Secured::start().await;
    let (first, expiry) = (secured.shown().await, secured.metric(EXPIRY).await);
    let stranger = Authority::new(&secured.stage.directory.path().join("stranger")).unwrap();
    let other = stranger.server("other", &THIS_MACHINE, Validity::Valid).unwrap();
    let warnings = || {
        secured.orders.log().matches("The renewed certificate cannot be used; the former one stays").count()
    };
    // A key that is another certificate's, then one that is none, then none: one warning for all.
    fs::copy(&other.key, &secured.identity.key).unwrap();
    eventually("it is warned of", async || (warnings() == 1).then_some(())).await;
    let log = secured.orders.log();
    assert!(log.contains("ORDERS_TLS_KEY_FILE") && log.contains("do not belong together"), "{log}");
    fs::write(&secured.identity.key, "no key").unwrap();
    fs::remove_file(&secured.identity.certificate).unwrap();
    assert_eq!((secured.shown().await, secured.metric(EXPIRY).await), (first, expiry));
    let ready = secured.command(&["ready"]);
    assert!(ready.status.success(), "a renewal that fails makes no service unready: {ready:?}");
    secured.renew();
    eventually("the next renewal is shown", async || {
        (secured.shown().await == secured.filed()).then_some(())
    })
    .await;
    assert_eq!(warnings(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_health_check_goes_by_tls() {
    let secured = Secured::start().await;
    let ready = secured.command(&["ready", "--json"]);
    assert!(ready.status.success(), "{ready:?}");
    let answer: Value = serde_json::from_slice(&ready.stdout).unwrap();
    assert_eq!(answer["ready"], true);
    assert!(ready.stderr.is_empty(), "{ready:?}");
    // Before the service has looked again, or if it cannot use what is there.
    secured.renew();
    fs::write(&secured.identity.key, "no key").unwrap();
    let ready = secured.command(&["ready"]);
    let said = String::from_utf8(ready.stderr.clone()).unwrap();
    assert!(
        ready.status.success() && said.contains("shows another certificate than ORDERS_TLS_CERT_FILE"),
        "{ready:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_shown_and_warned_of() {
    let secured = Secured::start_with(Validity::Expired, |settings| settings).await;
    assert!(secured.orders.log().contains("has expired: they will refuse it"), "{}", secured.orders.log());
    let refused = secured.http.get(secured.url("/livez")).send().await.unwrap_err();
    assert_eq!(Fault::of(&refused), Some(Fault::Expired), "{refused:?}");
    let careless = stack::http_client().tls_danger_accept_invalid_certs(true).build().unwrap();
    let metrics = careless.get(secured.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!((1.0..now()).contains(&value(&metrics, EXPIRY)), "{metrics}");
}

/// Handshakes that never end have no worker to themselves, and not for long.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_handshakes_keep_nobody_out_and_are_ended() {
    let secured = Secured::start().await;
    let port = secured.orders.service.port();
    let mut hanging = join_all((0..600).map(|_| TcpStream::connect(("127.0.0.1", port)))).await;
    // A record that announces more than comes.
    for stream in &mut hanging {
        stream.as_mut().unwrap().write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
    }
    let begun = Instant::now();
    let served = timeout(Duration::from_secs(4), secured.http.get(secured.url("/livez")).send()).await;
    assert_eq!(served.expect("it is served beside them").unwrap().status(), 200);
    for stream in &mut hanging {
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(30), stream.as_mut().unwrap().read_to_end(&mut rest));
        let _ = ended.await.unwrap_or_else(|_| panic!("in the handshake since {:?}", begun.elapsed()));
    }
}

/// As without TLS: who is slow with a head is answered or cut off, on a new connection and on one that was used.
#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off_and_counted() {
    let secured = Secured::start_with(Validity::Valid, |settings| {
        settings.with("ORDERS_HTTP_CLIENT_TIMEOUT_SECONDS", "1").with("ORDERS_HTTP_KEEP_ALIVE_SECONDS", "1")
    })
    .await;
    let connect = async || connect(secured.authority.file(), secured.orders.service.port()).await.unwrap();
    let (mut fresh, mut used) = (connect().await, connect().await);
    assert!(exchange(&mut used, LIVEZ).await.starts_with("HTTP/1.1 200"));
    assert!(secured.metric("orders_http_connections").await >= 2.0, "encrypted connections are counted");
    let ended = async |stream: &mut Connection| {
        let begun = Instant::now();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.unwrap();
        let mut answer = Vec::new();
        loop {
            let mut part = [0; 1_024];
            match timeout(Duration::from_millis(100), stream.read(&mut part)).await {
                Ok(Ok(length)) if length > 0 => answer.extend_from_slice(&part[..length]),
                Ok(_) => return String::from_utf8_lossy(&answer).into_owned(),
                Err(_) => {
                    assert!(begun.elapsed() < Duration::from_secs(15), "it is still served");
                    let _ = stream.write_all(b"x").await;
                }
            }
        }
    };
    assert!(ended(&mut fresh).await.starts_with("HTTP/1.1 408 "));
    assert_eq!(ended(&mut used).await, "");
}

#[test]
fn check_tells_how_long_the_certificate_can_be_used() {
    let directory = tempfile::TempDir::new().unwrap();
    let authority = Authority::new(directory.path()).unwrap();
    let told = |identity: &Identity, key: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command.args(["check", "--json"]).env("ORDERS_AUTH", "off").env("DATABASE_TIMEOUT_MS", "100");
        command.env("DATABASE_URL", "postgresql://app@127.0.0.1:9/app").env("KAFKA_BROKERS", "127.0.0.1:9");
        command.env("REDIS_URL", "redis://127.0.0.1:9").env("ORDERS_TLS_CERT_FILE", &identity.certificate);
        let output = command.env("ORDERS_TLS_KEY_FILE", key).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "tls").unwrap();
        (found["status"].as_str().unwrap().to_owned(), found["message"].as_str().unwrap().to_owned())
    };
    let valid = authority.server("valid", &THIS_MACHINE, Validity::Valid).unwrap();
    let expired = authority.server("expired", &THIS_MACHINE, Validity::Expired).unwrap();
    let (status, message) = told(&valid, &valid.key);
    assert!(status == "ok" && message.contains("for 36"), "{status}: {message}");
    let (status, message) = told(&expired, &expired.key);
    assert!(status == "warn" && message.contains("has expired"), "{status}: {message}");
    let (status, message) = told(&valid, &expired.key);
    assert!(status == "fail" && message.contains("do not belong together"), "{status}: {message}");
}

/// None of them waits for a server.
#[test]
fn a_start_with_files_that_cannot_be_used_ends() {
    let directory = tempfile::TempDir::new().unwrap();
    let authority = Authority::new(directory.path()).unwrap();
    let one = authority.server("one", &THIS_MACHINE, Validity::Valid).unwrap();
    let other = authority.server("other", &THIS_MACHINE, Validity::Valid).unwrap();
    let none = directory.path().join("none.pem");
    fs::write(&none, "nothing").unwrap();
    let (certificate, key) = ("ORDERS_TLS_CERT_FILE", "ORDERS_TLS_KEY_FILE");
    let nowhere = Path::new("/nowhere/orders.pem");
    for (settings, says) in [
        (vec![(certificate, &*one.certificate)], "ORDERS_TLS_CERT_FILE needs ORDERS_TLS_KEY_FILE"),
        (vec![(key, &*one.key)], "ORDERS_TLS_KEY_FILE needs ORDERS_TLS_CERT_FILE"),
        (vec![(certificate, &*one.certificate), (key, &*other.key)], "do not belong together"),
        (
            vec![(certificate, nowhere), (key, &*one.key)],
            "ORDERS_TLS_CERT_FILE: /nowhere/orders.pem cannot be read",
        ),
        (vec![(certificate, &*one.key), (key, &*one.key)], "has no certificate, but something else"),
        (vec![(certificate, &*one.certificate), (key, &*none)], "is not in PEM"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        let output = command.env("ORDERS_AUTH", "off").envs(settings.iter().copied()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{says}: {said}");
        assert!(said.contains(says), "{says}: {said}");
        let key = fs::read_to_string(&one.key).unwrap();
        assert!(!said.contains(key.lines().nth(1).unwrap()), "the key is shown: {said}");
    }
}
