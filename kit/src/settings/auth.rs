//! Settings of who may ask. Each service has them under its own prefix.

/// Defines the settings as a group for clap: `auth_settings!(AuthSettings, "ORDERS")`.
#[macro_export]
macro_rules! auth_settings {
    ($name:ident, $prefix:literal) => {
        // Who may ask. (A doc comment here would end up in the help of whatever takes the group.)
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct $name {
            /// Whether callers have to say who they are, by a JSON Web Token. There is no default.
            #[arg(long, env = concat!($prefix, "_AUTH"), value_enum)]
            pub auth: Option<$crate::auth::AuthMode>,

            /// `off` on an address that is not a loopback one. Whoever reaches it may then do everything.
            #[arg(long, env = concat!($prefix, "_AUTH_OFF_EVERYWHERE"), default_value = "false", value_parser = ::clap::builder::BoolishValueParser::new(), action = ::clap::ArgAction::Set)]
            pub auth_off_everywhere: bool,

            /// The keys that sign tokens, as a JSON Web Key Set: a path, or a URL by https, or by http on a loopback address. Read again
            /// every five minutes, and when a token names a key that is not known.
            #[arg(long, env = concat!($prefix, "_AUTH_JWKS"), value_parser = $crate::settings::not_blank)]
            pub auth_jwks: Option<String>,

            /// The authority of the certificate that the key set's URL shows, in PEM. Unset: the system's authorities.
            #[arg(long, env = concat!($prefix, "_AUTH_JWKS_CA_FILE"))]
            pub auth_jwks_ca_file: Option<::std::path::PathBuf>,

            /// For development, instead of a JWKS: a file with the secret that signs tokens by HS256, of at least 32 bytes. A line break
            /// at its end does not count.
            #[arg(long, env = concat!($prefix, "_AUTH_HS256_SECRET_FILE"))]
            pub auth_hs256_secret_file: Option<::std::path::PathBuf>,

            /// For development: the secret itself.
            #[arg(long, env = concat!($prefix, "_AUTH_HS256_SECRET"), hide_env_values = true)]
            pub auth_hs256_secret: Option<$crate::auth::Secret>,

            /// The `iss` that a token must have.
            #[arg(long, env = concat!($prefix, "_AUTH_ISSUER"), value_parser = $crate::settings::not_blank)]
            pub auth_issuer: Option<String>,

            /// The `aud` that a token must have, or have among others.
            #[arg(long, env = concat!($prefix, "_AUTH_AUDIENCE"), value_parser = $crate::settings::not_blank)]
            pub auth_audience: Option<String>,

            /// Seconds that the issuer's clock may be ahead or behind. A token is good for so much longer.
            #[arg(long, env = concat!($prefix, "_AUTH_LEEWAY_SECONDS"), default_value_t = 30, value_parser = ::clap::value_parser!(u64).range(0..=300))]
            pub auth_leeway_seconds: u64,

            /// The claim with the caller's roles: customer, operator, admin. A list, or names with spaces between them; dots lead into
            /// objects, as in `realm_access.roles`.
            #[arg(long, env = concat!($prefix, "_AUTH_ROLES_CLAIM"), default_value = "roles", value_parser = $crate::settings::not_blank)]
            pub auth_roles_claim: String,

            /// The claim with a customer's id, a UUID.
            #[arg(long, env = concat!($prefix, "_AUTH_CUSTOMER_CLAIM"), default_value = "sub", value_parser = $crate::settings::not_blank)]
            pub auth_customer_claim: String,
        }

        impl $name {
            /// What they come to, for a service that listens at `addresses`.
            pub fn chosen(&self, addresses: &[::std::net::SocketAddr]) -> ::anyhow::Result<$crate::auth::Choice> {
                $crate::auth::Choice::of(&self.given(), concat!($prefix, "_AUTH"), addresses)
            }

            /// Those of tokens, whether they are needed or not.
            pub fn jwt(&self) -> ::anyhow::Result<$crate::auth::JwtSettings> {
                $crate::auth::JwtSettings::of(&self.given(), concat!($prefix, "_AUTH"))
            }

            fn given(&self) -> $crate::auth::Given {
                $crate::auth::Given {
                    mode: self.auth,
                    off_everywhere: self.auth_off_everywhere,
                    jwks: self.auth_jwks.clone(),
                    jwks_ca_file: self.auth_jwks_ca_file.clone(),
                    secret: self.auth_hs256_secret.clone(),
                    secret_file: self.auth_hs256_secret_file.clone(),
                    issuer: self.auth_issuer.clone(),
                    audience: self.auth_audience.clone(),
                    leeway: ::std::time::Duration::from_secs(self.auth_leeway_seconds),
                    roles_claim: self.auth_roles_claim.clone(),
                    customer_claim: self.auth_customer_claim.clone(),
                }
            }
        }
    };
}
