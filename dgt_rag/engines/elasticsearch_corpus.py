"""The corpus behind an open `search/elasticsearch`: streams, places, counts, groups and samples that can be repeated."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from pydantic import JsonValue

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Projection, Retriever, Where
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_index import LOAD, WINDOW, Index
from dgt_rag.engines.elasticsearch_query import conditions, corpus_field, document, narrowed, seeded
from dgt_rag.errors import CorpusError
from dgt_rag.records import Document, label_of
from dgt_rag.together import together

_PAGE = 1_000
_STEP = 1_000
_AT_ONCE = 100


@dataclass
class ElasticsearchCorpus(Retriever):
    """The documents of an index that pass a filter and have a body, in the order of `doc_id`."""

    index: Index
    projection: Projection
    filter: Mapping[str, JsonValue]
    id_field: str | None
    """The field that holds the ids; without one, all ids are read and held."""
    say: Callable[[str], None]
    empty: bool = False
    """Whether the index holds nothing at all, as before it is loaded: it can be searched, but nothing can be made of it."""
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _marks: list[Any] | None = None
    """The id at every thousandth place, once they are read."""
    _all_ids: list[str] | None = None
    _told: set[str] = field(default_factory=set)

    @property
    def nothing(self) -> str:
        """The sentence for an index that holds nothing."""
        return f"{self.index.connection.place}: index {self.index.name!r} holds no document; load some: {LOAD}"

    def tell(self, line: str) -> None:
        """Show a line, if it was not shown before."""
        if line not in self._told:
            self._told.add(line)
            self.say(line)

    def twice(self, doc_id: str) -> CorpusError:
        """Return the refusal for an id that two documents have."""
        behind = [*self.index.shape.shards]
        apart = "set projection.doc_id to a field that tells them apart, or to _id"
        way_out = f"name one of the indices behind it in default_index: {', '.join(behind)}"
        return CorpusError(
            f"{self.index.connection.place}: two documents of index {self.index.name!r} have the doc_id {doc_id!r}; "
            f"{way_out if len(behind) > 1 else apart}"
        )

    def _refuse_empty(self) -> None:
        if self.empty:
            raise CorpusError(self.nothing)

    @property
    def _source(self) -> Json:
        return {"excludes": self.index.shape.unseen}

    def filters(self, where: Where | None) -> list[Json]:
        """Return the conditions that a document of the corpus fulfils (that matches)."""
        own, more = (conditions(one, self.index.shape, self.projection) for one in (self.filter, where or {}))
        return [{"exists": {"field": self.projection.body}}, *own, *more]

    def read(self, hits: Sequence[Json]) -> Iterator[tuple[Json, Document]]:
        """Return hits with their documents; those of a blank body are left out and told."""
        for hit in hits:
            one = document(hit, self.projection, self.id_field)
            if one.body and not one.body.isspace():
                yield hit, one
            else:
                self.tell(
                    f"{self.index.connection.place}: index {self.index.name!r} has documents whose "
                    f"{self.projection.body!r} is blank, {one.doc_id!r} is one; they are left out, and counted"
                )

    async def documents(self) -> AsyncIterator[Document]:
        """Stream the corpus in the order of `doc_id`."""
        self._refuse_empty()
        if self.id_field is None:
            ids = await self._ids(None)
            for start in range(0, len(ids), _PAGE):
                for one in await self._named(ids[start : start + _PAGE]):
                    yield one
            return
        async for one in self._by_id(self.id_field):
            yield one

    async def _by_id(self, id_field: str) -> AsyncIterator[Document]:
        body = {"size": _PAGE, "_source": self._source}
        before = None
        async for hits in self.index.pages(narrowed(self.filters(None)), id_field, body):
            for _, one in self.read(hits):
                if one.doc_id == before:
                    raise self.twice(one.doc_id)
                before = one.doc_id
                yield one

    async def count(self, where: Where | None = None) -> int:
        """Return how many documents there are (that match)."""
        return await self.index.count(narrowed(self.filters(where)))

    async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
        """Return the values of a field with their numbers of documents, by value."""
        self._refuse_empty()
        name = corpus_field(path, self.projection)
        exact = self.index.shape.exact(name)
        if exact is None:
            self.say(
                f"{self.index.connection.place}: no keyword field for {path!r}: all documents are read for its values"
            )
            return await super().groups(path, where)
        sizes: dict[str, int] = {}
        values: Json = {"size": _PAGE, "sources": [{"value": {"terms": {"field": exact}}}]}
        query = narrowed(self.filters(where))
        while True:
            body = {"size": 0, "query": query, "aggs": {"groups": {"composite": values}}}
            answer = await self.index.ask("POST", "_search", body, allow_partial_search_results="false")
            found = answer["aggregations"]["groups"]
            labels = ((label_of(one["key"]["value"]), one["doc_count"]) for one in found["buckets"])
            sizes |= {label: count for label, count in labels if label is not None}
            if "after_key" not in found:
                return dict(sorted(sizes.items()))
            values = {**values, "after": found["after_key"]}

    async def sample(self, dice: Dice, count: int, where: Where | None = None) -> list[Document]:
        """Return `count` different documents, the same whatever the index is called and in which order it was loaded."""
        self._refuse_empty()
        if count < 1:
            return []
        if self.id_field is None:
            ids = await self._ids(where)
            return await self._named(dice.sample(ids, count))
        pairs = [
            pair for name, shards in self.index.shape.shards.items() for pair in ((name, n) for n in range(shards))
        ]
        found = await together(self._drawn(dice.number, count, where, *pair) for pair in pairs)
        drawn = sorted((pair for part in found for pair in part), key=lambda pair: (-pair[0], pair[1].doc_id))
        return [one for _, one in self._once(drawn)[:count]]

    def _once(self, scored: list[tuple[float, Document]]) -> list[tuple[float, Document]]:
        """Return the first of those documents that have one id."""
        first: dict[str, tuple[float, Document]] = {}
        for pair in scored:
            if first.setdefault(pair[1].doc_id, pair) is not pair:
                self.tell(f"{self.twice(pair[1].doc_id)}; until then the one that stands first is taken")
        return [*first.values()]

    async def _drawn(
        self, number: int, count: int, where: Where | None, name: str, shard: int
    ) -> list[tuple[float, Document]]:
        """Return the documents of one shard that the number draws first, with what it gave them."""
        if self.id_field is None:
            return []
        filters = [*self.filters(where), {"term": {"_index": name}}]
        body: Json = {
            "query": seeded(narrowed(filters), number, name, shard, self.id_field),
            "sort": [{"_score": "desc"}, {self.id_field: "asc"}],
            "_source": self._source,
        }
        drawn: list[tuple[float, Document]] = []
        while len(drawn) < count:
            size = min(count - len(drawn), WINDOW)
            hits = await self.index.search({**body, "size": size}, preference=f"_shards:{shard}")
            drawn += [(float(hit["sort"][0]), one) for hit, one in self.read(hits)]
            if len(hits) < size:
                break
            body["search_after"] = hits[-1]["sort"]
        return drawn

    async def at(self, places: list[int]) -> list[Document]:
        """Return the documents at these places (from 0) of the order of `doc_id`, in the order asked."""
        self._refuse_empty()
        if self.id_field is None:
            ids = await self._ids(None)
            return await self._named([ids[place] for place in places])
        marks = await self._marked(self.id_field)
        filters = self.filters(None)
        bodies = [
            {
                "query": narrowed([*filters, {"range": {self.id_field: {"gte": marks[place // _STEP]}}}]),
                "sort": [{self.id_field: "asc"}],
                "from": place % _STEP,
                "size": 1,
                "_source": self._source,
            }
            for place in places
        ]
        found: list[list[Json]] = []
        for start in range(0, len(bodies), _AT_ONCE):
            found += await self.index.searches(bodies[start : start + _AT_ONCE])
        return [one for hits in found for _, one in self.read(hits)]

    async def _marked(self, id_field: str) -> list[Any]:
        async with self._lock:
            if self._marks is None:
                body = {"size": WINDOW, "_source": False}
                marks: list[Any] = []
                last = None
                async for hits in self.index.pages(narrowed(self.filters(None)), id_field, body):
                    ids = [hit["sort"][0] for hit in hits]
                    self._check_apart([last, *ids])
                    marks, last = marks + ids[::_STEP], ids[-1]
                self._marks = marks
            return self._marks

    def _check_apart(self, ids: Sequence[Any]) -> None:
        """Refuse two that are the same in a list in order."""
        for one, other in pairwise(ids):
            if one == other:
                raise self.twice(str(one))

    async def _ids(self, where: Where | None) -> list[str]:
        """Return the ids of all documents (that match) in order, where no field of the index holds them."""
        if where:
            return await self._read_ids(where)
        async with self._lock:
            if self._all_ids is None:
                self.say(
                    f"{self.index.connection.place}: no keyword field of {self.index.name!r} holds the document's id; "
                    "all ids are read once for sampling (name one in id_field, or load the index with "
                    "python -m dgt_rag index)"
                )
                self._all_ids = await self._read_ids(None)
            return self._all_ids

    async def _read_ids(self, where: Where | None) -> list[str]:
        body = {"size": WINDOW, "_source": False}
        pages = self.index.pages(narrowed(self.filters(where)), None, body)
        ids = sorted([str(hit["_id"]) async for hits in pages for hit in hits])
        self._check_apart(ids)
        return ids

    async def _named(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents of these ids of the index's own, in their order."""
        found: dict[str, Document] = {}
        for start in range(0, len(ids), _PAGE):
            part = ids[start : start + _PAGE]
            asked = {"query": {"ids": {"values": [*part]}}, "size": len(part), "_source": self._source}
            found |= {hit["_id"]: one for hit, one in self.read(await self.index.search(asked))}
        return [found[name] for name in ids if name in found]

    async def fingerprint(self) -> str:
        """Return a digest that changes when the index is made anew, any document changes, or what is taken for one."""
        self._refuse_empty()
        stats = {"stats": {"field": "_seq_no"}}
        body = {"size": 0, "query": narrowed(self.filters(None)), "aggs": {"writes": stats}}
        answer = await self.index.ask("POST", "_search", body, allow_partial_search_results="false")
        writes = answer["aggregations"]["writes"]
        facts = [*self.index.shape.uuids, writes["count"], writes["max"], writes["sum"]]
        facts += [
            self.index.name,
            self.id_field,
            self.projection.model_dump(),
            json.dumps(dict(self.filter), sort_keys=True),
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest()
