//! `SECURE=1`: what is encrypted, who is let in, and that no secret gets into a log.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use reqwest::{Certificate, StatusCode};
use sqlx::{Connection, PgConnection};
use stack::local::{Home, Part, State};
use stack::servers::kafka::Access;

const NAME: &str = "secured-test";
const PATIENCE: Duration = Duration::from_secs(5);

fn ran(arguments: &[&str]) -> Output {
    let mut tool = support::tool();
    tool.env("SECURE", "1").env("REPLICAS", "1").args(["--stack", NAME]).args(arguments);
    tool.output().unwrap()
}

fn said(arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = ran(arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{arguments:?}: {said}");
    said
}

/// The sessions of services and of the standby, and as whom they are: encrypted ones alone.
async fn sessions(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let plain: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_stat_ssl WHERE NOT ssl AND client_dn IS NULL AND pid IN (SELECT pid FROM pg_stat_activity WHERE client_addr IS NOT NULL)")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(plain, 0, "sessions that are not encrypted");
    let names = "SELECT DISTINCT usename::text FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
                  WHERE ssl AND application_name IN ('orders', 'bonus', 'postgres_2', 'postgres') ORDER BY 1";
    sqlx::query_scalar(names).fetch_all(&mut connection).await.unwrap()
}

/// Postgres, Redis and Kafka take no connection that is not encrypted, and none without a login.
async fn servers_refuse_strangers(state: &State, authority: &Path) {
    let port = |part: Part| state.parts[&part].port;
    let trust = format!("sslmode=verify-full&sslrootcert={}", authority.display());
    for (wrong, why) in [
        ("app:app@127.0.0.1:PORT/app?sslmode=disable".to_owned(), "no encryption"),
        (format!("app:wrong@127.0.0.1:PORT/app?{trust}"), "password authentication failed"),
    ] {
        let url = format!("postgresql://{}", wrong.replace("PORT", &port(Part::PostgresAddress).to_string()));
        let refused = PgConnection::connect(&url).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let redis = redis::Client::open(format!("redis://127.0.0.1:{}", port(Part::Redis))).unwrap();
    assert!(redis.get_connection_with_timeout(PATIENCE).is_err());
    let certificates =
        redis::TlsCertificates { client_tls: None, root_cert: Some(std::fs::read(authority).unwrap()) };
    let url = format!("rediss://127.0.0.1:{}", port(Part::Redis));
    let redis = redis::Client::build_with_tls(url, certificates).unwrap();
    let asked = redis
        .get_connection_with_timeout(PATIENCE)
        .and_then(|mut redis| redis::cmd("PING").query::<String>(&mut redis));
    assert!(asked.unwrap_err().to_string().contains("NOAUTH"));
    use rdkafka::consumer::{BaseConsumer, Consumer};
    let kafka: BaseConsumer = Access::plain(format!("127.0.0.1:{}", port(Part::Kafka)))
        .client()
        .set("log_level", "0")
        .create()
        .unwrap();
    assert!(kafka.fetch_metadata(None, PATIENCE).is_err());
}

/// Both services ask for a token, by TLS, and have the operators' side elsewhere. What is said of actors.
async fn services_refuse_strangers(state: &State, home: &Home) -> String {
    let secure = home.directory.join("secure");
    let authority = Certificate::from_pem(&std::fs::read(secure.join("authority.pem")).unwrap()).unwrap();
    let http = stack::http_client().tls_certs_only([authority]).timeout(PATIENCE).build().unwrap();
    let token = |role: &str| std::fs::read_to_string(secure.join(format!("{role}.token"))).unwrap();
    let get = async |url: String, token: Option<String>| {
        let request = token.into_iter().fold(http.get(url), reqwest::RequestBuilder::bearer_auth);
        request.send().await.unwrap()
    };
    for (part, operators) in [Part::Orders, Part::Bonus].into_iter().zip(&state.operator_ports) {
        let (public, apart) = (state.parts[&part].port, format!("https://127.0.0.1:{operators}"));
        assert!(http.get(format!("http://127.0.0.1:{public}/livez")).send().await.is_err());
        let outbox = format!("{apart}/api/outbox");
        assert_eq!(get(outbox.clone(), None).await.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(get(outbox.clone(), Some(token("customer"))).await.status(), StatusCode::FORBIDDEN);
        assert_eq!(get(outbox, Some(token("operator"))).await.status(), StatusCode::OK);
        let elsewhere = get(format!("https://127.0.0.1:{public}/metrics"), Some(token("admin"))).await;
        assert_eq!(elsewhere.status(), StatusCode::NOT_FOUND);
    }
    let actors = format!("https://127.0.0.1:{}/api/actors", state.operator_ports[0]);
    get(actors, Some(token("admin"))).await.text().await.unwrap()
}

/// Of each secret what is the same wherever it is written, in a URL as well.
fn secrets(secure: &Path) -> Vec<String> {
    let files = std::fs::read_dir(secure).unwrap().map(|entry| entry.unwrap().path());
    let secret = |file: std::path::PathBuf| match file.extension()?.to_str()? {
        // Behind these there are characters that a URL escapes.
        "password" => Some(std::fs::read_to_string(file).unwrap()[..32].to_owned()),
        // All tokens begin in the same way.
        "token" => Some(std::fs::read_to_string(file).unwrap().rsplit('.').next().unwrap().to_owned()),
        _ => None,
    };
    files.filter_map(secret).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secured_stack_lets_in_nobody_without_tls_a_login_and_a_token() {
    let home = Home::named(NAME).unwrap();
    said(&["down", "--wipe"]);
    let up = said(&["up"]);
    assert!(up.contains("callers need a token") && up.contains("curl --cacert"), "{up}");
    let state = home.load();
    let secure = std::fs::canonicalize(home.directory.join("secure")).unwrap();
    let authority = secure.join("authority.pem");
    let address = state.parts[&Part::PostgresAddress].port;
    let url = format!(
        "postgresql://app:app@127.0.0.1:{address}/app?sslmode=verify-full&sslrootcert={}",
        authority.display()
    );
    assert_eq!(sessions(&url).await, ["app", "bonus_service", "orders_service"], "app: the standby's");
    servers_refuse_strangers(&state, &authority).await;
    let actors = services_refuse_strangers(&state, &home).await;

    // The standby has its primary's authority: it takes over, and the other one follows it.
    said(&["postgres-failover"]);
    let status = said(&["status"]);
    assert!(status.contains("\"breaker\":\"closed\""), "{status}");
    let other = support::tool().env("SECURE", "0").args(["--stack", NAME, "up"]).output().unwrap();
    assert!(String::from_utf8_lossy(&other.stderr).contains("SECURE=1"), "{other:?}");
    said(&["down"]);

    let secrets = secrets(&secure);
    assert_eq!(secrets.len(), 6);
    let logs = home.directory.join("logs");
    let mut shown = vec![("up".to_owned(), up), ("actors".to_owned(), actors), ("status".to_owned(), status)];
    for log in std::fs::read_dir(&logs).unwrap().map(|entry| entry.unwrap().path()) {
        shown.push((log.display().to_string(), std::fs::read_to_string(log).unwrap()));
    }
    assert!(shown.len() > 9, "{shown:?}");
    for (place, text) in shown {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} shows a secret");
        }
    }
    said(&["down", "--wipe"]);
    assert!(!home.directory.exists());
}
