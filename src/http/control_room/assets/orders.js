// The latest orders, the history of one of them, and creating more.

import { count, element, find, say, show, time, tone } from "./page.js";
import { ask } from "./session.js";

const BURST = 200;
const BURST_AT_ONCE = 8;
const TONES = { waiting: "warn", quarantined: "bad", discarded: "bad", published: "idle", credited: "good" };
const STEPS = { created: ["pay", "cancel"], paid: ["ship", "cancel"], shipped: ["complete"] };
const SKUS = ["tea-assam-250g", "coffee-harrar-500g", "cup-white", "kettle-enamel"];

// Not crypto.randomUUID, which a page that came over plain HTTP from another machine does not have.
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

const customers = Array.from({ length: 6 }, uuid);
const any = (list) => list[Math.floor(Math.random() * list.length)];

const TRIES = 5;
const PAUSE_MS = 250;
const UNKNOWN = "urn:orders:problem:outcome-unknown";

// The answer and its content; null after a network error, and when the service itself does not know what came of it.
async function exchange(path, request) {
  const answer = await ask(path, request).catch(() => null);
  const text = await answer?.text().catch(() => null);
  if (typeof text !== "string") return null;
  let content = null;
  try { content = JSON.parse(text); } catch { /* Not of the service: something in between answered. */ }
  return content?.type === UNKNOWN ? null : { answer, content };
}

// Sends a command, and says what became of it in `answer.ok` and how long that took. What has no answer is sent again under the same
// key: if it had been carried out, the service repeats its first outcome.
async function command(path, body) {
  const begun = performance.now();
  const headers = { "content-type": "application/json", "idempotency-key": uuid() };
  const request = { method: "POST", headers, body: JSON.stringify(body) };
  let answered = await exchange(path, request);
  for (let tried = 1; !answered && tried < TRIES; tried += 1) {
    await new Promise((resume) => { setTimeout(resume, PAUSE_MS * 2 ** tried); });
    answered = await exchange(path, request);
  }
  const { answer, content } = answered ?? {};
  return { ok: answer?.ok ?? false, status: answer?.status, content, took: performance.now() - begun };
}

const createOne = () => command("/api/orders", {
  customer_id: any(customers),
  currency: "EUR",
  items: [{ sku: any(SKUS), quantity: 1 + Math.floor(Math.random() * 3), unit_price_minor: 450 + Math.floor(Math.random() * 40) * 50 }],
});

function refusal(answer) {
  return answer.status ? `answered ${answer.status}: ${answer.content?.detail ?? "no reason given"}` : "the service does not answer";
}

export function offerCreating() {
  const [one, burst, sent] = [find("create"), find("burst"), find("sent")];
  one.addEventListener("click", async () => {
    const answer = await createOne();
    say(sent, answer.ok
      ? `Order ${shortId(answer.content.order_id)} accepted in ${Math.round(answer.took)} ms`
      : `No order: ${refusal(answer)}`);
  });
  burst.addEventListener("click", async () => {
    burst.disabled = true;
    say(sent, `Sending ${BURST} orders`);
    const begun = performance.now();
    const answers = [];
    const sender = async () => {
      while (answers.length < BURST) {
        const place = answers.push(null) - 1;
        answers[place] = await createOne();
      }
    };
    await Promise.all(Array.from({ length: BURST_AT_ONCE }, sender));
    const accepted = answers.filter((answer) => answer.ok);
    const slowest = Math.round(Math.max(...answers.map((answer) => answer.took)));
    const refused = answers.find((answer) => !answer.ok);
    const seconds = ((performance.now() - begun) / 1000).toFixed(1);
    say(sent, `${accepted.length} of ${BURST} orders accepted in ${seconds} s, the slowest in ${slowest} ms`
      + (refused ? `; the others: ${refusal(refused)}` : ""));
    burst.disabled = false;
  });
}

// Ids begin with the time; their ends tell them apart.
const shortId = (id) => `…${id.slice(-8)}`;
const money = (order) => new Intl.NumberFormat("en", { style: "currency", currency: order.currency }).format(order.total_minor / 100);

let opened = null;
// The commands that the caller may send.
let permitted = [];

export function permit(commands) {
  permitted = commands;
}

function body(order) {
  const button = element("button", { type: "button", class: "link", "aria-expanded": "false", title: order.order_id }, shortId(order.order_id));
  button.addEventListener("click", () => {
    opened = opened?.order_id === order.order_id ? null : { ...order };
    showOpened();
  });
  const cells = ["", "number wide", "number wide", "", "wide"].map((name) => element("td", { class: name }));
  cells[3].append(element("span", { class: "mark" }));
  return element("tbody", {}, element("tr", {}, element("td", {}, button), ...cells));
}

function fill(tbody, order) {
  const [, status, total, events, publication, created] = tbody.rows[0].cells;
  say(status, order.status);
  say(total, money(order));
  say(events, count(order.version));
  say(publication.firstChild, order.waiting_events ? `${order.waiting_events} waiting` : "published");
  tone(publication.firstChild, order.waiting_events ? TONES.waiting : TONES.published);
  say(created, time(order.created_at));
}

export function showOrders(latest) {
  if (!latest) return;
  const listed = latest.find((order) => order.order_id === opened?.order_id);
  if (listed) opened = { ...opened, ...listed };
  // The order that somebody looks at stays, however many newer ones there are.
  const orders = opened && !listed ? [...latest, opened] : latest;
  find("no-orders").hidden = orders.length > 0;
  show(find("orders"), orders, (order) => order.order_id, body, fill);
  showOpened();
}

// Shows the history below the opened order, and asks for it anew.
async function showOpened() {
  for (const tbody of find("orders").tBodies) {
    const isOpen = tbody.dataset.key === opened?.order_id;
    tbody.rows[0].cells[0].firstChild.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) tbody.rows[1]?.remove();
    else if (!tbody.rows[1]) tbody.append(historyRow());
  }
  if (!opened) return;
  const orderId = opened.order_id;
  const answer = await ask(`/dashboard/orders/${orderId}`).catch(() => null);
  const history = answer?.ok ? await answer.json().catch(() => null) : null;
  const row = [...find("orders").tBodies].find((tbody) => tbody.dataset.key === orderId)?.rows[1];
  if (history && row && opened?.order_id === orderId) fillHistory(row, history);
}

function historyRow() {
  const steps = element("div", { class: "steps" });
  const cell = element("td", { colspan: "6" }, element("ol", { class: "events" }), steps, element("p", { class: "muted" }));
  return element("tr", { class: "history" }, cell);
}

function event(item) {
  return element("li", {}, element("span", { class: "muted" }, String(item.version)), element("span", {}, item.event_type),
    element("span", { class: "muted at" }, time(item.occurred_at)), element("span", { class: "mark stage" }));
}

function fillHistory(row, { events, bonus_reachable }) {
  const [list, steps, remark] = row.cells[0].children;
  show(list, events, (item) => item.event_id, event, (line, item) => {
    const points = item.points === null ? "" : ` ${item.points < 0 ? "−" : "+"}${Math.abs(item.points)}`;
    say(line.lastChild, `${item.stage}${points}`);
    tone(line.lastChild, TONES[item.stage] ?? "idle");
  });
  say(remark, bonus_reachable
    ? "Credited: booked by the bonus service. An event without points stays published."
    : "The bonus service does not answer. Credits are unknown.");
  opened.version = events.length;
  opened.waiting_events = events.filter((item) => item.stage === "waiting" || item.stage === "quarantined").length;
  opened.status = events.at(-1).event_type.replace("Order", "").toLowerCase();
  show(steps, (STEPS[opened.status] ?? []).filter((name) => permitted.includes(name)), (name) => name, (name) => {
    const button = element("button", { type: "button", class: "quiet small" }, name[0].toUpperCase() + name.slice(1));
    button.addEventListener("click", () => step(opened.order_id, name));
    return button;
  }, () => {});
}

async function step(orderId, name) {
  const answer = await command(`/api/orders/${orderId}/${name}`, {});
  say(find("sent"), answer.ok
    ? `Order ${shortId(orderId)} ${answer.content.status} in ${Math.round(answer.took)} ms`
    : `${shortId(orderId)}: ${refusal(answer)}`);
  showOpened();
}
