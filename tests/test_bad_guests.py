"""What plugins of others may do wrong: each is named in one line, or costs the conversation and is counted with its reason."""

from pathlib import Path
from typing import Any

import pytest
from building import task_values

GUEST = """
import asyncio
from contextlib import asynccontextmanager
from typing import Literal
from dgt_rag.engines.base import SearchToolEngine
from dgt_rag.formats.base import Formatter
from dgt_rag.records import Document, Hit
from dgt_rag.stages.base import Stage

DOCUMENTS = [Document(doc_id=str(n), body=f"Permit {n} costs {n * 3} euros a year. It is valid for one zone.") for n in range(6)]


def hits(documents, score=1.0):
    return [Hit(document=one, score=score, rank=n) for n, one in enumerate(documents, start=1)]


class Engine(SearchToolEngine):
    type: Literal["guest"] = "guest"

    @asynccontextmanager
    async def open(self, world):
        {open}
        yield self

    async def search(self, query, limit, where=None):
        {search}

    async def documents(self):
        {documents}
        for one in DOCUMENTS:
            yield one


class GuestStage(Stage):
    name: Literal["guest"] = "guest"

    async def __call__(self, talk, bench):
        {stage}


class GuestFormatter(Formatter):
    type: Literal["guest"] = "guest"

    def rows(self, talk, tools):
        {rows}
"""
HARMLESS = {
    "open": "pass",
    "search": "return hits(DOCUMENTS[:limit])",
    "documents": "pass",
    "stage": "return talk",
    "rows": 'yield {"text": "x"}',
}


def guest_task(folder: Path, **parts: str) -> dict[str, Any]:
    text = GUEST
    for name, code in {**HARMLESS, **parts}.items():
        text = text.replace(f"{{{name}}}", code)
    (folder / "guest.py").write_text(text)
    values = task_values(folder, live=True, num_outputs=2, plugins=["guest.py"], formatter={"type": "guest"})
    values["tools"]["engines"]["retriever"] = {"type": "guest", "limit": 3}
    del values["initialization_stages"][0]["document_samplers"][0]["group_by"]
    values["iteration_stages"].append({"name": "guest"})
    return values


def test_a_harmless_guest_makes_rows(tmp_path, told):
    assert told(guest_task(tmp_path))[0] == 0


def test_a_guests_stage_may_search_an_engine_that_it_does_not_name(tmp_path, told):
    search = 'assert await bench.retrievers["other"].search("permit", 3)\n        return talk'
    values = guest_task(tmp_path, stage=search)
    values["tools"]["engines"]["other"] = {"type": "guest"}
    values["iteration_stages"][2]["tools"] = ["retriever"]
    code, out, _ = told(values)
    assert code == 0 and "kept 2 of 2" in out


@pytest.mark.parametrize(
    ("part", "code", "line"),
    [
        ("open", 'raise ValueError("boom")', "engine 'retriever': ValueError: boom (guest.py:"),
        ("documents", 'raise ValueError("boom")', "engine 'retriever': ValueError: boom (guest.py:"),
        ("documents", 'yield "text"', "engine 'retriever': AttributeError: 'str' object has no attribute"),
        ("rows", 'raise ValueError("boom")', "formatter 'guest': ValueError: boom (guest.py:"),
        ("rows", "return None", "formatter 'guest': TypeError: 'NoneType' object is not iterable"),
        ("rows", 'yield {"n": float("nan")}', "formatter 'guest': ValueError: Out of range float values"),
    ],
)
def test_a_guest_that_breaks_outside_conversations_is_named_in_one_line(tmp_path, told, part, code, line):
    ended, _, err = told(guest_task(tmp_path, **{part: code}))
    assert ended == 2
    assert err.startswith(line) and err.count("\n") == 1
    assert told(guest_task(tmp_path), "--restart")[0] == 0


@pytest.mark.parametrize(
    ("part", "code", "line"),
    [
        (
            "search",
            'raise ValueError("boom")',
            "stage_error, such as: lm/assistant/rag/live: ValueError: boom (guest.py:",
        ),
        ("search", "return None", "stage_error, such as: lm/assistant/rag/live: TypeError: "),
        ("search", "raise asyncio.CancelledError", "stage_error, such as: lm/assistant/rag/live: CancelledError"),
        (
            "search",
            'return hits(DOCUMENTS, float("nan"))',
            "stage_error, such as: lm/assistant/rag/live: ValidationError: score: ",
        ),
        (
            "search",
            'return hits(DOCUMENTS, "inf")',
            "stage_error, such as: lm/assistant/rag/live: TypeError: ",
        ),
        (
            "search",
            'return hits(DOCUMENTS, float("inf"))',
            "stage_error, such as: lm/assistant/rag/live: ValidationError: score: ",
        ),
        (
            "search",
            'return [Hit(document=one, score=1.0, rank="best") for one in DOCUMENTS[:limit]]',
            "stage_error, such as: lm/assistant/rag/live: ValidationError: rank: ",
        ),
        (
            "search",
            'return hits([{"doc_id": "a", "body": "It costs 5 euros."}])',
            "stage_error, such as: lm/assistant/rag/live: AttributeError: 'dict' object has no attribute",
        ),
        (
            "search",
            'return hits([Document.model_construct(doc_id="a", body=5)])',
            "stage_error, such as: lm/assistant/rag/live: ",
        ),
        ("search", 'return hits([Document(doc_id="a", body="5 \\ud800 euros")])', "unwritable_text, such as: "),
        ("stage", 'raise ValueError("a\\nb")', "stage_error, such as: guest: ValueError: a b (guest.py:"),
        ("stage", "raise SystemExit(0)", "stage_error, such as: guest: SystemExit: 0"),
        (
            "stage",
            "return None",
            "stage_error, such as: guest: TypeError: a ConversationDataPoint must be returned, not NoneType",
        ),
        (
            "stage",
            'return talk.model_copy(update={"index": 99})',
            "stage_error, such as: guest: ValueError: another conversation was returned than the one that was given",
        ),
        ("stage", 'return talk.model_copy(update={"steps": ("x",)})', "stage_error, such as: guest: "),
    ],
)
def test_a_guest_that_breaks_a_conversation_costs_it_and_the_reason_is_told(tmp_path, told, part, code, line):
    ended, out, err = told(guest_task(tmp_path, **{part: code}))
    assert (ended, err) == (4, "")
    assert f"dropped 4: {line}" in out
    assert told(guest_task(tmp_path, **{part: code}))[0] == 4


def test_a_plugin_file_that_exits_is_refused(tmp_path, told):
    (tmp_path / "guest.py").write_text("raise SystemExit(0)\n")
    code, _, err = told(plugins=["guest.py"])
    assert code == 2 and err.endswith("guest.py: cannot be loaded: SystemExit: 0\n")
