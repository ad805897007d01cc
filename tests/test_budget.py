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
    model = {"type": "openai", "model": "test-model", "base_url": url, "prices": {"input": 1, "output": 1}}
    values = task_values(folder, num_outputs=12, models={"generator": model}, concurrency=1, **changes)
    (folder / "task.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    command = [sys.executable, "-m", "dgt_rag", "task.yaml", "--quiet"]
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
        # what was on the wire when the budget was spent may be asked for again
        assert len(server.requests) - asked <= 1


def test_the_codes_are_told_in_one_place(capsys):
    assert run_command(["--help"]) == Exit.MADE
    told = capsys.readouterr().out.partition("exit codes:\n")[2].partition("\n\n")[0].splitlines()
    assert [int(line.split()[0]) for line in told] == [*Exit] == [*EXIT_CODES]
