//! A TCP proxy in front of a server, to take the server away from one client only.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

pub struct Proxy {
    pub addr: SocketAddr,
    target: String,
    serving: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Reserves an address; connections are refused until [`Proxy::open`].
    pub async fn closed(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { addr: listener.local_addr().unwrap(), target, serving: None }
    }

    pub async fn open(&mut self) {
        let listener = TcpListener::bind(self.addr).await.unwrap();
        let target = self.target.clone();
        self.serving = Some(tokio::spawn(async move {
            // Ends with this task: closing the proxy cuts what runs through it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let target = target.clone();
                connections.spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(target).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        }));
    }

    /// Cuts all connections and refuses new ones.
    pub async fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
            let _ = serving.await;
        }
    }
}
