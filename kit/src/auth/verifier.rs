//! Checks tokens with keys that change: a new key is known as soon as a token names it, or a few minutes later.
//!
//! | | |
//! |---|---|
//! | a token names a key that is not known | the keys are loaded again, at most once in [`LOOK_PAUSE`]; tokens that come meanwhile wait for it |
//! | every [`KEYS_AGE_MAX`] | the keys are loaded again, so that one that was taken back is forgotten |
//! | they cannot be loaded | the keys that are known stay, and the log says why |
//! | they cannot be loaded at the start, from a URL | the start waits; a file that is missing or unreadable ends it |

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::checker::Checker;
use super::choice::{JwtSettings, KeySource};
use super::permission::Identity;
use super::source::load;
use super::token::{Defect, Rules};

/// Between two loads of the keys because of a token. Whoever invents key ids causes no more.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// How long a key that was taken back is still good.
const KEYS_AGE_MAX: Duration = Duration::from_secs(300);
/// Between two attempts of a start.
const START_PAUSE: Duration = Duration::from_secs(1);

pub struct Verifier {
    rules: Rules,
    source: KeySource,
    checker: ArcSwap<Checker>,
    /// When the keys were last looked for. Held while they are.
    looked_at: Mutex<Instant>,
    look_pause: Duration,
}

impl Verifier {
    /// Loads the keys.
    ///
    /// # Errors
    /// When a file or a secret cannot be used. For a URL it waits.
    pub async fn start(settings: JwtSettings) -> anyhow::Result<Self> {
        let JwtSettings { keys: source, rules } = settings;
        let keys = loop {
            match load(&source).await.with_context(|| format!("the keys at {source} cannot be used")) {
                Ok(keys) => break keys,
                Err(error) if matches!(source, KeySource::JwksUrl(_)) => {
                    warn!("The start waits for the keys that sign tokens: {error:#}");
                    sleep(START_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        };
        info!(keys = keys.count(), source = %source, issuer = rules.issuer, audience = rules.audience, "Callers need a token");
        let checker = ArcSwap::from_pointee(Checker::new(keys));
        Ok(Self { rules, source, checker, looked_at: Mutex::new(Instant::now()), look_pause: LOOK_PAUSE })
    }

    /// Who sent this token.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn identify(&self, token: &str) -> Result<Identity, Defect> {
        let checker = self.checker.load_full();
        match checker.identify(&self.rules, token) {
            Err(Defect::UnknownKey) if self.has_others_than(&checker).await => {
                self.checker.load().identify(&self.rules, token)
            }
            answer => answer,
        }
    }

    /// Loads the keys again from time to time; to be run beside the service.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            sleep(KEYS_AGE_MAX).await;
            self.load(&mut *self.looked_at.lock().await).await;
        }
    }

    /// Whether there are other keys by now, if need be by loading them.
    async fn has_others_than(&self, seen: &Arc<Checker>) -> bool {
        let mut looked_at = self.looked_at.lock().await;
        let renewed = || !Arc::ptr_eq(&self.checker.load(), seen);
        if !renewed() && looked_at.elapsed() >= self.look_pause {
            self.load(&mut looked_at).await;
        }
        renewed()
    }

    async fn load(&self, looked_at: &mut Instant) {
        match load(&self.source).await {
            Ok(keys) => self.checker.store(Arc::new(Checker::new(keys))),
            Err(error) => {
                warn!(source = %self.source, "The keys that sign tokens cannot be loaded again; those that are known stay: {error:#}");
            }
        }
        *looked_at = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use reqwest::Url;
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::choice::JwksUrl;
    use super::super::source::SOURCE_BYTES_MAX;
    use super::*;

    fn jwks(kid: &str) -> Vec<u8> {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x }] }).to_string().into_bytes()
    }

    /// A token whose signature is wrong: that its key is known shows in what is said to be wrong.
    fn token(kid: &str) -> String {
        let part = |value: &Value| {
            // Of these characters the URL's alphabet has all that the base64 of this JSON needs.
            let text = value.to_string();
            encode(text.as_bytes())
        };
        format!("{}.e30.AAAA", part(&json!({ "alg": "EdDSA", "kid": kid })))
    }

    fn encode(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits: Vec<u8> =
            bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
        let digit = |six: &[u8]| (0..6).fold(0, |sum, place| sum << 1 | six.get(place).copied().unwrap_or(0));
        bits.chunks(6).map(|six| char::from(ALPHABET[usize::from(digit(six))])).collect()
    }

    fn settings(keys: KeySource) -> JwtSettings {
        let rules = Rules {
            issuer: "issuer".to_owned(),
            audience: "orders".to_owned(),
            leeway: Duration::ZERO,
            roles_claim: "roles".to_owned(),
            customer_claim: "sub".to_owned(),
        };
        JwtSettings { keys, rules }
    }

    /// Answers with what it is told to, and counts how often it is asked. `None`: it breaks off.
    struct Issuer {
        url: Url,
        asked: Arc<AtomicUsize>,
        answer: Arc<std::sync::Mutex<IssuersAnswer>>,
    }

    type IssuersAnswer = Option<(u16, Vec<u8>)>;

    impl Issuer {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/jwks", listener.local_addr().unwrap()).parse().unwrap();
            let issuer = Self { url, asked: Arc::default(), answer: Arc::default() };
            let (asked, answer) = (Arc::clone(&issuer.asked), Arc::clone(&issuer.answer));
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    asked.fetch_add(1, Ordering::Relaxed);
                    let _ = stream.read(&mut [0; 4_096]).await;
                    let answer = answer.lock().unwrap().clone();
                    if let Some((status, body)) = answer {
                        let head = format!(
                            "HTTP/1.1 {status} S\r\ncontent-length: {}\r\nlocation: /\r\n\r\n",
                            body.len()
                        );
                        let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                    }
                }
            });
            issuer
        }

        fn source(&self) -> KeySource {
            let ca_setting = "X_AUTH_JWKS_CA_FILE".to_owned();
            KeySource::JwksUrl(JwksUrl { url: self.url.clone(), ca_file: None, ca_setting })
        }

        fn answers(&self, status: u16, body: Vec<u8>) {
            *self.answer.lock().unwrap() = Some((status, body));
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    async fn started(issuer: &Issuer, look_pause: Duration) -> Verifier {
        issuer.answers(200, jwks("a"));
        let verifier = Verifier::start(settings(issuer.source())).await.unwrap();
        Verifier { look_pause, ..verifier }
    }

    #[tokio::test]
    async fn a_new_key_is_known_as_soon_as_a_token_names_it() {
        let issuer = Issuer::start().await;
        let verifier = started(&issuer, Duration::ZERO).await;
        assert_eq!(verifier.identify(&token("a")).await, Err(Defect::Signature));
        assert_eq!(issuer.asked(), 1, "a key that is known is not looked for");
        assert_eq!(verifier.identify(&token("b")).await, Err(Defect::UnknownKey));
        issuer.answers(200, jwks("b"));
        assert_eq!(verifier.identify(&token("b")).await, Err(Defect::Signature));
        assert_eq!(
            verifier.identify(&token("a")).await,
            Err(Defect::UnknownKey),
            "what is taken back is forgotten"
        );
    }

    #[tokio::test]
    async fn whoever_invents_key_ids_does_not_make_the_issuer_busy() {
        let issuer = Issuer::start().await;
        let verifier = started(&issuer, Duration::from_secs(600)).await;
        issuer.answers(200, jwks("b"));
        for kid in ["b", "c", "d"] {
            assert_eq!(verifier.identify(&token(kid)).await, Err(Defect::UnknownKey));
        }
        assert_eq!(issuer.asked(), 1);
    }

    #[tokio::test]
    async fn keys_that_are_known_stay_when_no_others_can_be_had() {
        let issuer = Issuer::start().await;
        let verifier = started(&issuer, Duration::ZERO).await;
        let useless = [
            Some((500, jwks("b"))),
            Some((302, jwks("b"))),
            Some((200, b"<html>".to_vec())),
            Some((200, br#"{"keys":[]}"#.to_vec())),
            Some((200, vec![b' '; SOURCE_BYTES_MAX + 1])),
            None,
        ];
        for (asked, answer) in useless.into_iter().enumerate() {
            (*issuer.answer.lock().unwrap()).clone_from(&answer);
            assert_eq!(verifier.identify(&token("b")).await, Err(Defect::UnknownKey));
            assert_eq!(issuer.asked(), asked + 2, "it was asked");
            assert_eq!(verifier.identify(&token("a")).await, Err(Defect::Signature));
        }
    }

    #[tokio::test]
    async fn a_start_waits_for_a_url_and_ends_without_a_file() {
        let issuer = Issuer::start().await;
        let starting = tokio::spawn(Verifier::start(settings(issuer.source())));
        while issuer.asked() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(!starting.is_finished());
        issuer.answers(200, jwks("a"));
        assert!(starting.await.unwrap().is_ok());
        let nowhere = KeySource::JwksFile("/nowhere/jwks.json".into());
        let error = Verifier::start(settings(nowhere)).await.err().unwrap();
        assert!(format!("{error:#}").contains("/nowhere/jwks.json"), "{error:#}");
    }

    #[tokio::test]
    async fn what_may_never_end_is_not_read() {
        let long = std::env::temp_dir().join(format!("jwks-{}", uuid::Uuid::new_v4()));
        std::fs::write(&long, vec![b' '; SOURCE_BYTES_MAX + 1]).unwrap();
        for (path, says) in
            [(long.clone(), "more than 262144 bytes"), ("/dev/null".into(), "no regular file")]
        {
            let error = Verifier::start(settings(KeySource::JwksFile(path))).await.err().unwrap();
            assert!(format!("{error:#}").contains(says), "{error:#}");
        }
        std::fs::remove_file(long).unwrap();
    }

    #[tokio::test]
    async fn a_secret_file_may_end_with_a_new_line() {
        let path = std::env::temp_dir().join(format!("secret-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, "a secret of thirty-two bytes ...\n").unwrap();
        assert!(Verifier::start(settings(KeySource::SecretFile(path.clone()))).await.is_ok());
        std::fs::write(&path, "a secret of thirty-one bytes ..\n").unwrap();
        let error = Verifier::start(settings(KeySource::SecretFile(path.clone()))).await.err().unwrap();
        std::fs::remove_file(path).unwrap();
        assert!(format!("{error:#}").contains("31 bytes"), "{error:#}");
    }
}
