"""A run that its own budget stops: its rows are written, its exit code says so, and it goes on."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from building import lines, task_values
from endpoint import Body, Endpoint, Said, honest, text

from dgt_rag.cli import run_command
from dgt_rag.errors import EXIT_CODES, Exit

ROOT = Path(__file__).parents[1]


def unanswerable(body: Body, seen: int) -> Said:
    """Answer as a good endpoint does whose answers say that the documents hold none."""
    value = json.loads(honest(body, seen).message["content"])
    if "citations" in value:
        value |= {"citations": [], "answerability": "unanswerable"}
    return text(json.dumps(value))


async def program(folder: Path, url: str, **changes: object) -> tuple[int, str]:
    """Run a task of twelve conversations through the command line."""
    task(folder, "task.yaml", url, **{"concurrency": 1, **changes})
    return await command_line(folder, "task.yaml")


def task(folder: Path, name: str, url: str, **changes: object) -> None:
    model = {"type": "openai", "model": "test-model", "base_url": url, "prices": {"input": 1, "output": 1}}
    values = task_values(folder, **{"num_outputs": 12, "models": {"generator": model}, **changes})
    (folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")


async def command_line(folder: Path, *names: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "dgt_rag", *names, "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("budget", "way_on"),
    [
        ({"max_tokens": 20_000}, "the same command with more goes on from here"),
        ({"max_cost": 0.02}, "the same command with more goes on from here"),
        ({"max_minutes": 0.02}, "the same command goes on from here"),
    ],
    ids=lambda budget: next(iter(budget)) if isinstance(budget, dict) else "",
)
async def test_a_run_that_its_budget_stops_writes_its_rows_says_so_and_goes_on(tmp_path, budget, way_on):
    (key,) = budget
    async with Endpoint(unanswerable, latency=0.03) as server:
        code, said = await program(tmp_path, server.url, **budget)
        assert code == Exit.BUDGET_SPENT
        assert f": {key} is reached (" in said and said.endswith(f"; {way_on}\n") and said.count("\n") == 1
        made = lines(tmp_path / "output/small/final_data.jsonl")
        assert json.loads((tmp_path / "output/small/run.json").read_text())["status"] == "stopped"
        assert 0 < len(made) < 12
        assert len(lines(tmp_path / "output/small/formatted_output.jsonl")) == len(made)
        assert await program(tmp_path, server.url) == (Exit.MADE, "")
    assert lines(tmp_path / "output/small/final_data.jsonl")[: len(made)] == made
    assert json.loads((tmp_path / "output/small/run.json").read_text())["status"] == "complete"


async def test_a_budget_that_is_spent_already_is_not_spent_again(tmp_path):
    async with Endpoint(unanswerable, latency=0.03) as server:
        assert (await program(tmp_path, server.url, max_tokens=20_000))[0] == Exit.BUDGET_SPENT
        asked = len(server.requests)
        assert (await program(tmp_path, server.url, max_tokens=20_000))[0] == Exit.BUDGET_SPENT
        assert len(server.requests) == asked


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_budget_is_kept_to_but_for_what_is_in_flight_of_which_nothing_is_thrown_away(tmp_path, processes):
    async with Endpoint(unanswerable, latency=0.05) as server:
        limit = 60_000
        code, _ = await program(
            tmp_path, server.url, max_tokens=limit, concurrency=16, num_outputs=200, processes=processes
        )
        assert code == Exit.BUDGET_SPENT
        used = json.loads((tmp_path / "output/small/run.json").read_text())["usage"]["totals"]
        assert used["calls"] == len(server.requests) == server.statuses[200]
        tokens = used["prompt_tokens"] + used["completion_tokens"]
        assert limit <= tokens <= limit + 16 * tokens / used["calls"]


async def test_a_task_that_its_budget_stops_does_not_stop_the_others_of_its_command(tmp_path):
    async with Endpoint(unanswerable, latency=0.02) as server:
        task(tmp_path, "one.yaml", server.url, task_name="one", max_tokens=5_000)
        task(tmp_path, "two.yaml", server.url, task_name="two", num_outputs=3)
        code, said = await command_line(tmp_path, "one.yaml", "two.yaml")
    assert code == Exit.BUDGET_SPENT
    assert "one: max_tokens is reached" in said and said.count("\n") == 1
    states = {name: json.loads((tmp_path / f"output/{name}/run.json").read_text())["status"] for name in ("one", "two")}
    assert states == {"one": "stopped", "two": "complete"}
    assert len(lines(tmp_path / "output/two/final_data.jsonl")) == 3


async def test_a_cost_that_cannot_be_known_is_refused(tmp_path):
    model = {"type": "openai", "model": "test-model", "base_url": "http://localhost:1/v1"}
    task(tmp_path, "task.yaml", "", models={"generator": model}, max_cost=1.0)
    code, said = await command_line(tmp_path, "task.yaml")
    assert code == Exit.YOURS
    assert "max_cost: what a call costs is not known; give models.generator.prices" in said


def test_the_codes_are_told_in_one_place(capsys):
    assert run_command(["--help"]) == Exit.MADE
    told = capsys.readouterr().out.partition("exit codes:\n")[2].partition("\n\n")[0].splitlines()
    assert [int(line.split()[0]) for line in told] == [*Exit] == [*EXIT_CODES]
