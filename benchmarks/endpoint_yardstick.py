"""What the endpoint benchmarks share: a yardstick server, a task for it, and runs through the command line.

The yardstick is any program that takes `--port 0 --latency S --max-concurrent N --log FILE`, prints its address and logs
one JSON line per call; its path comes from `--server` or the environment variable DGT_YARDSTICK.
"""

import argparse
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENTS = Path(__file__).parents[1] / "data" / "city_services" / "documents.jsonl"


def parser(doc: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=doc)
    made.add_argument(
        "--server", type=Path, default=os.environ.get("DGT_YARDSTICK"), required="DGT_YARDSTICK" not in os.environ
    )
    return made


@contextlib.contextmanager
def yardstick(server: Path, log: Path, *flags: str, port: int = 0) -> Iterator[str]:
    """Start the server and kill it at the end; yield its address."""
    command = [sys.executable, str(server), "--port", str(port), "--log", str(log), *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found is not None, "the yardstick did not print its address"
        yield found.group()
    finally:
        process.terminate()
        process.wait()


def task(folder: Path, url: str, count: int, **more: Any) -> Path:
    """Write a task of `count` conversations of up to six turns, on documents of realistic length."""
    whole: dict[str, Any] = {
        "task_name": "yardstick",
        "output_dir": str(folder / "output"),
        "num_outputs": count,
        "min_turns": 3,
        "max_turns": 6,
        "models": {"generator": {"type": "openai", "model": "mock-model", "base_url": url, **more}},
        "tools": {"engines": {"retriever": {"type": "search/file", "path": str(DOCUMENTS), "limit": 3}}},
        "initialization_stages": [
            {"name": "lm/scenario/rag", "document_samplers": [{"type": "search/random", "engine": "retriever", "k": 3}]}
        ],
        "iteration_stages": [
            {"name": "lm/flow_controller/rag", "patterns": "rag/standard"},
            {"name": "lm/user/rag"},
            {"name": "lm/assistant/rag/static"},
        ],
        "formatter": {"type": "messages"},
    }
    path = folder / "task.yaml"
    path.write_text(json.dumps(whole))  # JSON is YAML
    return path


def command(path: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "dgt_rag", str(path), *flags]


def logged(log: Path) -> list[dict[str, Any]]:
    """Return the server's own record of its calls."""
    with log.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def longest_chain(folder: Path) -> int:
    """Return the number of calls of the conversation that made most."""
    with sqlite3.connect(folder / "output" / "yardstick" / "calls.sqlite") as calls:
        found = calls.execute(
            "SELECT max(n) FROM (SELECT count(*) AS n FROM calls WHERE talk >= 0 GROUP BY talk)"
        ).fetchone()
    return int(found[0])


def outcomes(folder: Path) -> dict[str, int]:
    """Return how many conversations ended how."""
    counts: dict[str, int] = {}
    for line in (folder / "output" / "yardstick" / "journal.jsonl").read_bytes().splitlines():
        talk = json.loads(line)
        reason = talk.get("drop_reason") or talk["status"]
        counts[reason] = counts.get(reason, 0) + 1
    return counts
