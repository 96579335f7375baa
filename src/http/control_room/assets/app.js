// The control room: takes what the service tells, once a second, and shows it.

import { showActors } from "./actors.js";
import { showBonus } from "./bonus.js";
import { line, onChange, span, strip } from "./charts.js";
import { watch } from "./feed.js";
import { offerCreating, permit, showOrders } from "./orders.js";
import { count, element, find, millis, now, say, seconds, setClock, short, show, time, tone } from "./page.js";
import { offerSigningIn, refused, showSession } from "./session.js";

const POINTS_MAX = 600;
const OUTAGES_SHOWN = 8;
// How long a restart of the service is news.
const NEWS_MS = 60_000;
const QUEUES = { kafka: "Kafka", redis: "Redis" };
const STATES = {
  closed: ["good", "Closed", () => "Events are published as they are committed."],
  open: ["bad", "Open", (queue) => `${queue} does not accept events. Commands continue; their events wait in the outbox.`],
  half_open: ["warn", "Half-open", (queue) => `One event is being sent as a test. If ${queue} accepts it, the rest follows.`],
};

let instance = null;
let restartedAt = null;
let queue = "The message queue";
let faults = false;
let points = [];
let outages = [];
let retry = null;

const charts = [
  line(find("chart-backlog"), { title: "Pending events", value: (point) => point.pending, format: count, least: 10 }),
  line(find("chart-rate"), { title: "Commands/s", value: (point) => point.commands_per_second, format: short, least: 5 }),
  line(find("chart-age"), { title: "Oldest pending", value: (point) => point.oldest_pending_age_seconds, format: seconds, least: 1 }),
  line(find("chart-p99"), { title: "p99 latency", value: (point) => point.p99_ms, format: millis, least: 10 }),
  strip(find("timeline")),
];

const timed = (point) => ({ ...point, at: Date.parse(point.at) });

function welcomed(welcome) {
  const past = welcome.past.map(timed);
  const started = Date.parse(welcome.started_at);
  if (instance && instance !== welcome.instance) {
    restartedAt = started;
    // What this page remembers of the time before; an outage that lasted then was cut short by the restart.
    const last = points.at(-1)?.at ?? started;
    outages = outages.map((outage) => ({ ...outage, to: outage.to ?? last, earlier: true }));
  }
  const first = past[0]?.at ?? started;
  points = [...points.filter((point) => point.at < first), ...past].slice(-POINTS_MAX);
  instance = welcome.instance;
  queue = QUEUES[welcome.mq] ?? queue;
  say(find("mq"), queue);
  if (faults !== welcome.faults) find("actors").tBodies[0].replaceChildren();
  faults = welcome.faults;
  permit(welcome.commands);
  showSession(welcome);
}

function told(snapshot) {
  setClock(snapshot.point.at);
  points = [...points, timed(snapshot.point)].slice(-POINTS_MAX);
  const present = snapshot.outages.map((outage) => ({
    from: Date.parse(outage.began_at),
    to: outage.ended_at && Date.parse(outage.ended_at),
    retries: outage.failed_retries,
    cause: outage.cause,
  }));
  outages = [...outages.filter((outage) => outage.earlier), ...present];
  retry = snapshot.retry;
  showState(snapshot);
  showPast();
  showOutages();
  showBonus(snapshot.bonus);
  showActors(snapshot.actors, faults);
  showOrders(snapshot.orders);
}

function showState({ point, published_seq, quarantined_orders }) {
  const [mood, word, meaning] = STATES[point.breaker];
  tone(find("state"), mood);
  say(find("breaker"), word);
  say(find("meaning"), meaning(queue));
  document.title = `${word} · Control room`;
  showRetry();
  const unknown = point.pending === null;
  const failed = points.reduce((sum, point) => sum + point.failed_commands, 0);
  say(find("backlog"), unknown ? "–" : count(point.pending));
  say(find("age"), unknown || !point.pending ? "–" : seconds(point.oldest_pending_age_seconds));
  say(find("rate"), short(point.commands_per_second));
  say(find("p99"), point.p99_ms === null ? "–" : millis(point.p99_ms));
  say(find("failed"), count(failed));
  tone(find("failed"), failed ? "bad" : "");
  say(find("published"), published_seq === null ? "–" : count(published_seq));
  const troubles = [
    unknown && "The database does not answer. Commands are answered 503, and the number of pending events is unknown.",
    quarantined_orders > 0 && `${count(quarantined_orders)} quarantined: the broker refuses one of their events. See /api/outbox/quarantine.`,
  ].filter(Boolean);
  find("notice").hidden = troubles.length === 0;
  say(find("notice"), troubles.join(" "));
}

function showRetry() {
  find("retry").hidden = !retry;
  if (!retry) return;
  const left = (Date.parse(retry.next_attempt_at) - now()) / 1000;
  say(find("countdown"), left > 0 ? `in ${left.toFixed(1)} s` : "now");
  say(find("attempt"), count(retry.attempt));
  say(find("place"), retry.where === "redis" ? "Redis" : "memory");
}

function showPast() {
  const within = span(points, now());
  say(find("span"), within.name);
  for (const draw of charts) draw(points, outages, within);
}

function showOutages() {
  const latest = outages.slice(-OUTAGES_SHOWN).reverse();
  find("no-outages").hidden = latest.length > 0;
  const item = () => element("li", {}, element("span", { class: "mark" }), element("span"), element("span", { class: "cause" }));
  show(find("outages"), latest, (outage) => String(outage.from), item, (li, { from, to, retries, cause }) => {
    const [state, when, why] = li.children;
    say(state, to ? `lasted ${seconds((to - from) / 1000)}` : `for ${seconds((now() - from) / 1000)}`);
    tone(state, to ? "idle" : "bad");
    say(when, to ? `${time(from)} to ${time(to)}` : `since ${time(from)}`);
    const tried = `${count(retries)} ${retries === 1 ? "retry" : "retries"} failed`;
    say(why, `${tried}: ${cause}`);
  });
}

function showConnection(live) {
  const mark = find("connection");
  document.body.toggleAttribute("data-stale", !live);
  tone(mark, live ? "good" : "bad");
  const news = restartedAt && now() - restartedAt < NEWS_MS ? `; the service was restarted at ${time(restartedAt)}` : "";
  say(mark, live ? `Live${news}` : "Connection lost, trying again");
}

const again = watch((name, content) => {
  if (name === "welcome") welcomed(content);
  else told(content);
  showConnection(true);
}, () => showConnection(false), refused);
offerSigningIn(again);
offerCreating();
onChange(showPast);
setInterval(showRetry, 200);
