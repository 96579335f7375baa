// The supervision tree.

import { count, element, find, say, seconds, show, tone } from "./page.js";
import { ask } from "./session.js";

const TONES = { running: "good", restarting: "warn" };

// Each actor below the one that looks after it. The roots are known by name alone.
function inTreeOrder(actors) {
  const names = new Set(actors.map((actor) => actor.name));
  const below = (parent, depth) => actors
    .filter((actor) => actor.parent === parent)
    .flatMap((actor) => [{ ...actor, depth }, ...below(actor.name, depth + 1)]);
  const roots = new Set(actors.map((actor) => actor.parent).filter((parent) => !names.has(parent)));
  return [...roots].flatMap((name) => [{ name, depth: 0 }, ...below(name, 1)]);
}

async function crash(name) {
  const answer = await ask(`/api/actors/${encodeURIComponent(name)}/crash`, { method: "POST" }).catch(() => null);
  say(find("sent"), answer?.ok ? `${name} has been crashed` : `${name} could not be crashed`);
}

function row(actor, faults) {
  const cells = [
    element("td", {}, element("span"), element("span", { class: "actor-details" }), element("span", { class: "actor-error" })),
    element("td"),
    element("td", { class: "number" }),
    element("td", { class: "number wide" }),
  ];
  cells[0].style.paddingLeft = `${actor.depth * 1.25}rem`;
  if (actor.depth > 0) cells[1].append(element("span", { class: "mark" }));
  if (faults) cells.push(element("td", { class: "number" }));
  if (faults && actor.depth > 0) {
    const button = element("button", { type: "button", class: "quiet small", "aria-label": `Crash ${actor.name}` }, "Crash");
    button.addEventListener("click", () => crash(actor.name));
    cells.at(-1).append(button);
  }
  return element("tr", {}, ...cells);
}

function fill(tr, actor) {
  const [name, state, restarts, up] = tr.cells;
  say(name.children[0], actor.name);
  if (actor.depth === 0) return;
  const details = Object.entries(actor.details).map(([key, value]) => `${key.replaceAll("_", " ")} ${value}`);
  const p99 = typeof actor.handling_p99_ms !== "number" ? "" : `p99 ${actor.handling_p99_ms.toFixed(1)} ms`;
  const mailbox = `mailbox ${count(actor.mailbox_depth)}, peak ${count(actor.mailbox_depth_peak)}`;
  say(name.children[1], [`handled ${count(actor.messages_handled)}`, p99, mailbox, ...details].filter(Boolean).join(" · "));
  say(name.children[2], actor.last_error ? `last error: ${actor.last_error}` : "");
  say(state.firstChild, actor.state);
  tone(state.firstChild, TONES[actor.state] ?? "bad");
  say(restarts, count(actor.restarts));
  say(up, seconds(actor.uptime_seconds).replace(".0", ""));
}

export function showActors(actors, faults) {
  find("crash-column").hidden = !faults;
  show(find("actors").tBodies[0], inTreeOrder(actors), (actor) => actor.name, (actor) => row(actor, faults), fill);
}
