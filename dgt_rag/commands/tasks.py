"""What several verbs share: naming task files, files laid over them, and overrides; opening a task's engines."""

import argparse
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, SearchToolEngine
from dgt_rag.errors import TaskError
from dgt_rag.guard import Guards
from dgt_rag.loader import Loaded, load
from dgt_rag.pipeline.opening import open_engines
from dgt_rag.plugins import unknown
from dgt_rag.task import Task
from dgt_rag.world import World


def add_task_arguments(parser: argparse.ArgumentParser, many: bool = False) -> None:
    """Add the words and flags that name a task."""
    what = "task files, and overrides as key=value" if many else "a task file, and overrides as key=value"
    parser.add_argument("words", nargs="*", metavar="TASK.yaml key=value", help=what)
    parser.add_argument(
        "--task-paths", nargs="+", default=[], metavar="TASK.yaml", help="task files, as DiGiT names them"
    )
    parser.add_argument(
        "--config-path",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="a file laid over the task: other models, say",
    )
    parser.add_argument(
        "--data-dir", metavar="FOLDER", help="where relative paths are looked for as well; sets DGT_DATA_DIR"
    )
    parser.add_argument("--output-dir", metavar="FOLDER", help="where run folders are made (output)")


def load_tasks(args: argparse.Namespace, *overrides: str) -> list[Loaded]:
    """Load the tasks that a command line names; prints the warnings about their files."""
    return [load_path(path, args, *overrides) for path in task_paths(args)]


def load_one(args: argparse.Namespace, *overrides: str) -> Loaded:
    """Load the only task that a command line names."""
    paths = task_paths(args)
    if len(paths) > 1:
        raise TaskError(f"one task file is wanted, not {len(paths)}")
    return load_path(paths[0], args, *overrides)


def task_paths(args: argparse.Namespace) -> list[Path]:
    """Return the task files that a command line names."""
    paths = [*_sorted(args.words)[0], *(Path(path) for path in args.task_paths)]
    if not paths:
        raise TaskError("no task file is named; try: dgt-rag init my_task")
    for path in paths:
        if str(path) in Task.model_fields and not path.exists():
            raise TaskError(f"{path}: no such file; to set that key of the task, write {path}=VALUE")
    return paths


def load_path(path: Path, args: argparse.Namespace, *overrides: str) -> Loaded:
    """Load one of the task files; prints the warnings about it."""
    if args.data_dir:
        os.environ["DGT_DATA_DIR"] = str(Path(args.data_dir).expanduser().resolve())
    output_dir = args.output_dir or os.environ.get("DGT_OUTPUT_DIR")
    given = [*_sorted(args.words)[1], *([f"output_dir={output_dir}"] if output_dir else [])]
    loaded = load(path, [*given, *overrides], args.config_path)
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return loaded


def _sorted(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Tell task files from overrides."""
    overrides = [word for word in words if "=" in word and not Path(word).exists()]
    return [Path(word) for word in words if word not in overrides], overrides


def say(line: str) -> None:
    """Show a line beside the output."""
    print(line, file=sys.stderr, flush=True)


def engine_named(task: Task, name: str) -> SearchToolEngine:
    """Return an engine of a task by its name."""
    if name not in task.tools.engines:
        raise TaskError(unknown("engine", name, task.tools.engines))
    return task.tools.engines[name]


@asynccontextmanager
async def open_only(task: Task, names: Sequence[str], lazy: bool = False) -> AsyncIterator[Mapping[str, Retriever]]:
    """Open some engines of a task, with those that they stand on."""
    wanted = dict.fromkeys(part for name in names for part in _with_parts(task, name, ()))
    dice = Dice(task.seed, task.task_name, "world")
    world = World(dice=dice, guards=Guards(say=say), say=say, prompts=task.prompts, lazy=lazy)
    async with AsyncExitStack() as stack:
        yield await open_engines({name: task.tools.engines[name] for name in wanted}, world, stack)


def _with_parts(task: Task, name: str, above: tuple[str, ...]) -> Iterator[str]:
    yield name
    for part in engine_named(task, name).needs():
        # a circle is refused when the engines are put in order
        if part not in above:
            yield from _with_parts(task, part, (*above, name))
