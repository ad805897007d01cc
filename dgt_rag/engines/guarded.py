"""A retriever as a run reads it: no control token of a chat template comes out of it whole."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Literal

from dgt_rag.corpus.markers import marked, without_markers
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, Where
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.errors import Dropped
from dgt_rag.records import Document, Hit

ChatMarkers = Literal["break", "drop", "keep"]


def guarded(retriever: Retriever, way: ChatMarkers) -> Retriever:
    """Return the retriever with what is to be done about control tokens done to whatever is sampled or found."""
    return retriever if way == "keep" else _Guarded(retriever, way)


class _Guarded(Borrowing):
    def __init__(self, lender: Retriever, way: ChatMarkers) -> None:
        super().__init__(lender)
        self._way = way

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        hits = await self.lender.search(query, limit, where)
        shown = self._shown([hit.document for hit in hits])
        pairs = zip(hits, shown, strict=True)
        return [hit if hit.document is one else hit._replace(document=one) for hit, one in pairs]

    async def documents(self) -> AsyncIterator[Document]:
        # broken up with `drop` as well: who looks through a corpus has not taken what he passes
        stream = self.lender.documents()
        try:
            async for document in stream:
                yield without_markers(document)
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def sample(self, dice: Dice, count: int, where: Where | None = None) -> list[Document]:
        return self._shown(await self.lender.sample(dice, count, where))

    async def at(self, places: list[int]) -> list[Document]:
        return self._shown(await self.lender.at(places))

    def _shown(self, documents: Sequence[Document]) -> list[Document]:
        if self._way == "break":
            return [without_markers(document) for document in documents]
        for document in documents:
            if token := marked(document):
                raise Dropped("chat_marker", f"document {document.doc_id!r} holds {token!r} (chat_markers: drop)")
        return [*documents]
