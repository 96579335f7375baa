//! A stretch of network that can be cut: a TCP relay between a service and a server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::port::Port;

/// How long a connection to a server on this machine may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// What a link lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    Open,
    /// Nothing passes and nobody is told, as when packets are lost; what was on its way arrives when it is open again.
    Stalled,
    /// What clients say passes; the answers are held back, as in `Stalled`.
    Unanswered,
    /// Connections are reset, and new ones with them.
    Cut,
}

/// Relays connections to a server on the loopback interface. Ends with this value.
#[derive(Debug)]
pub struct Link {
    port: Port,
    passage: Arc<watch::Sender<Passage>>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// On `port`, to whoever listens on `server` when a connection comes. Needs a tokio runtime.
    pub async fn open(port: Port, server: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port.number())).await?;
        let passage = Arc::new(watch::Sender::new(Passage::Open));
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&passage)));
        Ok(Self { port, passage, accepting })
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn set(&self, passage: Passage) {
        self.passage.send_replace(passage);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
        self.set(Passage::Cut);
    }
}

async fn accept(listener: TcpListener, server: u16, passage: Arc<watch::Sender<Passage>>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if *passage.borrow() != Passage::Cut {
            tokio::spawn(relay(client, server, passage.subscribe()));
        }
    }
}

async fn relay(client: TcpStream, server: u16, mut passage: watch::Receiver<Passage>) {
    if passage.wait_for(|passage| *passage != Passage::Stalled).await.is_err() {
        return;
    }
    let connecting = TcpStream::connect(("127.0.0.1", server));
    let Ok(Ok(server)) = tokio::time::timeout(CONNECT_PATIENCE, connecting).await else { return };
    // Small questions and answers: each goes at once.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    // Whichever side closes first, or a cut, ends both directions.
    tokio::select! {
        () = forward(from_client, to_server, passage.clone(), &[Passage::Stalled]) => {}
        () = forward(from_server, to_client, passage.clone(), &[Passage::Stalled, Passage::Unanswered]) => {}
        _ = passage.wait_for(|passage| *passage == Passage::Cut) => {}
    }
}

/// Passes on what it reads, except while the passage is one of `held`.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut passage: watch::Receiver<Passage>,
    held: &[Passage],
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut buffer).await;
        // The end of a connection is held back like everything else; and what is held when the link is cut is lost.
        match passage.wait_for(|passage| !held.contains(passage)).await {
            Ok(passage) if *passage != Passage::Cut => {}
            _ => return,
        }
        let length = match read {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        let Some(bytes) = buffer.get(..length) else { return };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// A server that answers every byte with the same byte.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    #[tokio::test]
    async fn what_is_held_comes_late_and_a_cut_ends_it() {
        let link = Link::open(Port::free().unwrap(), echo().await).await.unwrap();
        let mut client = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        client.write_all(b"a").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'a');
        link.set(Passage::Stalled);
        client.write_all(b"b").await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await;
        assert!(silence.is_err(), "{silence:?}");
        link.set(Passage::Open);
        assert_eq!(client.read_u8().await.unwrap(), b'b', "late, not lost");
        link.set(Passage::Unanswered);
        client.write_all(b"c").await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(200), client.read_u8()).await;
        assert!(silence.is_err(), "{silence:?}");
        link.set(Passage::Cut);
        assert!(client.read_u8().await.is_err(), "what is held when it is cut is lost");
        let mut refused = TcpStream::connect(("127.0.0.1", link.port())).await.unwrap();
        assert!(refused.read_u8().await.is_err());
    }
}
