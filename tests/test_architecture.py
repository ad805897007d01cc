"""The laws of the house, as far as a test can hold them."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dgt_rag"

FLOORS = (
    ("__main__", "testing"),
    ("cli",),
    ("commands",),
    ("api", "__init__"),
    ("pipeline",),
    ("executors",),
    ("builders",),
    ("loader", "digit"),
    ("store.identity",),
    ("report",),
    ("catalog", "task"),
    ("formats",),
    ("stages",),
    ("samplers",),
    ("engines",),
    ("embedders",),
    ("validation",),
    ("citations", "llm", "prompts"),
    ("store",),
    ("corpus",),
    ("world",),
    ("guard",),
    ("gate",),
    ("limiter", "breaker"),
    ("climb",),
    ("retry",),
    ("sentences",),
    ("plugins", "records", "dice", "interrupts", "together"),
    ("errors", "foreign", "outline"),
)
"""From the roof down; a module may import from its own floor and from those below."""

DOORS = {
    "openai": {"llm", "embedders.openai"},
    "elasticsearch": {"engines"},
    "elastic_transport": {"engines"},
    "omegaconf": {"loader"},
    "yaml": {"loader"},
    "jinja2": {"prompts"},
    "jsonlines": {"store.folder", "corpus"},
    "tantivy": {"engines"},
    "rich": {"commands.display"},
    "random": {"dice"},
    "secrets": set(),
}
"""Foreign packages with one door: the modules that may import them."""


@cache
def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module) -> set[str]:
    out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative import"
            out.add(node.module or "")
            out |= {f"{node.module}.{alias.name}" for alias in node.names}
    return out


def own_imports(name: str) -> set[str]:
    known = modules()
    inside = {module.removeprefix("dgt_rag.") for module in imports(known[name]) if module.startswith("dgt_rag.")}
    return {module for module in inside if module in known and module != name}


def floor(name: str) -> int:
    best = max(
        (
            (len(room), number)
            for number, rooms in enumerate(FLOORS)
            for room in rooms
            if name == room or name.startswith(f"{room}.")
        ),
        default=None,
    )
    assert best, f"{name} stands on no floor"
    return best[1]


def functions() -> list[tuple[str, int]]:
    out = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = ast.get_docstring(node, clean=False)
                lines = (node.end_lineno or 0) - node.lineno + 1 - (len(doc.splitlines()) if doc else 0)
                out.append((f"{name}.{node.name}", lines))
    return out


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down_only(name):
    higher = [other for other in own_imports(name) if floor(other) < floor(name)]
    assert not higher, f"{name} imports from floors above it: {higher}"


def test_there_are_no_import_circles():
    graph = {name: own_imports(name) for name in modules()}
    left = dict(graph)
    while loose := [name for name, below in left.items() if not below & left.keys()]:
        for name in loose:
            del left[name]
    assert not left, f"these import each other: {sorted(left)}"


@pytest.mark.parametrize("package", sorted(DOORS))
def test_each_foreign_package_has_its_door(package):
    users = {
        name
        for name, tree in modules().items()
        if any(m == package or m.startswith(f"{package}.") for m in imports(tree))
    }
    outside = {
        name for name in users if not any(name == room or name.startswith(f"{room}.") for room in DOORS[package])
    }
    assert not outside


def test_functions_are_short():
    sizes = sorted(functions(), key=lambda pair: pair[1])
    assert sizes[int(len(sizes) * 0.9)][1] <= 20, sizes[int(len(sizes) * 0.9) :]
    assert sizes[-1][1] <= 40, [pair for pair in sizes if pair[1] > 40]


def test_files_have_one_subject_and_are_short():
    long = {
        path.name: lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 340
    }
    assert not long


def test_nothing_catches_everything_but_around_a_guests_code():
    allowed = {"catalog", "plugins", "builders.conversation", "embedders.local"}
    wide = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ExceptHandler):
                kinds = (
                    {kind.id for kind in ast.walk(node.type) if isinstance(kind, ast.Name)}
                    if node.type
                    else {"everything"}
                )
                mute = all(isinstance(line, ast.Pass | ast.Continue) for line in node.body)
                if (kinds & {"Exception", "BaseException", "everything"} and name not in allowed) or mute:
                    wide.append(f"{name}:{node.lineno}")
    assert not wide


def test_names_of_files_say_what_is_in_them():
    assert not [
        path.name for path in PACKAGE.rglob("*.py") if path.stem in {"utils", "helpers", "common", "misc", "manager"}
    ]


def imported_by(words: str) -> set[str]:
    code = (
        "import sys; from dgt_rag.cli import run_command; "
        f"run_command({words.split()!r}); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return {module.partition(".")[0] for module in done.stderr.split()}


@pytest.mark.parametrize("words", ["--help", "list"])
def test_help_and_list_import_nothing_heavy(words):
    heavy = {
        "openai",
        "elasticsearch",
        "numpy",
        "tantivy",
        "jsonschema",
        "omegaconf",
        "rich",
        "httpx2",
        "aiohttp",
        "jinja2",
    }
    assert not imported_by(words) & heavy


def test_no_file_of_the_project_holds_an_absolute_path_or_a_secret():
    suffixes = {".py", ".md", ".yaml", ".toml", ".j2", ".sh", ""}
    folders = [PACKAGE, ROOT / "tests", ROOT / "tasks", ROOT / "benchmarks", ROOT / ".ci"]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in suffixes and path.is_file()]
    marks = ("/" + "work/", "/" + "root/", "/" + "home/", "sk-" + "proj")
    assert not [
        path
        for path in files
        if "__pycache__" not in path.parts
        and any(mark in path.read_text(encoding="utf-8", errors="replace") for mark in marks)
    ]
