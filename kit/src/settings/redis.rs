//! Settings of Redis. Each service has those of files under its own prefix.

/// Defines the settings as a group for clap: `redis_settings!(Redis, "ORDERS")`.
#[macro_export]
macro_rules! redis_settings {
    ($name:ident, $prefix:literal) => {
        // Where Redis is. (A doc comment here would end up in the help of whatever takes the group.)
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct $name {
            /// Redis, as a URL: rediss://user:password@host:port/database, or redis:// without TLS. It keeps the retry of an outage;
            /// where the message queue is Redis, the streams too. It may be down at any time.
            #[arg(
                        id = "redis_url",
                        long = "redis-url",
                        env = "REDIS_URL",
                        default_value = "redis://localhost:6379",
                        hide_env_values = true,
                        value_parser = $crate::settings::secret::<$crate::redis::RedisUrl>("REDIS_URL")
                    )]
            url: $crate::redis::RedisUrl,

            /// A file with the password of Redis, as it is; a line break at its end does not count. Taken before the one in the URL.
            #[arg(long, env = concat!($prefix, "_REDIS_PASSWORD_FILE"))]
            redis_password_file: Option<$crate::files::PasswordFile>,

            /// A PEM file with the authority that signs the certificate of Redis. Unset: the authorities that the system trusts.
            #[arg(long, env = concat!($prefix, "_REDIS_CA_FILE"))]
            redis_ca_file: Option<::std::path::PathBuf>,

            /// A PEM file with the certificate that is shown to Redis, if Redis asks for one.
            #[arg(long, env = concat!($prefix, "_REDIS_CERT_FILE"))]
            redis_cert_file: Option<::std::path::PathBuf>,

            /// A PEM file with that certificate's private key, without a passphrase.
            #[arg(long, env = concat!($prefix, "_REDIS_KEY_FILE"))]
            redis_key_file: Option<::std::path::PathBuf>,
        }

        impl $name {
            pub fn server(&self) -> $crate::redis::RedisServer {
                let files = $crate::redis::RedisFiles {
                    prefix: concat!($prefix, "_REDIS"),
                    password: self.redis_password_file.clone(),
                    authority: self.redis_ca_file.clone(),
                    certificate: self.redis_cert_file.clone(),
                    key: self.redis_key_file.clone(),
                };
                $crate::redis::RedisServer::new(self.url.clone(), files)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use clap::{Arg, Command};

    use crate::redis::{RedisServer, RedisUrl};
    use crate::settings::secret;

    #[test]
    fn the_password_is_not_shown() {
        let url = RedisUrl::from_str("redis://app:s%40cret%2F:%25@redis:6380/2").unwrap();
        assert_eq!(format!("{url} {url:?}"), "redis:6380 redis:6380");
        let client = RedisServer::from_str(url.as_str()).unwrap().client().unwrap();
        assert_eq!(client.get_connection_info().redis_settings().password(), Some("s@cret/:%"));
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
        assert!(RedisUrl::from_str("rediss://app:secret@x/#insecure").unwrap_err().contains("not verified"));
    }
}
