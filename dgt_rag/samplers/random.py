"""Documents by chance, of the whole corpus or of one group of it."""

from typing import ClassVar, Literal

from dgt_rag.engines.base import Where
from dgt_rag.records import Document
from dgt_rag.samplers.base import GroupedSampler, Source


class DrawingSampler(GroupedSampler):
    """Base of the samplers that draw by chance."""

    strategy: Literal["uniform", "proportional"] = "uniform"
    """How the group is drawn: each as likely as any other, or as its number of documents."""

    async def group(self, source: Source) -> Where | None:
        """Return the filter of the group drawn for this conversation; None if it takes from the whole corpus."""
        if self.group_by is None:
            return None
        sizes = await self.wanted(await source.retriever.groups(self.group_by), source.retriever)
        weights = [float(size) if self.strategy == "proportional" else 1.0 for size in sizes.values()]
        return {self.group_by: source.dice.child("group").weighted(list(sizes), weights)}

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
