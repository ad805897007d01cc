"""Retrievers whose documents are those of another one; searching is their own."""

from collections.abc import AsyncIterator

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, Where
from dgt_rag.errors import TaskError
from dgt_rag.plugins import unknown
from dgt_rag.records import Document
from dgt_rag.world import World


class Borrowing(Retriever):
    """Base of retrievers that stand on another one's documents."""

    def __init__(self, lender: Retriever) -> None:
        self.lender = lender

    def documents(self) -> AsyncIterator[Document]:
        """Stream the lender's documents."""
        return self.lender.documents()

    async def count(self, where: Where | None = None) -> int:
        """Return how many documents the lender has (that match)."""
        return await self.lender.count(where)

    async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
        """Return the lender's groups."""
        return await self.lender.groups(path, where)

    async def sample(self, dice: Dice, count: int, where: Where | None = None) -> list[Document]:
        """Return documents of the lender by chance."""
        return await self.lender.sample(dice, count, where)

    async def at(self, places: list[int]) -> list[Document]:
        """Return the lender's documents at these places."""
        return await self.lender.at(places)

    async def fingerprint(self) -> str:
        """Return the digest of the lender's documents."""
        return await self.lender.fingerprint()


def opened(world: World, name: str, who: str) -> Retriever:
    """Return an engine that another one stands on, or say which there are."""
    found = world.engines.get(name)
    if not isinstance(found, Retriever):
        raise TaskError(f"{who}: {unknown('engine', name, world.engines)}")
    return found
