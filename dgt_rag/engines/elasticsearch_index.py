"""An index as it is found: its shape, what a projection lacks in it, which field holds the ids, requests to it."""

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from dgt_rag.engines.base import Projection
from dgt_rag.engines.elasticsearch_client import Connection, Refused, in_path
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_query import OWN_ID, Shape, narrowed
from dgt_rag.errors import EngineError, ServiceError
from dgt_rag.plugins import unknown

WINDOW = 10_000
"""The most hits of one request (`index.max_result_window`)."""
LOAD = "python -m dgt_rag index TASK --engine NAME --from FILE"
_KEEP = "5m"
_COPIES = ("doc_id", "id", "doc_id.keyword", "id.keyword")
_UNCOUNTED: Json = {"track_total_hits": False}
_WHOLE: Json = {"allow_partial_search_results": "false"}


@dataclass(frozen=True)
class Index:
    """An index, or an alias of several, behind an open connection."""

    connection: Connection
    name: str
    shape: Shape

    @classmethod
    async def read(cls, connection: Connection, name: str) -> "Index":
        """Read the index's shape; an index that is not there is refused with the nearest that is."""
        bare = cls(connection, name, Shape({}))
        mappings = await bare.ask("GET", "_mapping")
        settings = await bare.ask("GET", "_settings")
        if not mappings:
            raise EngineError(await bare.missing())
        return cls(connection, name, Shape.of(mappings, settings))

    async def ask(self, method: str, verb: str, body: Json | Sequence[Json] | None = None, **params: Any) -> Any:
        """Send a request to this index."""
        return await self.send(method, in_path(self.name, verb), body, **params)

    async def send(self, method: str, path: str, body: Json | Sequence[Json] | None = None, **params: Any) -> Any:
        """Send a request to any path; an index that is gone is told as such."""
        try:
            return await self.connection.ask(method, path, body, **params)
        except Refused as refused:
            if refused.error == "index_not_found_exception":
                raise EngineError(await self.missing()) from None
            if refused.status == 400 and re.search(r"unknown key .*\[knn\]", str(refused), re.IGNORECASE):
                raise EngineError(
                    f"{self.connection.place}: this server has no vector search (8 and later have); set query: bm25"
                ) from None
            raise

    async def missing(self) -> str:
        """Return the sentence for an index that is not there."""
        try:
            found = await self.connection.ask("GET", "/_alias")
        except ServiceError as error:
            return f"{self.connection.place}: there is no index {self.name!r} ({error})"
        names = {name for name in found if not name.startswith(".")}
        names |= {alias for index in found.values() for alias in index.get("aliases", {})}
        return f"{self.connection.place}: {unknown('index', self.name, sorted(names))}; or load one: {LOAD}"

    async def search(self, body: Json, **params: Any) -> list[Json]:
        """Return the hits of one search; never those of some shards only."""
        fixed = {**_WHOLE, "preference": "dgt_rag"}
        if sum(self.shape.shards.values()) > 1 and "knn" not in body:
            # else a document's score depends on the shard that it fell in; nearness does not, and servers refuse it there
            fixed["search_type"] = "dfs_query_then_fetch"
        found = await self.ask("POST", "_search", {**_UNCOUNTED, **body}, **{**fixed, **params})
        hits: list[Json] = found["hits"]["hits"]
        return hits

    async def searches(self, bodies: Sequence[Json]) -> list[list[Json]]:
        """Return the hits of several searches, asked at once."""
        head = {"preference": "dgt_rag", "allow_partial_search_results": False}
        lines = [line for body in bodies for line in (head, {**_UNCOUNTED, **body})]
        found = await self.ask("POST", "_msearch", lines)
        for answer in found["responses"]:
            if "error" in answer:
                raise EngineError(
                    f"{self.connection.place}: {answer['error'].get('type')}: {answer['error'].get('reason')}"
                )
        return [answer["hits"]["hits"] for answer in found["responses"]]

    async def count(self, query: Json) -> int:
        """Return how many documents a query matches."""
        return int((await self.ask("POST", "_count", {"query": query}))["count"])

    async def pages(self, query: Json, sort: str | None, body: Json) -> AsyncIterator[list[Json]]:
        """Stream all hits of a query in pages, from one point in time, by the field `sort` if given.

        With it the stream goes on after the server was restarted, which forgets points in time.
        """
        point = await self._point()
        order = [{sort: "asc"}] if sort else [{"_shard_doc": "asc"}]
        fixed = {**_UNCOUNTED, **body, "sort": order}
        passed: list[Json] = []
        after: Json = {}
        last = None
        try:
            while True:
                seen = {"pit": {"id": point, "keep_alive": _KEEP}, "query": narrowed([query, *passed])}
                try:
                    found = await self.send("POST", "/_search", {**fixed, **seen, **after}, **_WHOLE)
                except Refused as lost:
                    if lost.status != 404 or sort is None or last is None:
                        raise
                    point, after, passed = await self._point(), {}, [{"range": {sort: {"gt": last}}}]
                    continue
                point = found.get("pit_id", point)
                hits = found["hits"]["hits"]
                if not hits:
                    return
                yield hits
                last, after = hits[-1]["sort"][0], {"search_after": hits[-1]["sort"]}
        finally:
            await self.connection.release("/_pit", {"id": point})

    async def _point(self) -> str:
        opened = await self.ask("POST", "_pit", keep_alive=_KEEP, preference="dgt_rag")
        return str(opened["id"])

    def check(self, projection: Projection, ranked: bool) -> None:
        """Refuse a projection that names fields which the index lacks."""
        given = projection.model_fields_set | {"body", "doc_id"}
        for ours, field in projection.model_dump().items():
            unnamed = not field and ours in {"title", "domain"}
            if ours in given and not unnamed and field != OWN_ID and field not in self.shape.fields:
                raise EngineError(
                    f"{self.connection.place}: index {self.name!r} has no field {field!r} (projection.{ours}); "
                    f"there are: {self.shape.names()}"
                )
        if ranked and not self.shape.ranked(projection.body):
            raise EngineError(
                f"{self.connection.place}: the field {projection.body!r} of index {self.name!r} is of type "
                f"{self.shape.kind(projection.body)}; BM25 needs a text field"
            )

    async def id_field(self, projection: Projection, named: str | None) -> str | None:
        """Return the field that holds every document's id and can be sorted by; None if there is none."""
        if named is not None and not self.shape.can_hold_ids(named):
            raise EngineError(
                f"{self.connection.place}: id_field {named!r} of index {self.name!r} is not a keyword field with doc "
                f"values; there are: {self.shape.names()}"
            )
        if projection.doc_id != OWN_ID:
            names = [projection.doc_id, f"{projection.doc_id}.keyword"]
        else:
            names = [named] if named else [*_COPIES]
        for name in filter(self.shape.can_hold_ids, names):
            if await self._holds_ids(name, projection):
                return name
        return None

    async def _holds_ids(self, name: str, projection: Projection) -> bool:
        lacking = await self.count({"bool": {"must_not": {"exists": {"field": name}}}})
        if lacking:
            return False
        body = {"size": 100, "_source": False, "docvalue_fields": [name]}
        hits = await self.search(body)
        return projection.doc_id != OWN_ID or all(hit["fields"][name] == [hit["_id"]] for hit in hits)
