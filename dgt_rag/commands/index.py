"""`index`: load a corpus into an Elasticsearch index."""

import argparse
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import get_args

from dgt_rag.commands.tasks import add_task_arguments, engine_named, load_one, open_only, say
from dgt_rag.corpus.read import NAMES, Corpus, OnBadLine, Projector, holds
from dgt_rag.corpus.rows import Source
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Projection
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_load import load_index
from dgt_rag.errors import Exit, TaskError
from dgt_rag.guard import Guards
from dgt_rag.interrupts import run_to_end
from dgt_rag.plugins import unknown
from dgt_rag.records import Document
from dgt_rag.task import Task
from dgt_rag.world import World

_FIRST = 100
"""Rows of a file that are looked at to tell which names its fields have."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_task_arguments(parser)
    parser.add_argument(
        "--engine",
        required=True,
        metavar="NAME",
        help="the search/elasticsearch engine of the task whose index is loaded",
    )
    parser.add_argument(
        "--from",
        dest="source",
        metavar="FILE|ENGINE",
        help="a file of documents, or the engine of the task that has them; the other one if there are two",
    )
    parser.add_argument(
        "--on-bad-line",
        choices=get_args(OnBadLine),
        default="refuse",
        help="what to do about a line of the file that cannot be read or repeats an id",
    )


def main(args: argparse.Namespace) -> int:
    """Load the documents; what is there already is not sent again."""
    task = load_one(args).task
    engine = engine_named(task, args.engine)
    if not isinstance(engine, ElasticsearchEngine):
        raise TaskError(
            f"engine {args.engine!r} is a {engine.plugin_name()}, which needs no loading; a search/elasticsearch engine is wanted"
        )
    run_to_end(_load(task, engine, args.source or _other(task, args.engine), args.on_bad_line))
    return Exit.MADE


def _other(task: Task, name: str) -> str:
    others = [other for other in task.tools.engines if other != name]
    if len(others) != 1:
        there = f"; the task's other engines are: {', '.join(others)}" if others else ""
        raise TaskError(f"where are the documents? name a file of them with --from{there}")
    return others[0]


async def _load(task: Task, engine: ElasticsearchEngine, source: str, on_bad_line: OnBadLine) -> None:
    async with AsyncExitStack() as stack:
        if source in task.tools.engines:
            retrievers = await stack.enter_async_context(open_only(task, [source]))
            documents = retrievers[source].documents()
        elif Path(source).is_file():
            documents = _documents_of(Path(source), engine.projection, on_bad_line)
        else:
            raise TaskError(f"--from: no such file, and {unknown('engine', source, task.tools.engines)}")
        world = World(dice=Dice(task.seed, task.task_name, "world"), guards=Guards(say=say), say=say)
        await load_index(engine, documents, world)


async def _documents_of(path: Path, wanted: Projection, on_bad_line: OnBadLine) -> AsyncIterator[Document]:
    """Stream the documents of a file; its fields have the names that the index gives them, or else our usual ones."""
    source = Source.of(path)
    first = [row.record for row in islice(source.rows(), _FIRST) if row.record]
    paths = {name: getattr(wanted, name) for name in NAMES}
    fields = {name: path for name, path in paths.items() if any(holds(record, path) for record in first)}
    corpus = Corpus(source, Projector.of(Projection.model_validate(fields)), on_bad_line, "give --on-bad-line skip")
    for document in corpus.documents():
        yield document
    corpus.tell(say)
