"""`search/hybrid`: several engines asked at once, their rankings made one by reciprocal rank fusion."""

import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from pydantic import ConfigDict, Field, PositiveFloat, TypeAdapter, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dgt_rag.engines.base import Narrowed, Retriever, SearchToolEngine, Where
from dgt_rag.engines.borrowed import Borrowing, opened
from dgt_rag.records import Document, Hit
from dgt_rag.together import together
from dgt_rag.world import World

_WEIGHTS = TypeAdapter(dict[str, PositiveFloat], config=ConfigDict(allow_inf_nan=False, defer_build=True))
_NAMES = TypeAdapter(tuple[str, ...], config=ConfigDict(defer_build=True))
_DIGITS = 12
"""Digits in which two sums must differ to be told apart."""


class HybridEngine(SearchToolEngine):
    """Other engines of the task, asked together; what several of them rank high comes first.

    A document's score is the sum of weight / (k + rank) over the engines that found it.
    """

    type: Literal["search/hybrid"] = "search/hybrid"
    engines: dict[str, PositiveFloat] | tuple[str, ...] = Field(examples=[{"words": 1, "vectors": 1}])
    """Engine → weight, or a list of engines that weigh the same; documents are streamed and sampled from the first."""
    k: float = Field(default=60.0, ge=0)
    """The larger, the less it matters whether an engine ranks a document first or tenth."""
    depth: int = Field(default=100, ge=1)
    """How many hits of each engine are looked at."""
    documents_from: str | None = None
    """The engine whose documents are streamed and sampled, if not the first."""

    @field_validator("engines", mode="before")
    @classmethod
    def _one_form(cls, value: Any) -> Any:
        """Read the form that was written, so that what is wrong is told of that one alone."""
        if isinstance(value, Mapping):
            return _WEIGHTS.validate_python(value)
        if isinstance(value, list | tuple):
            return _NAMES.validate_python(value)
        raise PydanticCustomError("engines", "a list of engines, or a mapping of engine to weight, is needed")

    @model_validator(mode="after")
    def _makes_sense(self) -> "HybridEngine":
        if len(self.weights) < 2:
            raise ValueError("`engines` names fewer than two engines; there is nothing to fuse")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Engine → weight."""
        return dict(self.engines) if isinstance(self.engines, dict) else dict.fromkeys(self.engines, 1.0)

    def needs(self) -> tuple[str, ...]:
        """Return the engines that are fused."""
        return tuple(dict.fromkeys((*self.weights, *([self.documents_from] if self.documents_from else []))))

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        """Take the engines that are open."""
        who = f"engine {world.name or self.type!r}"
        parts = {name: opened(world, name, f"{who}: engines") for name in self.weights}
        lender = opened(world, self.documents_from or next(iter(self.weights)), f"{who}: documents_from")
        fused = _HybridRetriever(self, lender, parts)
        if not self.filter:
            yield fused
            return
        # each part finds by the filter in its own way; a hit of one need not have the fields of another
        narrowed = Narrowed(fused, self.filter, sure=True)
        await narrowed.refuse_nothing(who)
        yield narrowed


class _HybridRetriever(Borrowing):
    """The open engines, fused."""

    def __init__(self, engine: HybridEngine, lender: Retriever, parts: Mapping[str, Retriever]) -> None:
        super().__init__(lender)
        self.engine = engine
        self.parts = parts

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Ask all engines at once and fuse what they find."""
        depth = max(limit, self.engine.depth)
        rankings = await together(part.search(query, depth, where) for part in self.parts.values())
        least = self.engine.relevance_threshold
        fused = fuse(rankings, list(self.engine.weights.values()), self.engine.k)
        near = [pair for pair in fused if least is None or pair[1] >= least][:limit]
        return [Hit(document=document, score=score, rank=rank) for rank, (document, score) in enumerate(near, start=1)]


def fuse(rankings: Sequence[Sequence[Hit]], weights: Sequence[float], k: float) -> list[tuple[Document, float]]:
    """Return the documents of several rankings with their reciprocal rank sums, best first, ties by id."""
    documents: dict[str, Document] = {}
    parts: dict[str, list[float]] = {}
    heaviest = max(weights, default=1.0)
    for hits, weight in zip(rankings, weights, strict=True):
        for hit in hits:
            own = hit.document.doc_id
            documents.setdefault(own, hit.document)
            parts.setdefault(own, []).append(weight / heaviest / (k + hit.rank))
    sums = {own: math.fsum(some) for own, some in parts.items()}
    # rounded, so that what is as good in another way is a tie, not a difference in the last bit
    digits = _DIGITS - math.floor(math.log10(max(sums.values(), default=0.0) or 1.0))
    pairs = [(documents[own], round(score, digits) * heaviest) for own, score in sums.items()]
    return sorted(pairs, key=lambda pair: (-pair[1], pair[0].doc_id))
