//! What every encrypted link of the services needs.

use reqwest::{Client, ClientBuilder};

/// Makes ring the cryptography of rustls in this process. Before the first link is made; a second call changes nothing.
pub fn install_provider() {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client of HTTP and HTTPS that goes by no proxy, whatever the environment says.
pub fn http_client() -> ClientBuilder {
    install_provider();
    Client::builder().no_proxy()
}
