"""Full disks, poor terminals, readers that leave and signals: the program as a process, which ends with a line and a code."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from building import ROOT, lines, task_values


def program(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "dgt_rag", *map(str, words)]
    return subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **options)


def task_file(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "task.yaml"
    path.write_text(yaml.safe_dump(task_values(folder, **changes)), encoding="utf-8")
    return path


def rows(folder: Path) -> int:
    return len(lines(folder / "output" / "small" / "formatted_output.jsonl"))


def test_an_enormous_number_of_outputs_takes_no_memory(tmp_path):
    path = task_file(tmp_path, num_outputs=10**9, max_minutes=0.01)
    limit = 4 << 30
    done = program(path, "--quiet", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    assert done.returncode == 5
    assert "max_minutes is reached" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("kilobytes", [1, 48, 120])
def test_a_full_disk_is_one_line_and_the_run_goes_on_from_there(tmp_path, kilobytes):
    path = task_file(tmp_path, num_outputs=40)

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))

    done = program(path, "--quiet", preexec_fn=full)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert program(path, "--quiet").returncode == 0
    assert rows(tmp_path) == 40


def test_a_terminal_that_knows_only_ascii_and_no_home_are_enough(tmp_path):
    path = task_file(tmp_path, num_outputs=1)
    poor = {"PATH": os.defpath, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = program(path, env=poor)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_nobody_reads_or_that_cannot_be_written_ends_without_a_traceback(tmp_path):
    path = task_file(tmp_path, num_outputs=2)
    for how, code in (
        (f"{sys.executable} -m dgt_rag {path} --show 2 | head -1", 0),
        (f"{sys.executable} -m dgt_rag {path} > /dev/full", 2),
    ):
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", how], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def test_a_path_with_spaces_and_letters_of_other_scripts_is_a_path(tmp_path):
    path = task_file(tmp_path / "ä ö" / "名 前", num_outputs=1)
    assert program(path, "--quiet").returncode == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("signals", [[signal.SIGINT] * 2, [signal.SIGHUP], [signal.SIGTERM] * 2])
async def test_a_run_that_is_stopped_once_or_twice_keeps_what_is_finished(tmp_path, signals):
    path = task_file(tmp_path, num_outputs=3000)
    journal = tmp_path / "output" / "small" / "journal.jsonl"
    words = [sys.executable, "-m", "dgt_rag", str(path), "--quiet"]
    with subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        await until(lambda: journal.exists() and journal.stat().st_size > 30_000)
        for one in signals:
            process.send_signal(one)
            time.sleep(0.03)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "interrupted; what is finished is saved, and the same command goes on from here\n"
    kept = [row["index"] for row in lines(journal) if row["status"] == "kept"]
    assert rows(tmp_path) == len(kept) < 3000


@pytest.mark.parametrize("moment", [0.02, 0.1, 0.2, 0.3, 0.5])
def test_an_interrupt_while_the_program_starts_is_no_traceback(tmp_path, moment):
    path = task_file(tmp_path, num_outputs=3000)
    words = [
        sys.executable,
        "-c",
        "from dgt_rag.__main__ import main; import sys; print(flush=True); main()",
        str(path),
    ]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moment)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in said
