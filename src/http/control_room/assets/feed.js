// The connection to the service: comes back by itself, and notices a server that is there and says nothing.

const RETRY_MS = 1000;
const SILENCE_MS = 5000;

// Calls `heard` with each message's name and content, `lost` when the connection is gone.
export function watch(heard, lost) {
  let source = null;
  let last = Date.now();

  function open() {
    last = Date.now();
    source = new EventSource("/dashboard/feed");
    for (const name of ["welcome", "snapshot"]) {
      source.addEventListener(name, (message) => {
        last = Date.now();
        heard(name, JSON.parse(message.data));
      });
    }
    // Browsers differ in whether they try again; this does in all of them.
    source.onerror = retry;
  }

  function retry() {
    if (!source) return;
    source.close();
    source = null;
    lost();
    setTimeout(open, RETRY_MS);
  }

  setInterval(() => {
    if (Date.now() - last > SILENCE_MS) retry();
  }, RETRY_MS);
  open();
}
