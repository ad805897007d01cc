"""Retrieval by words: an inverted index that ranks, and a store that holds the documents.

Both lexical engines are this. Ties are broken by `doc_id`: hits are fetched past the last tie, then ordered.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import JsonValue, TypeAdapter

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, SearchToolEngine, Where
from dgt_rag.engines.documents import DocumentStore
from dgt_rag.engines.groups import Selection
from dgt_rag.engines.index import Scored, TextIndex
from dgt_rag.errors import CorpusError
from dgt_rag.records import Document, Hit, label_of

T = TypeVar("T")
Condition = tuple[str, JsonValue]

_INLINE_SEARCH = 30_000_000
"""Documents times characters of the query up to which a search takes well under a millisecond."""
_INLINE_HITS = 100
"""Hits up to which reading them takes well under a millisecond."""
_INLINE_WORK = 2_000
"""Documents up to which anything is done at once rather than in a thread."""
_FEW = 2_000
"""Documents up to which a selection goes into the query; above it, hits are picked from the ranking."""
_REMEMBERED = 64
"""Selections kept for the next call."""
_HITS: Callable[[list[dict[str, Any]]], list[Hit]] = TypeAdapter(list[Hit]).validator.validate_python


class LexicalRetriever(Retriever):
    """BM25 over a store of documents, of which only those that `filter` selects are seen."""

    def __init__(self, store: DocumentStore, index: TextIndex, filter: Where, threshold: float | None) -> None:
        self._store = store
        self._index = index
        self._filter = dict(filter)
        self._threshold = threshold
        self._all = Selection(range(store.count), store.count)
        self._known: dict[str, Selection] = {}

    @classmethod
    async def over(cls, store: DocumentStore, index: TextIndex, engine: SearchToolEngine) -> "LexicalRetriever":
        """Make the retriever of an engine; a filter that leaves nothing is refused."""
        retriever = cls(store, index, engine.filter, engine.relevance_threshold)
        if not await retriever.count():
            raise CorpusError(f"filter: no document of the corpus has {json.dumps(engine.filter)}")
        return retriever

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Return at most `limit` hits, best first."""
        if limit < 1:
            return []
        quick = self._store.count * len(query) <= _INLINE_SEARCH and limit <= _INLINE_HITS
        if quick and (not where or self._store.count <= _INLINE_WORK):
            return self._search(query, limit, where)
        return await asyncio.to_thread(self._search, query, limit, where)

    async def documents(self) -> AsyncIterator[Document]:
        """Stream the corpus in its own order."""
        chosen = await self._off(lambda: self._select(None))
        blocks: Iterator[list[Document]] = self._store.blocks()
        ordinal = 0
        while block := await self._off(lambda: next(blocks, None)):
            for document in block:
                if chosen is self._all or chosen.member[ordinal]:
                    yield document
                ordinal += 1
        self._store.check()

    async def count(self, where: Where | None = None) -> int:
        """Return how many documents there are (that match)."""
        return len(await self._off(lambda: self._select(where)))

    async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
        """Return the values of a field with their numbers of documents."""
        return await self._off(lambda: self._groups(path, where))

    async def sample(self, dice: Dice, count: int, where: Where | None = None) -> list[Document]:
        """Return `count` different documents, each as likely as any other."""
        return await self._off(lambda: self._sample(dice, count, where))

    async def at(self, places: list[int]) -> list[Document]:
        """Return the documents at these places of the corpus's own order."""
        return await self._off(lambda: self._read([self._select(None).ordinals[place] for place in places]))

    async def fingerprint(self) -> str:
        """Return a digest of the documents."""
        digest = await self._off(self._store.digest)
        seen = json.dumps(self._filter, sort_keys=True) if self._filter else ""
        return hashlib.sha256((digest + seen).encode()).hexdigest()

    async def _off(self, work: Callable[[], T]) -> T:
        """Do the work, in a thread if it may take long enough for others to notice."""
        return work() if self._store.count <= _INLINE_WORK else await asyncio.to_thread(work)

    def _read(self, ordinals: Sequence[int]) -> list[Document]:
        self._store.check()
        return self._store.read(ordinals)

    def _sample(self, dice: Dice, count: int, where: Where | None) -> list[Document]:
        ordinals = self._select(where).ordinals
        return self._read([ordinals[place] for place in dice.sample(range(len(ordinals)), max(count, 0))])

    def _groups(self, path: str, where: Where | None) -> dict[str, int]:
        groups, chosen = self._store.groups(path), self._select(where)
        if chosen is self._all:
            return {value: end - start for value, (start, end) in groups.bounds.items()}
        member = chosen.member
        sizes = {value: sum(member[ordinal] for ordinal in groups.members(value)) for value in groups.bounds}
        return {value: size for value, size in sizes.items() if size}

    def _select(self, where: Where | None) -> Selection:
        """Return the documents that the engine's filter and `where` leave."""
        conditions = self._conditions(where)
        return self._chosen(conditions) if conditions else self._all

    def _conditions(self, where: Where | None) -> list[Condition]:
        return [*self._filter.items(), *(where or {}).items()]

    def _chosen(self, conditions: Sequence[Condition]) -> Selection:
        key = json.dumps(conditions, sort_keys=True)
        chosen = self._known.get(key)
        if chosen is None:
            chosen = self._intersect(conditions)
            if len(self._known) >= _REMEMBERED:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = chosen
        return chosen

    def _intersect(self, conditions: Sequence[Condition]) -> Selection:
        chosen = self._all
        for path, wanted in conditions:
            one = Selection(self._store.groups(path).wanted(wanted), self._store.count)
            chosen = one if chosen is self._all else chosen.both(one)
        return chosen

    def _search(self, query: str, limit: int, where: Where | None) -> list[Hit]:
        self._store.check()
        terms = self._index.terms(query)
        if not terms:
            return []
        ranked = self._ranked(terms, limit, where)
        documents = self._store.read([ordinal for _, ordinal in ranked])
        scores = [score for score, _ in ranked]
        if len(set(scores)) < len(scores):
            order = sorted(range(len(scores)), key=lambda at: (-scores[at], documents[at].doc_id))[:limit]
            scores, documents = [scores[at] for at in order], [documents[at] for at in order]
        hits = [
            {"document": document, "score": score, "rank": rank}
            for rank, (document, score) in enumerate(zip(documents, scores, strict=True), 1)
            if self._threshold is None or score >= self._threshold
        ]
        return _HITS(hits)

    def _ranked(self, terms: dict[str, int], limit: int, where: Where | None) -> list[Scored]:
        """Return the best `limit` (score, ordinal), and with them all that are tied with the last one."""
        if not where and not self._filter:
            return self._index.best(self._index.query(terms), limit)
        domains, others = _split(self._conditions(where))
        chosen = self._chosen(others) if others else self._all
        if chosen is self._all:
            return self._index.best(self._index.query(terms, domains), limit)
        if len(chosen) <= _FEW:
            return self._index.best(self._index.query(terms, domains, chosen.ordinals), limit)
        among = self._store.count // len(chosen) + 1
        return self._index.best(self._index.query(terms, domains), limit, chosen.member, among)


def _split(conditions: Sequence[Condition]) -> tuple[list[list[str]], list[Condition]]:
    """Return the domains wanted, which the index knows, and the other conditions."""
    domains: list[list[str]] = []
    others: list[Condition] = []
    for path, wanted in conditions:
        labels = [label_of(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        if path == "domain" and None not in labels:
            domains.append([label for label in labels if label is not None])
        else:
            others.append((path, wanted))
    return domains, others
