// One conversation: what was said and searched, what each answer rests on, the documents with the cited spans marked.

function turnsOf(talk) {
  const before = [],
    turns = [];
  for (const step of talk.steps) {
    if (
      step.role === "flow_controller" ||
      (step.role === "user" && (!turns.length || turns.at(-1).some(s => s.role === "user")))
    )
      turns.push([]);
    (turns.length && step.role !== "scenario" && step.role !== "persona" ? turns.at(-1) : before).push(step);
  }
  return { before, turns };
}

function numbered(talk) {
  // The same span has the same number wherever it is cited.
  const found = new Map();
  for (const step of talk.steps)
    for (const citation of step.citations || []) {
      const key = `${citation.document ?? citation.doc_id} ${citation.start} ${citation.quote}`;
      if (!found.has(key)) found.set(key, { ...citation, number: found.size + 1 });
      citation.number = found.get(key).number;
    }
  return [...found.values()];
}

function provenance(step) {
  const made = step.provenance || {},
    spent = made.usage || {};
  const parts = [
    step.stage_name,
    made.model,
    made.prompt_hash && `prompt ${made.prompt_hash}`,
    spent.prompt_tokens && `${number(spent.prompt_tokens)} tokens in`,
    spent.completion_tokens && `${number(spent.completion_tokens)} out`,
    spent.reasoning_tokens && `${number(spent.reasoning_tokens)} reasoning`,
  ];
  const inner = step.reasoning && el("details", {}, el("summary", {}, "reasoning"), text(step.reasoning));
  const eligible =
    (step.eligible_patterns || []).length > 0 && el("div", {}, "could have been: ", step.eligible_patterns.join(", "));
  return el("div", { class: "prov" }, parts.filter(Boolean).join(" · "), eligible, inner);
}

function result(call, answer, cited, show) {
  if (!answer) return el("div", { class: "failed" }, "no result");
  if (answer.error)
    return el(
      "div",
      { class: "failed" },
      `${answer.error.type}: ${answer.error.message}`,
      answer.error.injected && " (a fault that the task asked for)",
    );
  if (!(answer.result || []).length) return el("div", {}, "found nothing");
  const citedHits = answer.result.filter(hit => cited.has(hit.document));
  return el(
    "details",
    {},
    el(
      "summary",
      {},
      plural(answer.result.length, "document"),
      citedHits.length > 0 && `, cited: ${citedHits.map(hit => `no. ${hit.rank}`).join(", ")}`,
    ),
    el(
      "ol",
      { class: "hits" },
      answer.result.map(hit => {
        const found = run.documents[hit.document];
        return el(
          "li",
          { value: hit.rank, class: cited.has(hit.document) ? "" : "idle" },
          el(
            "a",
            {
              href: "#",
              onclick: event => {
                event.preventDefault();
                show(hit.document);
              },
            },
            el("bdi", {}, found.title || found.doc_id),
          ),
          ` ${typeof hit.score === "number" ? hit.score.toFixed(2) : hit.score}`,
        );
      }),
    ),
  );
}

function search(step, answers, cited, show) {
  const call = step.content,
    { query, ...others } = call.arguments;
  const rest = Object.keys(others).length ? " " + JSON.stringify(others) : "";
  return el(
    "div",
    { class: "search" },
    `${call.name} `,
    query !== undefined &&
      el("span", { class: "query", dir: "auto" }, "“", typeof query === "string" ? query : JSON.stringify(query), "”"),
    rest,
    result(call, answers.get(call.call_id), cited, show),
    provenance(step),
  );
}

function critique(step) {
  const said = step.critique;
  if (!said || (!said.rewrites && said.verdict === "supported")) return null;
  const words = [
    said.verdict !== "supported" && `critic: ${said.verdict.replace("_", " ")}`,
    said.rewrites && `rewritten ${plural(said.rewrites, "time")}`,
    ...(said.issues || []),
  ];
  return el("div", { class: "muted small" }, words.filter(Boolean).join(" · "));
}

function answer(step, show) {
  return el(
    "div",
    { class: "message assistant" },
    el(
      "div",
      { class: "who" },
      "assistant",
      step.answerability &&
        step.answerability !== "answerable" && [" ", el("span", { class: "tag plain" }, step.answerability)],
    ),
    text(step.content),
    critique(step),
    (step.citations || []).length > 0 &&
      el(
        "ul",
        { class: "cites", "aria-label": "what the answer rests on" },
        step.citations.map(citation =>
          el(
            "li",
            {},
            el(
              "a",
              {
                href: "#",
                "aria-label": `show span ${citation.number} in its document`,
                onclick: event => {
                  event.preventDefault();
                  show(citation.document, citation.number);
                },
              },
              citation.number,
            ),
            el("div", { dir: "auto" }, el("q", { class: "text" }, citation.quote)),
          ),
        ),
      ),
    provenance(step),
  );
}

function turn(steps, cited, show) {
  const answers = new Map(
    steps.filter(step => step.role === "tool_result").map(step => [step.content.call_id, step.content]),
  );
  return el(
    "div",
    { class: "turn" },
    steps.map(step => {
      if (step.role === "flow_controller")
        return el(
          "div",
          { class: "hint" },
          el("span", { class: "tag" }, step.content),
          el("span", { dir: "auto" }, step.hint),
          provenance(step),
        );
      if (step.role === "user")
        return el(
          "div",
          { class: "message user" },
          el("div", { class: "who" }, "user"),
          text(step.content),
          provenance(step),
        );
      if (step.role === "tool_call") return search(step, answers, cited, show);
      if (step.role === "assistant") return answer(step, show);
      return null;
    }),
  );
}

function marked(shown, spans) {
  // Places count characters as Python does, not UTF-16 units.
  const parts = [];
  let last = 0;
  for (const [start, piece] of shown.pieces) {
    if (start > last)
      parts.push(el("span", { class: "left-out" }, `… ${plural(start - last, "character")} left out …`));
    const letters = Array.from(piece),
      end = start + letters.length;
    const inside = spans.filter(span => span.start < end && span.end > start);
    const edges = [
      ...new Set([start, end, ...inside.flatMap(span => [Math.max(start, span.start), Math.min(end, span.end)])]),
    ].sort((a, b) => a - b);
    for (let place = 0; place + 1 < edges.length; place++) {
      const [from, to] = [edges[place], edges[place + 1]];
      const words = letters.slice(from - start, to - start).join("");
      const over = inside.filter(span => span.start <= from && span.end >= to);
      const ending = over.filter(span => span.end === to).map(span => span.number);
      parts.push(
        over.length
          ? el(
              "mark",
              { "data-numbers": over.map(span => span.number).join(" ") },
              words,
              ending.length > 0 && el("sup", {}, ending.join(",")),
            )
          : words,
      );
    }
    last = end;
  }
  if (last < shown.length)
    parts.push(el("span", { class: "left-out" }, `… ${plural(shown.length - last, "character")} more …`));
  return parts;
}

function documentsOf(talk, citations) {
  const found = [];
  for (const step of talk.steps) {
    const listed =
      step.role === "scenario"
        ? step.documents
        : step.role === "tool_result"
          ? (step.content.result || []).map(hit => hit.document)
          : [];
    for (const place of listed)
      if (!found.some(one => one.place === place)) found.push({ place, given: step.role === "scenario" });
  }
  for (const one of found) one.spans = citations.filter(citation => citation.document === one.place);
  return found.sort((a, b) => (b.spans.length > 0) - (a.spans.length > 0) || b.given - a.given);
}

function documentView({ place, given, spans }) {
  const shown = run.documents[place];
  const details = el(
    "details",
    { class: spans.length ? "" : "idle", "data-place": place },
    el(
      "summary",
      {},
      el("bdi", {}, shown.title || shown.doc_id),
      " ",
      el(
        "span",
        { class: "muted small" },
        [given && "scenario", spans.length ? `cited: ${spans.map(span => span.number).join(", ")}` : "not cited"]
          .filter(Boolean)
          .join(" · "),
      ),
    ),
  );
  details.draw = () => {
    if (details.querySelector(".body")) return;
    const named = [shown.doc_id, shown.domain, plural(shown.length, "character")].filter(Boolean).join(" · ");
    details.append(
      el(
        "div",
        { class: "body" },
        el("p", { class: "muted small mono" }, el("bdi", {}, named)),
        el("div", { class: "text", dir: "auto" }, marked(shown, spans)),
      ),
    );
  };
  details.addEventListener("toggle", () => details.open && details.draw());
  return details;
}

function bring(target, aside) {
  // Beside the conversation, only the documents scroll, so that the reader keeps the place in what was said.
  if (getComputedStyle(aside).position !== "sticky") return target.scrollIntoView({ block: "center" });
  aside.scrollTop += target.getBoundingClientRect().top - aside.getBoundingClientRect().top - aside.clientHeight / 3;
}

function conversation(talk, level = "h2") {
  const citations = numbered(talk),
    cited = new Set(citations.map(citation => citation.document));
  const { before, turns } = turnsOf(talk);
  const documents = documentsOf(talk, citations);
  const aside = el(
    "aside",
    { class: "documents", "aria-label": "documents", tabindex: "0" },
    el("h3", {}, plural(documents.length, "document")),
    documents.length ? documents.map(documentView) : el("p", { class: "muted" }, "none was shown"),
  );
  const show = (place, span) => {
    const details = aside.querySelector(`details[data-place="${place}"]`);
    if (!details) return;
    details.draw();
    details.open = true;
    aside.querySelectorAll("mark.now").forEach(mark => mark.classList.remove("now"));
    const marks = [...details.querySelectorAll("mark")].filter(mark =>
      mark.dataset.numbers.split(" ").includes(String(span)),
    );
    marks.forEach(mark => mark.classList.add("now"));
    bring(marks[0] || details, aside);
    details.querySelector("summary").focus({ preventScroll: true });
  };
  const button = el(
    "button",
    {
      class: "hide",
      "aria-pressed": "false",
      title: "stage, model, prompt and tokens of every step (p)",
      onclick: () => {
        button.setAttribute("aria-pressed", String(whole.classList.toggle("with-prov")));
      },
    },
    "provenance",
  );
  const scenario = before.find(step => step.role === "scenario"),
    personas = before.filter(step => step.role === "persona");
  const whole = el(
    "article",
    { class: "talk" },
    el(
      "header",
      {},
      el(
        level,
        {},
        `Conversation ${talk.index}`,
        " ",
        el(
          "span",
          { class: "muted small" },
          plural(turns.filter(steps => steps.some(step => step.role === "assistant")).length, "turn"),
        ),
      ),
      button,
    ),
    el(
      "div",
      { class: "said-all" },
      scenario && el("div", { class: "scenario" }, text(scenario.content), provenance(scenario)),
      personas.map(step =>
        el(
          "details",
          { class: "scenario" },
          el("summary", {}, step.target === "assistant" ? "the assistant's persona" : "persona"),
          text(step.content),
          provenance(step),
        ),
      ),
      turns.map(steps => turn(steps, cited, show)),
      el("p", { class: "prov" }, talk.conversation_id),
    ),
    aside,
  );
  return whole;
}
