"""The door to OpenAI-compatible endpoints (vLLM, Ollama, llama.cpp, SGLang, OpenAI, Azure) through the `openai` package."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field, JsonValue, SecretStr, field_validator, model_validator

from dgt_rag.errors import ModelClosed, TaskError
from dgt_rag.limiter import CEILING, Limits
from dgt_rag.llm.address import Headers, checked, secrets_of, sendable, shown
from dgt_rag.llm.base import Model, Speaker
from dgt_rag.llm.broken import broken
from dgt_rag.llm.endpoint import Config, Endpoint, Prices
from dgt_rag.llm.refusals import Raw
from dgt_rag.llm.remote import Remote
from dgt_rag.llm.replies import loaded
from dgt_rag.llm.traits import RUNGS, Rung
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
    headers: Headers = Field(default_factory=dict)
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
            checked(url)
        return self

    @field_validator("api_key")
    @classmethod
    def _key_to_send(cls, key: SecretStr | None) -> SecretStr | None:
        return SecretStr(sendable(key.get_secret_value(), "api_key")) if key else key

    @property
    def urls(self) -> tuple[str, ...]:
        """Where the model is served."""
        if self.azure:
            return (self.azure.endpoint.strip(),)
        given = self.base_urls or (self.base_url or os.environ.get("OPENAI_BASE_URL") or _HOSTED,)
        return tuple(url.strip() for url in given)

    def missing(self) -> str:
        """Return which key is not there or cannot be sent."""
        try:
            for url in self.urls:
                self._key(url)
        except (ModelClosed, TaskError) as error:
            return str(error)
        return ""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Speaker]:
        """Open a connection pool for each endpoint; nothing is sent before the first ask."""
        async with AsyncExitStack() as stack:
            endpoints = [await stack.enter_async_context(self.endpoint(url, world)) for url in self.urls]
            yield Remote(endpoints, self.sampling, self.tool_mode, world)

    @asynccontextmanager
    async def endpoint(self, url: str, world: World) -> AsyncIterator[Endpoint]:
        """Open one endpoint."""
        name = f"{self.model} at {shown(url)}"
        key, headers = self._key(url), {name: value.get_secret_value() for name, value in self.headers.items()}
        guard = world.guards.of(name, self.retry, self.limits)
        config = Config(self.model, _RUNGS[self.response_mode], self._how_keyed, self.extra_body, self.prices)
        http = _connections()
        client = self._client(url, http, key or "none", headers)
        try:
            yield Endpoint(name, _Door(name, client, http, secrets_of(key, headers)), guard, config, world)
        finally:
            await client.close()

    def _client(self, url: str, http: Any, key: str, headers: dict[str, str]) -> Any:
        import openai

        shared: dict[str, Any] = {
            "api_key": key,
            "max_retries": 0,
            "timeout": http.timeout,
            "default_headers": headers,
            "http_client": http,
        }
        if self.azure:
            version, place = self.azure.api_version, url
            return openai.AsyncAzureOpenAI(
                azure_endpoint=place, azure_deployment=self.model, api_version=version, **shared
            )
        return openai.AsyncOpenAI(base_url=url, **shared)

    @property
    def _how_keyed(self) -> str:
        return "check `api_key`" if self.api_key else f"set the environment variable {self.api_key_env}"

    def _key(self, url: str) -> str:
        """Return the key to send; "" if there is none and none is needed."""
        key = self.api_key.get_secret_value() if self.api_key else os.environ.get(self.api_key_env, "")
        if not key.strip() and (self.azure or url.rstrip("/") == _HOSTED):
            raise ModelClosed(
                f"{self.model} at {shown(url)}: no key; set the environment variable {self.api_key_env}, "
                "or give base_url for a server of your own"
            )
        try:
            return sendable(key, f"the key in the environment variable {self.api_key_env}")
        except ValueError as error:
            raise TaskError(f"{self.model} at {shown(url)}: {error}") from error


def _connections() -> Any:
    """Return the pool of connections; the guard decides how many calls there are at once and how long each may take."""
    import openai
    from httpx2 import Limits as Pool
    from httpx2 import Timeout

    pool = Pool(max_connections=2 * CEILING, max_keepalive_connections=2 * CEILING, keepalive_expiry=30.0)
    return openai.DefaultAioHttpClient(limits=pool, timeout=Timeout(None, connect=10.0))


class _Door:
    """One client of the `openai` package, used for its connections, addresses and keys; replies are read by us.

    The client makes the first request; those after it are sent in its likeness, at half the processor time a call.
    """

    def __init__(self, name: str, client: Any, http: Any, secrets: tuple[str, ...]) -> None:
        from aiohttp import ClientError
        from httpx2 import RequestError, Response
        from openai import APIConnectionError, APIStatusError

        self._name = name
        self._client = client
        self._http = http
        self._secrets = secrets
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
            # where a redirection leads may be another place the next time, so it is asked for each time
            if response.status_code == 200 and not response.history:
                self._likeness = response.request
                del self._likeness.headers["Content-Length"]
        moved = str(response.url) if response.history else response.headers.get("location")
        return Raw(
            response.status_code, response.headers, response.content, shown(moved) if moved else "", self._secrets
        )

    async def models(self) -> list[str]:
        """Return the names of the models that the endpoint lists."""
        asked = self._client.get("/models", cast_to=self._response)
        response = await asyncio.wait_for(self._answered(asked), 10.0)
        try:
            listed = loaded(response.content)["data"] if response.status_code == 200 else []
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
            raise broken(error, self._name, str(self._client.base_url), self._reached) from error
        self._reached = True
        return response
