//! What a link does to the connections over it.

use std::time::{Duration, Instant};

use stack::servers::port::Port;
use stack::servers::{Link, Passage, Throttle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for a byte to come if it comes.
const SILENCE: Duration = Duration::from_millis(200);

/// A server that answers every byte with the same byte, increased by `shift`; and says so when a connection ends.
async fn server(shift: u8) -> (u16, tokio::sync::mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (ended, endings) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ended = ended.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let answer: Vec<u8> =
                        buffer[..length].iter().map(|byte| byte.wrapping_add(shift)).collect();
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
                let _ = ended.send(());
            });
        }
    });
    (port, endings)
}

async fn connect(link: &Link) -> TcpStream {
    TcpStream::connect(("127.0.0.1", link.port())).await.unwrap()
}

async fn ask(client: &mut TcpStream, byte: u8) -> u8 {
    client.write_u8(byte).await.unwrap();
    client.read_u8().await.unwrap()
}

async fn is_silent(client: &mut TcpStream) -> bool {
    tokio::time::timeout(SILENCE, client.read_u8()).await.is_err()
}

#[tokio::test]
async fn what_is_held_comes_late_and_a_cut_ends_it() {
    let link = Link::open(Port::free().unwrap(), server(0).await.0).await.unwrap();
    let mut client = connect(&link).await;
    assert_eq!(ask(&mut client, b'a').await, b'a');
    for held in [Passage::Stalled, Passage::Unanswered] {
        link.set(held);
        client.write_u8(b'b').await.unwrap();
        assert!(is_silent(&mut client).await, "{held:?}");
        link.set(Passage::Open);
        assert_eq!(client.read_u8().await.unwrap(), b'b', "late, not lost");
    }
    link.set(Passage::Unanswered);
    client.write_u8(b'c').await.unwrap();
    // However short.
    link.set(Passage::Cut);
    link.set(Passage::Open);
    assert!(client.read_u8().await.is_err(), "what is held when it is cut is lost");
    link.set(Passage::Cut);
    assert!(connect(&link).await.read_u8().await.is_err());
}

#[tokio::test]
async fn an_abandoned_connection_is_silent_for_ever_and_a_new_one_passes() {
    let (port, mut endings) = server(0).await;
    let link = Link::open(Port::free().unwrap(), port).await.unwrap();
    let (mut left, mut leaving) = (connect(&link).await, connect(&link).await);
    assert_eq!(ask(&mut left, b'a').await + ask(&mut leaving, b'a').await, 2 * b'a');
    link.abandon();
    left.write_u8(b'b').await.unwrap();
    assert!(is_silent(&mut left).await);
    assert_eq!(ask(&mut connect(&link).await, b'c').await, b'c');
    endings.recv().await.unwrap();
    // The server does not learn that its client has gone, nor is anybody told by what befalls the link later.
    drop(leaving);
    link.set(Passage::Cut);
    link.set(Passage::Open);
    assert!(is_silent(&mut left).await, "neither a byte nor an end");
    assert!(endings.try_recv().is_err(), "the server was told");
    drop(link);
    assert!(left.read_u8().await.is_err(), "ends with the link");
}

#[tokio::test]
async fn new_connections_are_led_elsewhere_and_old_ones_stay() {
    let (first, second) = (server(0).await.0, server(1).await.0);
    let link = Link::open(Port::free().unwrap(), first).await.unwrap();
    let mut client = connect(&link).await;
    assert_eq!(ask(&mut client, b'a').await, b'a');
    link.redirect(second);
    assert_eq!(ask(&mut connect(&link).await, b'a').await, b'b');
    assert_eq!(ask(&mut client, b'a').await, b'a');
}

#[tokio::test]
async fn bandwidth_is_shared_and_a_delay_is_no_limit() {
    const BYTES: usize = 100_000;
    let link = Link::open(Port::free().unwrap(), server(0).await.0).await.unwrap();
    let send = async |client: &mut TcpStream| {
        let (mut from, mut to) = client.split();
        let (payload, mut answer) = (vec![7; BYTES], vec![0; BYTES]);
        let (written, read) = tokio::join!(to.write_all(&payload), from.read_exact(&mut answer));
        assert!(written.is_ok() && read.is_ok() && answer == payload);
    };
    let (mut one, mut other) = (connect(&link).await, connect(&link).await);
    link.throttle(Throttle { bytes_per_second: Some(200_000), ..Throttle::default() });
    let begun = Instant::now();
    tokio::join!(send(&mut one), send(&mut other));
    let took = begun.elapsed();
    // Two times 100 kB there, and back at the same time.
    assert!((0.9..3.0).contains(&took.as_secs_f64()), "{took:?}");

    link.throttle(Throttle { delay: SILENCE, ..Throttle::default() });
    let begun = Instant::now();
    send(&mut one).await;
    let took = begun.elapsed();
    assert!((2 * SILENCE..5 * SILENCE).contains(&took), "{took:?}");
    link.throttle(Throttle::default());
    let begun = Instant::now();
    ask(&mut one, 1).await;
    assert!(begun.elapsed() < SILENCE);
}
