// The frame: parts, their links, banners and keys.

const parts = {
  overview: ["Overview", overview],
  conversations: ["Conversations", conversations, totals.kept],
  failures: ["Failures", failures, sum(totals.dropped)],
  grounding: ["Grounding", grounding],
  diversity: ["Diversity", diversity],
  calls: ["Calls", calls, usage.totals.calls],
  again: ["Make it again", again],
};
const sections = {};

function frame() {
  const main = document.querySelector("main");
  document.querySelector("nav").append(
    el(
      "ul",
      {},
      Object.entries(parts).map(([name, [title, , count]]) =>
        el(
          "li",
          {},
          el(
            "a",
            { href: `#${name}` },
            title,
            " ",
            count !== undefined && el("span", { class: "count" }, number(count)),
          ),
        ),
      ),
    ),
  );
  for (const line of banners()) document.querySelector("body > header").append(el("p", { class: "banner" }, line));
  for (const name of Object.keys(parts))
    main.append((sections[name] = el("section", { id: `part-${name}`, "aria-label": parts[name][0], hidden: true })));
}

function* banners() {
  if (Object.hasOwn(totals.steps_by_model, "extractive"))
    yield (
      "Written by the embedded model “extractive”, by rules and not by a language model: " +
      "good for a first look, not for training. Name a model of yours under “models”."
    );
  if (facts.status === "stopped") yield "This run was stopped before its end. The same command goes on from here.";
  if (facts.status === "attempts used up")
    yield "Fewer were kept than asked for, and the attempts are used up. Look at the failures, or raise “max_attempts”.";
}

function open() {
  const [wanted, ...rest] = location.hash.slice(1).split("/");
  const name = Object.hasOwn(parts, wanted) ? wanted : "overview",
    section = sections[name];
  if (section.hidden) window.scrollTo(0, 0);
  if (!section.childNodes.length) section.append(...[parts[name][1]()].flat(Infinity).filter(Boolean));
  for (const other of Object.keys(parts)) sections[other].hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    link.toggleAttribute("aria-current", false);
    if (link.hash !== `#${name}`) continue;
    link.setAttribute("aria-current", "page");
    link.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  const inner = [...section.children].find(child => child.open instanceof Function);
  let argument = rest.join("/");
  try {
    argument = decodeURIComponent(argument);
  } catch {
    argument = "";
  }
  if (inner) inner.open(argument);
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const browser = sections.conversations.hidden ? null : sections.conversations.querySelector(".browser");
  if (!browser) return;
  const does = {
    j: () => browser.step(1),
    k: () => browser.step(-1),
    "/": browser.find,
    p: () => browser.querySelector(".talk .hide")?.click(),
  }[event.key];
  if (does) {
    event.preventDefault();
    does();
  }
}

frame();
open();
window.addEventListener("hashchange", open);
document.addEventListener("keydown", keys);
