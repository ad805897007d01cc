"""What the answers of a `search/http` service mean: hits of documents, and which of them a filter leaves."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import JsonValue

from dgt_rag.corpus.advice import suggest
from dgt_rag.corpus.read import Projector
from dgt_rag.corpus.rows import kept
from dgt_rag.engines.base import Narrowed, Retriever, SearchToolEngine, Where
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.engines.fields import fields_in
from dgt_rag.engines.http_wire import Refused, Wire
from dgt_rag.engines.selected import Selected
from dgt_rag.errors import Dropped, EngineError, Exhausted
from dgt_rag.llm.refusals import one_line
from dgt_rag.records import Document, Hit

Pair = tuple[Document, float]

_PLAIN = "information"
"""A query that any service takes which takes one at all."""
_WIDER = 5
"""Hits asked for each one wanted, where some may be left out by a filter that the service does not know."""
_FURTHER = 4
"""Times as many asked for, where those were too few."""
_DEEPEST = 1_000
"""Hits among which those are looked for that a filter leaves."""


class HttpRetriever(Borrowing):
    """An open connection to a search service."""

    def __init__(
        self, engine: SearchToolEngine, lender: Retriever, wire: Wire, say: Callable[[str], None], holder: str | None
    ) -> None:
        """Take the name of the engine that holds the documents, if there is one."""
        super().__init__(Narrowed(lender, engine.filter) if engine.filter and holder else lender)
        self.service = wire.service
        self.wire = wire
        self.filter = engine.filter
        self.least = engine.relevance_threshold
        self.projector = Projector.of(self.service.projection)
        self._holder = holder
        self._selected = Selected(lender)
        self._say = say
        self._told: set[str] = set()

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Ask the service; its order is kept."""
        if limit < 1 or not query.strip():
            return []
        conditions = {**self.filter, **(where or {})}
        if conditions:
            pairs = await self._kept(query, limit, conditions, where or {})
        else:
            pairs = (await self._ask(query, limit, {}))[0]
        near = [pair for pair in pairs if self.least is None or pair[1] >= self.least][:limit]
        return [Hit(document=document, score=score, rank=rank) for rank, (document, score) in enumerate(near, 1)]

    async def _ask(self, query: str, limit: int, conditions: Where) -> tuple[list[Pair], int]:
        """Return documents with scores, each once, and how many hits there were.

        A query that the service does not answer while it answers another is given up with the conversation that asks it.
        """
        try:
            return await self._found(query, limit, conditions)
        except Refused as refused:
            if not await self._serves(limit, conditions):
                raise
            raise _given_up(query, refused.said) from refused
        except Exhausted:
            if not await self._serves(limit, conditions):
                raise
        # a service that was away and has come back must not cost a conversation
        try:
            return await self._found(query, limit, conditions)
        except (Refused, Exhausted) as failed:
            raise _given_up(query, str(failed)) from failed

    async def _serves(self, limit: int, conditions: Where) -> bool:
        return await self.wire.serves(self.service.request(_PLAIN, limit, conditions))

    async def _found(self, query: str, limit: int, conditions: Where) -> tuple[list[Pair], int]:
        hits = self._hits(await self.wire.ask(self.service.request(query, limit, conditions)))
        found: dict[str, Pair] = {}
        for document, score in self._documents(hits):
            found.setdefault(document.doc_id, (document, score))
        return list(found.values()), len(hits)

    async def _kept(self, query: str, limit: int, conditions: Where, where: Where) -> list[Pair]:
        """Return what the filters leave; more is asked for while they leave too few, as long as there is more."""
        matches = await self._rule(where)
        asked, most = limit * _WIDER, max(limit * _WIDER, _DEEPEST)
        pairs, hits = await self._ask(query, asked, conditions)
        kept = [pair for pair in pairs if matches(pair[0])]
        while len(kept) < limit and hits >= asked and asked < most:
            asked = min(_FURTHER * asked, most)
            try:
                pairs, hits = await self._found(query, asked, conditions)
            except (EngineError, Exhausted) as error:
                self._tell("wider", f"filters are kept among the first {hits:,} hits: asked for {asked:,}, {error}")
                break
            kept = [pair for pair in pairs if matches(pair[0])]
        if pairs and not kept:
            await self._tell_why([document for document, _ in pairs], conditions)
        return kept

    async def _rule(self, where: Where) -> Callable[[Document], bool]:
        """Return what says whether a hit is seen: by its own fields, or by those of the document of its id."""
        if self._holder is None:
            return lambda document: document.matches(self.filter) and document.matches(where)
        has = await self._selected.by(self.filter, where)
        return lambda document: has(document.doc_id)

    async def _tell_why(self, documents: list[Document], conditions: Where) -> None:
        """Say why a filter left nothing of these hits, if it could not leave anything."""
        if self._holder is not None:
            has = await self._selected.by()
            if not any(has(document.doc_id) for document in documents):
                self._tell(
                    "ids",
                    f"{self.wire.name}: no hit is a document of {self._holder!r} (documents_from), such as "
                    f"{documents[0].doc_id!r}, so none is in a filter or group; does projection.doc_id name its ids?",
                )
            return
        for path, wanted in conditions.items():
            empty = None in wanted if isinstance(wanted, list) else wanted is None
            if not empty and not any(document.labels(path) for document in documents):
                fields = ", ".join(fields_in(documents)) or "none beside id and body"
                self._tell(
                    f"field {path}",
                    f"{self.wire.name}: filter: no hit has a field {path!r}, so all are left out; there are: {fields}; "
                    "`documents_from: ENGINE` would look at that engine's documents",
                )

    def _hits(self, answer: Any) -> list[Any]:
        """Return the list of hits, or say where the path ends."""
        value, way = answer, "the answer"
        for part in self.service.hits.split(".") if self.service.hits else ():
            try:
                value, way = _inside(value, part), f"{way}.{part}"
            except LookupError:
                refusal = f"{self.wire.name}: hits: {way} has no {part!r}; it is {_shape(value)}"
                raise EngineError(refusal) from None
        if value is None:
            return []
        if not isinstance(value, list):
            raise EngineError(f"{self.wire.name}: hits: {way} is no list; it is {_shape(value)}")
        return value

    def _documents(self, hits: list[Any]) -> list[Pair]:
        """Return the documents of the hits with their scores; a hit without a body or an id is told and left out."""
        pairs: list[Pair] = []
        for rank, hit in enumerate(hits, start=1):
            record, problem = self._record(hit)
            if problem:
                said = f"{problem}; it is {_shape(hit)}"
                if rank == len(hits) and not pairs:
                    raise EngineError(f"{self.wire.name}: no hit can be read: {said}; {suggest(record)}")
                self._tell(problem, f"{self.wire.name}: a hit is left out: {said}")
                continue
            score = _number(_dig(record, self.service.score), 1 / rank)
            record.pop(self.service.score, None)
            pairs.append((self.projector.document(record), score))
        return pairs

    def _record(self, hit: Any) -> tuple[dict[str, Any], str]:
        """Return what a hit holds, and why it is no document, if it is none."""
        try:
            record = kept(hit) if isinstance(hit, dict) else {}
        except ValueError as error:
            return {}, str(error)
        return record, self._problem(record)

    def _problem(self, record: dict[str, Any]) -> str:
        try:
            parts = self.projector.parts(record)
        except ValueError as error:
            return str(error)
        empty = [name for name in ("body", "doc_id") if not getattr(parts, name).strip()]
        paths = self.service.projection.model_dump()
        return f"the field {paths[empty[0]]!r} ({empty[0]}) is empty" if empty else ""

    def _tell(self, problem: str, line: str) -> None:
        if problem not in self._told:
            self._told.add(problem)
            self._say(line)


def _given_up(query: str, said: str) -> Dropped:
    asked = f"a query of {len(query):,} characters, {one_line(query, 80)!r}"
    return Dropped("search_refused", f"{said} to {asked}, and answers others")


def _inside(value: Any, part: str) -> Any:
    """Return what stands under a key or at a place; LookupError if nothing does."""
    if isinstance(value, Mapping):
        return value[part]
    if isinstance(value, list) and part.isdecimal():
        return value[int(part)]
    raise LookupError(part)


def _dig(value: Any, path: str) -> Any:
    try:
        for part in path.split("."):
            value = _inside(value, part)
    except LookupError:
        return None
    return value


def _number(value: JsonValue, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return otherwise
    try:
        number = float(value)
    except OverflowError:
        return otherwise
    return number if math.isfinite(number) else otherwise


def _shape(value: Any) -> str:
    """Return what a value is, for a refusal: names, not contents."""
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(repr, list(value)[:12])) or 'nothing in it'}"
    return {list: "a list", str: "text", type(None): "null"}.get(type(value), "a number or a truth value")
