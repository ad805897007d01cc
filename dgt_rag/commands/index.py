"""`index`: load a corpus into an Elasticsearch index."""

import argparse
import asyncio

from dgt_rag.commands.tasks import add_task_arguments, engine_named, load_one, open_only, say
from dgt_rag.dice import Dice
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_load import load_index
from dgt_rag.errors import Exit, TaskError
from dgt_rag.task import Task
from dgt_rag.world import World


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
        metavar="ENGINE",
        help="the engine of the task that has the documents; the other one if there are two",
    )


def main(args: argparse.Namespace) -> int:
    """Load the documents; what is there already is not sent again."""
    task = load_one(args).task
    engine = engine_named(task, args.engine)
    if not isinstance(engine, ElasticsearchEngine):
        raise TaskError(
            f"engine {args.engine!r} is a {engine.plugin_name()}, which needs no loading; a search/elasticsearch engine is wanted"
        )
    asyncio.run(_load(task, engine, args.source or _other(task, args.engine)))
    return Exit.MADE


def _other(task: Task, name: str) -> str:
    others = [other for other in task.tools.engines if other != name]
    if len(others) != 1:
        raise TaskError(
            f"where are the documents? name an engine with --from; there are: {', '.join(others) or 'none (add e.g. a search/file engine to the task)'}"
        )
    return others[0]


async def _load(task: Task, engine: ElasticsearchEngine, source: str) -> None:
    async with open_only(task, [source]) as retrievers:
        world = World(dice=Dice(task.seed, task.task_name, "world"), say=say)
        await load_index(engine, retrievers[source].documents(), world)
