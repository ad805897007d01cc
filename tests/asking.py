"""One small ask of the `openai` model, for tests against real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from endpoint import Endpoint
from pydantic import BaseModel, Field

from dgt_rag.dice import Dice
from dgt_rag.guard import Guards
from dgt_rag.llm.base import Ask, Reply, Speaker
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.records import ConversationDataPoint, ToolSpec, UserStep
from dgt_rag.store.calls import Calls
from dgt_rag.world import World

PROMPTS = Path(__file__).parent / "plain_prompts"
FAST = {"attempts": 3, "first_wait": 0.01, "timeout": 2.0, "dead_after": 1.0}
SEARCH = ToolSpec(
    name="search",
    description="Find passages.",
    parameters={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)


class Queries(BaseModel):
    queries: list[str] = Field(min_length=1)
    why: str = "because"


GOOD = '{"queries": ["opening hours"], "why": "so"}'


@asynccontextmanager
async def opened(
    url: str, calls: Calls | None = None, said: list[str] | None = None, **keys: Any
) -> AsyncIterator[Speaker]:
    say = (said if said is not None else []).append
    world = World(guards=Guards(say), say=say, calls=calls, prompts=PROMPTS)
    place = {} if "base_urls" in keys else {"base_url": url}
    model = OpenAIModel.model_validate({"model": "test-model", "retry": FAST, **place, **keys})
    async with model.open(world) as speaker:
        yield speaker


def ask(index: int = 0, **keys: Any) -> Ask:
    talk = ConversationDataPoint(index=index, steps=(UserStep(content="When does the library open?"),))
    values = {"documents": (), "examples": (), "instructions": "", "offered": (), "required": True}
    return Ask("search", talk, values, Queries, Dice("test", index), **keys)


def offered(choice: str = "required", index: int = 0) -> Ask:
    return ask(index, native=True, tools=(SEARCH,), tool_choice=choice)


async def one(server: Endpoint, question: Ask | None = None, **keys: Any) -> Reply:
    async with opened(server.url, **keys) as speaker:
        return await speaker.reply(question or ask())
