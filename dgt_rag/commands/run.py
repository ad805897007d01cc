"""`run`: make conversations."""

import argparse
import asyncio
import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dgt_rag.commands.display import Display, tell_result
from dgt_rag.commands.tasks import add_task_arguments, load_tasks
from dgt_rag.errors import DgtError, TaskError, told_by
from dgt_rag.guard import Guards
from dgt_rag.interrupts import run_to_end
from dgt_rag.pipeline.run import RunResult, run_task
from dgt_rag.pipeline.way import Way
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
    """Run every task named, at once; one that stops does not stop the others. Return the greatest of their exit codes."""
    overrides = [f"num_outputs={args.num_outputs}"] if args.num_outputs is not None else []
    tasks = [loaded.task for loaded in load_tasks(args, *overrides)]
    names = [task.task_name for task in tasks]
    for name in names:
        if names.count(name) > 1:
            raise TaskError(f"two tasks are named {name!r} and would share a run folder; change one `task_name`")
    _collect_seldom()
    with Display(quiet=args.quiet) as display:
        try:
            ended = run_to_end(_run_all(tasks, args, display))
        except asyncio.CancelledError as stop:
            raise KeyboardInterrupt from stop
    for one in ended:
        if isinstance(one, RunResult):
            tell_result(one, args.show, args.quiet)
        else:
            print(one, file=sys.stderr)
    return max(one.exit_code for one in ended)


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _collect_seldom() -> None:
    """Let a run's calls not wait for the garbage collector: a full search stops all of them for a fifth of a second."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _run_all(tasks: list[Task], args: argparse.Namespace, display: Display) -> list[RunResult | DgtError]:
    guards = Guards(say=display.say)
    way = Way(
        restart=args.restart,
        cache=not args.no_cache,
        guards=guards,
        processes=_cores(),
        say=display.say,
        watch=display.watch,
    )
    with _stopping_on_signals():
        try:
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(_ended(task, way, alone=len(tasks) == 1)) for task in tasks]
                display.start(group)
                await asyncio.wait(runs)
                display.stop()
        except BaseExceptionGroup as errors:
            raise told_by(errors) from errors
    return [run.result() for run in runs]


async def _ended(task: Task, way: Way, alone: bool) -> RunResult | DgtError:
    """Return what a run ended with, or what stopped it."""
    try:
        return await run_task(task, way)
    except DgtError as error:
        if not alone:
            way.say(f"{task.task_name} has stopped: {error}")
        return error


@contextmanager
def _stopping_on_signals() -> Iterator[None]:
    """Let Ctrl-C, job schedulers and closed terminals stop a run so that what is finished is written; the third one ends at once."""
    loop, task, asked = asyncio.get_running_loop(), asyncio.current_task(), 0
    assert task is not None

    def stop(*_: object) -> None:
        nonlocal asked
        asked += 1
        if asked > 2:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(task.cancel)

    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    # one that is ignored, as nohup has it, stays so
    heard = {one: handler for one, handler in before.items() if handler != signal.SIG_IGN}
    for one in heard:
        signal.signal(one, stop)
    try:
        yield
    finally:
        for one, handler in heard.items():
            signal.signal(one, handler)
