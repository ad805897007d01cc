"""The README cannot rot: what it shows is run."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from building import ROOT, lines, task_values
from pydantic import SkipValidation

from dgt_rag import Document, run
from dgt_rag.loader import load
from dgt_rag.testing import Opener
from dgt_rag.testing.laws import keeps_the_filter, keeps_the_limit, keeps_the_threshold, searches_among_what_matches

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    """A folder with the README's corpus: the fields that its task file names."""
    rows = lines(ROOT / "data" / "city_services" / "documents.jsonl")
    (tmp_path / "documents.jsonl").write_text(
        "".join(json.dumps({**row, "section": row["domain"]}) + "\n" for row in rows), encoding="utf-8"
    )
    return tmp_path


def dgt_rag(words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "dgt_rag"]
    return subprocess.run(
        [*program, *words.split()], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_first_commands_make_rows(tmp_path):
    assert dgt_rag("init my_task", tmp_path).returncode == 0
    done = dgt_rag("my_task/task.yaml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kept" in done.stdout


def test_the_task_file_for_your_own_documents_runs(folder):
    (folder / "mine.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    assert dgt_rag("check mine.yaml", folder).returncode == 0
    found = dgt_rag("search mine.yaml permit", folder)
    assert found.returncode == 0, found.stderr
    done = dgt_rag("mine.yaml num_outputs=5", folder)
    assert done.returncode == 0, done.stderr
    assert len(lines(folder / "output" / "mine" / "formatted_output.jsonl")) == 5


def test_the_models_of_the_readme_fit_into_its_task_file(folder):
    (folder / "mine.yaml").write_text(
        yaml.safe_dump({**yaml.safe_load(blocks("yaml")[0]), **yaml.safe_load(blocks("yaml")[1])})
    )
    assert set(load(folder / "mine.yaml").task.models) == {"generator", "critic"}


def test_the_python_of_the_readme_runs(tmp_path):
    code = next(block for block in blocks("python") if "load_task(" in block)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 3


def test_the_engine_of_the_readme_is_twenty_lines_and_works_as_a_file_of_the_task(tmp_path):
    code = next(block for block in blocks("python") if "SearchToolEngine" in block)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    (tmp_path / "folder.py").write_text(code, encoding="utf-8")
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "bins.txt").write_text("Bins are emptied every Tuesday. A second bin costs 48 euros a year.")
    (notes / "pool.txt").write_text("The pool opens at 6.30 a.m. on weekdays. A ticket costs 5 euros.")
    values = task_values(tmp_path, True, num_outputs=3, plugins=[str(tmp_path / "folder.py")])
    engine = {"type": "search/folder", "path": str(notes)}
    sampler = {"type": "search/random", "engine": "notes", "k": 2}
    result = run(
        {
            **values,
            "tools": {"engines": {"notes": engine}},
            "initialization_stages": [{"name": "lm/scenario/rag", "document_samplers": [sampler]}],
        }
    )
    assert result.summary.kept == 3
    assert result.summary.tool_calls > 3


@pytest.fixture
def notes(tmp_path):
    """The README's engine as a file of a task, a folder for it, and the task."""
    (tmp_path / "folder.py").write_text(next(block for block in blocks("python") if "SearchToolEngine" in block))
    (tmp_path / "notes").mkdir()
    for number, name in enumerate(("bins", "glass", "paper", "pool")):
        (tmp_path / "notes" / f"{name}.txt").write_text("A ticket costs 5 euros. " * (number + 1))
    engines = {
        "notes": {"type": "search/folder", "path": "notes"},
        "twice": {"type": "search/hybrid", "engines": ["notes", "same"]},
        "same": {"type": "search/folder", "path": "notes"},
    }
    stage = {"name": "lm/scenario/rag", "document_samplers": [{"type": "search/random", "engine": "notes", "k": 1}]}
    task = {"plugins": ["folder.py"], "tools": {"engines": engines}, "initialization_stages": [stage]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "engine", "found"),
    [
        ("", "notes", ["pool", "paper", "glass", "bins"]),
        ("tools.engines.notes.filter.doc_id=glass.txt", "notes", ["glass"]),
        ("tools.engines.notes.relevance_threshold=3", "notes", ["pool", "paper"]),
        ("tools.engines.notes.filter.doc_id=glass.txt tools.engines.same.relevance_threshold=9", "twice", ["glass"]),
        (
            "tools.engines.notes.relevance_threshold=3 tools.engines.same.relevance_threshold=4",
            "twice",
            ["pool", "paper"],
        ),
    ],
)
def test_the_engine_of_the_readme_keeps_its_filter_and_threshold(notes, settings, engine, found):
    done = dgt_rag(f"search task.yaml ticket --engine {engine} {settings}", notes)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"(\w+)\.txt", done.stdout) == found


def test_a_filter_of_the_readmes_engine_that_leaves_nothing_is_refused_in_one_line(notes):
    done = dgt_rag("search task.yaml ticket tools.engines.notes.filter.id=x --engine notes", notes)
    line = "engine 'notes': filter: no document of the corpus has {\"id\": \"x\"}; unknown field 'id'; there are: body, doc_id\n"
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.parametrize("law", [keeps_the_filter, keeps_the_threshold, searches_among_what_matches, keeps_the_limit])
async def test_the_engine_of_the_readme_keeps_the_law(law, tmp_path):
    names: dict[str, Any] = {"__name__": "readme"}
    exec(next(block for block in blocks("python") if "SearchToolEngine" in block), names)

    class Served(names["Folder"]):
        """The same over documents with fields."""

        corpus: SkipValidation[Sequence[Document]]

        async def documents(self):
            for document in self.corpus:
                yield document

    await law(Opener(lambda made, folder, **keys: Served(path=str(folder), corpus=made, **keys), tmp_path))


def test_make_demo_runs_a_static_and_a_live_task():
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = re.findall(r"tasks/\S+\.yaml", recipe)
    assert {Path(name).parent.name for name in named} == {"static", "live"}
    assert all((ROOT / name).is_file() for name in named)
    assert shutil.which("make")
