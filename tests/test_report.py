"""The page of a run: it holds what happened, stays small, and what a corpus or a model wrote stays text."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from building import BODIES, lines, task_values, write_corpus

from dgt_rag import run
from dgt_rag.commands.display import summary_lines
from dgt_rag.records import (
    AssistantStep,
    Citation,
    ConversationDataPoint,
    Document,
    FoundDocument,
    ScenarioStep,
    ToolCall,
    ToolCallStep,
    ToolError,
    ToolResult,
    ToolResultStep,
    UserStep,
)
from dgt_rag.report.figures import Figures
from dgt_rag.report.page import Page
from dgt_rag.store.calls import open_calls

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ATTACK = (
    "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
    "<!-- {{ 7 * 7 }} {% raw %} @@data@@ ${1+1} & \x00\x07\x1b[31m \u202egnirts\u202c \u05e9\u05dc\u05d5\u05dd \U0001f600 "
)
SPENT = {"calls": 0, "failed": 0, "prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 0}
SPENT |= {"reasoning_tokens": 0, "seconds": 0.0, "cost": None}
FIGURES = {"asked": 1, "kept": 1, "dropped": {}, "turns": 1, "tool_calls": 0, "citations": 0, "patterns": {}}
FIGURES |= {"answerability": {}, "documents_in_corpus": 1, "steps_by_model": {}}
USAGE = {"totals": SPENT, "by_purpose": [], "on_dropped": SPENT, "answered_from_store": 0}
FACTS = {"identity": {}, "status": "complete", "dgt_rag": "1", "python": "3", "seed": 1, "seconds": 1.0}
FACTS |= {"figures": FIGURES, "usage": USAGE, "endpoints": {}, "tools": []}
MOVES = [[0.0, 64, "start"], [3.5, 48, "429"], [9.0, 96, "more work done"]]


class Scripts(HTMLParser):
    """Collects the scripts of a page, and the names of all its elements."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts[-1] += data


def held(page: str) -> dict[str, Any]:
    """Return the data of a page, which must be the first of two scripts."""
    parser = Scripts()
    parser.feed(page)
    assert len(parser.scripts) == 2
    assert "img" not in parser.tags
    found: dict[str, Any] = json.loads(parser.scripts[0])
    return found


def page_of(*talks: ConversationDataPoint, facts: dict[str, Any] | None = None) -> str:
    page = Page("a task")
    for talk in talks:
        page.add(talk)
    return page.html(facts or FACTS, "task_name: a task")


def conversation(body: str, quote: str, index: int = 0) -> ConversationDataPoint:
    """Return a kept conversation of one turn that cites a quote from the one document it has."""
    start = body.index(quote)
    citation = Citation(doc_id="one", quote=quote, start=start, end=start + len(quote))
    steps = (
        ScenarioStep(content="someone", documents=(Document(doc_id="one", body=body),)),
        UserStep(content="what?"),
        AssistantStep(content=quote, citations=(citation,), answerability="answerable"),
    )
    return ConversationDataPoint(index=index, steps=steps).keep()


def marked(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Return for each citation of a page its quote, and what stands at its place in the document that the page holds."""
    for talk in data["kept"]:
        for step in talk["steps"]:
            for citation in step.get("citations", ()):
                pieces = data["documents"][citation["document"]]["pieces"]
                start, end = citation["start"], citation["end"]
                inside = [(at, text) for at, text in pieces if at <= start and end <= at + len(text)]
                assert len(inside) == 1
                at, text = inside[0]
                yield citation["quote"], text[start - at : end - at]


@pytest.mark.parametrize("live", [False, True])
def test_the_page_of_a_run_holds_its_figures_and_its_conversations(tmp_path, live):
    result = run(task_values(tmp_path, live))
    data = held((result.folder / "report.html").read_text(encoding="utf-8"))
    rows = lines(result.folder / "final_data.jsonl")
    assert data["facts"] == json.loads((result.folder / "run.json").read_text(encoding="utf-8"))
    assert [talk["index"] for talk in data["kept"]] == [row["index"] for row in rows]
    for talk, row in zip(data["kept"], rows, strict=True):
        assert [step["role"] for step in talk["steps"]] == [step["role"] for step in row["steps"]]
        said = [step["content"] for step in row["steps"] if step["role"] in {"user", "assistant"}]
        assert [step["content"] for step in talk["steps"] if step["role"] in {"user", "assistant"}] == said
    spans = list(marked(data))
    assert len(spans) == data["facts"]["figures"]["citations"] > 0
    assert all(quote == text for quote, text in spans)
    assert sum(data["figures"]["searches"].values()) >= data["facts"]["figures"]["tool_calls"]
    figures = data["facts"]["figures"]
    assert data["figures"]["documents_shown"] == figures["documents_used"]
    sampled = {document["doc_id"] for row in rows for document in row["steps"][0]["documents"]}
    assert len(sampled) == figures["documents_sampled"] <= figures["documents_in_corpus"]
    told = f"documents sampled {len(sampled)} of {figures['documents_in_corpus']}"
    assert any(line.startswith(told) for line in summary_lines(result.summary))
    sizes = sorted(
        len(line) for line in (result.folder / "formatted_output.jsonl").read_bytes().splitlines(keepends=True)
    )
    half, most = sizes[(len(sizes) - 1) // 2], sizes[-1]
    assert figures["row_bytes"] == {"formatted_output.jsonl": {"median": half, "longest": most}}
    told = f"rows of formatted_output.jsonl: half up to {half:,} bytes, the longest {most:,} (four or so make a token)"
    assert told in summary_lines(result.summary)
    assert data["task"] == (result.folder / "task.yaml").read_text(encoding="utf-8")


def test_conversations_that_were_dropped_stand_in_the_page_with_their_reason(tmp_path):
    values = task_values(tmp_path, num_outputs=3, max_attempts=5)
    values["models"] = {"generator": {"type": "scripted", "replies": {"scenario": ["no JSON <b>at all</b>"]}}}
    result = run(values)
    data = held((result.folder / "report.html").read_text(encoding="utf-8"))
    assert data["facts"]["figures"]["dropped"] == {"bad_reply": 5}
    assert [talk["raw"] for talk in data["dropped"]] == ["no JSON <b>at all</b>"] * 5
    assert {talk["drop_reason"] for talk in data["dropped"]} == {"bad_reply"}


def test_what_a_corpus_says_stays_text(tmp_path):
    bodies = {f"{name}{ATTACK[:9]}": f"{ATTACK}\n\n{body}" for name, body in BODIES.items()}
    write_corpus(tmp_path / "corpus.jsonl", bodies)
    result = run(task_values(tmp_path, live=True))
    page = (result.folder / "report.html").read_text(encoding="utf-8")
    data = held(page)
    assert any(ATTACK in text for document in data["documents"] for _, text in document["pieces"])
    assert all(quote == text for quote, text in marked(data))
    assert page.count("<script") == 2


def test_what_a_model_or_a_task_says_stays_text():
    talk = ConversationDataPoint(steps=(UserStep(content=ATTACK),)).drop(ATTACK, ATTACK, ATTACK)
    figures = {**FIGURES, "dropped": {ATTACK: 1}}
    page = Page(ATTACK)
    page.add(talk)
    text = page.html({**FACTS, "figures": figures, "status": ATTACK}, ATTACK)
    data = held(text)
    assert data["dropped"][0]["raw"] == data["dropped"][0]["steps"][0]["content"] == data["task"] == ATTACK
    assert text.count("<script") == 2


def test_only_the_pages_own_script_may_run_and_it_writes_no_markup():
    page = page_of()
    assert "default-src 'none'" in page
    assert "'unsafe-inline'" not in page
    script = re.search(r"<script>(.*)</script>", page, re.DOTALL)
    assert script
    assert not re.search(r"(inner|outer|Adjacent)HTML|document\.write|eval\(|new Function", script[1])
    assert set(re.findall(r"https?://[^\"]*", page)) == {"http://www.w3.org/2000/svg"}


def test_the_page_of_a_large_run_is_as_small_as_that_of_a_small_one():
    page = Page("large")
    body = "A long body. " * 400
    for index in range(2000):
        page.add(conversation(f"{index} {body} The fee is 7 euros.", "The fee is 7 euros.", index))
        dropped = ConversationDataPoint(index=index, steps=(UserStep(content=body),))
        page.add(dropped.drop(f"reason {index % 3}", raw=body))
    text = page.html(FACTS, "")
    data = held(text)
    assert [talk["index"] for talk in data["kept"]] == list(range(200))
    assert len(data["dropped"]) == 60
    assert len(text) < 4_000_000
    assert data["figures"]["turns"] == {"1": 2000}
    assert all(quote == words for quote, words in marked(data))


def test_conversations_that_are_large_themselves_fill_the_room_and_no_more():
    page = Page("large")
    turns = tuple(step for _ in range(60) for step in (UserStep(content="x" * 9000), AssistantStep(content="y" * 9000)))
    for index in range(100):
        page.add(ConversationDataPoint(index=index, steps=turns).keep())
    assert 1 < len(held(page.html(FACTS, ""))["kept"]) < 20
    assert len(page.html(FACTS, "")) < 6_000_000


def test_of_a_document_of_ten_megabytes_the_page_holds_the_beginning_and_what_is_cited():
    body = "word " * 1_000_000 + "Tickets cost 5 euros. " + "word " * 1_000_000
    text = page_of(conversation(body, "Tickets cost 5 euros."))
    data = held(text)
    assert len(text) < 200_000
    assert data["documents"][0]["length"] == len(body)
    assert len(data["documents"][0]["pieces"]) == 2
    assert list(marked(data)) == [("Tickets cost 5 euros.",) * 2]


def test_spans_that_touch_are_one_piece():
    body = "a" * 2900 + "The first fee is 5 euros." + "b" * 200 + "The second fee is 6 euros." + "c" * 3000
    talk = conversation(body, "The first fee is 5 euros.")
    start = body.index("The second")
    second = Citation(doc_id="one", quote="The second fee is 6 euros.", start=start, end=start + 26)
    talk = talk.add(UserStep(content="and?"), AssistantStep(content="6 euros", citations=(second,)))
    data = held(page_of(talk))
    assert len(data["documents"][0]["pieces"]) == 1
    assert all(quote == words for quote, words in marked(data))


def test_one_id_may_name_two_texts():
    one, other = (conversation(f"{fee} is the fee of the year.", f"{fee} is the fee") for fee in ("Five", "Nine"))
    data = held(page_of(one, other))
    assert len(data["documents"]) == 2
    assert all(quote == words for quote, words in marked(data))


def test_numbers_that_json_does_not_know_and_broken_letters_do_not_break_the_page(tmp_path):
    hit = FoundDocument.model_construct(doc_id="\ud800", body="half \ud83d", score=float("nan"), rank=1)
    call = ToolCallStep(content=ToolCall.model_construct(call_id="1", name="search", arguments={"odd": float("inf")}))
    found = ToolResultStep(
        content=ToolResult.model_construct(
            call_id="1", name="search", result=(hit,), metadata={"at": float("-inf")}, error=None
        )
    )
    path = tmp_path / "report.html"
    path.write_text(
        page_of(ConversationDataPoint(steps=(call, found)).keep()), encoding="utf-8", errors="backslashreplace"
    )
    data = held(path.read_text(encoding="utf-8"))
    assert data["kept"][0]["steps"][1]["content"]["result"] == [{"document": 0, "rank": 1, "score": "nan"}]
    assert data["documents"][0]["pieces"] == [[0, "half \ud83d"]]


def test_searches_are_counted_by_what_came_of_them_and_cited_documents_by_their_rank():
    def searched(call_id: str, query: str, *found: str, error: ToolError | None = None) -> tuple[Any, ...]:
        hits = tuple(FoundDocument(doc_id=name, body=name, score=1.0, rank=n) for n, name in enumerate(found, start=1))
        call = ToolCall(call_id=call_id, name="search", arguments={"query": query})
        result = ToolResult(call_id=call_id, name="search", result=None if error else hits, error=error)
        return ToolCallStep(content=call), ToolResultStep(content=result)

    def answered(*cited: str) -> AssistantStep:
        return AssistantStep(content="so", citations=tuple(Citation(doc_id=name, quote=name) for name in cited))

    failed = ToolError(type="network_error", message="", injected=True)
    given = ScenarioStep(content="", documents=(Document(doc_id="g", body="g", domain="home"),))
    first = (*searched("1", "a", "p", "q"), *searched("2", "b", "q"), answered("p", "q", "g"))
    second = (*searched("3", "A"), *searched("4", "c", error=failed), answered("p"))
    figures = Figures()
    figures.add(
        ConversationDataPoint(steps=(given, UserStep(content="x"), *first, UserStep(content="y"), *second)).keep()
    )
    told = figures.as_dict()
    assert told["ranks"] == {"1": 2, "found in an earlier turn": 1, "given with the scenario": 1}
    assert told["searches"] == {"found": 2, "empty": 1, "failed": 1, "repeated": 1}
    assert told["errors"] == {"network_error (injected)": 1}
    assert (told["documents_shown"], told["documents_cited"], told["domains"]) == (3, 3, {"home": 1})


def test_what_dropped_conversations_cost_is_told_apart(tmp_path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        for talk in range(4):
            calls.add("ab" * 32, "{}", {"talk": talk, "prompt_tokens": 10**talk})
        assert calls.spent_on([1, 3])["prompt_tokens"] == 1010
        assert calls.spent_on([])["calls"] == 0


def rendered(path: Path, part: str, folder: Path) -> str:
    """Return a page as a browser draws it; the browser must have nothing to complain of."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --disable-dev-shm-usage --enable-logging=stderr --dump-dom"
    command = [str(CHROMIUM), *flags.split(), f"--user-data-dir={folder}", f"{path.as_uri()}#{part}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "CONSOLE" not in done.stderr
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; apt-get install chromium")
@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("overview", "From begun to kept"),
        ("conversations/1", "someone\U0001f600"),
        ("failures/bad_reply", "what the model sent"),
        ("grounding", "Where the cited document was"),
        ("calls", "Spent on conversations that were dropped"),
        ("again", "python -m dgt_rag task.yaml"),
        ("toString/%E0%A4%A", "From begun to kept"),
    ],
)
def test_a_browser_draws_the_page_and_runs_nothing_of_what_was_written(tmp_path, part, words):
    talk = conversation(f"{ATTACK} Tickets cost 5 euros.", "Tickets cost 5 euros.", index=1)
    said = (UserStep(content=ATTACK), AssistantStep(content=ATTACK))
    talk = talk.model_copy(update={"steps": (ScenarioStep(content="someone\U0001f600"), *talk.steps, *said)})
    dropped = ConversationDataPoint(index=2, steps=said).drop("bad_reply", ATTACK, ATTACK)
    spent = {**SPENT, "calls": 3, "prompt_tokens": 5, "cost": 0.125}
    usage = {"totals": spent, "by_purpose": [{"purpose": "user", "model": ATTACK, **spent}], "on_dropped": SPENT}
    endpoint = {"outcomes": {"ok": 3, "rate_limit": 1}, "limit": 96, "limits": MOVES}
    facts = {**FACTS, "figures": {**FIGURES, "dropped": {"bad_reply": 1}}}
    facts |= {"usage": {**usage, "answered_from_store": 0}, "endpoints": {ATTACK: endpoint}}
    path = tmp_path / "report.html"
    path.write_text(page_of(talk, dropped, facts=facts), encoding="utf-8")
    drawn = rendered(path, part, tmp_path / "profile")
    body = drawn.partition("<main>")[2].partition("</main>")[0]
    assert words in body
    assert "<title>a task: run report</title>" in drawn
    assert "<img" not in body
    assert "<script" not in body
