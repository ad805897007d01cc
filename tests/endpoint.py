"""A small OpenAI-compatible server for tests and benchmarks: real HTTP on loopback, with faults one can ask for.

In a test: `async with Endpoint(latency=0.01) as server: ... server.url`. In a benchmark: `python tests/endpoint.py --capacity 64`.
"""

import argparse
import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
Say = Callable[[Body, int], "Said | None"]


@dataclass
class Said:
    """A response to send; `message` goes into a chat completion, `raw` goes out as it is, `hang` sends nothing."""

    message: Body | None = None
    finish: str = "stop"
    status: int = 200
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    cut: bool = False


def error(status: int, message: str, headers: dict[str, str] | None = None, **more: str) -> Said:
    """Return a refusal in OpenAI's form."""
    raw = json.dumps({"error": {"message": message, "type": "error", **more}}).encode()
    return Said(status=status, raw=raw, headers=headers or {})


def text(content: str, **more: Any) -> Said:
    """Return a plain reply."""
    return Said({"role": "assistant", "content": content}, **more)


def fill(schema: Body, word: str) -> Any:
    """Return some value of a JSON schema, the same for the same word."""
    if "enum" in schema:
        return schema["enum"][len(word) % len(schema["enum"])]
    if "anyOf" in schema:
        return fill(schema["anyOf"][0], word)
    kind = schema.get("type")
    if kind == "object":
        return {name: fill(sub, f"{word} {name}") for name, sub in schema.get("properties", {}).items()}
    if kind == "array":
        return [fill(schema.get("items", {}), word) for _ in range(max(1, schema.get("minItems", 1)))]
    return {"integer": 1, "number": 0.5, "boolean": True, "null": None}.get(str(kind), word)


def honest(body: Body, seen: int) -> Said:
    """Answer as a good endpoint does: tool calls where they are asked for, the schema where there is one."""
    del seen
    word = hashlib.sha256(json.dumps(body["messages"]).encode()).hexdigest()[:12]
    tools, choice = body.get("tools") or [], body.get("tool_choice", "auto")
    if tools and choice != "none" and (choice == "required" or body["messages"][-1]["role"] == "user"):
        made = json.dumps(fill(tools[0]["function"]["parameters"], word))
        call = {
            "id": "call_1",
            "type": "function",
            "function": {"name": tools[0]["function"]["name"], "arguments": made},
        }
        return Said({"role": "assistant", "content": None, "tool_calls": [call]}, finish="tool_calls")
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_schema":
        return text(json.dumps(fill(shape["json_schema"]["schema"], word)))
    return text(f"plain words {word}")


@dataclass
class Endpoint:
    """The server. `say` may give a response of its own for a request and the number of times it was seen."""

    say: Say | None = None
    latency: float = 0.0
    capacity: int = 0
    """Calls served at once; the others queue."""
    refuse_beyond: int = 0
    """Calls in flight beyond which it answers 429."""
    slower_beyond: int = 0
    """Calls in flight beyond which everything takes longer."""
    close_idle: float = 0.0
    """Seconds after which an idle connection is closed, as proxies do."""
    models: tuple[str, ...] = ("test-model",)
    port: int = 0
    requests: list[Body] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    """Request lines and headers, as they came."""
    statuses: dict[int, int] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=lambda: {"prompt_tokens": 0, "completion_tokens": 0})
    """What the 200 replies counted, as sent."""
    in_flight: int = 0
    peak: int = 0
    keep: bool = True
    """Whether requests are kept in `requests`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> "Endpoint":
        await self.start()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the port of last time if there was one."""
        self._seen: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(self.capacity) if self.capacity else None
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Break every connection, as a killed process does."""
        self._server.close()
        # a connection that was taken just before is served only after a turn of the loop
        await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self.in_flight = 0

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # one that is cancelled before it has begun closes nothing itself
        task.add_done_callback(lambda _: writer.transport.abort())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(self.close_idle or None):
                    first = await reader.readexactly(1)
                    if first == b"\x16":  # the greeting of TLS, answered as plain servers do
                        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                        await writer.drain()
                        return
                    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                if self.keep:
                    self.heads.append(head)
                method, path, _ = head.split(" ", 2)
                length = next(
                    (int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0
                )
                said = await self._answer(method, path.partition("?")[0], await reader.readexactly(length))
                if said.cut:
                    return
                payload = said.raw if said.raw is not None else b""
                headers = {"content-type": "application/json", **said.headers, "content-length": str(len(payload))}
                lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
                writer.write(f"HTTP/1.1 {said.status} X\r\n{lines}\r\n".encode() + payload)
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        finally:
            writer.transport.abort()

    async def _answer(self, method: str, path: str, raw: bytes) -> Said:
        if method == "GET" and path.endswith("/models"):
            return Said(raw=json.dumps({"data": [{"id": name} for name in self.models]}).encode())
        if not path.endswith("/chat/completions"):
            return error(404, f"no such path {path}")
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            said = await self._chat(json.loads(raw), hashlib.sha256(raw).hexdigest())
        finally:
            self.in_flight -= 1
        self.statuses[said.status] = self.statuses.get(said.status, 0) + 1
        return said

    async def _chat(self, body: Body, key: str) -> Said:
        if self.keep:
            self.requests.append(body)
        if self.refuse_beyond and self.in_flight > self.refuse_beyond:
            await asyncio.sleep(min(self.latency, 0.02))
            return error(429, "too many requests at once")
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        if body.get("model") not in self.models:
            return error(404, f"the model {body.get('model')!r} does not exist")
        said = (self.say(body, seen) if self.say else None) or honest(body, seen)
        if said.hang:
            await asyncio.sleep(3600)
        if said.status == 200:
            await self._work()
        return self._complete(said, body) if said.raw is None and not said.cut else said

    async def _work(self) -> None:
        if self._places is None:
            await asyncio.sleep(self.latency)
            return
        async with self._places:
            over = self.in_flight / self.slower_beyond if self.slower_beyond else 0.0
            await asyncio.sleep(self.latency * max(1.0, over * over))

    def _complete(self, said: Said, body: Body) -> Said:
        message = said.message or {}
        written = str(message.get("content") or "") + json.dumps(message.get("tool_calls") or "")
        usage = {"prompt_tokens": len(json.dumps(body["messages"])) // 4, "completion_tokens": len(written) // 4 + 1}
        for name, count in usage.items():
            self.usage[name] += count
        choice = {"index": 0, "message": message, "finish_reason": said.finish}
        whole = {"id": "x", "object": "chat.completion", "choices": [choice] if message else [], "usage": usage}
        return Said(raw=json.dumps(whole).encode(), headers=said.headers)


async def _forever(server: Endpoint) -> None:
    async with server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until killed; the address is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, kind in (
        ("port", int),
        ("latency", float),
        ("capacity", int),
        ("refuse-beyond", int),
        ("slower-beyond", int),
    ):
        parser.add_argument(f"--{name}", type=kind, default=kind())
    asyncio.run(_forever(Endpoint(models=("test-model", "mock-model"), keep=False, **vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
