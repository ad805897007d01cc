"""Several processes at one run: the same rows, one order, one limit, and nothing lost when one of them is killed."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from building import ROOT, lines, task_values
from endpoint import Body, Endpoint, Said

from dgt_rag import arun, load_task, run
from dgt_rag.errors import Exit, ModelClosed
from dgt_rag.executors.channel import Channel
from dgt_rag.guard import Guards
from dgt_rag.pipeline.crew import Lead, Mate
from dgt_rag.pipeline.growth import Load
from dgt_rag.pipeline.order import Order
from dgt_rag.pipeline.run import RunResult, run_task
from dgt_rag.pipeline.way import Way
from dgt_rag.records import ConversationDataPoint, Document

CHILDREN = Path("/proc/self/task").exists()


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def rows(folder: Path) -> bytes:
    return (folder / "output" / "small" / "final_data.jsonl").read_bytes()


@pytest.fixture
def alone(tmp_path: Path) -> Callable[..., bytes]:
    """Rows of the same task as one process makes them."""

    def made(**changes: Any) -> bytes:
        folder = tmp_path / "alone"
        folder.mkdir()
        run(task_values(folder, **changes))
        return rows(folder)

    return made


@pytest.mark.parametrize("live", [False, True])
def test_rows_do_not_depend_on_how_many_processes_make_them(tmp_path, alone, live):
    result = run(task_values(tmp_path, live=live, num_outputs=40, processes=3))
    assert facts(result.folder)["worker_processes"] == 3
    assert rows(tmp_path) == alone(live=live, num_outputs=40)


def remote(folder: Path, url: str, **changes: Any) -> dict[str, Any]:
    model = {"type": "openai", "model": "test-model", "base_url": url}
    return task_values(folder, models={"generator": model}, **changes)


async def test_all_processes_share_one_limit_and_every_call_is_counted_once(tmp_path):
    async with Endpoint(latency=0.01) as server:
        model = {"type": "openai", "model": "test-model", "base_url": server.url, "limits": {"in_flight": 3}}
        values = task_values(tmp_path, models={"generator": model}, num_outputs=12, processes=2, max_attempts=12)
        result = await arun(values)
    assert server.peak <= 3
    made = facts(result.folder)
    assert made["endpoints"][f"test-model at {server.url.removeprefix('http://')}"]["outcomes"] == {
        "ok": len(server.requests)
    }
    assert made["usage"]["totals"]["calls"] == len(server.requests) > 12


async def test_a_run_that_has_become_too_much_for_one_process_is_handed_over_and_nothing_is_asked_twice(tmp_path):
    async with Endpoint(latency=0.05) as server:
        model = {"type": "openai", "model": "test-model", "base_url": server.url, "limits": {"in_flight": 6}}
        values = task_values(tmp_path, models={"generator": model}, num_outputs=60, max_attempts=60)
        result = await run_task(load_task(values), Way(processes=2, load=lambda: 1.0))
    assert facts(result.folder)["worker_processes"] == 2
    bodies = [json.dumps(body, sort_keys=True) for body in server.requests]
    assert len(set(bodies)) == len(bodies) == facts(result.folder)["usage"]["totals"]["calls"]
    alone = tmp_path / "alone"
    alone.mkdir()
    async with Endpoint() as server:
        model["base_url"] = server.url
        one = await arun(task_values(alone, models={"generator": model}, num_outputs=60, max_attempts=60))
    assert facts(one.folder)["worker_processes"] == 0
    # other ports, so other marks of the endpoint, and else the same
    assert (result.folder / "journal.jsonl").exists()
    assert [talk.steps for talk in journal(result)] == [talk.steps for talk in journal(one)]


def journal(result: RunResult) -> list[ConversationDataPoint]:
    lines = (result.folder / "journal.jsonl").read_bytes().splitlines()
    return sorted((ConversationDataPoint.model_validate_json(line) for line in lines), key=lambda talk: talk.index)


async def test_conversations_of_an_endpoint_that_dies_go_on_at_another_one_in_every_process(tmp_path):
    async with Endpoint(latency=0.02) as lasting:
        dying = Endpoint(latency=0.02)
        await dying.start()
        model = {"type": "openai", "model": "test-model", "base_urls": [dying.url, lasting.url]}
        values = task_values(tmp_path, models={"generator": model}, num_outputs=30, max_attempts=30, processes=2)
        going = asyncio.create_task(arun(values))
        while len(dying.requests) < 40:
            await asyncio.sleep(0.01)
        await dying.stop()
        result = await asyncio.wait_for(going, 100)
    assert facts(result.folder)["worker_processes"] == 2
    assert {talk.index for talk in journal(result)} == set(range(30))
    assert "connection" not in {talk.drop_reason for talk in journal(result)}


async def test_a_run_that_ends_while_a_process_is_starting_does_not_wait_for_it(tmp_path):
    async with Endpoint(latency=0.02) as server:
        # a second passes until the load is seen, and another until a new process is ready
        values = remote(tmp_path, server.url, num_outputs=40, max_attempts=40)
        model = values["models"]["generator"]
        model["limits"] = {"in_flight": 16}
        result = await asyncio.wait_for(run_task(load_task(values), Way(processes=2, load=lambda: 1.0)), 60)
    assert {talk.index for talk in journal(result)} == set(range(40))


async def test_a_conversation_that_ends_as_it_is_given_up_does_no_harm():
    ours, theirs = socket.socketpair()
    mate = Mate(Channel(*await asyncio.open_connection(sock=ours)), Lead(Guards(), Order(), print), print)
    worker = Channel(*await asyncio.open_connection(sock=theirs))
    worker.send("made", 0, ConversationDataPoint(task_name="small", index=0).model_dump_json())
    worker.send("ready")
    await asyncio.sleep(0.05)
    making = asyncio.create_task(mate.make(0))
    await asyncio.sleep(0)
    listening = asyncio.create_task(mate.listen())
    making.cancel()
    mate.ready.cancel()
    await worker.close()
    await asyncio.wait_for(listening, 10)
    assert making.cancelled()
    await mate.channel.close()


def test_two_that_ask_for_the_load_at_once_are_told_the_same():
    load = Load()
    time.sleep(0.3)
    first = load()
    assert sum(range(100_000)) and load() == first


def test_a_file_in_the_present_folder_is_no_module_of_a_worker(tmp_path):
    for name in ("jsonlines", "filelock", "platformdirs"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user')\n")
    path = tmp_path / "task.json"
    path.write_text(json.dumps(task_values(tmp_path, num_outputs=4, processes=2)))
    # as the console script does, which looks for no module in the present folder
    program = "import sys; from dgt_rag.cli import run_command; sys.exit(run_command(sys.argv[1:]))"
    command = [sys.executable, "-P", "-c", program, str(path), "--quiet", "--show", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (Exit.MADE, "")
    assert facts(tmp_path / "output" / "small")["worker_processes"] == 2


def test_a_run_that_has_all_it_wants_starts_no_process(tmp_path):
    run(task_values(tmp_path))
    assert facts(run(task_values(tmp_path, processes=2)).folder)["worker_processes"] == 0


async def test_what_stops_one_process_stops_the_run_with_its_line(tmp_path):
    def closed(body: Body, seen: int) -> Said | None:
        return Said(status=401, raw=b'{"error": {"message": "wrong key"}}') if len(body["messages"]) > 0 else None

    async with Endpoint(closed) as server:
        with pytest.raises(ModelClosed, match="wrong key"):
            await arun(remote(tmp_path, server.url, processes=2))


def test_documents_and_plugins_of_the_task_reach_every_process(tmp_path):
    plugin = tmp_path / "loud.py"
    plugin.write_text(
        "from typing import Literal\n"
        "from dgt_rag.stages.base import Stage\n"
        "class Loud(Stage):\n"
        "    name: Literal['loud'] = 'loud'\n"
        "    async def __call__(self, talk, bench):\n"
        "        print('a guest prints')\n"
        "        return talk\n"
    )
    documents = [
        Document(doc_id=f"d{n}", title=f"Tool {n}", body=f"Tool {n} costs {n + 2} euros a day.") for n in range(9)
    ]
    values = task_values(tmp_path, num_outputs=8, processes=2, plugins=[str(plugin)])
    values["tools"] = {"engines": {"retriever": {"type": "search/in_memory"}}}
    values["initialization_stages"][0]["document_samplers"][0].pop("group_by")
    values["iteration_stages"].append({"name": "loud"})
    result = run(values, corpora={"retriever": documents})
    assert result.exit_code == Exit.MADE
    assert facts(result.folder)["worker_processes"] == 2


def test_a_plugin_that_only_one_process_knows_leaves_the_run_to_that_one(tmp_path, capfd):
    from dgt_rag.stages.base import Stage

    class Local(Stage):
        name: str = "local"

        async def __call__(self, talk: Any, bench: Any) -> Any:
            return talk

    values = task_values(tmp_path, processes=2)
    values["iteration_stages"].append({"name": "local"})
    result = run(values, plugins=[Local])
    assert facts(result.folder)["worker_processes"] == 0
    assert result.exit_code == Exit.MADE


def started(folder: Path, count: int, processes: int = 2) -> "subprocess.Popen[bytes]":
    path = folder / "task.json"
    path.write_text(json.dumps(task_values(folder, num_outputs=count, processes=processes)))
    command = [sys.executable, "-m", "dgt_rag", str(path), "--quiet", "--show", "0"]
    return subprocess.Popen(command, cwd=ROOT)


def workers(run: "subprocess.Popen[bytes]", journal: Path, least: int) -> list[int]:
    """Return the process ids of a run's workers, once it has ended some conversations."""
    while run.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < least):
        time.sleep(0.02)
    return [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not CHILDREN, reason="finds the worker processes under /proc")
def test_a_worker_that_is_killed_costs_nothing(tmp_path, alone):
    run = started(tmp_path, 150)
    killed = workers(run, tmp_path / "output" / "small" / "journal.jsonl", 20)[0]
    os.kill(killed, signal.SIGKILL)
    assert run.wait(120) == Exit.MADE
    assert rows(tmp_path) == alone(num_outputs=150)


@pytest.mark.skipif(not CHILDREN, reason="finds the worker processes under /proc")
def test_workers_that_are_lost_now_and_then_never_stop_a_run(tmp_path, alone):
    """One after the other until none is left, each after others have made something; the last rows are made without."""
    run = started(tmp_path, 400, processes=5)
    journal = tmp_path / "output" / "small" / "journal.jsonl"
    least = 20
    for pid in workers(run, journal, least):
        least += 20
        workers(run, journal, least)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert run.wait(120) == Exit.MADE
    assert rows(tmp_path) == alone(num_outputs=400)


@pytest.mark.skipif(not CHILDREN, reason="finds the worker processes under /proc")
def test_killed_together_with_its_workers_a_run_is_resumed_and_leaves_no_process(tmp_path, alone):
    run = started(tmp_path, 150)
    there = workers(run, tmp_path / "output" / "small" / "journal.jsonl", 20)
    run.kill()
    run.wait()
    end = time.monotonic() + 30
    while not all(gone(pid) for pid in there) and time.monotonic() < end:
        time.sleep(0.05)
    assert there
    assert all(gone(pid) for pid in there)
    again = started(tmp_path, 150)
    assert again.wait(120) == Exit.MADE
    assert rows(tmp_path) == alone(num_outputs=150)


def test_an_interrupted_run_ends_its_workers_and_keeps_what_is_finished(tmp_path):
    run = started(tmp_path, 3000)
    journal = tmp_path / "output" / "small" / "journal.jsonl"
    there = workers(run, journal, 20) if CHILDREN else []
    run.send_signal(signal.SIGINT)
    assert run.wait(60) == Exit.INTERRUPTED
    assert all(gone(pid) for pid in there)
    assert len(rows(tmp_path).splitlines()) >= 20
    assert lines(journal)
