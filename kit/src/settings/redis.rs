//! Settings of Redis.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use redis::Client;

use super::secret;

// Where Redis is. (A doc comment here would end up in the help of whatever takes the group.)
#[derive(Debug, Clone, Args)]
pub struct Redis {
    /// Redis, as a URL: redis://user:password@host:port/database. It keeps the retry of an outage; where the message queue is Redis,
    /// the streams too. It may be down at any time.
    #[arg(
        id = "redis_url",
        long = "redis-url",
        env = "REDIS_URL",
        default_value = "redis://localhost:6379",
        hide_env_values = true,
        value_parser = secret::<RedisUrl>("REDIS_URL")
    )]
    pub url: RedisUrl,
}

/// A URL of Redis that can be used. Its password is never shown.
#[derive(Clone)]
pub struct RedisUrl {
    url: String,
    place: String,
}

impl RedisUrl {
    /// The whole URL, to connect with.
    pub fn as_str(&self) -> &str {
        &self.url
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let client = Client::open(url).map_err(|error| {
            format!(
                "a URL of Redis is needed, such as redis://user:password@host:6379/0, with what is special in the password as %40 for @: {error}"
            )
        })?;
        Ok(Self { url: url.to_owned(), place: client.get_connection_info().addr().to_string() })
    }
}

/// Where it is, for messages: without user and password.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn the_password_is_not_shown() {
        let url = RedisUrl::from_str("redis://app:s%40cret%2F:%25@redis:6380/2").unwrap();
        assert_eq!(format!("{url} {url:?}"), "redis:6380 redis:6380");
        let info = Client::open(url.as_str()).unwrap();
        assert_eq!(info.get_connection_info().redis_settings().password(), Some("s@cret/:%"));
    }

    #[test]
    fn what_is_no_url_of_redis_is_refused_with_an_example_and_not_shown() {
        let parser = secret::<RedisUrl>("REDIS_URL");
        let command = Command::new("service").arg(Arg::new("url").value_parser(parser));
        for wrong in ["app:secret@x", "http://app:secret@x", "redis://app:secret@x:port", "?"] {
            let refusal = command.clone().try_get_matches_from(["service", wrong]).unwrap_err();
            let (code, refusal) = (refusal.exit_code(), refusal.to_string());
            assert!(refusal.starts_with("error: REDIS_URL: a URL of Redis is needed, such as"), "{refusal}");
            assert!(!refusal.contains("secret"), "{refusal}");
            assert_eq!(code, 2);
        }
    }
}
