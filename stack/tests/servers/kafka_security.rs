//! Listeners of Kafka that ask for TLS, certificates and logins.

use std::path::Path;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use stack::certificates::{Authority, THIS_MACHINE, Validity};
use stack::servers::Kafka;
use stack::servers::kafka::{
    Access, ClientSecurity, Door, Layout, ListenerSecurity, Mechanism, Security, User,
};

/// Of who is let in.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of who is not: several attempts.
const REFUSED_PATIENCE: Duration = Duration::from_secs(1);

fn ask(access: &Access, patience: Duration) -> bool {
    let client: BaseConsumer = access.client().set("log_level", "0").create().unwrap();
    client.fetch_metadata(None, patience).is_ok()
}

fn answers(access: &Access) -> bool {
    ask(access, PATIENCE)
}

fn refuses(access: &Access) -> bool {
    !ask(access, REFUSED_PATIENCE)
}

fn trusting(authority: &Authority) -> ClientSecurity {
    ClientSecurity { authority: Some(authority.file().to_owned()), ..ClientSecurity::default() }
}

fn authority(directory: &Path) -> Authority {
    Authority::new(directory).unwrap()
}

#[test]
fn each_listener_lets_in_who_brings_what_it_asks_for() {
    let directory = tempfile::tempdir().unwrap();
    let (authority, other) =
        (authority(&directory.path().join("ours")), authority(&directory.path().join("other")));
    let certificate = Some(authority.server("kafka", &THIS_MACHINE, Validity::Valid).unwrap());
    let mechanisms = vec![Mechanism::ScramSha256, Mechanism::ScramSha512, Mechanism::Plain];
    let logins = ListenerSecurity { certificate: certificate.clone(), mechanisms, ..Default::default() };
    let client_authority = Some(authority.file().to_owned());
    let certificates = ListenerSecurity { certificate, client_authority, ..Default::default() };
    let doors = [logins, certificates].map(|security| Door::secured(security).unwrap());
    let (kim, stranger) = (User::new("kim", "secret"), User::new("kim", "guess"));
    let security = Security { users: vec![kim.clone()], ..Security::default() };
    let kafka = Kafka::start_with_doors(directory.path(), doors.into(), security).unwrap();

    let at = |door: usize, security: ClientSecurity| Access { brokers: kafka.door(door).unwrap(), security };
    let login = |mechanism, user: &User| ClientSecurity {
        login: Some((mechanism, user.clone())),
        ..trusting(&authority)
    };
    for mechanism in [Mechanism::ScramSha256, Mechanism::ScramSha512, Mechanism::Plain] {
        assert!(answers(&at(0, login(mechanism, &kim))), "{mechanism:?}");
        assert!(refuses(&at(0, login(mechanism, &stranger))), "{mechanism:?}");
    }
    assert!(refuses(&at(0, trusting(&authority))), "without a login");
    let with = |of: &Authority| ClientSecurity {
        certificate: Some(of.client("kim", Validity::Valid).unwrap()),
        ..trusting(&authority)
    };
    assert!(answers(&at(1, with(&authority))));
    assert!(refuses(&at(1, with(&other))), "a certificate of another authority");
    assert!(refuses(&at(1, trusting(&authority))), "without a certificate");
    assert!(refuses(&at(1, trusting(&other))), "an authority that is not the broker's");

    kafka.admin().unwrap().set_password(Mechanism::ScramSha256, &stranger).unwrap();
    assert!(answers(&at(0, login(Mechanism::ScramSha256, &stranger))), "with the new password");
    assert!(refuses(&at(0, login(Mechanism::ScramSha256, &kim))), "with the former one");
}

#[test]
fn a_broker_without_a_plain_listener_is_used_by_this_tool_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let authority = authority(directory.path());
    let kim = User::new("kim", "secret");
    let listener = ListenerSecurity {
        certificate: Some(authority.server("kafka", &THIS_MACHINE, Validity::Valid).unwrap()),
        mechanisms: vec![Mechanism::ScramSha256],
        ..Default::default()
    };
    let client =
        ClientSecurity { login: Some((Mechanism::ScramSha256, kim.clone())), ..trusting(&authority) };
    let security = Security { listener, client, users: vec![kim] };
    let kafka = Kafka::start_with_doors(directory.path(), Vec::new(), security).unwrap();
    assert!(refuses(&Access::plain(kafka.brokers())));
    let admin = kafka.admin().unwrap();
    admin.create_topic("secured", Layout::Spread { partitions: 1, replication: 1 }, &[]).unwrap();
    assert_eq!(kafka.access().environment("ORDERS")[1].0, "ORDERS_KAFKA_SECURITY_PROTOCOL");
    kafka.kill().unwrap();
    kafka.start_again().unwrap();
    assert!(admin.leader("secured", 0).unwrap().is_some());
}
