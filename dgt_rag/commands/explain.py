"""`explain`: a plugin's keys, defaults and help, with a sample; the task file's; the shipped patterns."""

import argparse
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

from dgt_rag.catalog import local_plugins, plugins
from dgt_rag.commands.fields import as_yaml, sample, told
from dgt_rag.commands.init import TEMPLATES
from dgt_rag.errors import Exit, TaskError
from dgt_rag.plugins import Plugin, Plugins, loading, unknown
from dgt_rag.stages.patterns import SHIPPED as PATTERNS
from dgt_rag.stages.patterns import FlowPattern
from dgt_rag.task import Task

_AROUND = {
    "stages": ("# in initialization_stages, iteration_stages or termination_stages", "- ", "  "),
    "engines": ("tools:\n  engines:\n    retriever:", "      ", "      "),
    "samplers": ("document_samplers:", "  - ", "    "),
    "models": ("models:\n  generator:", "    ", "    "),
    "embedders": ("embedder:", "  ", "  "),
    "formatters": ("formatters:", "  - ", "    "),
}
"""Where a plugin of a kind stands in a task file: the lines above it, what is before its first line and its others."""
_BESIDE = {
    "search/hybrid": (
        "    words: {type: search/file, path: documents.jsonl}",
        "    vectors:",
        "      type: search/vector",
        "      documents_from: words",
        "      embedder: {type: model2vec, model: minishlab/potion-base-8M}",
        "      index_dir: vectors",
    )
}
"""What else must stand in a task file for a plugin's sample to have a meaning: the engines that it names."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument(
        "name", help="a plugin's name, a Python file of plugins, `task`, `patterns`, or the name of a pattern"
    )


def main(args: argparse.Namespace) -> int:
    """Print what there is to know about a name."""
    guests = local_plugins(Path(args.name)) if args.name.endswith(".py") else []
    known = plugins(guests)
    with loading(known):
        lines = [line for guest in guests for line in _plugin(guest)] or _explained(args.name, known)
        print("\n".join(lines))
    return Exit.MADE


def _explained(name: str, known: Plugins) -> Iterator[str]:
    found = [classes[name] for classes in known.classes.values() if name in classes]
    patterns = [pattern for pattern in PATTERNS if name in {"patterns", "rag/standard", pattern.name}]
    if name == "task":
        yield from _task()
    for plugin in found:
        yield from _plugin(plugin)
    if name in {"patterns", "rag/standard"}:
        yield from [
            "The patterns of the set rag/standard, which a flow controller takes unless its `patterns` say otherwise.",
            "",
        ]
    for pattern in patterns:
        yield from _pattern(pattern)
    if not (found or patterns or name == "task"):
        names = sorted({name for classes in known.classes.values() for name in classes})
        raise TaskError(
            unknown("name", name, [*names, "task", "patterns", "rag/standard", *(pattern.name for pattern in PATTERNS)])
        )


def _task() -> Iterator[str]:
    yield from ["A task file", "", inspect.getdoc(Task) or "", "", "keys"]
    yield from told(Task)
    yield from ["", "sample, as `dgt-rag init` writes it"]
    yield textwrap.indent((TEMPLATES / "task.yaml").read_text(encoding="utf-8"), "  ")


def _plugin(plugin: type[Plugin]) -> Iterator[str]:
    also = f", also {', '.join(plugin.aliases)}" if plugin.aliases else ""
    yield from [f"{plugin.plugin_name()} ({plugin.kind}{also})", "", inspect.getdoc(plugin) or "", "", "keys"]
    yield from list(told(plugin)) or ["  none"]
    above, first, others = _AROUND.get(plugin.kind, ("", "", ""))
    yield from ["", "sample", textwrap.indent(above, "  ")]
    for number, line in enumerate(sample(plugin)):
        yield f"  {others if number else first}{line}"
    yield from (f"  {line}" for line in _BESIDE.get(plugin.plugin_name(), ()))
    yield ""


def _pattern(pattern: FlowPattern) -> Iterator[str]:
    rules = pattern.model_dump(mode="json", exclude_defaults=True, exclude={"name", "description", "hint"})
    yield pattern.name
    yield textwrap.fill(pattern.description, 100, initial_indent="  ", subsequent_indent="  ")
    if rules:
        yield "  " + ", ".join(f"{name}: {as_yaml(value)}" for name, value in rules.items())
    yield ""
