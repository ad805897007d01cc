"""The calls of `search/http`, and what its answers mean. The door to aiohttp for engines."""

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from pydantic import JsonValue

from dgt_rag.corpus.advice import suggest
from dgt_rag.corpus.read import Projector
from dgt_rag.corpus.rows import kept
from dgt_rag.engines.base import Narrowed, Retriever, SearchToolEngine, Where
from dgt_rag.engines.borrowed import Borrowing
from dgt_rag.engines.fields import fields_in
from dgt_rag.engines.http_request import HttpService, Request
from dgt_rag.engines.selected import Selected
from dgt_rag.errors import Busy, EngineError
from dgt_rag.guard import Guard
from dgt_rag.llm.refusals import Raw, busy, one_line
from dgt_rag.records import Document, Hit

Pair = tuple[Document, float]

_WIDER = 5
"""Hits asked for each one wanted, where some may be left out by a filter that the service does not know."""
_FURTHER = 4
"""Times as many asked for, where those were too few."""
_DEEPEST = 1_000
"""Hits among which those are looked for that a filter leaves."""


@asynccontextmanager
async def client(service: HttpService) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a pool of connections; the guard decides how many calls there are at once."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=service.timeout),
        headers={name: value.get_secret_value() for name, value in service.headers.items()},
        trust_env=True,
    ) as session:
        yield session


class Wire:
    """One service: a request goes out, JSON comes back."""

    def __init__(self, service: HttpService, session: aiohttp.ClientSession, guard: Guard) -> None:
        self.service = service
        self.session = session
        self.guard = guard
        self.name = guard.name

    async def ask(self, request: Request) -> Any:
        """Return the JSON of the answer."""
        return await self.guard.call(lambda: self._attempt(request))

    async def _attempt(self, request: Request) -> Any:
        at = self.name
        sent = {"Content-Type": "application/json"} if request.is_json and not self._says_type() else {}
        try:
            async with self.session.request(
                self.service.method,
                request.url,
                params=request.params or None,
                data=None if request.body is None else request.body.encode("utf-8", "replace"),
                headers=sent,
                # a redirect may leave out the question, or take secret headers to another host
                allow_redirects=False,
            ) as response:
                raw = Raw(response.status, response.headers, await response.read())
        except TimeoutError as error:
            raise Busy("timeout", f"{at}: no answer in {self.service.timeout:g} s") from error
        except (aiohttp.ClientSSLError, aiohttp.InvalidURL) as error:
            raise EngineError(f"{at}: cannot be called ({type(error).__name__}: {one_line(str(error))})") from error
        except aiohttp.ClientPayloadError as error:
            raise Busy(
                "server_error", f"{at}: the answer cannot be read to its end ({one_line(str(error))})"
            ) from error
        except aiohttp.ClientError as error:
            raise Busy("connection", f"{at}: cannot connect ({one_line(str(error))})") from error
        return self._read(raw, request)

    def _says_type(self) -> bool:
        return any(name.lower() == "content-type" for name in self.service.headers)

    def _read(self, raw: Raw, request: Request) -> Any:
        """Return the JSON of an answer, or raise what the answer means."""
        at = self.name
        if again := busy(raw, at):
            raise again
        if raw.status in (401, 403):
            raise EngineError(f"{at}: not let in ({raw.status}: {raw.message}); look at `headers`")
        if 300 <= raw.status < 400 and (location := raw.headers.get("Location")):
            there = _shown(request.url, location)
            raise EngineError(f"{at}: answered {raw.status}, a redirect to {there}; set `url` to that address")
        if raw.status >= 300:
            raise EngineError(f"{at}: answered {raw.status} ({raw.message}); look at `url`, `method` and `body`")
        try:
            return json.loads(raw.body)
        except ValueError as error:
            raise EngineError(f"{at}: the answer is no JSON but {raw.message!r}") from error
        except RecursionError:
            raise EngineError(f"{at}: the answer is nested too deeply to be read") from None


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
        """Return documents with scores, each once, and how many hits there were."""
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
                pairs, hits = await self._ask(query, asked, conditions)
            except EngineError as error:
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


def _shown(url: str, location: str) -> str:
    """Return where a redirect leads, without user, password and query, as far as it may be shown."""
    try:
        parts = urlsplit(urljoin(url, location))
    except ValueError:
        return "what is no address"
    return one_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def _number(value: JsonValue, otherwise: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return otherwise
    return float(value)


def _shape(value: Any) -> str:
    """Return what a value is, for a refusal: names, not contents."""
    if isinstance(value, Mapping):
        return f"a mapping with {', '.join(map(repr, list(value)[:12])) or 'nothing in it'}"
    return {list: "a list", str: "text", type(None): "null"}.get(type(value), "a number or a truth value")
