"""What a stage works with, over the small corpus of `building.py`: for tests that run stages one by one."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from building import BODIES

from dgt_rag.catalog import SHIPPED
from dgt_rag.dice import Dice
from dgt_rag.engines.base import ErrorCategory
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.tool import SearchTool
from dgt_rag.llm.base import Ask, Reply, Speaker
from dgt_rag.llm.extractive import ExtractiveModel
from dgt_rag.plugins import Plugins, loading
from dgt_rag.records import ConversationDataPoint, Document, ScenarioStep, UserStep
from dgt_rag.stages.base import Bench
from dgt_rag.stages.examples import Examples
from dgt_rag.stages.scenario import RagScenario
from dgt_rag.world import World

DOCUMENTS = tuple(Document(doc_id=name, title=name.title(), body=body) for name, body in BODIES.items())


class Told(Speaker):
    """A model that answers each purpose by a function of the ask, which gives a value of the reply or a whole reply."""

    def __init__(self, answers: Mapping[str, Callable[[Ask], dict[str, Any] | Reply]]) -> None:
        self.answers = answers
        self.asked: list[Ask] = []

    async def reply(self, ask: Ask) -> Reply:
        self.asked.append(ask)
        said = self.answers[ask.purpose](ask)
        return said if isinstance(said, Reply) else Reply(ask.reply_type.model_validate(said), "told")

    def times(self, purpose: str) -> int:
        """Return how often it was asked for something."""
        return sum(ask.purpose == purpose for ask in self.asked)


@asynccontextmanager
async def bench_over(
    documents: tuple[Document, ...] = DOCUMENTS,
    speaker: Speaker | None = None,
    errors: tuple[ErrorCategory, ...] = (),
    turns: tuple[int, int] = (3, 6),
) -> AsyncIterator[Bench]:
    """Open a bench: one engine `retriever`, its tool `search`, and the embedded model unless another one is given."""
    engine = InMemoryEngine(corpus=list(documents), limit=3, error_categories=errors)
    async with engine.open(World()) as retriever, ExtractiveModel().open(World()) as extractive:
        speakers = {"generator": speaker or extractive}
        tools = {"search": SearchTool.of(engine, retriever)}
        yield Bench(speakers, {"retriever": retriever}, tools, Examples(), Dice("test"), Dice("test"), *turns)


def scenario_stage() -> RagScenario:
    """Return a stage that samples three documents."""
    with loading(Plugins.of(SHIPPED)):
        sampler = {"type": "search/random", "engine": "retriever", "k": 3}
        return RagScenario.model_validate({"document_samplers": [sampler]})


def numbered(bench: Bench, index: int) -> Bench:
    """Return the bench of one conversation."""
    return replace(bench, dice=bench.run_dice.child(index))


def asked_about(question: str, *documents: Document) -> ConversationDataPoint:
    """Return a conversation about these documents whose user has just asked a question."""
    return ConversationDataPoint().add(ScenarioStep(content="…", documents=documents), UserStep(content=question))
