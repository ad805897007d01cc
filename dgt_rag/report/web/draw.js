"use strict";
// What is common to all parts of the report: the data of the run, and how text, numbers, bars and tables are drawn.
// Everything that is shown goes through `el`, and so into text nodes: what a corpus or a model wrote is never markup.

const run = JSON.parse(document.getElementById("data").textContent);
const { facts, figures } = run;
const totals = facts.figures;
const usage = facts.usage;

function el(tag, options, ...children) {
  const drawn = /^(svg|path|line|circle|text|title)$/.test(tag);
  const made = drawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(options || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "width" && !drawn) made.style.width = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    made.append(child.nodeType ? child : visible(String(child)));
  }
  return made;
}

// Control characters are shown as their pictures, of the same length, so that places in a text stay what they are.
const visible = text =>
  text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, letter => String.fromCharCode(0x2400 + letter.charCodeAt(0)))
    .replace(/[\u007f-\u009f]/g, "\u2421");
const number = value => (typeof value === "number" ? value.toLocaleString("en") : "–");
const share = (part, whole) =>
  whole ? `${((100 * part) / whole).toFixed(part && part / whole < 0.1 ? 1 : 0)} %` : "–";
const each = (part, whole) => (whole ? (part / whole).toFixed(1) : "–");
const money = cost =>
  typeof cost === "number"
    ? cost.toLocaleString("en", { maximumSignificantDigits: Math.max(3, Math.ceil(Math.log10(cost + 1))) })
    : "–";
const sum = counts => Object.values(counts).reduce((total, count) => total + count, 0);
const plural = (count, word, more) => `${number(count)} ${count === 1 ? word : more || word + "s"}`;
const text = (words, extra) => el("div", { class: "text " + (extra || ""), dir: "auto" }, words);
const note = (...words) => el("p", { class: "note" }, ...words);
const heading = words => el("h2", {}, words);

function barsOf(rows, whole) {
  // Each row: its label, its count, where it leads to or null, and `bad` or nothing.
  const most = Math.max(...rows.map(([, count]) => count), 1);
  return el(
    "dl",
    { class: "bars" },
    rows.map(([label, count, href, bad]) =>
      el(
        "div",
        { class: bad },
        el("dt", { dir: "auto" }, href ? el("a", { href }, label) : label),
        el(
          "dd",
          { class: "track", "aria-hidden": "true" },
          count > 0 && el("span", { class: "fill", width: `${(100 * count) / most}%` }),
        ),
        el("dd", { class: "value" }, number(count), " ", el("span", {}, share(count, whole))),
      ),
    ),
  );
}

function bars(counts, { none = "nothing", label = name => name, bad = () => false, whole = sum(counts) } = {}) {
  const pairs = Object.entries(counts);
  if (!pairs.length) return el("p", { class: "muted" }, none);
  return barsOf(
    pairs.map(([name, count]) => [label(name), count, null, bad(name) ? "bad" : ""]),
    whole,
  );
}

function table(head, rows, textColumns = 1, lastIsSum = false) {
  const side = column => (column >= textColumns ? "number" : "");
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      {},
      head.some(Boolean) &&
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            head.map((name, column) => el("th", { class: side(column), scope: "col" }, name)),
          ),
        ),
      el(
        "tbody",
        {},
        rows.map((row, place) =>
          el(
            "tr",
            { class: lastIsSum && place === rows.length - 1 ? "sum" : "" },
            row.map((cell, column) =>
              el("td", { class: side(column), dir: column < textColumns ? "auto" : undefined }, cell),
            ),
          ),
        ),
      ),
    ),
  );
}

const tiles = (...pairs) =>
  el(
    "div",
    { class: "tiles" },
    pairs
      .filter(Boolean)
      .map(([value, name]) => el("div", { class: "tile" }, el("b", {}, value), el("span", {}, name))),
  );
