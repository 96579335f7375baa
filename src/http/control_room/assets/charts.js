// Lines over time, and the strip of outages, as SVG made by hand. All share one span of time and one cross-hair.

import { element, say, time } from "./page.js";

const HEIGHT = 112;
const STRIP = 20;
const FOOT = 18;
// Two points further apart than this have a gap between them.
const GAP_MS = 3500;
const SPANS = [[60, "minute"], [120, "two minutes"], [300, "five minutes"], [600, "ten minutes"]];

let pointedAt = null;
let redraw = () => {};

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// The shortest span that shows everything there is: a young service's charts are not empty.
export function span(points, now) {
  const age = points.length ? (now - points[0].at) / 1000 : 0;
  const [length, name] = SPANS.find(([length]) => age <= length) ?? SPANS.at(-1);
  return { from: now - length * 1000, to: now, name };
}

function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

function frame(figure, height) {
  const canvas = svg("svg", { role: "img", height: height + FOOT });
  figure.append(canvas);
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    pointedAt = (event.clientX - box.left) / box.width;
    redraw();
  });
  canvas.addEventListener("pointerleave", () => {
    pointedAt = null;
    redraw();
  });
  return canvas;
}

function bands(outages, x, within, height, kind) {
  return outages
    .filter((outage) => (outage.to ?? within.to) >= within.from)
    .map((outage) => {
      const left = x(Math.max(outage.from, within.from));
      const width = Math.max(x(outage.to ?? within.to) - left, 3);
      return svg("rect", { class: kind, x: left, y: 0, width, height });
    });
}

function foot(x, within, width, y) {
  const middle = (within.from + within.to) / 2;
  return [[within.from, "start"], [middle, "middle"], [within.to, "end"]].map(([at, anchor]) =>
    svg("text", { x: Math.min(x(at), width), y, "text-anchor": anchor }, time(at)));
}

// `value` picks the number out of a point, `format` says it, `least` is the lowest top of the scale.
export function line(figure, { title, value, format, least }) {
  const reading = element("output");
  figure.append(element("figcaption", {}, element("span", {}, title), reading));
  const canvas = frame(figure, HEIGHT);

  return (points, outages, within) => {
    const width = Math.max(canvas.clientWidth, 200);
    const shown = points.filter((point) => point.at >= within.from - GAP_MS);
    const known = shown.filter((point) => value(point) !== null);
    const top = niceCeiling(Math.max(least, ...known.map(value)));
    const x = (at) => ((at - within.from) / (within.to - within.from)) * width;
    const y = (number) => HEIGHT - (number / top) * (HEIGHT - 12);

    const runs = [];
    let last = null;
    for (const point of known) {
      if (!last || point.at - last.at > GAP_MS) runs.push([]);
      runs.at(-1).push(`${x(point.at).toFixed(1)},${y(value(point)).toFixed(1)}`);
      last = point;
    }
    const edge = (place) => place.split(",")[0];
    const drawn = [
      ...bands(outages, x, within, HEIGHT, "outage"),
      ...[0, top / 2, top].map((at) => svg("line", { class: "grid", x1: 0, x2: width, y1: y(at), y2: y(at) })),
      ...runs.flatMap((run) => [
        svg("path", { class: "area", d: `M${edge(run[0])},${HEIGHT}L${run.join("L")}L${edge(run.at(-1))},${HEIGHT}Z` }),
        svg("path", { class: "line", d: `M${run.join("L")}${run.length === 1 ? "h1" : ""}` }),
      ]),
      svg("text", { x: 0, y: y(top) - 3 }, format(top)),
      ...foot(x, within, width, HEIGHT + FOOT - 3),
    ];

    let read = known.at(-1);
    if (pointedAt !== null) {
      const at = within.from + pointedAt * (within.to - within.from);
      read = known.reduce((best, point) => (Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best), known[0]);
      drawn.push(svg("line", { class: "cross", x1: pointedAt * width, x2: pointedAt * width, y1: 0, y2: HEIGHT }));
    }
    canvas.setAttribute("viewBox", `0 0 ${width} ${HEIGHT + FOOT}`);
    canvas.setAttribute("aria-label", known.length
      ? `${title}: ${format(value(known.at(-1)))} now, at most ${format(Math.max(...known.map(value)))} in the ${within.name} shown`
      : `${title}: nothing is known yet`);
    canvas.replaceChildren(...drawn);
    const place = read && pointedAt !== null ? `${time(read.at)}  ` : "";
    say(reading, read ? `${place}${format(value(read))}` : "–");
  };
}

export function strip(figure) {
  const canvas = frame(figure, STRIP);
  return (points, outages, within) => {
    const width = Math.max(canvas.clientWidth, 200);
    const x = (at) => ((at - within.from) / (within.to - within.from)) * width;
    const watched = points.length ? Math.max(points[0].at, within.from) : within.to;
    const seen = outages.filter((outage) => (outage.to ?? within.to) >= within.from).length;
    canvas.setAttribute("viewBox", `0 0 ${width} ${STRIP + FOOT}`);
    canvas.setAttribute("aria-label", `${seen} ${seen === 1 ? "outage" : "outages"} in the last ${within.name}`);
    canvas.replaceChildren(
      svg("rect", { class: "unknown", x: 0, y: 0, width, height: STRIP }),
      svg("rect", { class: "strip", x: x(watched), y: 0, width: Math.max(width - x(watched), 0), height: STRIP }),
      ...bands(outages, x, within, STRIP, "broken"),
      ...foot(x, within, width, STRIP + FOOT - 3),
    );
  };
}

// `draw` is called when the page's width or the cross-hair changes; drawing on new data is the caller's.
export function onChange(draw) {
  redraw = draw;
  new ResizeObserver(draw).observe(document.querySelector(".charts"));
}
