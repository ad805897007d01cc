"""What a run looks like while it goes: one refreshed block on a terminal, plain lines elsewhere; read on a timer."""

import asyncio
import sys
from types import TracebackType
from typing import Any

from dgt_rag.pipeline.progress import Progress, by_kind
from dgt_rag.pipeline.run import RunResult
from dgt_rag.report.conversation import as_text
from dgt_rag.report.summary import Summary


class Display:
    """Shows the progress of the runs of one command."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet
        self._progress: list[Progress] = []
        self._block: Any = None
        self._ticker: asyncio.Task[None] | None = None

    def __enter__(self) -> "Display":
        if self.live:
            from rich.console import Console
            from rich.live import Live

            self._block = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._block.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._block:
            self._block.stop()

    def say(self, line: str) -> None:
        """Show a line now."""
        if self._block:
            self._block.console.print(line, markup=False, highlight=False)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def watch(self, progress: Progress) -> None:
        """Begin to show a run."""
        self._progress.append(progress)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Begin to look at the runs now and then."""
        if not self.quiet:
            self._ticker = group.create_task(self._tick())

    def stop(self) -> None:
        """Look no more."""
        if self._ticker:
            self._ticker.cancel()

    async def _tick(self) -> None:
        """Look twice a second on a terminal; elsewhere print after a second, then ever less often."""
        pause = 0.5 if self.live else 1.0
        while True:
            await asyncio.sleep(pause)
            if self._block:
                self._block.update(
                    "\n".join(line for progress in self._progress for line in told(progress)), refresh=True
                )
            else:
                for progress in self._progress:
                    print("  ".join(told(progress)), file=sys.stderr, flush=True)
                pause = min(pause * 1.5, 30.0)


def told(progress: Progress) -> list[str]:
    """Return the lines that tell how a run is getting on."""
    rate = (progress.kept - progress.resumed) / progress.seconds * 60 if progress.seconds else 0.0
    eta = f", {_time(progress.eta)} to go" if progress.eta is not None and progress.kept < progress.wanted else ""
    dropped = f", dropped {by_kind(progress.dropped)}" if progress.dropped else ""
    lines = [
        f"{progress.task_name}: {progress.kept} of {progress.wanted}{dropped}, {progress.in_the_air} in the air, {rate:.0f} a minute{eta}"
    ]
    totals = progress.totals()
    if totals.get("calls"):
        cost = f", cost {totals['cost']:.4g}" if totals.get("cost") else ""
        failed = f", {totals['failed']} failed" if totals.get("failed") else ""
        lines.append(
            f"  {totals['calls']} calls{failed}, tokens {totals['prompt_tokens']} in ({totals['cached_tokens']} cached) {totals['completion_tokens']} out{cost}"
        )
    return lines + [f"  {line}" for line in progress.endpoints()]


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def shortened(text: str, most: int = 200) -> str:
    """Return a text that is not longer than a line or two."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def tell_result(result: RunResult, show: int, quiet: bool) -> None:
    """Print the summary of a run and some of its conversations."""
    if quiet:
        return
    for number, talk in enumerate(result.conversations()):
        if number >= show:
            break
        print(as_text(talk))
    print("\n".join(summary_lines(result.summary)))
    if result.facts["status"] == "attempts used up":
        print(
            "fewer were kept than asked for, and the attempts are used up: look at what was dropped, or raise max_attempts"
        )
    print(f"rows: {result.folder}/final_data.jsonl")
    print(f"page: {result.folder}/report.html")


def summary_lines(summary: Summary) -> list[str]:
    """Return the summary of a run as lines."""
    lines = [f"kept {summary.kept} of {summary.asked} asked for"]
    for reason, count in summary.dropped.most_common():
        because = " ".join(summary.because.get(reason, "").split())
        lines.append(f"dropped {count}: {reason}{', such as: ' if because else ''}{shortened(because)}")
    if not summary.kept:
        return lines
    if summary.cut_short:
        lines.append(f"kept up to their last whole turn, since something failed after it: {by_kind(summary.cut_short)}")
    lines.append(
        f"turns {summary.turns} ({summary.turns / summary.kept:.1f} a conversation), answers rewritten {summary.rewrites}, citations {summary.citations}"
    )
    if summary.tool_calls:
        lines.append(
            f"tool calls {summary.tool_calls} ({summary.tool_calls / summary.turns:.1f} a turn), failed {summary.failed_calls}"
        )
    found = f", and with what searches found {len(summary.used)}" if len(summary.used) > len(summary.sampled) else ""
    lines.append(f"documents sampled {len(summary.sampled)} of {summary.corpus}{found}")
    for name, token in [*summary.marked.items()][:1]:
        first = f"{token!r} in {name!r}"
        lines.append(
            f"documents with control tokens of chat templates {len(summary.marked)}, as rows hold them: {first}"
        )
    lines += [
        f"rows of {name}: half up to {half:,} bytes, the longest {most:,} (four or so make a token)"
        for name, (half, most) in summary.row_bytes.items()
    ]
    lines.append("answers: " + ", ".join(f"{name} {count}" for name, count in summary.answerability.most_common()))
    if "extractive" in summary.models:
        lines.append(
            "written by the embedded model `extractive`, by rules and not by a language model: good for a first look, not for training; name a model of yours under `models`"
        )
    return lines
