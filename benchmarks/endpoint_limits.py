"""The limit found by itself against the best fixed one, on servers of three kinds; figures are ratios in one run.

    python benchmarks/endpoint_limits.py [--seconds 30]

A server that queues beyond 64, one that becomes slower beyond 128, one that says 429 beyond 32. Calls are driven without
a pipeline, as many as are wanted, for so many seconds.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from dgt_rag.dice import Dice
from dgt_rag.guard import Guards
from dgt_rag.llm.base import Ask
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.records import ConversationDataPoint
from dgt_rag.world import World

SERVER = Path(__file__).parents[1] / "tests" / "endpoint.py"
PROMPTS = SERVER.parent / "plain_prompts"
KINDS: dict[str, tuple[list[str], list[int]]] = {
    "queues beyond 64": (["--capacity", "64"], [32, 64, 128]),
    "slower beyond 128": (["--capacity", "4096", "--slower-beyond", "128"], [64, 128, 192]),
    "429 beyond 32": (["--capacity", "4096", "--refuse-beyond", "32"], [24, 32]),
}


class Out(BaseModel):
    """What is asked for."""

    answer: str


async def drive(url: str, seconds: float, limits: dict[str, int]) -> tuple[float, float, int]:
    """Return calls a second, the share of 429 after the first third, and the limit at the end."""
    guards, done = Guards(), 0
    model = OpenAIModel.model_validate({"model": "test-model", "base_url": url, "limits": limits})
    values: dict[str, Any] = {"documents": (), "examples": (), "instructions": ""}
    async with model.open(World(guards=guards, prompts=PROMPTS)) as speaker:
        gate = guards.known[f"test-model at {url.removeprefix('http://')}"]
        end, third = time.monotonic() + seconds, time.monotonic() + seconds / 3

        async def worker(index: int) -> None:
            nonlocal done
            for n in range(1_000_000):
                if time.monotonic() > end:
                    return
                await speaker.reply(Ask("search", ConversationDataPoint(index=index), values, Out, Dice(index, n)))
                done += time.monotonic() <= end

        tasks = [asyncio.create_task(worker(index)) for index in range(600)]
        await asyncio.sleep(third - time.monotonic())
        before = gate.gate.outcomes.copy()
        await asyncio.gather(*tasks)
        late = gate.gate.outcomes - before
        return done / seconds, late["rate_limit"] / max(1, late.total()), gate.limiter.limit


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--seconds", type=float, default=30.0)
    said = args.parse_args()
    for kind, (flags, widths) in KINDS.items():
        server = subprocess.Popen(
            [sys.executable, str(SERVER), "--latency", "0.2", *flags], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            fixed = {width: asyncio.run(drive(url, said.seconds / 2, {"in_flight": width}))[0] for width in widths}
            rate, refused, limit = asyncio.run(drive(url, said.seconds, {}))
        finally:
            server.kill()
        best = max(fixed, key=lambda width: fixed[width])
        shown = ", ".join(f"{width}: {rate:.0f}/s" for width, rate in fixed.items())
        print(
            f"{kind}: by itself {rate:.0f}/s (limit {limit} at the end, {100 * refused:.2f} % refused), fixed {shown}"
        )
        print(f"  ratio to the best fixed width ({best}): {rate / fixed[best]:.3f}")


if __name__ == "__main__":
    main()
