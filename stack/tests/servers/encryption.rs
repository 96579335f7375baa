//! Servers that take encrypted connections alone.

use redis::{ClientTlsConfig, TlsCertificates};
use sqlx::{Connection, PgConnection};
use stack::certificates::{Authority, Validity};
use stack::servers::{Encryption, Postgres, Redis, RedisUser};

#[tokio::test]
async fn postgres_refuses_what_is_not_encrypted_and_clients_without_a_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(&directory.path().join("certificates")).unwrap();
    let encryption = Encryption::of(&authority, "postgres").unwrap();
    let client = authority.client("client", Validity::Valid).unwrap();
    let postgres = Postgres::start_encrypted(directory.path(), encryption.with_client(client)).unwrap();
    let url = postgres.url();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(sqlx::query_scalar::<_, bool>(encrypted).fetch_one(&mut connection).await.unwrap());

    let (without_query, _) = url.split_once('?').unwrap();
    let (without_client, _) = url.split_once("&sslcert").unwrap();
    let wrong_password = url.replace("app:app@", "app:other@");
    for (refused, reason) in [
        (format!("{without_query}?sslmode=disable"), "no encryption"),
        (without_client.to_owned(), "requires a valid client certificate"),
        (wrong_password, "password authentication failed"),
    ] {
        let error = PgConnection::connect(&refused).await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    // Another one of the same authority is taken with the next start.
    authority.server("postgres", &["elsewhere"], Validity::Valid).unwrap();
    postgres.stop().unwrap();
    postgres.start_again().unwrap();
    let error = PgConnection::connect(&url).await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[test]
fn redis_refuses_what_is_not_encrypted_clients_without_a_certificate_and_everybody_but_its_user() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(&directory.path().join("certificates")).unwrap();
    let client = authority.client("client", Validity::Valid).unwrap();
    let encryption = Encryption::of(&authority, "redis").unwrap().with_client(client.clone());
    let user = RedisUser { name: "app".to_owned(), password: "s/e:c@r%e#t?".to_owned() };
    let redis = Redis::start_encrypted(directory.path(), encryption, Some(user)).unwrap();
    let mut connection = redis.client().unwrap().get_connection().unwrap();
    let who: String = redis::cmd("ACL").arg("WHOAMI").query(&mut connection).unwrap();
    assert_eq!(who, "app");

    let patience = std::time::Duration::from_secs(2);
    let plain = redis::Client::open(redis.url().replace("rediss", "redis")).unwrap();
    assert!(plain.get_connection_with_timeout(patience).is_err());
    let read = |path: &std::path::Path| std::fs::read(path).unwrap();
    let identity = ClientTlsConfig { client_cert: read(&client.certificate), client_key: read(&client.key) };
    let ping = |url: String, client_tls: Option<ClientTlsConfig>| {
        let certificates = TlsCertificates { client_tls, root_cert: Some(read(authority.file())) };
        let client = redis::Client::build_with_tls(url, certificates).unwrap();
        redis::cmd("PING").query::<String>(&mut client.get_connection_with_timeout(patience)?)
    };
    let nobody = format!("rediss://127.0.0.1:{}", redis.port());
    assert!(ping(redis.url(), None).is_err());
    assert_eq!(ping(nobody, Some(identity.clone())).unwrap_err().code(), Some("NOAUTH"));
    assert_eq!(ping(redis.url(), Some(identity)).unwrap(), "PONG");
}
