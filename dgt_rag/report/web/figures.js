// The parts of the report that hold figures, and how to make the run again.

function overview() {
  const dropped = sum(totals.dropped),
    begun = totals.kept + dropped,
    counts = usage.totals;
  const reasons = Object.entries(totals.dropped).sort((a, b) => b[1] - a[1]);
  const funnel = [
    ["begun", begun, null, ""],
    ["kept", totals.kept, "#conversations", ""],
    ...reasons.map(([reason, count]) => [reason, count, `#failures/${encodeURIComponent(reason)}`, "bad"]),
  ];
  return [
    tiles(
      [`${number(totals.kept)} / ${number(totals.asked)}`, "kept, of those asked for"],
      [each(totals.turns, totals.kept), "turns a conversation"],
      [each(totals.citations, sum(figures.citations)), "citations an answer"],
      totals.tool_calls > 0 && [each(totals.tool_calls, totals.turns), "tool calls a turn"],
      [
        share(totals.documents_sampled, totals.documents_in_corpus),
        `of ${number(totals.documents_in_corpus)} documents sampled`,
      ],
      counts.calls > 0 && [
        number(counts.prompt_tokens + counts.completion_tokens),
        `tokens in ${number(counts.calls)} calls`,
      ],
      counts.cost !== null && [money(counts.cost), "cost, by the task's prices"],
      [duration(facts.seconds), "since it was last started"],
    ),
    heading("From begun to kept"),
    barsOf(funnel, begun),
    dropped > 0 && note("A reason leads to its examples."),
    el(
      "div",
      { class: "columns" },
      el("div", {}, heading("Answers"), bars(totals.answerability, { none: "not said" })),
      el(
        "div",
        {},
        heading("Written by"),
        bars(totals.steps_by_model, { none: "nobody" }),
        note("Steps of the kept conversations, by model."),
      ),
    ),
  ];
}

function duration(seconds) {
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  return seconds < 5400 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function grounding() {
  const answers = sum(figures.citations),
    searches = (figures.searches.found || 0) + (figures.searches.empty || 0) + (figures.searches.failed || 0);
  const never = Math.max(0, totals.documents_in_corpus - figures.documents_shown);
  const title = id => {
    const found = run.documents.find(document => document.doc_id === id);
    return found && found.title ? found.title : "";
  };
  return [
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        {},
        heading("Spans cited by an answer"),
        bars(figures.citations, { none: "no answers", label: name => plural(Number(name), "span") }),
        sum(figures.uncited) > 0 && [
          el("h3", {}, "Answers that cite nothing say they are"),
          bars(figures.uncited, { whole: answers }),
          note("A greeting or a refusal rests on nothing; an “answerable” one should."),
        ],
      ),
      el(
        "div",
        {},
        heading("Where the cited document was"),
        bars(figures.ranks, {
          none: "nothing was cited",
          label: name => (/^\d+$/.test(name) ? `hit no. ${name}` : name),
        }),
        searches > 0 && note("Its best rank among the hits of the turn that cites it."),
      ),
    ),
    searches > 0 && [
      heading("Searches"),
      el(
        "div",
        { class: "columns" },
        el(
          "div",
          {},
          bars(
            {
              "found something": figures.searches.found || 0,
              "found nothing": figures.searches.empty || 0,
              failed: figures.searches.failed || 0,
            },
            { bad: name => name === "failed" },
          ),
          note(`Asked before in the same conversation, word for word: ${number(figures.searches.repeated || 0)}.`),
        ),
        sum(figures.errors) > 0 && el("div", {}, el("h3", {}, "Failed, by kind"), bars(figures.errors)),
      ),
    ],
    sum(figures.verdicts) > 0 && [
      heading("Critic"),
      el(
        "div",
        { class: "columns" },
        el("div", {}, el("h3", {}, "Verdict on the answer that was kept"), bars(figures.verdicts)),
        el("div", {}, el("h3", {}, "Rewrites before it"), bars(figures.rewrites)),
      ),
    ],
    heading("Use of the corpus"),
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        {},
        bars({
          "shown and cited": figures.documents_cited,
          "shown, never cited": Math.max(0, figures.documents_shown - figures.documents_cited),
          "never shown": never,
        }),
        el("h3", {}, "Documents by the conversations they were shown in"),
        bars(figures.shown_in, {
          whole: figures.documents_shown,
          label: times => plural(Number(times), "conversation"),
        }),
      ),
      el("div", {}, sum(figures.domains) > 0 && [el("h3", {}, "Scenario documents by domain"), bars(figures.domains)]),
    ),
    figures.most_shown.length > 0 && [
      heading("Documents shown most often"),
      table(
        ["document", "", "conversations", "cited in"],
        figures.most_shown.map(([id, shown, cited]) => [el("code", {}, id), title(id), number(shown), number(cited)]),
        2,
      ),
    ],
  ];
}

function diversity() {
  const begun = sum(figures.openings);
  return [
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        {},
        heading("Turns a conversation"),
        bars(figures.turns, { label: name => plural(Number(name), "turn") }),
      ),
      el(
        "div",
        {},
        heading("Patterns"),
        bars(Object.fromEntries(Object.entries(totals.patterns).sort((a, b) => b[1] - a[1])), {
          none: "no flow controller",
        }),
      ),
    ),
    heading("How users begin"),
    note(
      `${plural(figures.different_openings, "different opening")} of three words in `,
      `${plural(totals.kept, "conversation")}; first messages that were there before, word for word: `,
      `${number(figures.repeated_firsts)}.`,
    ),
    bars(figures.openings, { whole: Math.max(totals.kept, begun) }),
    heading("First messages"),
    el(
      "ol",
      { class: "small" },
      run.kept
        .slice(0, 60)
        .map(talk =>
          el(
            "li",
            { value: talk.index },
            el("a", { href: `#conversations/${talk.index}`, dir: "auto" }, outline(talk).first.slice(0, 300)),
          ),
        ),
    ),
    run.kept.length > 60 && note("The first sixty; the others are in the list of conversations."),
  ];
}

function again() {
  return [
    heading("To make it again"),
    el("pre", {}, "python -m dgt_rag task.yaml --output-dir again"),
    note(
      "In this folder. The same task, seed and replies give the same bytes, at any concurrency; ",
      "a changed key, file or corpus gives another run. With ",
      el("code", {}, "calls.sqlite"),
      " copied into the new run's folder, no call is paid twice.",
    ),
    heading("Made with"),
    table(
      ["", ""],
      [
        ["dgt_rag", facts.dgt_rag],
        ["Python", facts.python],
        ["seed", String(facts.seed)],
        ["status", facts.status],
      ],
      2,
    ),
    heading("task.yaml"),
    el("pre", {}, run.task),
    facts.tools.length > 0 && [
      heading("Tools as the assistant saw them"),
      el("pre", {}, JSON.stringify(facts.tools, null, 2)),
    ],
    el(
      "details",
      {},
      el("summary", {}, "Everything that decides what comes out"),
      table(
        ["key", "value"],
        Object.entries(facts.identity).map(([key, value]) => [el("code", {}, key), value]),
        2,
      ),
    ),
  ];
}
