"""Documents by chance, of the whole corpus or of one group of it."""

from typing import ClassVar, Literal

from dgt_rag.records import Document
from dgt_rag.samplers.base import GroupedSampler, Source


class DrawingSampler(GroupedSampler):
    """Base of the samplers that draw by chance."""

    strategy: Literal["uniform", "proportional"] = "uniform"
    """How the group is drawn: each as likely as any other, or as its number of documents."""

    async def draw(self, source: Source, count: int) -> list[Document]:
        """Return `count` different documents, each as likely as any other (of the group drawn)."""
        if self.group_by is None:
            return await source.retriever.sample(source.dice.child("documents"), count)
        sizes = await self.wanted(await source.retriever.groups(self.group_by), source.retriever)
        weights = [float(size) if self.strategy == "proportional" else 1.0 for size in sizes.values()]
        group = source.dice.child("group").weighted(list(sizes), weights)
        return await source.retriever.sample(source.dice.child("documents"), count, {self.group_by: group})


class RandomSampler(DrawingSampler):
    """Documents by chance; with `group_by`, all of a conversation's from one group."""

    aliases: ClassVar[tuple[str, ...]] = ("random",)

    type: Literal["search/random"] = "search/random"

    async def sample(self, source: Source, k: int) -> list[Document]:
        """Return `k` different documents, each as likely as any other (of its group)."""
        return await self.draw(source, k)
