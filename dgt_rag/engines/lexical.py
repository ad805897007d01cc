"""Retrieval by words: an inverted index that ranks, and a store that holds the documents.

Both lexical engines are this. Ties are broken by `doc_id`: where the index is not in that order, hits are fetched past the last
tie, then ordered.
"""

import asyncio
import hashlib
import json
import os
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from heapq import nsmallest
from operator import attrgetter, neg
from typing import TypeVar

from pydantic import JsonValue

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, SearchToolEngine, Where
from dgt_rag.engines.documents import DocumentStore
from dgt_rag.engines.fields import fields_in, nothing_left
from dgt_rag.engines.groups import Selection
from dgt_rag.engines.index import BLOCK, Ranking, TextIndex
from dgt_rag.errors import CorpusError
from dgt_rag.records import Document, Hit, label_of

T = TypeVar("T")
Condition = tuple[str, JsonValue]

_SMALL = 100_000
"""Documents up to which most searches are made at once."""
_INLINE_SEARCH = 30_000_000
"""Documents times characters of the query up to which a search takes well under a millisecond there."""
_INLINE_ALONE = 300_000_000
"""Documents times characters up to which a search takes some milliseconds, in which a caller alone keeps nobody waiting."""
_INLINE_HITS = 100
"""Hits up to which reading them takes well under a millisecond."""
_INLINE_WORK = 2_000
"""Documents up to which anything is done at once rather than in a thread."""
_FEW = 2_000
"""Documents up to which a selection goes into the query; above it, hits are picked from the ranking."""
_TIED_AT_ONCE = 1_000
"""Documents of one score held at once."""
_REMEMBERED = 64
"""Selections kept for the next call."""
_DOC_ID = attrgetter("doc_id")
_made = tuple.__new__


class LexicalRetriever(Retriever):
    """BM25 over a store of documents, of which only those that `filter` selects are seen."""

    def __init__(self, store: DocumentStore, index: TextIndex, engine: SearchToolEngine, threads: Executor) -> None:
        self._store = store
        self._index = index
        self._filter = dict(engine.filter)
        self._threshold = engine.relevance_threshold
        self._threads = threads
        self._quick = _INLINE_SEARCH // max(store.count, 1) if store.count <= _SMALL else 0
        self._short = _INLINE_ALONE // max(store.count, 1)
        self._all = Selection(range(store.count), store.count)
        self._known: dict[str, Selection] = {}

    @classmethod
    @asynccontextmanager
    async def over(
        cls, store: DocumentStore, index: TextIndex, engine: SearchToolEngine, name: str = ""
    ) -> AsyncIterator["LexicalRetriever"]:
        """Open the retriever of an engine of this name; a filter that leaves nothing is refused.

        It has threads of its own, one for each core, so that searches one after the other find a warm one; at the end
        those are waited for that still read.
        """
        threads = ThreadPoolExecutor(os.cpu_count(), "search")
        try:
            retriever = cls(store, index, engine, threads)
            if not await retriever.count():
                raise await retriever._aside(lambda: _nothing(store, engine, name))
            yield retriever
        finally:
            await asyncio.to_thread(threads.shutdown, cancel_futures=True)

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Return at most `limit` hits, best first."""
        if limit < 1:
            return []
        if limit <= _INLINE_HITS and (not where or self._store.count <= _INLINE_WORK):
            size = len(query)
            if size <= self._quick or (size <= self._short and len(asyncio.all_tasks()) == 1):
                return self._search(query, limit, where)
        return await self._aside(lambda: self._search(query, limit, where))

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
        return work() if self._store.count <= _INLINE_WORK else await self._aside(work)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

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
        store, index = self._store, self._index
        store.check()
        terms = index.terms(query)
        if not terms:
            return []
        if where or self._filter:
            scores, ordinals, tied = self._selected(terms, limit, where)
        else:
            scores, ordinals, tied = index.best(index.query(terms), limit)
        documents = self._untied(scores, ordinals, limit) if tied else store.read(ordinals)
        hits = []
        for at, document in enumerate(documents):
            # what Hit(...) does, in half its time
            hits.append(_made(Hit, (document, scores[at], at + 1)))
        return hits if self._threshold is None else [hit for hit in hits if hit.score >= self._threshold]

    def _untied(self, scores: list[float], ordinals: list[int], limit: int) -> list[Document]:
        """Read the best `limit`, those of one score by `doc_id`; where very many have the last one, some at a time."""
        sure = bisect_left(scores, -scores[-1], key=neg) if len(scores) > limit else len(scores)
        documents = _by_id(scores[:sure], self._store.read(ordinals[:sure]))
        last: list[Document] = []
        for start in range(sure, len(ordinals), _TIED_AT_ONCE):
            more = self._store.read(ordinals[start : start + _TIED_AT_ONCE])
            last = nsmallest(limit - sure, [*last, *more], key=_DOC_ID)
        return [*documents, *last][:limit]

    def _selected(self, terms: dict[str, int], limit: int, where: Where | None) -> Ranking:
        """Return what `TextIndex.best` does, of the documents that a filter leaves."""
        domains, others = _split(self._conditions(where))
        chosen = self._chosen(others) if others else self._all
        if chosen is self._all:
            return self._index.best(self._index.query(terms, domains), limit)
        if len(chosen) <= _FEW:
            query = self._index.query(terms, domains, chosen.ordinals)
            return self._index.best(query, limit, chosen.member, BLOCK)
        among = self._store.count // len(chosen) + 1
        return self._index.best(self._index.query(terms, domains), limit, chosen.member, among)


def _nothing(store: DocumentStore, engine: SearchToolEngine, name: str) -> CorpusError:
    """Return the refusal of a filter that leaves nothing of a corpus."""
    values = {path: store.groups(path).bounds for path in engine.filter}
    ours = engine.model_dump(include={"projection"}).get("projection")
    place = f"engine {name or engine.plugin_name()!r}"
    return nothing_left(place, engine.filter, values, fields_in(next(store.blocks(), [])), ours)


def _by_id(scores: list[float], documents: list[Document]) -> list[Document]:
    """Return the documents of these scores, which fall; those of one score by `doc_id`."""
    out, start = documents[:], 0
    for end in range(1, len(scores) + 1):
        if end == len(scores) or scores[end] != scores[start]:
            if end - start > 1:
                out[start:end] = sorted(documents[start:end], key=_DOC_ID)
            start = end
    return out


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
