"""Our own CPU per model call, as a ratio to a bare asyncio loop over the `openai` client with the same payloads.

    python benchmarks/endpoint_cpu.py [--calls 3000]

The server is the tests' own, in another process. Ours does all it does in a run: prompt, cache look-up, limiter, retry,
schema, reading, the store of calls.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel

from dgt_rag.dice import Dice
from dgt_rag.guard import Guards
from dgt_rag.llm.base import Ask
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.llm.remote import Remote
from dgt_rag.records import ConversationDataPoint, Document
from dgt_rag.store.calls import open_calls
from dgt_rag.world import World

SERVER = Path(__file__).parents[1] / "tests" / "endpoint.py"
PROMPTS = SERVER.parent / "plain_prompts"
WIDTH = 64
BODY = "The registration of a vehicle must be renewed before the date on the sticker. " * 40
DOCUMENTS = tuple(Document(doc_id=f"d{n}", body=BODY) for n in range(3))


class Out(BaseModel):
    """What is asked for."""

    reasoning: str
    answer: str


def ask(index: int) -> Ask:
    values = {"documents": DOCUMENTS, "examples": (), "instructions": ""}
    return Ask("search", ConversationDataPoint(index=index), values, Out, Dice("cpu", index))


async def timed(calls: int, call: Callable[[int], Awaitable[Any]]) -> float:
    """Return the CPU seconds per call of this process."""
    numbers = iter(range(calls))

    async def worker() -> None:
        for index in numbers:
            await call(index)

    start = time.process_time()
    await asyncio.gather(*(worker() for _ in range(WIDTH)))
    return (time.process_time() - start) / calls


async def measure(url: str, calls: int, folder: Path) -> None:
    model = OpenAIModel.model_validate({"model": "test-model", "base_url": url, "limits": {"in_flight": WIDTH}})
    with open_calls(folder / "calls.sqlite") as store:
        async with model.open(World(guards=Guards(), calls=store, prompts=PROMPTS)) as speaker:
            assert isinstance(speaker, Remote)
            await speaker.reply(ask(-1))
            bodies = [
                speaker._request(ask(n)).body("test-model", speaker.endpoints[0].traits, {}) for n in range(calls)
            ]
            ours = await timed(calls, lambda n: speaker.reply(ask(n)))
    async with AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        await client.chat.completions.create(**bodies[0])
        bare = await timed(calls, lambda n: client.chat.completions.create(**bodies[n]))
    print(f"{calls} calls of {len(str(bodies[0])):,} characters, {WIDTH} at once")
    print(f"bare client {bare * 1e6:.0f} us a call, ours {ours * 1e6:.0f} us a call, ratio {ours / bare:.2f}")
    print(f"one core makes at most {1 / ours:.0f} calls a second")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--calls", type=int, default=3000)
    said = args.parse_args()
    server = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(url, said.calls, Path(folder)))
    finally:
        server.kill()


if __name__ == "__main__":
    main()
