"""Documents by chance, of the whole corpus or of one group of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from typing import ClassVar, Literal

from dgt_rag.engines.base import Where
from dgt_rag.records import Document
from dgt_rag.samplers.base import GroupedSampler, Shelf, Source


@dataclass(frozen=True)
class Urn:
    """Groups and what each adds to the weights of those before it, for many draws."""

    names: Sequence[str]
    bounds: Sequence[float]


class DrawingSampler(GroupedSampler):
    """Base of the samplers that draw by chance."""

    strategy: Literal["uniform", "proportional"] = "uniform"
    """How the group is drawn: each as likely as any other, or as its number of documents."""

    async def group(self, source: Source) -> Where | None:
        """Return the filter of the group drawn for this conversation; None if it takes from the whole corpus."""
        if self.group_by is None:
            return None
        urn = await source.retriever.once(f"{self.strategy} {self.choice}", lambda: self._urn(source.retriever))
        return {self.group_by: urn.names[source.dice.child("group").place(urn.bounds)]}

    async def _urn(self, shelf: Shelf) -> Urn:
        sizes = await self.wanted(await shelf.groups(self.group_by or ""), shelf)
        weights = sizes.values() if self.strategy == "proportional" else repeat(1, len(sizes))
        return Urn(list(sizes), list(accumulate(map(float, weights))))

    async def draw(self, source: Source, count: int, where: Where | None) -> list[Document]:
        """Return `count` different documents, each as likely as any other (that matches)."""
        return await source.retriever.sample(source.dice.child("documents"), count, where)


class RandomSampler(DrawingSampler):
    """Documents by chance; with `group_by`, all of a conversation's from one group."""

    aliases: ClassVar[tuple[str, ...]] = ("random",)

    type: Literal["search/random"] = "search/random"

    async def sample(self, source: Source, k: int) -> list[Document]:
        """Return `k` different documents, each as likely as any other (of its group)."""
        return await self.draw(source, k, await self.group(source))
