"""Many conversations: a task's run from its folder and back, resumable at any instant."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from dgt_rag.errors import Exit, told_by
from dgt_rag.guard import Guard
from dgt_rag.loader import task_text
from dgt_rag.pipeline.budget import Budget
from dgt_rag.pipeline.ledger import Ledger
from dgt_rag.pipeline.making import Making
from dgt_rag.pipeline.opening import offered_by, opened
from dgt_rag.pipeline.order import Order
from dgt_rag.pipeline.progress import Progress, by_kind
from dgt_rag.pipeline.way import Way
from dgt_rag.plugins import answering_for
from dgt_rag.records import ConversationDataPoint, ToolSpec
from dgt_rag.report.page import Page
from dgt_rag.report.summary import Summary
from dgt_rag.stages.base import Bench
from dgt_rag.store.calls import Calls, open_calls
from dgt_rag.store.folder import RunFolder
from dgt_rag.store.identity import identity
from dgt_rag.store.journal import Journal
from dgt_rag.task import Task
from dgt_rag.world import World


@dataclass(frozen=True)
class RunResult:
    """What a run ended with; the rows are in its folder."""

    folder: Path
    summary: Summary
    facts: Mapping[str, JsonValue]

    @property
    def exit_code(self) -> Exit:
        """0 if there are rows."""
        return Exit.MADE if self.summary.kept else Exit.NOTHING_KEPT

    def conversations(self) -> Iterator[ConversationDataPoint]:
        """Read the kept conversations, one at a time."""
        with (self.folder / "final_data.jsonl").open("rb") as lines:
            for line in lines:
                yield ConversationDataPoint.model_validate_json(line)


async def run_task(task: Task, way: Way | None = None) -> RunResult:
    """Run a task to its end, or from where it was left; what was finished is never made again."""
    way = way or Way()
    async with AsyncExitStack() as stack:
        folder = RunFolder(Path(task.output_dir) / task.task_name)
        stack.callback(folder.close)
        calls = stack.enter_context(open_calls(folder.path / "calls.sqlite", way.cache))
        if way.restart:
            # what an endpoint could do then says nothing of what it can do now
            calls.forget()
        order = Order()
        world = World(guards=way.guards, say=way.say, calls=calls, corpora=way.corpora, order=order)
        bench = await stack.enter_async_context(opened(task, world))
        if way.restart:
            # not before all is open: a task that cannot run must not cost the rows there are
            folder.restart(formatter.file_name for formatter in task.formatters)
        return await Run(task, way, folder, calls, bench).go(order)


class Run:
    """One run of one task, with everything open."""

    def __init__(self, task: Task, way: Way, folder: RunFolder, calls: Calls, bench: Bench) -> None:
        self.task = task
        self.way = way
        self.folder = folder
        self.calls = calls
        self.bench = bench
        self._corpus = 0
        self._making = Making(task, way, folder.path, calls, bench)
        self._totals = self._making.totals
        self.progress = Progress(
            task.task_name,
            task.num_outputs,
            totals=self._totals,
            unreported=self._making.unreported,
            endpoints=self._endpoint_lines,
        )

    async def go(self, order: Order) -> RunResult:
        """Make what is owed, then write the rows; on the way out of a stop as well."""
        made_from = await self._identity()
        # asked now: when the run ends because an engine is gone, what is finished is still written
        self._corpus = await self._corpus_size()
        self.folder.check(made_from)
        versions = self.folder.versions(self.way.say)
        before = self.folder.kept()
        self.folder.write("run.json", _json({"identity": made_from, "status": "begun", **versions}))
        self.folder.write("task.yaml", task_text(self.task))
        journal = self.folder.journal()
        try:
            ledger = order.ledger = Ledger(journal, self.task.num_outputs, self.task.attempts)
            status = "stopped"
            try:
                await self._make(ledger, order)
                status = "complete" if ledger.complete else "attempts used up"
            finally:
                result = await self._finish(journal, ledger, made_from, status)
        finally:
            journal.close()
        if (kept := result.summary.kept) < before:
            self.way.say(
                f"{self.folder.path}: the files hold the first {kept:,} of {before:,} rows now; "
                f"all stand in journal.jsonl, and num_outputs={before} brings them back"
            )
        return result

    def _endpoint_lines(self) -> list[str]:
        return [_line(guard) for guard in self.way.guards.known.values()]

    async def _identity(self) -> dict[str, str]:
        marks = {}
        for name, shelf in self.bench.retrievers.items():
            with answering_for(f"engine {name!r}"):
                marks[name] = await shelf.fingerprint()
        return identity(self.task, marks)

    async def _make(self, ledger: Ledger, order: Order) -> None:
        self.progress.resumed = sum(1 for _ in ledger.journal.kept(self.task.num_outputs))
        self.progress.kept = self.progress.resumed
        self.way.watch(self.progress)
        budget = Budget(self.task, self.folder.path, self.way.guards, self.progress)
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(budget.keep())
                await self._making.make(ledger, order, self.progress)
                keeper.cancel()
        except BaseExceptionGroup as errors:
            raise told_by(errors) from errors
        finally:
            budget.release()

    async def _finish(self, journal: Journal, ledger: Ledger, made_from: dict[str, str], status: str) -> RunResult:
        """Write what there is, in index order, and the facts about it."""
        journal.sync()
        summary = Summary(self.task.num_outputs, corpus=self._corpus, dropped=ledger.reasons)
        page = Page(self.task.task_name)
        tools = offered_by(self.task, self.bench.tools)
        # beside the loop: other tasks of the same command may still be at work
        writing = asyncio.get_running_loop().run_in_executor(None, self._write_rows, ledger, summary, page, tools)
        stop = await _outlast(writing)
        self.calls.read_again()
        spent = self.calls.totals()
        self.progress.totals = lambda: spent  # a display may look again when the store of calls is closed
        facts: dict[str, Any] = {
            "identity": made_from,
            "status": status,
            **self.folder.versions(),
            "seed": self.task.seed,
            "figures": summary.as_dict(),
            "usage": {
                "totals": spent,
                "by_purpose": self.calls.by("purpose", "model"),
                "on_dropped": self.calls.spent_on(ledger.dropped()),
                "answered_from_store": self._making.hits,
            },
            "endpoints": {name: _endpoint(guard) for name, guard in self.way.guards.known.items()},
            "tools": [tool.model_dump(mode="json") for tool in tools.values()],
            "seconds": round(self.progress.seconds, 3),
            "worker_processes": self._making.workers,
        }
        self.folder.write("run.json", _json(facts))
        self.folder.write("report.html", page.html(facts, task_text(self.task)))
        if stop:
            raise stop
        return RunResult(self.folder.path, summary, facts)

    def _write_rows(self, ledger: Ledger, summary: Summary, page: Page, tools: Mapping[str, ToolSpec]) -> None:
        journal = ledger.journal
        indices = list(journal.kept(self.task.num_outputs))
        self.folder.write_lines("final_data.jsonl", (journal.line(index) for index in indices))
        for index in indices:
            talk = journal.read(index)
            summary.add(talk)
            page.add(talk)
        for index in ledger.dropped():
            talk = journal.read(index)
            summary.add_dropped(talk)
            page.add(talk)
        for formatter in self.task.formatters:
            rows = (row for index in indices for row in formatter.rows(journal.read(index), tools))
            with answering_for(f"formatter {formatter.plugin_name()!r}"):
                summary.add_file(formatter.file_name, self.folder.write_rows(formatter.file_name, rows))

    async def _corpus_size(self) -> int:
        names = {name for stages in self.task.stages.values() for stage in stages for name in stage.engine_names()}
        size = 0
        for name in sorted(names):
            with answering_for(f"engine {name!r}"):
                size += await self.bench.retrievers[name].count()
        return size


async def _outlast(work: asyncio.Future[None]) -> asyncio.CancelledError | None:
    """Wait for work that must not be left half done; return the stop that was asked for meanwhile, if one was."""
    stop = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            stop = error
    work.result()
    return stop


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _line(guard: Guard) -> str:
    """Return how an endpoint is now, and how often its calls ended otherwise than with an answer."""
    failed = {kind: count for kind, count in guard.gate.outcomes.items() if kind not in ("ok", "cancelled")}
    resting = f", {guard.resting} to be tried again" if guard.resting else ""
    kinds = f"; so far {by_kind(failed)}" if failed else ""
    now = f"{guard.limiter.in_flight} in flight of {guard.limiter.limit}, {guard.gate.waiting} waiting"
    return f"{guard.name}: {now}{resting}{kinds}"


def _endpoint(guard: Guard) -> dict[str, JsonValue]:
    """Return what became of an endpoint: how calls ended, and how its limit moved (seconds since the first, limit, why)."""
    history = guard.limiter.history
    moves: list[JsonValue] = [[round(change.at - history[0].at, 2), change.limit, change.reason] for change in history]
    return {"outcomes": dict(guard.gate.outcomes), "limit": guard.limiter.limit, "limits": moves}
