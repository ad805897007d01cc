"""The store of model calls: what was paid for is found again, counted, and survives a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dgt_rag.errors import StoreError
from dgt_rag.store.calls import open_calls

KEY, OTHER = "ab" * 32, "cd" * 32


def test_a_reply_is_found_under_its_key_before_and_after_it_is_written(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        calls.add(KEY, "one", {"purpose": "user"})
        calls.add(OTHER, "two", {})
        assert [calls.find(KEY), calls.find(OTHER), calls.find("00" * 32)] == ["one", "two", None]
        calls.flush()
        assert [calls.find(KEY), calls.hits] == ["one", 3]
    with open_calls(tmp_path / "calls.sqlite") as again:
        assert again.find(OTHER) == "two"


def test_without_the_cache_nothing_is_read_but_everything_is_written(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite", read_cache=False) as calls:
        calls.add(KEY, "one", {})
        calls.add(KEY, "two", {})
        assert calls.find(KEY) is None
    with open_calls(tmp_path / "calls.sqlite") as again:
        assert again.find(KEY) == "two"
        assert again.totals()["calls"] == 2


def test_sums_are_kept_by_purpose_and_model(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        calls.add(KEY, "x", {"purpose": "user", "prompt_tokens": 10, "cached_tokens": 4, "cost": 0.5})
        calls.add(OTHER, "x", {"purpose": "user", "completion_tokens": 3, "outcome": "truncated", "cost": 0.25})
        assert calls.by("purpose") == [
            {"purpose": "user", "calls": 2, "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 3}
            | {"reasoning_tokens": 0, "seconds": 0.0, "cost": 0.75, "failed": 1}
        ]
        with pytest.raises(ValueError, match="no such columns"):
            calls.by("purpose; DROP TABLE calls")


def test_what_is_remembered_is_recalled_in_a_later_run(tmp_path: Path):
    with open_calls(tmp_path / "calls.sqlite") as calls:
        calls.remember("endpoint", "one")
        calls.remember("endpoint", "two")
    with open_calls(tmp_path / "calls.sqlite") as again:
        assert [again.recall("endpoint"), again.recall("other")] == ["two", None]


def test_what_was_flushed_survives_a_kill(tmp_path: Path):
    path = tmp_path / "calls.sqlite"
    script = (
        "import os, signal\nfrom pathlib import Path\nfrom dgt_rag.store.calls import open_calls\n"
        f"with open_calls(Path({str(path)!r})) as calls:\n"
        f"    calls.add({KEY!r}, 'kept', {{}}); calls.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL
    with open_calls(path) as calls:
        assert calls.find(KEY) == "kept"


def test_a_file_that_is_no_store_is_refused_in_one_line(tmp_path: Path):
    path = tmp_path / "calls.sqlite"
    path.write_text("not a database, " * 100)
    with pytest.raises(StoreError, match="move it away") as refused, open_calls(path):
        pass
    assert "\n" not in str(refused.value)


def test_a_store_that_is_taken_away_from_a_run_is_one_line(tmp_path: Path):
    path = tmp_path / "calls.sqlite"
    with open_calls(path) as calls:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("DROP TABLE calls")
            other.execute("DROP TABLE traits")
        for look in (lambda: calls.find(KEY), lambda: calls.recall("endpoint"), calls.totals):
            with pytest.raises(StoreError, match=r"calls\.sqlite: cannot be used .* move it away"):
                look()


def test_a_store_that_is_damaged_where_it_is_written_is_not_taken_for_a_full_disk(tmp_path: Path):
    path = tmp_path / "calls.sqlite"
    with open_calls(path) as calls:
        for number in range(2000):
            calls.add(f"{number:064x}", "reply " * 20, {})
    with path.open("r+b") as file:
        for page in range(2, path.stat().st_size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 512)
    said = r"calls\.sqlite: cannot be used \(database disk image is malformed\); move it away"
    with pytest.raises(StoreError, match=said), open_calls(path) as calls:
        for number in range(200):
            calls.add(f"{number * 7919:064x}", "other", {})
