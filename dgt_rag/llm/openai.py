"""The door to OpenAI-compatible endpoints (vLLM, Ollama, llama.cpp, SGLang, OpenAI, Azure) through the `openai` package."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, SecretStr, model_validator

from dgt_rag.errors import Busy, ModelClosed
from dgt_rag.limiter import CEILING, Limits
from dgt_rag.llm.base import Model, Speaker
from dgt_rag.llm.endpoint import Config, Endpoint, Prices
from dgt_rag.llm.refusals import Raw, one_line
from dgt_rag.llm.remote import Remote
from dgt_rag.llm.wire import RUNGS, Rung
from dgt_rag.plugins import Settings
from dgt_rag.retry import RetryPolicy
from dgt_rag.world import World

_HOSTED = "https://api.openai.com/v1"
_RUNGS: dict[str, tuple[Rung, ...]] = {
    "auto": RUNGS,
    "json_schema": ("json_schema", "bare_schema"),
    "json_object": ("json_object",),
    "text": ("text",),
}


class Azure(Settings):
    """An Azure deployment; its name is the model's."""

    endpoint: str
    """Such as https://NAME.openai.azure.com."""
    api_version: str


class OpenAIModel(Model):
    """Any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, SGLang, OpenAI, Azure."""

    operational: ClassVar[frozenset[str]] = frozenset(
        {"base_url", "base_urls", "api_key_env", "api_key", "headers", "retry", "limits", "prices"}
    )

    type: Literal["openai"] = "openai"
    model: str
    """The model's name as the endpoint lists it."""
    base_url: str | None = None
    """Such as http://localhost:8000/v1; OpenAI's own if not given."""
    base_urls: tuple[str, ...] = ()
    """Several endpoints that serve the same model; a conversation stays on one."""
    azure: Azure | None = None
    """An Azure deployment in place of a base_url."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; servers of your own mostly need none."""
    api_key: SecretStr | None = None
    """The key itself, as ${oc.env:NAME}; goes before `api_key_env`."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Headers sent with every request."""
    extra_body: dict[str, JsonValue] = Field(default_factory=dict)
    """Fields added to every request, such as chat_template_kwargs: {enable_thinking: false}."""
    response_mode: Literal["auto", "json_schema", "json_object", "text"] = "auto"
    """How JSON is asked for; auto finds out what the endpoint takes."""
    tool_mode: Literal["auto", "native", "schema"] = "auto"
    """Searches as tool calls, or as JSON for endpoints without them; auto finds out."""
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    """How often and how long a busy endpoint is asked again."""
    limits: Limits = Field(default_factory=Limits)
    """What the endpoint allows, where it is known; how many calls it takes at once is found out."""
    prices: Prices | None = None
    """What a million tokens cost, for the report and for max_cost."""

    @model_validator(mode="after")
    def _one_place(self) -> "OpenAIModel":
        if sum([self.base_url is not None, bool(self.base_urls), self.azure is not None]) > 1:
            raise ValueError("give one of base_url, base_urls and azure")
        for url in self.urls:
            if urlsplit(url).username or urlsplit(url).password or urlsplit(url).query:
                raise ValueError("an address holds no user, password or key; give them by `api_key_env` or `headers`")
            if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
                raise ValueError(f"not an address: {one_line(url)!r}; it looks like http://localhost:8000/v1")
        return self

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the model is served."""
        if self.azure:
            return (self.azure.endpoint,)
        return self.base_urls or (self.base_url or os.environ.get("OPENAI_BASE_URL") or _HOSTED,)

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Speaker]:
        """Open a connection pool for each endpoint; nothing is sent before the first ask."""
        async with AsyncExitStack() as stack:
            endpoints = [await stack.enter_async_context(self.endpoint(url, world)) for url in self.urls]
            yield Remote(endpoints, self.sampling, self.tool_mode, world)

    @asynccontextmanager
    async def endpoint(self, url: str, world: World) -> AsyncIterator[Endpoint]:
        """Open one endpoint."""
        name = f"{self.model} at {_shown(url)}"
        guard = world.guards.of(name, self.retry, self.limits)
        config = Config(self.model, _RUNGS[self.response_mode], self.api_key_env, self.extra_body, self.prices)
        http = _connections()
        client = self._client(url, http)
        try:
            yield Endpoint(name, _Door(name, client, http), guard, config, world)
        finally:
            await client.close()

    def _client(self, url: str, http: Any) -> Any:
        import openai

        shared: dict[str, Any] = {
            "api_key": self._key(url),
            "max_retries": 0,
            "timeout": http.timeout,
            "default_headers": {name: value.get_secret_value() for name, value in self.headers.items()},
            "http_client": http,
        }
        if self.azure:
            version, place = self.azure.api_version, self.azure.endpoint
            return openai.AsyncAzureOpenAI(
                azure_endpoint=place, azure_deployment=self.model, api_version=version, **shared
            )
        return openai.AsyncOpenAI(base_url=url, **shared)

    def _key(self, url: str) -> str:
        key = self.api_key.get_secret_value() if self.api_key else os.environ.get(self.api_key_env, "")
        if not key and (self.azure or url == _HOSTED):
            raise ModelClosed(
                f"{self.model} at {_shown(url)}: no key; set the environment variable {self.api_key_env}, "
                "or give base_url for a server of your own"
            )
        return key or "none"


def _connections() -> Any:
    """Return the pool of connections; the guard decides how many calls there are at once and how long each may take."""
    import openai
    from httpx2 import Limits as Pool
    from httpx2 import Timeout

    pool = Pool(max_connections=2 * CEILING, max_keepalive_connections=2 * CEILING, keepalive_expiry=30.0)
    return openai.DefaultAioHttpClient(limits=pool, timeout=Timeout(None, connect=10.0))


def _shown(url: str) -> str:
    """Return an address without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path.rstrip('/')}"


class _Door:
    """One client of the `openai` package, used for its connections, addresses and keys; replies are read by us.

    The client makes the first request; those after it are sent in its likeness, at half the processor time a call.
    """

    def __init__(self, name: str, client: Any, http: Any) -> None:
        from aiohttp import ClientError
        from httpx2 import RequestError, Response
        from openai import APIConnectionError, APIStatusError

        self._name = name
        self._client = client
        self._http = http
        self._reached = False
        self._likeness: Any = None
        self._response = Response
        self._status_error = APIStatusError
        self._connection_error = (APIConnectionError, RequestError, ClientError, OSError)

    async def post(self, content: bytes) -> Raw:
        """Send one chat request."""
        if self._likeness is not None:
            first = self._likeness
            request = self._http.build_request(
                "POST", first.url, headers=first.headers, content=content, extensions=first.extensions
            )
            response = await self._answered(self._http.send(request))
        else:
            options = {"headers": {"Content-Type": "application/json"}}
            response = await self._answered(
                self._client.post("/chat/completions", cast_to=self._response, content=content, options=options)
            )
            if response.status_code == 200 and response.request.method == "POST":
                self._likeness = response.request
                del self._likeness.headers["Content-Length"]
        return Raw(response.status_code, response.headers, response.content)

    async def models(self) -> list[str]:
        """Return the names of the models that the endpoint lists."""
        from json import loads

        asked = self._client.get("/models", cast_to=self._response)
        response = await asyncio.wait_for(self._answered(asked), 10.0)
        try:
            listed = loads(response.content)["data"] if response.status_code == 200 else []
            return [str(model["id"]) for model in listed]
        except (ValueError, KeyError, TypeError):
            return []

    async def _answered(self, request: Awaitable[Any]) -> Any:
        """Return the response to a request, whatever its status."""
        try:
            response = await request
        except self._status_error as error:
            response = error.response
        except self._connection_error as error:
            raise self._broken(error) from error
        self._reached = True
        return response

    def _broken(self, error: Exception) -> Exception:
        """Return what a connection that failed means; an endpoint that was never there will not come."""
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, ssl.SSLError) and not self._reached:
                return ModelClosed(
                    f"{self._name}: no secure connection ({_why(cause)}); check https:// and certificates"
                )
            if isinstance(cause, socket.gaierror) and not self._reached:
                return ModelClosed(f"{self._name}: no such host; check base_url and the network")
        if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
            return Busy("connection", f"{self._name}: nothing listens there; is the server running?")
        if any(isinstance(cause, TimeoutError) for cause in causes):
            return Busy("connection", f"{self._name}: no connection in time")
        return Busy("connection", f"{self._name}: the connection broke ({type(causes[-1]).__name__})")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it was raised from, inner errors of the HTTP library as well."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = getattr(seen, "os_error", None)
        if isinstance(inner, BaseException):
            yield inner
        seen = seen.__cause__ or seen.__context__


def _why(error: ssl.SSLError) -> str:
    said = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    return one_line(said, 120)
