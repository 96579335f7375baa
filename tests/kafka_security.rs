//! Links to Kafka by TLS, certificates and logins, on a real Apache Kafka: what works, what is refused, and what is said about it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use stack::certificates::{Authority, Identity, THIS_MACHINE, Validity};
use stack::servers::kafka::{Access, ClientSecurity, Door, ListenerSecurity, Mechanism, Security, User};
use stack::servers::{Kafka, Service, ServiceSettings};
use support::fragile::blocking;
use support::{Orders, Servers, Stage, an_order, eventually};
use tempfile::TempDir;

/// What the brokers and their clients are given.
struct Papers {
    directory: TempDir,
    ours: Authority,
    foreign: Authority,
    kim: User,
}

impl Papers {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let authority = |name: &str| Authority::new(&directory.path().join(name)).unwrap();
        let (ours, foreign) = (authority("ours"), authority("foreign"));
        Self { ours, foreign, kim: User::new("kim", "kims-secret"), directory }
    }

    fn server(&self, name: &str, hosts: &[&str], validity: Validity) -> Identity {
        self.ours.server(name, hosts, validity).unwrap()
    }

    /// A listener with TLS by this certificate, for logins.
    fn logins(&self, certificate: Identity) -> ListenerSecurity {
        let mechanisms = vec![Mechanism::ScramSha256, Mechanism::ScramSha512, Mechanism::Plain];
        ListenerSecurity { certificate: Some(certificate), mechanisms, ..Default::default() }
    }

    fn certificates(&self, certificate: Identity) -> ListenerSecurity {
        let client_authority = Some(self.ours.file().to_owned());
        ListenerSecurity { certificate: Some(certificate), client_authority, ..Default::default() }
    }

    fn tls(&self) -> ClientSecurity {
        ClientSecurity { authority: Some(self.ours.file().to_owned()), ..Default::default() }
    }

    fn login(&self, mechanism: Mechanism, password: &str) -> ClientSecurity {
        ClientSecurity { login: Some((mechanism, User::new(&self.kim.name, password))), ..self.tls() }
    }

    fn with_certificate(&self, of: &Authority) -> ClientSecurity {
        ClientSecurity { certificate: Some(of.client("kim", Validity::Valid).unwrap()), ..self.tls() }
    }

    fn start(&self, doors: Vec<ListenerSecurity>) -> Kafka {
        let doors = doors.into_iter().map(|door| Door::secured(door).unwrap()).collect();
        let security = Security { users: vec![self.kim.clone()], ..Security::default() };
        blocking(|| Kafka::start_with_doors(self.directory.path(), doors, security))
    }
}

/// By the plain listener the test reads; the services do not know of it.
async fn stage(kafka: &Kafka) -> Stage {
    Stage::on(Servers { kafka: kafka.brokers(), ..Servers::shared() }).await
}

fn told(settings: ServiceSettings, prefix: &str, access: &Access) -> ServiceSettings {
    let variables = access.environment(prefix).into_iter();
    variables.fold(settings, |settings, (variable, value)| settings.with(&variable, value))
}

fn orders(stage: &Stage, access: &Access) -> ServiceSettings {
    let settings = stage.settings("orders").with("DELIVERY_TIMEOUT_MS", "1000");
    told(settings.with("BACKOFF_BASE_MS", "200").with("BACKOFF_CAP_MS", "1000"), "ORDERS", access)
}

fn bonus(stage: &Stage, access: &Access) -> ServiceSettings {
    let settings = ServiceSettings::bonus()
        .unwrap()
        .with("DATABASE_URL", &stage.database_url)
        .with("REDIS_URL", &stage.servers.redis)
        .with("ORDERS_TOPIC", &stage.topic)
        .with("BONUS_GROUP_ID", &stage.topic)
        .with("BONUS_EVENTS_TOPIC", format!("{}.bonus", stage.topic))
        .with("BONUS_RETRY_QUEUE", format!("{}:bonus", stage.queue));
    told(settings, "BONUS", access)
}

/// A command of a service, with its settings.
async fn run(settings: &ServiceSettings, arguments: &[&str]) -> Output {
    tokio::process::Command::new(&settings.program)
        .args(arguments)
        .envs(&settings.environment)
        .output()
        .await
        .unwrap()
}

/// The finding of `check` about the link.
async fn link(settings: &ServiceSettings) -> Value {
    let output = run(settings, &["check", "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = report["checks"].as_array().unwrap().iter().find(|finding| finding["name"] == "kafka link");
    found.unwrap_or_else(|| panic!("{report}")).clone()
}

/// An order that is paid, and the points for it at the bonus service.
async fn points_arrive(orders: &Orders, bonus: &Service) {
    let customer = uuid::Uuid::new_v4();
    let mut order = an_order();
    order["customer_id"] = json!(customer);
    let (status, order) = orders.post("/api/orders", order).await;
    assert_eq!(status, 201, "{order}");
    orders.command(order["order_id"].as_str().unwrap().parse().unwrap(), "pay").await;
    let url = format!("{}/api/bonuses/{customer}", bonus.url());
    eventually("the points have arrived", async || {
        let answer = orders.http.get(&url).send().await.ok()?;
        let account: Value = answer.json().await.ok()?;
        (account["points"].as_i64()? > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_published_and_credited_over_links_that_are_secured() {
    let papers = Papers::new();
    let certificate = papers.server("kafka", &THIS_MACHINE, Validity::Valid);
    let doors = vec![papers.logins(certificate.clone()), papers.certificates(certificate)];
    let kafka = papers.start(doors);
    let password = papers.directory.path().join("password");
    fs::write(&password, format!("{}\n", papers.kim.password)).unwrap();
    for (door, security, who) in [
        (0, papers.login(Mechanism::ScramSha256, &papers.kim.password), "as kim by SCRAM-SHA-256"),
        (0, papers.login(Mechanism::ScramSha512, &papers.kim.password), "as kim by SCRAM-SHA-512"),
        (0, papers.login(Mechanism::Plain, &papers.kim.password), "as kim by PLAIN"),
        (1, papers.with_certificate(&papers.ours), "kim.pem says"),
    ] {
        let stage = stage(&kafka).await;
        let access = Access { brokers: kafka.door(door).unwrap(), security };
        let (mut of_orders, of_bonus) = (orders(&stage, &access), bonus(&stage, &access));
        if of_orders.environment.remove("ORDERS_KAFKA_PASSWORD").is_some() {
            of_orders = of_orders.with("ORDERS_KAFKA_PASSWORD_FILE", password.to_str().unwrap());
        }
        let directory = stage.directory.path().to_owned();
        let bonus = blocking(|| Service::start(&directory, of_bonus.clone()));
        let orders = stage.start_with(of_orders.clone()).await;
        points_arrive(&orders, &bonus).await;
        stage.outbox_empties().await;
        stage.assert_published_in_order().await;
        for settings in [&of_orders, &of_bonus] {
            let found = link(settings).await;
            let message = found["message"].as_str().unwrap();
            assert!(found["status"] == "ok" && message.starts_with("TLS 1.3, verified by /"), "{found}");
            assert!(message.contains("authority.pem, ") && message.ends_with(who), "{found}");
        }
        let replayed = run(&of_orders, &["replay", "--from", "1", "--yes"]).await;
        assert!(replayed.status.success(), "{replayed:?}");
        // At least: a delivery that was slow to be acknowledged is sent again.
        assert!(stage.messages().await.len() >= 4, "two events, and a copy of each");
        assert!(!orders.log().contains(&papers.kim.password));
    }
}

/// A link that is refused: at which door, with what, and what is said.
struct Refused {
    name: &'static str,
    /// `None`: at the plain listener.
    door: Option<usize>,
    security: ClientSecurity,
    words: [&'static str; 2],
    /// What the broker's side is given later, so that it works.
    mended: bool,
}

fn refused(papers: &Papers) -> Vec<Refused> {
    let login = |password: &str| papers.login(Mechanism::ScramSha256, password);
    let of = |name, door, security, words, mended| Refused { name, door, security, words, mended };
    let plain = ClientSecurity { authority: None, ..login("kims-secret") };
    vec![
        of("another host", Some(0), login("kims-secret"), ["of another host", "advertised.listeners"], true),
        of("expired", Some(1), login("kims-secret"), ["has expired", "renew"], true),
        of("unknown authority", Some(2), login("kims-secret"), ["not trusted", "ORDERS_KAFKA_CA_FILE"], true),
        of(
            "wrong password",
            Some(3),
            login("a-new-secret"),
            ["the login of kim is refused", "ORDERS_KAFKA_PASSWORD_FILE"],
            true,
        ),
        of("no TLS there", None, papers.tls(), ["there is no TLS", "ORDERS_KAFKA_SECURITY_PROTOCOL"], false),
        of("no login there", None, plain, ["no login", "ORDERS_KAFKA_SECURITY_PROTOCOL"], false),
        of(
            "no certificate of its own",
            Some(4),
            papers.tls(),
            ["certificate is asked for", "ORDERS_KAFKA_CERT_FILE"],
            false,
        ),
        of(
            "a certificate of another authority",
            Some(4),
            papers.with_certificate(&papers.foreign),
            ["certificate is refused", "ORDERS_KAFKA_CERT_FILE"],
            false,
        ),
    ]
}

/// In place of the former one, at the broker.
fn renew(certificate: &Identity, by: &Identity) {
    for (former, new) in [(&certificate.certificate, &by.certificate), (&certificate.key, &by.key)] {
        fs::copy(new, former).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_refused_says_why_and_goes_on_when_the_broker_is_mended() {
    let papers = Papers::new();
    let elsewhere = papers.server("elsewhere", &["kafka.elsewhere.example"], Validity::Valid);
    let expired = papers.server("expired", &THIS_MACHINE, Validity::Expired);
    let foreign = papers.foreign.server("foreign", &THIS_MACHINE, Validity::Valid).unwrap();
    let good = papers.server("kafka", &THIS_MACHINE, Validity::Valid);
    let wrong = [&elsewhere, &expired, &foreign];
    let mut doors: Vec<_> = wrong.map(|certificate| papers.logins(certificate.clone())).into();
    doors.extend([papers.logins(good.clone()), papers.certificates(good.clone())]);
    let kafka = papers.start(doors);

    let mut waiting = Vec::new();
    for case in refused(&papers) {
        let stage = stage(&kafka).await;
        let brokers = case.door.map_or_else(|| kafka.brokers(), |door| kafka.door(door).unwrap());
        let settings = orders(&stage, &Access { brokers, security: case.security.clone() });
        let service = stage.start_with(settings.clone()).await;
        service.create().await;
        let said = |text: &str| case.words.iter().all(|word| text.contains(word));
        eventually(&format!("{}: the breaker's cause says why", case.name), async || {
            let publisher = service.actor("publisher").await;
            said(publisher["last_error"].as_str().unwrap_or_default()).then_some(())
        })
        .await;
        service.breaker_is("open").await;
        let (status, ready) = service.get("/readyz").await;
        assert_eq!((status.as_u16(), &ready["kafka"]), (200, &json!("down")), "{}", case.name);
        // A server that hangs up may do so before its reason is read.
        eventually(&format!("{}: check says why", case.name), async || {
            let found = link(&settings).await;
            let whole = format!("{} {}", found["message"], found["advice"]);
            (found["status"] == "fail" && said(&whole)).then_some(())
        })
        .await;
        assert!(said(&service.log()), "{}: the log does not say why", case.name);
        service.create().await;
        let log = service.log();
        assert!(!log.contains("kims-secret") && !log.contains("a-new-secret"), "{}", case.name);
        if case.mended {
            waiting.push((case.name, stage, service));
        }
    }

    for certificate in wrong {
        renew(certificate, &good);
    }
    let user = User::new("kim", "a-new-secret");
    blocking(|| kafka.admin()?.set_password(Mechanism::ScramSha256, &user));
    blocking(|| kafka.stop());
    blocking(|| kafka.start_again());
    // The former password is good no more.
    for (_, stage, service) in waiting.iter().filter(|(name, ..)| *name == "wrong password") {
        stage.outbox_empties().await;
        stage.assert_published_in_order().await;
        service.breaker_is("closed").await;
    }
    blocking(|| kafka.admin()?.set_password(Mechanism::ScramSha256, &papers.kim));
    for (_, stage, service) in waiting.iter().filter(|(name, ..)| *name != "wrong password") {
        stage.outbox_empties().await;
        stage.assert_published_in_order().await;
        service.breaker_is("closed").await;
    }
}

/// A start that cannot come to anything ends with an error that names the setting.
#[tokio::test(flavor = "multi_thread")]
async fn settings_that_contradict_each_other_are_no_start() {
    let stage = Stage::new().await;
    let papers = Papers::new();
    let access =
        Access { brokers: "127.0.0.1:1".to_owned(), security: papers.login(Mechanism::Plain, "secret") };
    let missing: PathBuf = papers.directory.path().join("missing.pem");
    for (variable, value, words) in [
        ("_SASL_MECHANISM", "", "is missing"),
        ("_SECURITY_PROTOCOL", "sasl_plaintext", "_KAFKA_CA_FILE is set"),
        ("_KEY_FILE", path(&missing), "belong together"),
        ("_CA_FILE", path(&missing), "missing.pem cannot be read: No such file"),
        ("_PASSWORD_FILE", path(&missing), "both set"),
    ] {
        for (prefix, settings) in [("ORDERS", orders(&stage, &access)), ("BONUS", bonus(&stage, &access))] {
            let mut settings = settings;
            let variable = format!("{prefix}_KAFKA{variable}");
            settings.environment.insert(variable.clone(), value.to_owned());
            if value.is_empty() {
                settings.environment.remove(&variable);
            }
            let output = run(&settings, &["serve"]).await;
            let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
            assert!(!output.status.success() && said.contains(words), "{variable}: {said}");
            assert!(said.contains(&format!("{prefix}_KAFKA_")) && !said.contains("secret"), "{said}");
        }
    }
}

fn path(file: &Path) -> &str {
    file.to_str().unwrap()
}
