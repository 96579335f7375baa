//! The HTTP client of the tool and of the tests.

use reqwest::{Client, ClientBuilder};

/// Makes ring the cryptography of rustls in this process. A second call changes nothing.
pub(crate) fn install_provider() {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Goes by no proxy: every server is on this machine.
pub fn http_client() -> ClientBuilder {
    install_provider();
    Client::builder().no_proxy()
}
