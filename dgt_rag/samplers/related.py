"""A document and its true neighbours: coherent scenarios, and distractors that are hard to tell apart."""

from typing import ClassVar, Literal

from dgt_rag.records import Document
from dgt_rag.samplers.base import Source
from dgt_rag.samplers.random import DrawingSampler

_LEADING = 600
"""Characters of a document that say what it is about."""


class RelatedSampler(DrawingSampler):
    """One document by chance and those most like it, as the engine itself ranks them."""

    aliases: ClassVar[tuple[str, ...]] = ("related",)

    type: Literal["search/related"] = "search/related"

    async def sample(self, source: Source, k: int) -> list[Document]:
        """Return the document drawn and its neighbours, nearest first; copies of its text are no neighbours."""
        drawn = await self.draw(source, 1)
        if not drawn or k == 1:
            return drawn
        first = drawn[0]
        where = {self.group_by: first.field(self.group_by)} if self.group_by else None
        query = f"{first.title}\n{first.body[:_LEADING]}".strip()
        hits = await source.retriever.search(query, 2 * k, where)
        return _different([first, *(hit.document for hit in hits)])[:k]


def _different(documents: list[Document]) -> list[Document]:
    seen: set[str] = set()
    kept = []
    for document in documents:
        body = " ".join(document.body.split())
        if document.doc_id not in seen and body not in seen:
            kept.append(document)
        seen |= {document.doc_id, body}
    return kept
