"""A reverse proxy in front of a real server that lets in by login, speaks TLS, and does wrong what it is told to.

`proxy.plan += [status(429), cut(), slow(1.0)]`: the next requests that match get these faults, one each, in order.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Fault:
    """What one request suffers, if its target holds `on`."""

    on: str = ""
    answer: tuple[int, dict[str, str], Any] | None = None
    """Status, headers and JSON body sent instead of asking the server."""
    seconds: float = 0
    """How long the answer is held back."""
    keep: float = 1.0
    """The part of the answer that is sent before the connection is cut; 1 is all, 0 nothing."""
    forward: bool = True
    change: Callable[[Any], Any] | None = None
    """What is made of the server's JSON."""


def status(code: int, on: str = "", **headers: str) -> Fault:
    """The server says this status."""
    error = {"type": "es_rejected_execution_exception", "reason": "rejected execution: queue is full"}
    return Fault(on, answer=(code, headers, {"error": {"root_cause": [error], **error}, "status": code}))


def cut(on: str = "", keep: float = 0, forward: bool = True) -> Fault:
    """The connection breaks after this part of the answer; with `forward` the server has done its work."""
    return Fault(on, keep=keep, forward=forward)


def slow(seconds: float, on: str = "") -> Fault:
    """The answer comes late."""
    return Fault(on, seconds=seconds)


def failed_shards(on: str = "_search") -> Fault:
    """One shard of two failed, and the answer is a 200 with the hits of the other."""

    def change(body: Any) -> Any:
        why = {"type": "node_disconnected_exception", "reason": "the node that held the shard is gone"}
        shards = {"total": 2, "successful": 1, "failed": 1, "failures": [{"shard": 1, "reason": why}]}
        return {**body, "_shards": shards}

    return Fault(on, change=change)


def lost_documents(on: str = "_mget") -> Fault:
    """No copy of the documents' shard is there yet, as just after a restart, and the answer is a 200 that says so of each."""

    def change(body: Any) -> Any:
        why = {"type": "no_shard_available_action_exception", "reason": "No shard available for [get [x][d1]]"}
        error = {"root_cause": [why], **why}
        return {"docs": [{"_index": one["_index"], "_id": one["_id"], "error": error} for one in body["docs"]]}

    return Fault(on, change=change)


def basic(user: str, password: str) -> str:
    """Return the header of basic auth."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Proxy:
    """A running proxy."""

    upstream: int
    logins: frozenset[str] | None = None
    """The values of Authorization that are let in; None lets everyone in."""
    product: bool = True
    """Whether the server says that it is Elasticsearch."""
    plan: list[Fault] = field(default_factory=list)
    always: Fault | None = None
    """A fault of every matching request after the plan."""
    seen: list[Request] = field(default_factory=list)
    url: str = ""
    open: set[asyncio.Task[None]] = field(default_factory=set)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection as a task that can be ended."""
        task = asyncio.create_task(self.serve(reader, writer))
        self.open.add(task)
        await asyncio.wait({task})
        self.open.discard(task)
        writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            while (request := await _read_request(reader)) is not None:
                self.seen.append(request)
                fault = self._fault(request)
                if fault.keep == 0 and not fault.forward:
                    break
                answer = await self._answer(request, fault)
                await asyncio.sleep(fault.seconds)
                writer.write(answer[: int(len(answer) * fault.keep)])
                await writer.drain()
                if fault.keep < 1:
                    break
            writer.close()
            await writer.wait_closed()

    def _fault(self, request: Request) -> Fault:
        if self.plan and self.plan[0].on in request.target:
            return self.plan.pop(0)
        return self.always if self.always and self.always.on in request.target else Fault()

    async def _answer(self, request: Request, fault: Fault) -> bytes:
        if self.logins is not None and request.headers.get("authorization") not in self.logins:
            error = {"type": "security_exception", "reason": "missing or wrong credentials"}
            return _written(401, {}, json.dumps({"error": {"root_cause": [error], **error}, "status": 401}).encode())
        if fault.answer is not None:
            code, headers, body = fault.answer
            return _written(code, headers, json.dumps(body).encode())
        code, headers, raw = await self._ask(request)
        if fault.change is not None:
            raw = json.dumps(fault.change(json.loads(raw))).encode()
        kept = ("content-type", *(("x-elastic-product",) if self.product else ()))
        return _written(code, {name: headers[name] for name in kept if name in headers}, raw)

    async def _ask(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            return await self._forward(request, reader, writer)
        finally:
            writer.transport.abort()

    async def _forward(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, dict[str, str], bytes]:
        kept = {name: value for name, value in request.headers.items() if name in ("accept", "content-type")}
        head = {**kept, "host": "server", "connection": "close", "content-length": str(len(request.body))}
        lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + request.body)
        await writer.drain()
        first, headers = await _read_head(reader)
        return int(first.split()[1]), headers, await _read_body(reader, headers)


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines[1:] if line)
    return lines[0], {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
        await reader.readexactly(2)
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", 0)))


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        first, headers = await _read_head(reader)
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = first.split()
    return Request(method, target, headers, await _read_body(reader, headers))


def _written(code: int, headers: dict[str, str], body: bytes) -> bytes:
    head = {"content-type": "application/json", "x-elastic-product": "Elasticsearch"} if code >= 400 else {}
    head |= {**headers, "content-length": str(len(body))}
    lines = [f"HTTP/1.1 {code} -", *(f"{name.replace('_', '-')}: {value}" for name, value in head.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def faulty(
    upstream: int, tls: ssl.SSLContext | None = None, port: int = 0, **settings: Any
) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a port, on a port given or a free one, and end it with its connections."""
    proxy = Proxy(upstream, **settings)
    server = await asyncio.start_server(proxy.take, "127.0.0.1", port, ssl=tls)
    proxy.url = f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        while proxy.open:
            for task in proxy.open:
                task.cancel()
            await asyncio.wait(set(proxy.open))
            await asyncio.sleep(0)
