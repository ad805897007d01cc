// The list of conversations with its filters, and the failures.

function outline(talk) {
  const steps = talk.steps,
    results = steps.filter(step => step.role === "tool_result").map(step => step.content);
  const answers = steps.filter(step => step.role === "assistant"),
    calls = steps.filter(step => step.role === "tool_call");
  const queries = calls.map(step => JSON.stringify(step.content.arguments).toLowerCase());
  const words = steps.flatMap(step => [
    typeof step.content === "string" ? step.content : JSON.stringify(step.content.arguments || ""),
    step.hint || "",
    ...(step.documents || (step.content.result || []).map(hit => hit.document)).map(
      place => `${run.documents[place].doc_id} ${run.documents[place].title}`,
    ),
  ]);
  return {
    talk,
    turns: answers.length,
    searches: calls.length,
    patterns: steps.filter(step => step.role === "flow_controller").map(step => step.content),
    marks: new Set([
      calls.length ? "searched" : "no search",
      ...results.flatMap(one =>
        one.error ? ["a search failed"] : (one.result || []).length ? [] : ["a search found nothing"],
      ),
      ...(new Set(queries).size < queries.length ? ["a search was repeated"] : []),
    ]),
    answers: new Set(
      answers.flatMap(step => [
        step.answerability || "not said",
        ...((step.citations || []).length ? [] : ["cites nothing"]),
        ...(step.critique && step.critique.rewrites ? ["rewritten"] : []),
      ]),
    ),
    first: (steps.find(step => step.role === "user") || { content: "" }).content,
    words: `${talk.index} ${words.join("\n")}`.toLowerCase(),
  };
}

function conversations() {
  const all = run.kept.map(outline),
    view = el("div", { class: "view" }),
    list = el("ol", { class: "list", "aria-label": "conversations" });
  const count = el("p", { class: "muted small wide", role: "status" });
  const several = values => [...new Set(values)].sort((a, b) => (typeof a === "number" ? a - b : a < b ? -1 : 1));
  const choice = (label, values) =>
    el(
      "select",
      { "aria-label": label, onchange: refresh },
      el("option", { value: "" }, `${label}: any`),
      values.map(value => el("option", { value }, String(value))),
    );
  const words = el("input", {
    type: "search",
    placeholder: "Search in conversations  ( / )",
    "aria-label": "search in conversations",
    oninput: refresh,
  });
  const pattern = choice("pattern", several(all.flatMap(one => one.patterns))),
    turns = choice("turns", several(all.map(one => one.turns)));
  const marks = choice("searches", several(all.flatMap(one => [...one.marks]))),
    answers = choice("answers", several(all.flatMap(one => [...one.answers])));
  const box = el(
    "div",
    { class: "browser" },
    el("div", { class: "side" }, el("div", { class: "filters" }, words, pattern, turns, marks, answers, count), list),
    view,
  );
  let chosen = null;
  function refresh() {
    const wanted = words.value.toLowerCase();
    const fits = all.filter(
      one =>
        one.words.includes(wanted) &&
        (!pattern.value || one.patterns.includes(pattern.value)) &&
        (!turns.value || one.turns === Number(turns.value)) &&
        (!marks.value || one.marks.has(marks.value)) &&
        (!answers.value || one.answers.has(answers.value)),
    );
    const held = all.length < totals.kept ? `, the first of ${number(totals.kept)}` : "";
    count.textContent =
      fits.length < all.length
        ? `${fits.length} of ${all.length}${held}`
        : `${plural(all.length, "conversation")}${held}`;
    list.replaceChildren(
      ...fits.map(one =>
        el(
          "li",
          {},
          el(
            "a",
            { href: `#conversations/${one.talk.index}`, "aria-current": one === chosen ? "true" : null },
            el("div", { class: "said", dir: "auto" }, one.first || "nothing said"),
            el(
              "div",
              { class: "meta" },
              [
                `#${one.talk.index}`,
                plural(one.turns, "turn"),
                one.searches && plural(one.searches, "search", "searches"),
              ]
                .filter(Boolean)
                .join(" · "),
            ),
          ),
        ),
      ),
    );
  }
  box.open = index => {
    const wide = window.matchMedia("(min-width: 761px)").matches;
    const next = all.find(one => String(one.talk.index) === index) || (wide ? chosen || all[0] : null);
    box.classList.toggle("chosen", Boolean(next));
    if (next === chosen) return;
    chosen = next;
    view.replaceChildren(
      ...(chosen
        ? [el("a", { class: "back", href: "#conversations" }, "← all conversations"), conversation(chosen.talk)]
        : []),
    );
    for (const link of list.querySelectorAll("a")) {
      const here = chosen && link.hash === `#conversations/${chosen.talk.index}`;
      here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
      if (here) link.scrollIntoView({ block: "nearest" });
    }
    window.scrollTo(0, 0);
  };
  box.step = by => {
    const links = [...list.querySelectorAll("a")],
      here = links.findIndex(link => link.hasAttribute("aria-current"));
    const next = links[Math.min(links.length - 1, Math.max(0, here + by))];
    if (next) location.hash = next.hash;
  };
  box.find = () => words.focus();
  refresh();
  const left = totals.kept - all.length;
  return [
    all.length ? box : note("No conversation was kept."),
    left > 0 &&
      note(
        `This page holds the first ${number(all.length)}. All ${number(totals.kept)} stand in `,
        el("code", {}, "final_data.jsonl"),
        ", one a line.",
      ),
  ];
}

function failures() {
  const counts = totals.dropped,
    chips = el("div", { class: "chips" }),
    list = el("div", {}),
    box = el("div", {}, chips, list);
  if (!sum(counts)) return [note("Nothing was dropped.")];
  box.open = reason => {
    const chosen = Object.hasOwn(counts, reason) ? reason : null;
    const chip = (name, count, target) =>
      el(
        "a",
        {
          href: target,
          class: "tag " + (name === (chosen || "all") ? "" : "plain"),
          "aria-current": name === (chosen || "all") ? "true" : null,
        },
        `${name} ${number(count)}`,
      );
    chips.replaceChildren(
      chip("all", sum(counts), "#failures"),
      ...Object.entries(counts).map(([name, count]) => chip(name, count, `#failures/${encodeURIComponent(name)}`)),
    );
    const shown = run.dropped.filter(talk => !chosen || talk.drop_reason === chosen),
      whole = chosen ? counts[chosen] : sum(counts);
    list.replaceChildren(
      shown.length < whole
        ? note(
            `${number(shown.length)} of ${number(whole)} are shown here; all stand in `,
            el("code", {}, "journal.jsonl"),
            ".",
          )
        : "",
      ...shown.map(failure),
    );
  };
  return [note("Conversations that were given up: why, and what the model said. No row was made of them."), box];
}

function failure(talk) {
  const last = talk.steps.filter(step => step.stage_name).at(-1);
  const until = last ? `the last step is of ${last.stage_name}` : "before the first step";
  const where = `after ${plural(talk.turns, "whole turn")}; ${until}`;
  const sofar = talk.steps.length > 0 && el("details", {}, el("summary", {}, "the conversation so far"));
  if (sofar)
    sofar.addEventListener(
      "toggle",
      () => sofar.open && sofar.children.length < 2 && sofar.append(conversation(talk, "h3")),
    );
  return el(
    "article",
    { class: "failure" },
    el(
      "p",
      {},
      el("span", { class: "tag bad" }, talk.drop_reason || "unknown"),
      el("span", { class: "muted small" }, `conversation ${talk.index}, ${where}`),
    ),
    talk.drop_detail && el("p", { dir: "auto" }, talk.drop_detail),
    talk.raw &&
      el("details", { open: true }, el("summary", {}, "what the model sent"), el("pre", { dir: "auto" }, talk.raw)),
    sofar,
  );
}
