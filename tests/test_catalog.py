"""What is shipped stands in the catalog and nowhere else; what guests bring is found, or refused in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from dgt_rag.catalog import SHIPPED, plugins
from dgt_rag.commands.fields import sample, told
from dgt_rag.commands.schema import task_schema
from dgt_rag.outline import Outline, shipped
from dgt_rag.plugins import KINDS, Plugin, loading

ROOT = Path(__file__).parents[1]
TASKS = sorted([*ROOT.glob("tasks/**/*.yaml"), ROOT / "dgt_rag/templates/task.yaml"])
ENGINE = '''\
from typing import Literal

from dgt_rag import Document, Hit, SearchToolEngine


class Shelf(SearchToolEngine):
    """Finds a document by any of its words."""

    type: Literal["guest/shelf"] = "guest/shelf"
    texts: tuple[str, ...]

    async def documents(self):
        for number, text in enumerate(self.texts):
            yield Document(doc_id=str(number), body=text)

    async def search(self, query, limit, where=None):
        words = set(query.lower().split())
        scores = [(len(words & set(d.body.lower().split())), d) async for d in self.documents() if d.matches(where or {})]
        best = sorted((pair for pair in scores if pair[0]), key=lambda pair: (-pair[0], pair[1].doc_id))[:limit]
        return [Hit(document=d, score=score, rank=rank) for rank, (score, d) in enumerate(best, start=1)]
'''


def installed(folder: Path, module: str, point: str) -> dict[str, str]:
    """Lay out a package as an installer does, and return the environment in which it is found."""
    (folder / "guest_package.py").write_text(module)
    info = folder / "guest_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dgt_rag.engines]\n{point}\n")
    return {**os.environ, "PYTHONPATH": str(folder)}


def dgt_rag(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dgt_rag", *words], capture_output=True, text=True, env=env, check=False
    )


def test_the_outline_of_the_shipped_plugins_says_what_their_classes_say():
    said = [Outline(cls.kind, cls.plugin_name(), tuple(cls.aliases), cls.first_line()) for cls in SHIPPED]
    assert list(shipped()) == said


@pytest.mark.parametrize("cls", SHIPPED, ids=lambda cls: f"{cls.kind}-{cls.plugin_name()}")
def test_every_shipped_plugin_has_a_first_line_and_a_sample_that_is_yaml(cls: type[Plugin]):
    assert cls.kind in KINDS
    assert cls.first_line().endswith((".", ";"))
    with loading(plugins()):
        written = yaml.safe_load("\n".join(sample(cls)))
        keys = list(told(cls))
    needed = {name for name, field in cls.model_fields.items() if field.is_required() or field.examples}
    assert written[cls.key] == cls.plugin_name() and set(written) == needed | {cls.key}
    assert len(keys) >= len(cls.model_fields) - 1


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_the_schema_takes_the_shipped_tasks(path: Path):
    assert list(validator().iter_errors(yaml.safe_load(path.read_text()))) == []


def validator() -> Draft202012Validator:
    schema = task_schema()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    return Draft202012Validator(json.loads(json.dumps(schema)))


def test_the_schema_refuses_what_the_loader_refuses():
    task = yaml.safe_load((ROOT / "dgt_rag/templates/task.yaml").read_text())
    check = validator()
    assert check.is_valid({**task, "num_outputs": "${COUNT}", "seed_datastore": {"data_path": "x"}})
    wrong = [
        {**task, "num_output": 3},
        {**task, "num_outputs": "three"},
        {**task, "iteration_stages": [{"name": "lm/usr/rag"}]},
        {**task, "iteration_stages": [{"name": "lm/user/rag", "generater": "x"}]},
        {**task, "tools": {"engines": {"retriever": {"type": "search/file"}}}},
        {key: value for key, value in task.items() if key != "tools"},
    ]
    assert [check.is_valid(one) for one in wrong] == [False] * len(wrong)


def test_help_and_list_import_nothing_heavy():
    heavy = (
        "aiohttp",
        "asyncio",
        "elasticsearch",
        "jinja2",
        "jsonschema",
        "numpy",
        "omegaconf",
        "openai",
        "pydantic",
        "rich",
        "tantivy",
        "yaml",
    )
    code = f"import sys\nfrom dgt_rag.cli import run_command\nrun_command(sys.argv[1:])\nprint([name for name in {heavy!r} if name in sys.modules])"
    for words in (["--help"], ["list"], ["list", "engines"]):
        ended = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert ended.stdout.splitlines()[-1] == "[]"


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, dgt_rag\nprint('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_every_name_of_the_package_is_there():
    import dgt_rag as package

    assert all(getattr(package, name).__name__ for name in package.__all__)
    with pytest.raises(AttributeError, match="module 'dgt_rag' has no attribute 'nothing'"):
        _ = package.nothing


def test_an_installed_plugin_is_listed_explained_and_run(tmp_path: Path):
    env = installed(tmp_path, ENGINE, "shelf = guest_package:Shelf")
    assert (
        "  guest/shelf           Finds a document by any of its words. [guest_package]"
        in dgt_rag("list", "engines", env=env).stdout
    )
    assert "texts: list of text, required" in dgt_rag("explain", "guest/shelf", env=env).stdout
    assert '"guest/shelf"' in dgt_rag("schema", env=env).stdout
    assert run_with_shelf(tmp_path, "", env) == 1


def test_a_local_file_is_a_plugin_of_its_task(tmp_path: Path):
    (tmp_path / "shelf.py").write_text(ENGINE)
    assert run_with_shelf(tmp_path, "plugins: [./shelf.py]\n", None) == 1
    assert "texts: list of text, required" in dgt_rag("explain", str(tmp_path / "shelf.py")).stdout
    (tmp_path / "two.py").write_text(
        "import re\nfrom collections.abc import Callable\nfrom pathlib import Path\n"
        f"{ENGINE.replace('Shelf', 'Other').replace('guest/shelf', 'guest/other')}\n"
        f"{ENGINE.partition('class Shelf')[1]}{ENGINE.partition('class Shelf')[2]}\n"
        "    place: Path = Path('here')\n    like: re.Pattern = re.compile('x')\n    how: Callable[[str], str] = str.lower\n"
    )
    both = dgt_rag("explain", str(tmp_path / "two.py"))
    assert (both.returncode, both.stderr) == (0, "")
    assert all(
        said in both.stdout for said in ("guest/other (engines)", "guest/shelf (engines)", "place: path, default here")
    )
    absent = dgt_rag("explain", str(tmp_path / "shelves.py"))
    assert (absent.returncode, absent.stderr) == (2, f"{tmp_path}/shelves.py: no such Python file\n")


def run_with_shelf(folder: Path, plugin: str, env: dict[str, str] | None) -> int:
    text = "A drill is lent for seven days. A saw is lent for three days. Ladders are lent for fourteen days."
    (folder / "task.yaml").write_text(
        f"{plugin}tools: {{engines: {{shelf: {{type: guest/shelf, texts: ['{text}']}}}}}}\n"
        "initialization_stages: [{name: lm/scenario/rag, document_samplers: {type: search/random, engine: shelf}}]\n"
        "iteration_stages: [{name: lm/flow_controller/rag}, {name: lm/user/rag}, {name: lm/assistant/rag/live}]\n"
    )
    ended = dgt_rag(str(folder / "task.yaml"), "num_outputs=1", f"--output-dir={folder}/out", "--quiet", env=env)
    assert (ended.returncode, ended.stderr) == (0, "")
    return len((folder / "out/task/final_data.jsonl").read_text().splitlines())


@pytest.mark.parametrize(
    ("module", "point", "line"),
    [
        (
            "raise RuntimeError('no luck')\n",
            "shelf = guest_package:Shelf",
            "plugin 'shelf' (guest_package:Shelf) cannot be loaded: no luck; repair or uninstall its package",
        ),
        ("x = 1\n", "shelf = guest_package:x", "plugin 'shelf' (guest_package:x) is no plugin class of dgt_rag"),
        (
            ENGINE.replace("guest/shelf", "search/file"),
            "shelf = guest_package:Shelf",
            "engines: 'search/file' is both dgt_rag.engines.file.FileEngine and guest_package.Shelf; rename one",
        ),
    ],
    ids=["raises", "no plugin", "taken"],
)
def test_a_guest_that_does_not_serve_is_one_line(tmp_path: Path, module, point, line):
    env = installed(tmp_path, module, point)
    ended = dgt_rag("explain", "search/file", env=env)
    assert (ended.returncode, ended.stderr) == (2, f"{line}\n")
