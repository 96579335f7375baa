// The bonus service: what it has credited, who has which grade, and what customers have gained and lost last.

import { count, element, find, say, show, time, tone } from "./page.js";

const GRADES = ["bronze", "silver", "gold", "platinum"];
const CHANGES_SHOWN = 10;
const CHANGES = {
  GradeAttained: ["good", (grade) => `attained ${grade}`],
  GradeLost: ["warn", (grade) => `lost ${grade}`],
  VipAcquired: ["good", () => "became VIP"],
  VipLost: ["warn", () => "is no longer VIP"],
};

export function showBonus(bonus) {
  const mark = find("bonus");
  find("bonus-details").hidden = !bonus;
  if (!bonus) {
    say(mark, "Not reachable. Orders do not need it. It credits missed events when it is back.");
    return tone(mark, "bad");
  }
  const source = bonus.redis ? `Redis ${bonus.redis}` : `Kafka ${bonus.kafka}`;
  const well = bonus.consumer === "running" && (bonus.redis ?? bonus.kafka) === "connected";
  say(mark, well ? "Crediting published events" : `The consumer is ${bonus.consumer}, ${source}`);
  tone(mark, well ? "good" : "warn");
  say(find("points"), count(bonus.points));
  say(find("accounts"), count(bonus.accounts));
  say(find("credited"), count(bonus.credited_events));
  say(find("lag"), count(bonus.lag_messages));
  for (const grade of GRADES) say(find(grade), known(bonus.grades?.[grade]));
  say(find("vip"), known(bonus.vip));
  showChanges(bonus.latest_changes.slice(0, CHANGES_SHOWN));
}

const known = (number) => (Number.isInteger(number) ? count(number) : "–");

function showChanges(changes) {
  find("no-changes").hidden = changes.length > 0;
  const key = ({ customer_id, event_type, grade, occurred_at }) => [occurred_at, customer_id, event_type, grade].join(" ");
  const item = () => element("li", {}, element("span", { class: "mark" }), element("span"), element("span", { class: "muted at" }));
  show(find("changes"), changes, key, item, (li, { customer_id, event_type, grade, occurred_at }) => {
    const [what, who, when] = li.children;
    const [mood, words] = CHANGES[event_type] ?? ["idle", () => event_type];
    say(what, words(grade));
    tone(what, mood);
    say(who, `customer …${customer_id.slice(-8)}`);
    who.title = customer_id;
    say(when, time(occurred_at));
  });
}
