// The connection to the service: comes back by itself, and notices a server that is there and says nothing. Server-sent events, read
// by hand: EventSource cannot send a token.

import { ask } from "./session.js";

const RETRY_MS = 1000;
const SILENCE_MS = 5000;

// Calls `heard` with each message's name and content, `lost` when the connection is gone, `refused` with the answer to a caller who may
// not look. Returns what begins anew after that.
export function watch(heard, lost, refused) {
  let current = null;
  let last = Date.now();

  async function open() {
    last = Date.now();
    const mine = new AbortController();
    current = mine;
    const answer = await ask("/dashboard/feed", { signal: mine.signal }).catch(() => null);
    if (answer?.status === 401 || answer?.status === 403) {
      current = null;
      refused(answer);
      return;
    }
    if (answer?.ok) await listen(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    retry(mine);
  }

  async function listen(reader) {
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read().catch(() => ({ done: true }));
      if (done) return;
      last = Date.now();
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      for (const message of messages) {
        const [event, data] = message.split("\n");
        heard(event.slice("event: ".length), JSON.parse(data.slice("data: ".length)));
      }
    }
  }

  function retry(mine) {
    if (current !== mine) return;
    current = null;
    mine.abort();
    lost();
    setTimeout(open, RETRY_MS);
  }

  setInterval(() => {
    if (current && Date.now() - last > SILENCE_MS) retry(current);
  }, RETRY_MS);
  open();
  return open;
}
