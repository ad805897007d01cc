"""Many conversations: determinism, resume, stops."""

import asyncio
import json
import resource
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from building import ROOT, lines, task_values, write_corpus
from filelock import FileLock

from dgt_rag import load_task, run
from dgt_rag.commands.display import tell_result
from dgt_rag.dice import Dice
from dgt_rag.errors import BudgetSpent, EngineError, ServiceError, StoreError, TaskError
from dgt_rag.executors.local import work_off
from dgt_rag.pipeline.ledger import Ledger
from dgt_rag.pipeline.run import run_task
from dgt_rag.pipeline.way import Way
from dgt_rag.records import ConversationDataPoint
from dgt_rag.store.identity import identity
from dgt_rag.store.journal import Journal

LIVE = "lm/assistant/rag/live"


def final(folder: Path) -> bytes:
    return (folder / "output" / "small" / "final_data.jsonl").read_bytes()


@pytest.mark.parametrize("live", [False, True])
def test_rows_do_not_depend_on_how_many_conversations_are_in_the_air(tmp_path, live):
    one = tmp_path / "one"
    many = tmp_path / "many"
    for folder, concurrency in ((one, 1), (many, 64)):
        folder.mkdir()
        run(task_values(folder, live, num_outputs=30, concurrency=concurrency))
    assert final(one) == final(many)


def test_exactly_as_many_rows_as_asked_for_are_delivered(tmp_path):
    result = run(task_values(tmp_path, num_outputs=7))
    assert (
        result.summary.kept
        == len(lines(result.folder / "final_data.jsonl"))
        == len(lines(result.folder / "formatted_output.jsonl"))
        == 7
    )
    assert result.exit_code == 0


def test_rows_are_the_first_kept_by_index(tmp_path):
    result = run(task_values(tmp_path, num_outputs=12))
    indices = [row["index"] for row in lines(result.folder / "final_data.jsonl")]
    kept = sorted(row["index"] for row in lines(result.folder / "journal.jsonl") if row["status"] == "kept")
    assert indices == kept[:12]


def test_a_finished_run_makes_nothing_again(tmp_path):
    values = task_values(tmp_path)
    first = run(values)
    journal = (first.folder / "journal.jsonl").read_bytes()
    rows = final(tmp_path)
    run(values)
    assert (first.folder / "journal.jsonl").read_bytes() == journal
    assert final(tmp_path) == rows


def test_more_rows_go_on_from_those_there_are(tmp_path):
    values = task_values(tmp_path, num_outputs=4)
    run(values)
    before = final(tmp_path)
    run({**values, "num_outputs": 9})
    assert final(tmp_path).startswith(before)
    assert len(final(tmp_path).splitlines()) == 9
    run({**values, "num_outputs": 4})
    assert final(tmp_path) == before


async def test_fewer_rows_than_there_were_are_told_and_how_to_have_them_back(tmp_path):
    values, said = task_values(tmp_path, num_outputs=9), list[str]()
    run(values)
    rows = final(tmp_path)
    await run_task(load_task({**values, "num_outputs": 4}), Way(say=said.append))
    assert [line for line in said if "first 4 of 9 rows" in line and "num_outputs=9" in line]
    run(values)
    assert final(tmp_path) == rows


def test_a_torn_last_line_is_owed_again(tmp_path):
    values = task_values(tmp_path)
    result = run(values)
    rows = final(tmp_path)
    journal = result.folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    run(values)
    assert final(tmp_path) == rows
    assert len(lines(journal)) == len({row["index"] for row in lines(journal)})


def test_a_changed_task_is_refused_and_the_keys_are_named(tmp_path):
    run(task_values(tmp_path))
    with pytest.raises(StoreError) as refusal:
        run(task_values(tmp_path, max_turns=5))
    assert "changed: max_turns (4 → 5)" in str(refusal.value)
    assert "--restart" in str(refusal.value)


def test_rows_of_two_versions_are_told_and_both_are_recorded(tmp_path):
    values, said = task_values(tmp_path), []
    way = Way(say=said.append)
    path = asyncio.run(run_task(load_task(values), way)).folder / "run.json"
    facts, now = json.loads(path.read_text()), version("dgt-rag")
    assert (facts["dgt_rag"], facts["made_by"], said) == (now, [now], [])
    path.write_text(json.dumps({**facts, "dgt_rag": "0.0.1", "made_by": ["0.0.1"]}))
    asyncio.run(run_task(load_task({**values, "num_outputs": 7}), way))
    assert said == [
        f"{path.parent}: was begun with dgt_rag 0.0.1 and goes on with {now}: what is finished stays as it is; "
        "to have all rows made alike, start over with --restart"
    ]
    facts = json.loads(path.read_text())
    assert (facts["dgt_rag"], facts["made_by"], facts["figures"]["kept"]) == (now, ["0.0.1", now], 7)
    asyncio.run(run_task(load_task(values), Way(restart=True, say=said.append)))
    assert json.loads(path.read_text())["made_by"] == [now] and len(said) == 1


def test_a_run_that_cannot_start_over_leaves_what_there_is(tmp_path):
    run(task_values(tmp_path))
    before = final(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(EngineError):
        run(task_values(tmp_path), restart=True)
    assert final(tmp_path) == before


def test_a_full_disk_is_one_line_and_costs_nothing_that_was_written(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    journal.add(ConversationDataPoint(index=0).keep())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 50, limits[1]))
    try:
        with pytest.raises(StoreError, match="cannot be written"):
            journal.add(ConversationDataPoint(index=1).drop("x", "y" * 1000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        journal.close()
    assert list(Journal(journal.path).entries) == [0]


def test_a_dropped_conversation_is_kept_as_far_as_it_came(tmp_path):
    question = {"message": "What does it cost?"}
    values = task_values(tmp_path, num_outputs=1, max_attempts=1)
    values["models"] = {
        "generator": {
            "type": "scripted",
            "replies": {
                "scenario": [{"scenario": "A case."}],
                "flow": [{"choice": 1, "hint": "Ask about the price."}],
                "user": [question],
                "answer": ["no JSON"],
            },
        }
    }
    result = run(values)
    (row,) = lines(result.folder / "journal.jsonl")
    assert (row["status"], row["drop_reason"], row["raw"]) == ("dropped", "bad_reply", "no JSON")
    assert row["steps"][-1]["content"] == question["message"]


def test_what_failed_after_the_last_whole_turn_stands_with_the_conversation_that_is_kept(tmp_path, capsys):
    asking = {"type": "scripted", "replies": {"user": [{"message": "When are the bins emptied?"}, "no JSON"]}}
    values = task_values(tmp_path, num_outputs=1, max_attempts=1, min_turns=1)
    values["models"] = {"generator": {"type": "extractive"}, "asking": asking}
    values["iteration_stages"][1]["generator"] = "asking"
    result = run(values)
    (row,) = lines(result.folder / "final_data.jsonl")
    assert (row["status"], row["drop_reason"], row["raw"]) == ("kept", None, "no JSON")
    assert row["cut_short"].startswith("bad_reply: user: ")
    assert result.facts["figures"]["cut_short"] == {"bad_reply": 1}
    tell_result(result, 0, quiet=False)
    assert "kept up to their last whole turn, since something failed after it: 1 bad_reply" in capsys.readouterr().out


def test_a_changed_corpus_is_refused_until_the_run_starts_over(tmp_path):
    run(task_values(tmp_path))
    write_corpus(tmp_path / "corpus.jsonl", {"bins": "Waste is collected every Friday, also on holidays."})
    with pytest.raises(StoreError, match="corpus of retriever"):
        run(task_values(tmp_path))
    assert run(task_values(tmp_path, num_outputs=1), restart=True).summary.kept == 1


def test_a_second_run_on_one_folder_is_refused(tmp_path):
    result = run(task_values(tmp_path))
    with FileLock(result.folder / ".lock"), pytest.raises(StoreError, match="another run is at work"):
        run(task_values(tmp_path))


def test_an_unwritable_output_folder_is_one_line(tmp_path):
    (tmp_path / "output").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="cannot be written"):
        run(task_values(tmp_path))


def test_an_empty_corpus_is_refused(tmp_path):
    (tmp_path / "corpus.jsonl").write_text("")
    with pytest.raises(EngineError, match=r"empty|no document"):
        run(task_values(tmp_path))


def test_a_spent_budget_stops_the_run_and_leaves_it_resumable(tmp_path):
    values = task_values(tmp_path, num_outputs=400, max_minutes=0.003)
    with pytest.raises(BudgetSpent, match="max_minutes"):
        run(values)
    begun = len(lines(tmp_path / "output" / "small" / "journal.jsonl"))
    result = run({**values, "max_minutes": None, "num_outputs": begun + 2})
    assert result.summary.kept == begun + 2


def test_the_saved_task_can_be_run_again_and_makes_the_same_rows(tmp_path):
    result = run(task_values(tmp_path))
    rows = final(tmp_path)
    run(load_task(result.folder / "task.yaml", f"output_dir={tmp_path / 'again'}"))
    assert (tmp_path / "again" / "small" / "final_data.jsonl").read_bytes() == rows


def test_one_document_is_enough_for_conversations(tmp_path):
    write_corpus(
        tmp_path / "corpus.jsonl",
        {"bins": "Household waste is collected every Tuesday. A second bin costs 48 euros a year."},
    )
    assert run(task_values(tmp_path, num_outputs=2)).summary.kept == 2


def command(folder: Path, live: bool, count: int) -> list[str]:
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(task_values(folder, live, num_outputs=count, concurrency=16)))
    return [sys.executable, "-m", "dgt_rag", str(path), "--quiet"]


def killed(words: list[str], after: float, how: int) -> int:
    """Run, send a signal after so many seconds, and return the exit code; what is said must be no traceback."""
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
        _, said = process.communicate()
    assert "Traceback" not in said
    return process.returncode


def test_killed_at_twenty_moments_and_resumed_the_rows_are_the_same(tmp_path):
    undisturbed = tmp_path / "undisturbed"
    disturbed = tmp_path / "disturbed"
    for folder in (undisturbed, disturbed):
        folder.mkdir()
    count = 400
    began = time.monotonic()
    assert subprocess.run(command(undisturbed, True, count), cwd=ROOT, check=False).returncode == 0
    whole = time.monotonic() - began
    words = command(disturbed, True, count)
    for moment in range(20):
        killed(words, whole * (0.15 + 0.04 * moment), signal.SIGKILL)
    assert subprocess.run(words, cwd=ROOT, check=False).returncode == 0
    assert final(disturbed) == final(undisturbed)
    journal = lines(disturbed / "output" / "small" / "journal.jsonl")
    assert len(journal) == len({row["index"] for row in journal})


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_writes_what_is_finished_and_can_be_resumed(tmp_path, how):
    words = command(tmp_path, False, 3000)
    journal = tmp_path / "output" / "small" / "journal.jsonl"
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while not journal.exists() or journal.read_bytes().count(b"\n") < 5:
            time.sleep(0.05)
        process.send_signal(how)
        _, said = process.communicate()
    assert "interrupted" in said
    assert "Traceback" not in said
    assert process.returncode == 130
    rows = len(final(tmp_path).splitlines())
    assert rows >= 5
    facts = json.loads((tmp_path / "output" / "small" / "run.json").read_text())
    assert facts["status"] == "stopped"
    assert run(task_values(tmp_path, num_outputs=rows + 1)).summary.kept == rows + 1


async def test_a_run_can_be_awaited_inside_a_loop(tmp_path):
    from dgt_rag import arun

    result = await asyncio.wait_for(arun(task_values(tmp_path, num_outputs=2)), 60)
    assert [talk.status for talk in result.conversations()] == ["kept", "kept"]


async def test_a_run_can_be_started_where_a_loop_is_running_as_in_a_notebook(tmp_path):
    assert run(task_values(tmp_path, num_outputs=1)).summary.kept == 1


async def test_what_is_delivered_does_not_depend_on_what_ends_first(tmp_path):
    """Every third is dropped; they end in drawn orders, many at a time."""
    delivered = set()
    begun = []
    for order in range(8):
        journal = Journal(tmp_path / f"{order}.jsonl")
        ledger = Ledger(journal, 20, 40)
        dice = Dice("order", order)

        async def make(index: int, journal: Journal = journal, ledger: Ledger = ledger, dice: Dice = dice) -> None:
            for _ in range(dice.child(index).below(12)):
                await asyncio.sleep(0)
            talk = ConversationDataPoint(index=index)
            journal.add(talk.drop("third") if index % 3 == 0 else talk.keep())
            ledger.end(index)

        await work_off(ledger.owed(), make, lambda width=1 + 5 * order: width, lambda ledger=ledger: ledger.complete)
        delivered.add(tuple(journal.kept(20)))
        begun.append(len(journal.entries))
        journal.close()
    assert delivered == {tuple(index for index in range(31) if index % 3)}
    assert begun[0] == 30
    assert max(begun) <= 40


async def test_drops_that_come_first_do_not_make_a_run_begin_far_more_than_it_needs(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    ledger = Ledger(journal, 300, 600)

    async def make(index: int) -> None:
        for _ in range(2 if index < 3 else 50):
            await asyncio.sleep(0)
        talk = ConversationDataPoint(index=index)
        journal.add(talk.drop("early") if index < 3 else talk.keep())
        ledger.end(index)

    await work_off(ledger.owed(), make, lambda: 1000, lambda: ledger.complete)
    assert list(journal.kept(300)) == list(range(3, 303))
    assert ledger.begun | set(journal.entries) <= set(range(308))
    journal.close()


def test_settings_that_do_not_change_the_rows_may_differ_when_a_run_is_resumed(tmp_path):
    endpoint = {"type": "openai", "model": "m", "base_url": "http://localhost:1/v1"}
    before = load_task(task_values(tmp_path, models={"generator": endpoint}))
    moved = {**endpoint, "base_url": "http://localhost:2/v1", "retry": {"attempts": 9}, "limits": {"in_flight": 3}}
    after = load_task(task_values(tmp_path, models={"generator": moved}, concurrency=5))
    other = load_task(task_values(tmp_path, models={"generator": {**endpoint, "model": "n"}}))
    assert identity(before, {}) == identity(after, {})
    assert identity(before, {}) != identity(other, {})


@pytest.mark.parametrize("live", [False, True])
def test_an_engine_that_no_stage_uses_is_not_opened(tmp_path, live):
    values = task_values(tmp_path, live, num_outputs=2)
    nowhere = {
        "type": "openai",
        "model": "m",
        "base_url": "http://127.0.0.1:9/v1",
        "retry": {"attempts": 1, "dead_after": 0.1},
    }
    corpus = {"corpus": [{"id": "1", "text": "a ferry"}]}
    values["tools"]["engines"]["other"] = {"type": "search/vector", "embedder": nowhere, **corpus}
    if live:
        with pytest.raises(ServiceError, match=r"^engine 'other': embeddings at 127\.0\.0\.1:9"):
            run(values)
        with pytest.raises(TaskError, match="unknown tool 'othr'; did you mean 'other'"):
            run(
                {
                    **values,
                    "iteration_stages": [*values["iteration_stages"][:2], {"name": LIVE, "tools": ["othr"]}],
                }
            )
        values["iteration_stages"][2]["tools"] = ["retriever"]
    assert run(values).summary.kept == 2
    fused = {"type": "search/hybrid", "engines": ["retriever", "other"]}
    values["tools"]["engines"]["both"] = fused
    values["initialization_stages"][0]["document_samplers"][0]["engine"] = "both"
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:9"):
        run({**values, "task_name": "fused", "iteration_stages": task_values(tmp_path)["iteration_stages"]})


def test_an_index_an_embedder_and_a_service_may_be_moved_before_a_run_is_resumed(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": "1", "text": "a"}\n')

    def engines(index_dir, limit=5, **moved):
        embedder = {"type": "openai", "model": "m", "base_url": "http://localhost:1/v1", **moved}
        kept = {"path": str(path), "index_dir": str(tmp_path / index_dir)}
        service = {
            "type": "search/http",
            "url": "http://localhost:1/s",
            "headers": {"X-Token": index_dir},
            "limit": limit,
        }
        words = {"type": "search/file", **kept}
        vectors = {"type": "search/vector", "embedder": embedder, **kept}
        values = task_values(tmp_path)
        values["tools"]["engines"].update(words=words, vectors=vectors, service=service)
        return identity(load_task(values), {})

    before = engines("here")
    assert (
        engines("there", base_url="http://localhost:2/v1", batch=4, in_flight=2, headers={"X-Token": "new"}) == before
    )
    assert engines("here", model="n") != before
    assert engines("here", query_prefix="query: ") != before
    assert engines("here", limit=6) != before


def test_an_address_with_a_password_is_refused(tmp_path):
    endpoint = {"type": "openai", "model": "m", "base_url": "http://user:secret@localhost:1/v1"}
    with pytest.raises(TaskError, match="holds no user, password or key") as refusal:
        load_task(task_values(tmp_path, models={"generator": endpoint}))
    assert "secret" not in str(refusal.value)
