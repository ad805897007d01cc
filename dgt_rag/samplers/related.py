"""A document and its true neighbours: coherent scenarios, and distractors that are hard to tell apart."""

from typing import ClassVar, Literal

from dgt_rag.errors import Dropped, EngineError
from dgt_rag.records import Document
from dgt_rag.samplers.base import Source
from dgt_rag.samplers.random import DrawingSampler

_LEADING = 600
"""Characters of a document that say what it is about."""
_DEEPEST = 1_000
"""Hits among which neighbours are looked for, where most are copies."""


class RelatedSampler(DrawingSampler):
    """One document by chance and those most like it, as the engine itself ranks them."""

    aliases: ClassVar[tuple[str, ...]] = ("related",)

    type: Literal["search/related"] = "search/related"

    async def sample(self, source: Source, k: int) -> list[Document]:
        """Return the document drawn and its neighbours, nearest first; copies of its text are no neighbours."""
        where = await self.group(source)
        drawn = await self.draw(source, 1, where)
        if not drawn or k == 1:
            return drawn
        first, limit, served = drawn[0], 2 * k, 0
        query = f"{first.title}\n{first.body[:_LEADING]}".strip()
        near = drawn
        while True:
            try:
                hits = await source.retriever.search(query, limit, where)
            except (EngineError, Dropped) as error:
                if near is drawn or (isinstance(error, Dropped) and error.reason != "search_refused"):
                    raise
                # a service may give no more at once; one that gives nothing any more says so again
                await source.retriever.search(query, served, where)
                return near
            served = limit
            near = _different([first, *(hit.document for hit in hits)])[:k]
            if len(near) == k or len(hits) < limit or limit >= _DEEPEST:
                return near
            # copies have taken the places of neighbours
            limit = min(4 * limit, _DEEPEST)


def _different(documents: list[Document]) -> list[Document]:
    ids: set[str] = set()
    bodies: set[str] = set()
    kept = []
    for document in documents:
        body = " ".join(document.body.split())
        if document.doc_id not in ids and body not in bodies:
            kept.append(document)
        ids.add(document.doc_id)
        bodies.add(body)
    return kept
