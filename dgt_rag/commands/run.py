"""`run`: make conversations."""

import argparse
import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from dgt_rag.commands.display import Display, tell_result
from dgt_rag.commands.tasks import add_task_arguments, load_tasks
from dgt_rag.errors import TaskError, told_by
from dgt_rag.guard import Guards
from dgt_rag.pipeline.run import RunResult, Way, run_task
from dgt_rag.task import Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_task_arguments(parser, many=True)
    parser.add_argument(
        "--num-outputs", "--num-outputs-to-generate", type=int, metavar="N", help="how many conversations to make"
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start over; what was asked of models before is still answered from the store of calls",
    )
    parser.add_argument("--no-cache", action="store_true", help="ask every call anew")
    parser.add_argument("--show", type=int, default=1, metavar="N", help="conversations to show at the end (1)")
    parser.add_argument("--quiet", action="store_true", help="print refusals only")


def main(args: argparse.Namespace) -> int:
    """Run every task named, at once; return the worst of their exit codes."""
    overrides = [f"num_outputs={args.num_outputs}"] if args.num_outputs is not None else []
    tasks = [loaded.task for loaded in load_tasks(args, *overrides)]
    names = [task.task_name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise TaskError(f"two tasks are named {name!r} and would share a run folder; change one `task_name`")
    with Display(quiet=args.quiet) as display:
        try:
            results = asyncio.run(_run_all(tasks, args, display))
        except asyncio.CancelledError as stop:
            raise KeyboardInterrupt from stop
    for result in results:
        tell_result(result, args.show, args.quiet)
    return max(result.exit_code for result in results)


async def _run_all(tasks: list[Task], args: argparse.Namespace, display: Display) -> list[RunResult]:
    guards = Guards(say=display.say)
    way = Way(restart=args.restart, cache=not args.no_cache, guards=guards, say=display.say, watch=display.watch)
    with _stopping_on_sigterm():
        try:
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(run_task(task, way)) for task in tasks]
                display.start(group)
                await asyncio.wait(runs)
                display.stop()
        except BaseExceptionGroup as errors:
            raise told_by(errors) from errors
    return [run.result() for run in runs]


@contextmanager
def _stopping_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, as job schedulers send it, stop a run as Ctrl-C does: what is finished is written."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
