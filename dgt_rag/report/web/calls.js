// What was asked of models: calls, tokens, cost, and how many calls at once each endpoint was given.

const tokens = spent => spent.prompt_tokens + spent.completion_tokens;

function calls() {
  const row = (name, model, one) => [
    name,
    model,
    number(one.calls),
    number(one.failed),
    number(one.prompt_tokens),
    `${number(one.cached_tokens)} (${share(one.cached_tokens, one.prompt_tokens)})`,
    number(one.completion_tokens),
    number(one.reasoning_tokens),
    one.calls ? `${(one.seconds / one.calls).toFixed(2)} s` : "–",
    money(one.cost),
  ];
  const whole = usage.totals,
    lost = usage.on_dropped,
    head = [
      "purpose",
      "model",
      "calls",
      "failed",
      "tokens in",
      "of them cached",
      "tokens out",
      "reasoning",
      "mean time",
      "cost",
    ];
  const spent =
    whole.calls > 0
      ? [
          table(
            head,
            [...usage.by_purpose.map(one => row(one.purpose, one.model, one)), row("all", "", whole)],
            2,
            true,
          ),
          note(
            `Spent on conversations that were dropped: ${plural(lost.calls, "call")}, ${number(tokens(lost))} tokens `,
            `(${share(tokens(lost), tokens(whole))})${lost.cost === null ? "" : `, cost ${money(lost.cost)}`}.`,
          ),
          note(
            `Answered from the store of calls since the run was last started, and so not asked again: `,
            number(usage.answered_from_store),
            ". All calls ever made in this folder are counted; they stand in ",
            el("code", {}, "calls.sqlite"),
            ".",
          ),
        ]
      : [note("No call went to an endpoint: the models of this run work inside the program.")];
  return [
    heading("Calls by purpose"),
    spent,
    Object.entries(facts.endpoints).map(([name, one]) => endpoint(name, one)),
  ];
}

function endpoint(name, one) {
  const moves = one.limits,
    busy = Object.fromEntries(Object.entries(one.outcomes).sort((a, b) => b[1] - a[1]));
  return [
    heading(name),
    el(
      "div",
      { class: "columns" },
      el(
        "div",
        {},
        el("h3", {}, "Calls at once, at most"),
        steps(moves, name),
        el(
          "details",
          {},
          el("summary", {}, `${plural(moves.length, "change")} of the limit, and why`),
          table(
            ["after", "limit", "why"],
            moves.map(([at, limit, why]) => [`${at.toFixed(1)} s`, number(limit), why]),
            3,
          ),
        ),
      ),
      el(
        "div",
        {},
        el("h3", {}, "Attempts by outcome"),
        bars(busy, { bad: kind => kind !== "ok" }),
        note("Every attempt counts, those that were tried again as well."),
      ),
    ),
  ];
}

function steps(moves, name) {
  const width = 640,
    height = 190,
    left = 44,
    bottom = 26,
    top = 10,
    right = 10;
  const last = Math.max(facts.seconds, moves.at(-1)[0], 0.1),
    most = Math.max(...moves.map(([, limit]) => limit), 1);
  const x = at => left + ((width - left - right) * at) / last,
    y = limit => height - bottom - ((height - bottom - top) * limit) / most;
  const line =
    moves
      .map(([at, limit], place) => `${place ? "H" : "M"}${x(at).toFixed(1)}${place ? "V" : " "}${y(limit).toFixed(1)}`)
      .join("") + `H${x(last).toFixed(1)}`;
  const ticks = [...new Set([0, Math.round(most / 2), most])],
    times = [0, last / 2, last];
  return el(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      "aria-label": `the limit of ${name} over time, from ${moves[0][1]} to ${moves.at(-1)[1]}`,
    },
    ticks.map(limit => [
      el("line", { class: "grid", x1: left, x2: width - right, y1: y(limit), y2: y(limit) }),
      el("text", { x: left - 8, y: y(limit) + 4, "text-anchor": "end" }, limit),
    ]),
    times.map((at, place) =>
      el("text", { x: x(at), y: height - 6, "text-anchor": ["start", "middle", "end"][place] }, duration(at)),
    ),
    el("path", { class: "step", d: line }),
    moves.length <= 400 &&
      moves.map(([at, limit, why]) =>
        el(
          "circle",
          { class: /429/.test(why) ? "dot bad" : "dot", cx: x(at).toFixed(1), cy: y(limit).toFixed(1), r: 3 },
          el("title", {}, `${at.toFixed(1)} s: ${limit}, ${why}`),
        ),
      ),
  );
}
