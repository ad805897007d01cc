"""The one door to the `elasticsearch` package: a connection with every error in our words.

One client serves servers 7.17, 8 and 9, because its transport asks for plain JSON. All requests go through the run's
guard; the client's own retries are off.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import quote

from dgt_rag.engines import elasticsearch_tls as tls
from dgt_rag.engines.elasticsearch_cluster import Cluster, Json
from dgt_rag.errors import Busy, EngineError, TaskError
from dgt_rag.guard import Guard
from dgt_rag.world import World

T = TypeVar("T")
BUSY = {
    408: "timeout",
    429: "rate_limit",
    500: "server_error",
    502: "unavailable",
    503: "unavailable",
    504: "timeout",
}
"""Statuses that may go by if one waits, as kinds of `Busy`."""


class Refused(EngineError):
    """A cluster answered with an error that asking again does not mend; `error` is Elasticsearch's name for it."""

    def __init__(self, message: str, status: int = 0, error: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.error = error


def in_path(*parts: str) -> str:
    """Return a path of a request from its parts, quoted."""
    return "".join(f"/{quote(part, safe='_,*')}" for part in parts)


class Connection:
    """An open client; every request is guarded, every error is one line."""

    def __init__(self, library: Any, client: Any, guard: Guard, place: str) -> None:
        self._library = library
        self._client = client
        self._guard = guard
        self.place = place
        self.closed = False

    async def ask(self, method: str, path: str, body: Json | Sequence[Json] | None = None, **params: Any) -> Any:
        """Send one request, again while the cluster is busy; a list of objects goes as lines. Returns what it says."""
        return await self.ask_with(lambda: self.attempt(method, path, body, **params))

    async def ask_with(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt of one's own, again while the cluster is busy."""
        return await self._guard.call(attempt)

    async def attempt(self, method: str, path: str, body: Json | Sequence[Json] | None = None, **params: Any) -> Any:
        """Send one request once; raises `Busy` for what may be tried again."""
        kind = "application/json" if isinstance(body, dict) else "application/x-ndjson"
        headers = {"accept": "application/json", **({"content-type": kind} if body is not None else {})}
        try:
            answer = await self._client.perform_request(method, path, params=params, headers=headers, body=body)
        except self._library.UnsupportedProductError:
            raise EngineError(
                f"{self.place}: this is not Elasticsearch (no X-Elastic-Product header; OpenSearch is not "
                "supported); check the address, or write an engine of your own for it"
            ) from None
        except self._library.ApiError as error:
            raise self._read(error) from None
        except self._library.TransportError as error:
            raise self._lost(error) from None
        self._check_shards(answer.body)
        return answer.body

    async def release(self, path: str, body: Json) -> None:
        """Ask once that something held for us be let go; what is not let go lapses by itself."""
        if self.closed:
            # a stream that nobody ended; asking would open the client again
            return
        with suppress(Busy, EngineError):
            await self.attempt("DELETE", path, body)

    def _lost(self, error: Any) -> Exception:
        said = _short(str(error.message))
        if isinstance(error, self._library.SSLError):
            return tls.failed(self.place, said)
        if isinstance(error, self._library.ConnectionTimeout):
            return Busy("timeout", f"{self.place}: no answer in time ({said})")
        if isinstance(error, self._library.SerializationError):
            return EngineError(f"{self.place}: the answer is not JSON ({said}); is this the address of the cluster?")
        return Busy("connection", f"{self.place}: cannot be reached ({said})")

    def _check_shards(self, body: Any) -> None:
        """Refuse an answer that stands on some of the shards only; each of its parts is looked at."""
        if not isinstance(body, dict):
            return
        for part in (body, *body.get("responses", ())):
            if "error" in part and part.get("status") in BUSY:
                raise Busy(BUSY[part["status"]], f"{self.place}: {part['status']}: {reason(part)}")
            shards = part.get("_shards") or {}
            if shards.get("failed") or part.get("timed_out"):
                failures = [{"error": failure.get("reason")} for failure in shards.get("failures") or ()]
                why = reason(failures[0]) if failures else "they did not answer in time"
                some = f"{shards.get('failed', 0)} of {shards.get('total', 0)} shards failed"
                raise Busy("server_error", f"{self.place}: {some}: {why}")

    def _read(self, error: Any) -> Exception:
        status, said = error.meta.status, reason(error.body)
        name = error_name(error.body)
        if status in (401, 403):
            return Refused(
                f"{self.place}: we are not let in ({status}: {said}); set `api_key_env`, or `username` and "
                "`password_env`, and see that it may read the index",
                status,
                name,
            )
        if status in BUSY:
            return Busy(
                BUSY[status], f"{self.place}: {status}: {said}", _seconds(error.meta.headers.get("retry-after"))
            )
        return Refused(f"{self.place}: {status}: {said}", status, name)


def reason(body: Any) -> str:
    """Return the sentence of an error body that tells most: that of the innermost cause."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return _short(str(error or body))
    for failed in error.get("failed_shards") or error.get("root_cause") or ():
        error = failed.get("reason") if isinstance(failed.get("reason"), dict) else failed
        break
    while isinstance(error.get("caused_by"), dict):
        error = error["caused_by"]
    return _short(f"{error.get('type', '')}: {error.get('reason') or ''}".strip(": "))


def error_name(body: Any) -> str:
    """Return Elasticsearch's name for the first cause of an error body."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ""
    root = (error.get("root_cause") or [error])[0]
    return str(root.get("type", ""))


def _short(text: str, longest: int = 300) -> str:
    line = re.sub(r"\s+", " ", text).strip()
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _seconds(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None


@asynccontextmanager
async def connect(cluster: Cluster, world: World) -> AsyncIterator[Connection]:
    """Open a client and close it on every way out."""
    try:
        import aiohttp  # noqa: F401 - the asynchronous client needs it and says so too late
        import elasticsearch
    except ImportError as error:
        raise EngineError(
            f"search/elasticsearch needs the package {error.name}: pip install 'elasticsearch[async]'"
        ) from None
    options, guard = cluster.options(), world.guards.of(cluster.place, cluster.retry)
    if pinned := cluster.ca_fingerprint:
        options["ssl_context"] = await guard.call(
            lambda: tls.trusting(cluster.place, cluster.addresses(), pinned, cluster.timeout)
        )
    try:
        client = elasticsearch.AsyncElasticsearch(transport_class=_plain_transport(world.say), **options)
    except (ValueError, OSError) as error:
        raise TaskError(f"search/elasticsearch: {_short(str(error))}") from None
    if not cluster.verify_certs:
        world.say(f"{cluster.place}: certificates are not checked (verify_certs: false)")
    connection = Connection(elasticsearch, client, guard, cluster.place)
    try:
        yield connection
    finally:
        connection.closed = True
        await client.close()


def _plain_transport(say: Callable[[str], None]) -> Any:
    """Return a transport that asks for plain JSON: servers before 9 refuse the client's `compatible-with=9`."""
    import elastic_transport

    class PlainTransport(elastic_transport.AsyncTransport):
        said: set[str] = set()

        async def perform_request(  # type: ignore[override]
            self, method: str, target: str, **options: Any
        ) -> Any:
            headers = dict(options.pop("headers", None) or {})
            for name in ("accept", "content-type"):
                if name in headers:
                    lines = "ndjson" in headers[name]
                    headers[name] = "application/x-ndjson" if lines else "application/json"
            answer = await super().perform_request(method, target, headers=headers, **options)
            # taken out here, since the client would make a Python warning of each
            warning = str(answer.meta.headers.pop("warning", ""))
            if warning and warning not in self.said:
                self.said.add(warning)
                say(f"elasticsearch warns: {_short(warning)}")
            return answer

    return PlainTransport
