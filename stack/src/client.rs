//! The HTTP client of the tool and of the tests.

use reqwest::{Client, ClientBuilder};

/// Goes by no proxy: every server is on this machine.
pub fn http_client() -> ClientBuilder {
    // An error says that this process has its cryptography already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}
