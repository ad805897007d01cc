"""A real, bad language model behind a real server, through the command line: the wire is right, and nothing false is kept."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from language_model import MODEL, language_model, missing
from pydantic import BaseModel

from dgt_rag.dice import Dice
from dgt_rag.errors import ModelError
from dgt_rag.llm.base import Ask, Sampling
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.llm.probe import probe
from dgt_rag.records import ConversationDataPoint, Document
from dgt_rag.stages.nonsense import is_no_language
from dgt_rag.store.calls import open_calls
from dgt_rag.validation import faults
from dgt_rag.world import World

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "there is a model")
PROMPTS = Path(__file__).parent / "plain_prompts"
DOCUMENTS = [
    ("d1", "Borrowing tools", "Members may borrow up to five tools at a time. The loan period is two weeks."),
    ("d2", "Late returns", "A late tool costs one euro a day, up to twenty euros. Pay at the desk or by card."),
    (
        "d3",
        "Opening hours",
        "The tool library is open on Tuesday and Friday from 16:00 to 19:00. It is closed in August.",
    ),
    ("d4", "Joining", "Anyone over eighteen who lives in the city can join. The yearly fee is thirty euros."),
]
CONTEXT = 4096


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    # a place for each chain of prompts that conversations at work send in turns: the assistant's and the scenario's
    with language_model(slots=4, context=CONTEXT) as address:
        yield address


def task(folder: Path, url: str, assistant: str) -> Path:
    """Write a task in which the real model invents the situations and plays the assistant.

    The person and the critic are the embedded model: a person who talks sense, and a judge that this assistant cannot talk round.
    """
    lines = [json.dumps({"id": key, "title": title, "text": text}) for key, title, text in DOCUMENTS]
    (folder / "documents.jsonl").write_text("\n".join(lines) + "\n")
    real = {
        "type": "openai",
        "model": MODEL,
        "base_url": url,
        "sampling": {"max_tokens": 200, "temperature": 0.2},
        # without it a model of this size goes round in circles
        "extra_body": {"repeat_penalty": 1.1},
    }
    whole = {
        "task_name": assistant,
        "output_dir": str(folder / "output"),
        "num_outputs": 3,
        "max_attempts": 8,
        "concurrency": 2,
        "min_turns": 1,
        "max_turns": 2,
        "models": {"generator": real, "plain": {"type": "extractive"}},
        "tools": {"engines": {"retriever": {"type": "search/file", "path": "documents.jsonl", "limit": 2}}},
        "initialization_stages": [
            {"name": "lm/scenario/rag", "document_samplers": [{"type": "search/random", "engine": "retriever", "k": 2}]}
        ],
        "iteration_stages": [
            {"name": "lm/flow_controller/rag", "generator": "plain"},
            {"name": "lm/user/rag", "generator": "plain"},
            {"name": f"lm/assistant/rag/{assistant}", "max_retries": 8, "critic": "plain"},
        ],
        "formatter": {"type": "messages"},
    }
    path = folder / f"{assistant}.yaml"
    path.write_text(json.dumps(whole))  # JSON is YAML
    return path


def started(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "dgt_rag", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})


def count(folder: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{folder / 'calls.sqlite'}?mode=ro", uri=True)) as calls:
            found: int = calls.execute("SELECT count(*) FROM calls").fetchone()[0]
            return found
    except sqlite3.Error:
        return 0


def journal(folder: Path) -> list[ConversationDataPoint]:
    lines = (folder / "journal.jsonl").read_bytes().splitlines()
    return [ConversationDataPoint.model_validate(_talk(json.loads(line))) for line in lines if line.startswith(b"{")]


def _talk(line: dict[str, Any]) -> dict[str, Any]:
    return line.get("talk", line)


def check_run(folder: Path, output: str, code: int) -> None:
    """Hold what a run on a bad model owes: an end, a reason for every drop, and rows of which all that is promised is true."""
    assert code == 0, output
    assert "Traceback" not in output
    talks = journal(folder)
    assert len({talk.index for talk in talks}) == len(talks) >= 3
    assert all(talk.status == "kept" or talk.drop_reason for talk in talks)
    bodies = {key: text for key, _, text in DOCUMENTS}
    for talk in talks:
        if talk.status == "kept":
            quotes = [c for step in talk.steps if step.role == "assistant" for c in step.citations]
            assert all(bodies[quote.doc_id][quote.start : quote.end] == quote.quote for quote in quotes)
            calls = [step.content.call_id for step in talk.steps if step.role == "tool_call"]
            assert calls == [step.content.call_id for step in talk.steps if step.role == "tool_result"]
            answers = [step for step in talk.steps if step.role == "assistant"]
            assert all(step.citations for step in answers if step.answerability in {"answerable", "partial"})
            assert not any(is_no_language(step.content, bodies.values()) for step in answers)
            assert not faults(talk)
    assert any(talk.status == "kept" for talk in talks), [talk.drop_reason for talk in talks]
    cited = [step for talk in talks for step in talk.steps if step.role == "assistant" and step.citations]
    assert cited, "no answer rests on a document"


def ended(run: "subprocess.Popen[str]") -> str:
    """Return what a run has said at its end; one that hangs is killed, so that it takes nothing from the next."""
    try:
        return run.communicate(timeout=1500)[0]
    finally:
        run.kill()
        run.wait()


def test_a_static_task_is_killed_resumed_and_ends_with_true_rows(url: str, tmp_path: Path):
    path, folder = task(tmp_path, url, "static"), tmp_path / "output" / "static"
    run = started(path)
    while run.poll() is None and count(folder) < 5:
        time.sleep(0.2)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    before = count(folder)
    again = started(path)
    output = ended(again)
    check_run(folder, output, again.returncode)
    with open_calls(folder / "calls.sqlite") as store:
        totals = store.totals()
    assert totals["cached_tokens"] >= 0.6 * totals["prompt_tokens"]
    assert before
    with closing(sqlite3.connect(folder / "calls.sqlite")) as calls:
        total, different = calls.execute("SELECT count(*), count(DISTINCT key) FROM calls").fetchone()
    # no request was paid for twice: what was asked before the kill was answered from the store
    assert total == different > before


def test_a_live_task_goes_on_where_the_endpoint_ignores_tools(url: str, tmp_path: Path):
    run = started(task(tmp_path, url, "live"))
    output = ended(run)
    folder = tmp_path / "output" / "live"
    check_run(folder, output, run.returncode)
    assert "ignores tools" in output
    with open_calls(folder / "calls.sqlite") as store:
        totals, purposes = store.totals(), {row["purpose"] for row in store.by("purpose")}
    assert totals["cached_tokens"] >= 0.6 * totals["prompt_tokens"]
    # what it could not call it said, and answered from what was found
    assert {"probe", "search", "move"} <= purposes


class Says(BaseModel):
    """A reply with no end in sight."""

    words: list[str]


async def test_context_overflow_and_truncation_are_met_for_real(url: str):
    model = OpenAIModel(model=MODEL, base_url=url)

    def ask(body: str, longest: int) -> Ask:
        documents = (Document(doc_id="d", body=body),)
        values = {"documents": documents, "examples": (), "instructions": ""}
        talk = ConversationDataPoint()
        return Ask("search", talk, values, Says, Dice("x"), sampling=Sampling(max_tokens=longest))

    async with model.open(World(prompts=PROMPTS)) as speaker:
        with pytest.raises(ModelError) as long:
            await speaker.reply(ask("word " * 3 * CONTEXT, 16))
        assert long.value.reason == "context_too_long"
        with pytest.raises(ModelError) as cut:
            await speaker.reply(ask("A short text.", 2))
        assert cut.value.reason == "truncated"
        assert cut.value.raw


async def test_the_probe_tells_what_the_endpoint_can_do(url: str):
    async def lines() -> list[str]:
        return [line async for line in probe({"generator": OpenAIModel(model=MODEL, base_url=url)})]

    told = "\n".join(await asyncio.wait_for(lines(), 900))
    assert "lists the model" in told
    assert "JSON: obeys a JSON schema" in told
    assert "tools: ignored" in told
