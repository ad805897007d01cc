"""The built wheel, installed alone in a clean environment and started from an empty folder, does what the checkout does."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
GUEST = """\
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"
[project]
name = "folder-engine"
version = "1.0"
[project.entry-points."dgt_rag.engines"]
folder = "folder_engine:Folder"
"""


def ran(*words: str | Path, folder: Path) -> str:
    # nothing of the checkout may be seen: not its folder, and no path that the tests run with
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    ended = subprocess.run(
        [str(word) for word in words], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def bin_folder(tmp_path_factory) -> Path:
    """The `bin` of a new environment that holds the wheel and what it depends on, and no more."""
    home = tmp_path_factory.mktemp("install")
    ran(sys.executable, "-m", "build", "--wheel", "--outdir", home / "dist", ROOT, folder=home)
    ran(sys.executable, "-m", "venv", home / "venv", folder=home)
    (wheel,) = (home / "dist").glob("*.whl")
    ran(home / "venv/bin/python", "-m", "pip", "install", "--quiet", wheel, folder=home)
    return home / "venv/bin"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path


def test_init_and_one_more_command_give_rows(bin_folder: Path, empty: Path):
    told = ran(bin_folder / "dgt-rag", "init", "demo", folder=empty)
    assert told.splitlines()[-1] == "next: dgt-rag demo/task.yaml"
    assert "kept 5 of 5 asked for" in ran(bin_folder / "dgt-rag", "demo/task.yaml", folder=empty)
    rows = (empty / "output/my_task/formatted_output.jsonl").read_text().splitlines()
    assert [sorted(json.loads(row)) for row in rows] == [["messages", "tools"]] * 5


def test_the_other_verbs_work_from_the_wheel(bin_folder: Path, empty: Path):
    program = bin_folder / "dgt-rag"
    ran(program, "init", "demo", folder=empty)
    assert "  search/file " in ran(program, "list", folder=empty)
    assert "path: file, required" in ran(program, "explain", "search/file", folder=empty)
    assert "rag/multi_hop" in ran(program, "explain", "patterns", folder=empty)
    Draft202012Validator.check_schema(json.loads(ran(program, "schema", folder=empty)))
    assert "engine retriever: search/file, 16 documents" in ran(program, "check", "demo/task.yaml", folder=empty)
    assert "  1. " in ran(program, "search", "demo/task.yaml", "late returns", folder=empty)
    assert ran(program, "--version", folder=empty) == ran(
        bin_folder / "python", "-m", "dgt_rag", "--version", folder=empty
    )


def test_every_file_of_the_package_is_in_the_wheel(bin_folder: Path, empty: Path):
    where = ran(bin_folder / "python", "-c", "import dgt_rag; print(dgt_rag.__path__[0])", folder=empty).strip()
    ours = {path.relative_to(ROOT / "dgt_rag") for path in (ROOT / "dgt_rag").rglob("*.*")}
    theirs = {path.relative_to(where) for path in Path(where).rglob("*.*")}
    unwanted = {"__pycache__", "documents.jsonl.dgt"}
    assert {path for path in ours - theirs if not unwanted & {*path.parts}} == set()


def test_the_engine_of_the_readme_runs_from_an_installed_package_and_from_a_file_beside_the_task(
    bin_folder: Path, empty: Path
):
    engine = re.search(
        r"```python\n((?:(?!```).)*class Folder\(SearchToolEngine\).*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert engine
    task = (
        f"tools: {{engines: {{files: {{type: search/folder, path: {empty}}}}}}}\n"
        "initialization_stages: [{name: lm/scenario/rag, document_samplers: {type: search/random, engine: files}}]\n"
        "iteration_stages: [{name: lm/flow_controller/rag}, {name: lm/user/rag}, {name: lm/assistant/rag/live}]\n"
    )
    (empty / "tools.txt").write_text("A drill is lent for seven days. A saw is lent for three days.")
    (empty / "folder.py").write_text(engine[1])
    (empty / "local.yaml").write_text(f"plugins: [./folder.py]\n{task}")
    (empty / "installed.yaml").write_text(task)
    assert "kept 1 of 1" in ran(bin_folder / "dgt-rag", "local.yaml", "num_outputs=1", folder=empty)
    (empty / "guest").mkdir()
    (empty / "guest/pyproject.toml").write_text(GUEST)
    (empty / "guest/folder_engine.py").write_text(engine[1])
    python = bin_folder / "python"
    ran(python, "-m", "pip", "install", "--quiet", "./guest", folder=empty)
    try:
        assert "search/folder" in ran(bin_folder / "dgt-rag", "list", "engines", folder=empty)
        assert "kept 1 of 1" in ran(bin_folder / "dgt-rag", "installed.yaml", "num_outputs=1", folder=empty)
    finally:
        ran(python, "-m", "pip", "uninstall", "--quiet", "--yes", "folder-engine", folder=empty)
