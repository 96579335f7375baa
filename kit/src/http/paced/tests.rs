use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const KERNEL: usize = 4_000;

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client, its connection, and how often whoever serves it was woken.
struct Scene {
    client: DuplexStream,
    served: PacedStream<DuplexStream>,
    woken: Arc<Woken>,
}

impl Scene {
    fn new(protocol: Protocol) -> Self {
        let (client, served) = duplex(KERNEL);
        Self { client, served: PacedStream::new(served, protocol), woken: Arc::default() }
    }

    async fn with_sent(protocol: Protocol, sent: &str) -> io::Result<Self> {
        let mut scene = Self::new(protocol);
        scene.client.write_all(sent.as_bytes()).await?;
        Ok(scene)
    }

    /// Reads as the dispatcher does in one turn, and says how much there was.
    fn turn(&mut self) -> usize {
        let waker = Arc::clone(&self.woken).into();
        let mut context = Context::from_waker(&waker);
        let mut length = 0;
        loop {
            let mut room = [0; 1_000];
            let mut buffer = ReadBuf::new(&mut room);
            match Pin::new(&mut self.served).poll_read(&mut context, &mut buffer) {
                Poll::Ready(read) => assert!(read.is_ok(), "{read:?}"),
                Poll::Pending => return length,
            }
            assert!(!buffer.filled().is_empty(), "the client is there");
            length += buffer.filled().len();
        }
    }

    /// Writes until no more is taken.
    fn answer(&mut self) -> usize {
        let waker = Arc::clone(&self.woken).into();
        let mut context = Context::from_waker(&waker);
        let mut length = 0;
        while let Poll::Ready(Ok(written)) =
            Pin::new(&mut self.served).poll_write(&mut context, &[b'y'; 1_000])
        {
            length += written;
        }
        length
    }

    fn flush(&mut self) {
        let waker = Arc::clone(&self.woken).into();
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut self.served).poll_flush(&mut context).is_ready());
    }

    fn woken(&self) -> usize {
        self.woken.0.swap(0, Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_turn_is_given_one_head_and_the_next_one_comes_at_once() -> io::Result<()> {
    let mut scene = Scene::with_sent(Protocol::Http1, &format!("{REQUEST}{REQUEST}GET /")).await?;
    assert_eq!((scene.turn(), scene.woken()), (REQUEST.len(), 1));
    assert_eq!((scene.turn(), scene.woken()), (REQUEST.len(), 1));
    assert_eq!((scene.turn(), scene.woken()), (5, 0));
    scene.client.write_all(b" HTTP/1.1\r\n\r\n").await?;
    assert_eq!(scene.woken(), 1, "by the client");
    assert_eq!((scene.turn(), scene.woken()), (13, 0), "nothing else is there");
    Ok(())
}

#[tokio::test]
async fn nothing_is_read_while_the_client_takes_no_answer() -> io::Result<()> {
    let mut scene = Scene::with_sent(Protocol::Http1, REQUEST).await?;
    let mut taken = vec![0; scene.answer()];
    assert_eq!((scene.turn(), scene.woken()), (0, 0));
    scene.client.read_exact(&mut taken).await?;
    assert_eq!(scene.woken(), 1, "by the client, for the answer");
    assert_eq!((scene.turn(), scene.woken()), (0, 0), "the rest of the answer comes first");
    scene.flush();
    assert_eq!(scene.woken(), 1);
    assert_eq!(scene.turn(), REQUEST.len());
    Ok(())
}

#[tokio::test]
async fn nothing_is_read_while_a_request_is_in_hand() -> io::Result<()> {
    let mut scene = Scene::with_sent(Protocol::Http1, &format!("{REQUEST}{REQUEST}")).await?;
    let pace = Rc::clone(scene.served.pace());
    assert_eq!((scene.turn(), scene.woken()), (REQUEST.len(), 1));
    pace.begin_request();
    assert_eq!((scene.turn(), scene.woken()), (0, 0));
    pace.end_request();
    assert_eq!(scene.woken(), 1);
    assert_eq!((scene.turn(), scene.woken()), (REQUEST.len(), 0));
    pace.begin_request();
    assert_eq!(scene.turn(), 0);
    pace.end_request();
    assert_eq!(scene.woken(), 0, "there was nothing to read");
    Ok(())
}

/// A body that never comes whole, with what its head says of its length.
fn body(scene: &Scene, length: Option<usize>) -> WatchedBody {
    let parts = [Ok(Bytes::from_static(b"begin"))];
    let body: Payload = Payload::Stream { payload: Box::pin(stream::iter(parts).chain(stream::pending())) };
    WatchedBody { body, missing: length, pace: Rc::clone(scene.served.pace()) }
}

impl Scene {
    /// As a handler does that wants its body; true if it has to wait.
    fn waits_for(&self, body: &mut WatchedBody) -> bool {
        let waker = Arc::clone(&self.woken).into();
        body.poll_next_unpin(&mut Context::from_waker(&waker)).is_pending()
    }
}

#[tokio::test]
async fn of_a_body_is_read_what_its_handler_waits_for_and_nothing_behind_it() -> io::Result<()> {
    let sent = format!("{REQUEST}{}{REQUEST}", "x".repeat(1_500));
    let mut scene = Scene::with_sent(Protocol::Http1, &sent).await?;
    assert_eq!((scene.turn(), scene.woken()), (REQUEST.len(), 1));
    scene.served.pace().begin_request();
    let mut body = body(&scene, Some(1_505));
    assert!(!scene.waits_for(&mut body));
    assert_eq!((scene.turn(), scene.woken()), (0, 0), "it has not asked for more");
    assert!(scene.waits_for(&mut body));
    assert_eq!((scene.woken(), scene.turn(), scene.woken()), (1, 1_000, 0));
    body.missing = Some(500);
    assert!(scene.waits_for(&mut body));
    assert_eq!((scene.woken(), scene.turn(), scene.woken()), (1, 500, 0));
    body.missing = Some(0);
    assert!(scene.waits_for(&mut body));
    assert_eq!(scene.turn(), 0);
    scene.served.pace().end_request();
    assert_eq!((scene.woken(), scene.turn()), (1, REQUEST.len()));
    Ok(())
}

#[tokio::test]
async fn a_body_in_chunks_is_read_up_to_its_end() -> io::Result<()> {
    let chunks = "3\r\nabc\r\n0\r\n\r\n";
    let mut scene = Scene::with_sent(Protocol::Http1, &format!("{REQUEST}{chunks}{REQUEST}")).await?;
    assert_eq!((scene.turn(), scene.woken()), (REQUEST.len(), 1));
    scene.served.pace().begin_request();
    let mut body = body(&scene, None);
    assert!(!scene.waits_for(&mut body) && scene.waits_for(&mut body));
    assert_eq!((scene.turn(), scene.woken()), (chunks.len(), 1));
    assert_eq!(scene.turn(), 0);
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_when_its_requests_are_answered() -> io::Result<()> {
    let mut scene = Scene::with_sent(Protocol::Http1, REQUEST).await?;
    assert_eq!(scene.turn(), REQUEST.len());
    scene.served.pace().begin_request();
    drop(scene.client);
    let waker = Arc::clone(&scene.woken).into();
    let mut context = Context::from_waker(&waker);
    let mut room = [0; 10];
    let mut buffer = ReadBuf::new(&mut room);
    assert!(Pin::new(&mut scene.served).poll_read(&mut context, &mut buffer).is_pending());
    scene.served.pace().end_request();
    assert!(Pin::new(&mut scene.served).poll_read(&mut context, &mut buffer).is_ready());
    assert!(buffer.filled().is_empty());
    Ok(())
}

/// Its flow control is the client's consent, which comes while writes wait.
#[tokio::test]
async fn http_2_is_read_whatever_waits() -> io::Result<()> {
    let mut scene = Scene::with_sent(Protocol::Http2, &REQUEST.repeat(3)).await?;
    scene.served.pace().begin_request();
    scene.answer();
    assert_eq!(scene.turn(), 3 * REQUEST.len());
    Ok(())
}
