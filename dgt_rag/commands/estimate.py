"""`estimate`: calls, tokens, time and cost of a whole run, from a pilot of a few conversations."""

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dgt_rag.builders.conversation import make_conversation
from dgt_rag.commands.tasks import add_task_arguments, load_one, say
from dgt_rag.errors import Exit, TaskError, told_by
from dgt_rag.executors.local import work_off
from dgt_rag.guard import Guards
from dgt_rag.interrupts import run_to_end
from dgt_rag.pipeline.opening import opened
from dgt_rag.records import ConversationDataPoint
from dgt_rag.store.calls import Calls, open_calls
from dgt_rag.store.folder import RunFolder
from dgt_rag.task import Task
from dgt_rag.world import World

_FIGURES = {
    "calls": "calls",
    "prompt_tokens": "tokens in",
    "cached_tokens": "  of them cached",
    "completion_tokens": "tokens out",
    "cost": "cost",
}


@dataclass(frozen=True)
class Pilot:
    """What a few conversations took. Their calls stay in the run's own store, so the run does not pay for them again."""

    talks: tuple[ConversationDataPoint, ...]
    calls: Mapping[int, Mapping[str, Any]]
    """The sums over the calls of each conversation, by its index."""
    purposes: Mapping[str, float]
    """Calls of a conversation, by what they are for."""
    at_once: int
    """How many calls the models take at once, as far as the pilot saw."""
    seconds: float

    @property
    def kept(self) -> float:
        """The share of conversations kept."""
        return sum(talk.status == "kept" for talk in self.talks) / len(self.talks)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_task_arguments(parser)
    parser.add_argument(
        "--num-outputs",
        "--num-outputs-to-generate",
        type=int,
        metavar="N",
        help="how many conversations the run is to make",
    )
    parser.add_argument("--pilot", type=int, default=3, metavar="N", help="conversations to make for the estimate (3)")


def main(args: argparse.Namespace) -> int:
    """Make the pilot and tell what the run will take."""
    if args.pilot < 1:
        raise TaskError(f"--pilot {args.pilot}: at least 1")
    overrides = [f"num_outputs={args.num_outputs}"] if args.num_outputs is not None else []
    task = load_one(args, *overrides).task
    pilot = run_to_end(make_pilot(task, args.pilot))
    print("\n".join(told(task, pilot)))
    return Exit.MADE if pilot.kept else Exit.NOTHING_KEPT


async def make_pilot(task: Task, count: int) -> Pilot:
    """Make the run's first conversations, keeping nothing but their calls."""
    with ExitStack() as stack:
        folder = RunFolder(Path(task.output_dir) / task.task_name)
        stack.callback(folder.close)
        calls = stack.enter_context(open_calls(folder.path / "calls.sqlite"))
        started = time.monotonic()
        talks: dict[int, ConversationDataPoint] = {}
        world = World(guards=Guards(say=say), say=say, calls=calls)
        async with opened(task, world) as bench:
            width = task.concurrency or max((speaker.width for speaker in bench.speakers.values()), default=1)

            async def make(index: int) -> None:
                talks[index] = await make_conversation(task, bench, index)

            try:
                await work_off(_indices(count), make, lambda: width)
            except BaseExceptionGroup as errors:
                raise told_by(errors) from errors
        seconds = time.monotonic() - started
        places = sum(guard.limiter.limit for guard in world.guards.known.values())
        at_once = min(places or 1, task.concurrency or places or 1)
        return Pilot(tuple(talks[index] for index in range(count)), *_sums(calls, count), at_once, seconds)


async def _indices(count: int) -> Any:
    for index in range(count):
        yield index


def _sums(calls: Calls, count: int) -> tuple[dict[int, dict[str, Any]], dict[str, float]]:
    rows = [row for row in calls.by("talk", "purpose") if 0 <= row["talk"] < count]
    purposes: Counter[str] = Counter()
    talks: dict[int, dict[str, Any]] = {index: dict.fromkeys([*_FIGURES, "seconds"], 0) for index in range(count)}
    for row in rows:
        purposes[row["purpose"]] += row["calls"]
        for name in talks[row["talk"]]:
            talks[row["talk"]][name] += row[name] or 0
    return talks, {purpose: number / count for purpose, number in purposes.items()}


def told(task: Task, pilot: Pilot) -> Iterator[str]:
    """Tell the estimate as lines."""
    count = len(pilot.talks)
    yield f"pilot: {count} conversations, {pilot.kept * count:.0f} kept, {pilot.seconds:.1f} s; what it called is stored and not paid again"
    for reason, number in Counter(talk.drop_reason for talk in pilot.talks if talk.status != "kept").most_common():
        yield f"dropped {number}: {reason}"
    if not pilot.kept:
        yield "nothing was kept, so there is nothing to go by; mend that first, or try a larger --pilot"
        return
    begun = min(task.attempts, task.num_outputs / pilot.kept)
    short = (
        ""
        if begun * pilot.kept >= task.num_outputs - 0.5
        else f", of which about {begun * pilot.kept:.0f} kept; `max_attempts` allows no more"
    )
    yield f"a run of {task.num_outputs}: about {begun:.0f} conversations begun{short}"
    if not any(one["calls"] for one in pilot.calls.values()):
        yield f"no calls: the embedded model is asked in this process; about {_time(pilot.seconds / count * begun)}"
        return
    yield f"{'':<18}{'each':>12}{'the run':>14}   from … to (by the cheapest and the dearest of the pilot)"
    for key, name in _FIGURES.items():
        each = [one[key] for one in pilot.calls.values()]
        if any(each) or key != "cost":
            yield f"{name:<18}{_number(sum(each) / count):>12}{_number(sum(each) / count * begun):>14}   {_number(min(each) * begun)} … {_number(max(each) * begun)}"
    yield from _times([one["seconds"] for one in pilot.calls.values()], begun, pilot.at_once)
    yield "calls of a conversation: " + ", ".join(
        f"{purpose} {number:.1f}" for purpose, number in pilot.purposes.items()
    )


def _times(seconds: Sequence[float], begun: float, at_once: int) -> Iterator[str]:
    """Tell the time: calls of one conversation follow one another, conversations go on side by side."""
    at_once = min(at_once, max(1, round(begun)))
    low, mean, high = (
        max(max(seconds), each * begun / at_once) for each in (min(seconds), sum(seconds) / len(seconds), max(seconds))
    )
    yield f"time: about {_time(mean)} ({_time(low)} … {_time(high)}) with {at_once} calls at once; less if the endpoint takes more, which the run finds out"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.3g}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
