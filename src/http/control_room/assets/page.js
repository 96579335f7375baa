// What the parts of the page share: finding elements, changing them only when something changed, and saying numbers and times.

export const find = (id) => document.getElementById(id);

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tone(element, name) {
  if (element.dataset.tone !== name) element.dataset.tone = name;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Makes the children of `parent` show `items`, each child keeping its item: so focus stays where it is.
export function show(parent, items, keyOf, create, update) {
  const wanted = new Set(items.map(keyOf));
  const present = new Map();
  for (const child of [...parent.children].filter((child) => child.dataset.key !== undefined)) {
    if (wanted.has(child.dataset.key)) present.set(child.dataset.key, child);
    else child.remove();
  }
  let next = [...parent.children].find((child) => child.dataset.key !== undefined) ?? null;
  for (const item of items) {
    const key = keyOf(item);
    let child = present.get(key);
    if (!child) {
      child = create(item);
      child.dataset.key = key;
    }
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
    update(child, item);
  }
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const count = (number) => whole.format(number);
export const short = (number) => (Math.abs(number) < 100 ? fine.format(number) : whole.format(number));
export const millis = (number) => `${short(number)} ms`;
export const time = (at) => clock.format(new Date(at));

export function seconds(number) {
  if (number < 10) return `${number.toFixed(1)} s`;
  if (number < 120) return `${Math.round(number)} s`;
  if (number < 7200) return `${Math.floor(number / 60)} min ${Math.round(number % 60)} s`;
  return `${Math.floor(number / 3600)} h ${Math.round((number % 3600) / 60)} min`;
}

// The server's clock as far as this one knows: a countdown must not depend on both agreeing.
let ahead = 0;
export function setClock(serverTime) {
  ahead = Date.parse(serverTime) - Date.now();
}
export const now = () => Date.now() + ahead;
