//! Settings of what clients may take. Each service has them under its own prefix.

/// Defines the settings as a group for clap: `client_settings!(ClientSettings, "ORDERS")`.
#[macro_export]
macro_rules! client_settings {
    ($name:ident, $prefix:literal) => {
        // What clients may take. (A doc comment here would end up in the help of whatever takes the group.)
        #[derive(Debug, Clone, ::clap::Args)]
        pub struct $name {
            /// Requests a second that a caller may send in the long run, 0 for no limit; more are answered 429. A caller is whom the token
            /// names, and without a good token the peer's address. Unset: 100 where callers send tokens, and no limit where they do not.
            #[arg(long, env = concat!($prefix, "_RATE_LIMIT_PER_SECOND"), value_parser = ::clap::value_parser!(u32).range(0..=1_000_000))]
            pub rate_limit_per_second: Option<u32>,

            /// Requests that a caller may send at once, after a pause. Unset: twice as many as a second.
            #[arg(long, env = concat!($prefix, "_RATE_LIMIT_BURST"), value_parser = ::clap::value_parser!(u32).range(1..=1_000_000))]
            pub rate_limit_burst: Option<u32>,

            /// Origins whose pages may use the service from a browser (CORS), separated by commas, each as in https://shop.example; not
            /// `*`. Without any, only its own pages may.
            #[arg(long, env = concat!($prefix, "_CORS_ORIGINS"), default_value = "")]
            pub cors_origins: $crate::http::Origins,
        }

        impl $name {
            /// `metric` counts the requests that are refused.
            pub fn rate(&self, metric: &'static str) -> $crate::http::RateChoice {
                $crate::http::RateChoice {
                    per_second: self.rate_limit_per_second,
                    burst: self.rate_limit_burst,
                    metric,
                }
            }
        }
    };
}
