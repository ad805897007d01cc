"""Embeddings from any OpenAI-compatible `/v1/embeddings` endpoint, through the `openai` package."""

import math
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from dgt_rag.embedders.base import Embedder, Encoder, TextKind, TextRefused, Vector
from dgt_rag.errors import Busy, EngineError, Exhausted, ModelError, TaskError
from dgt_rag.guard import Guard
from dgt_rag.llm.address import Headers, checked, secrets_of, sendable, shown
from dgt_rag.llm.refusals import Raw, busy, one_line, refusal
from dgt_rag.retry import RetryPolicy
from dgt_rag.world import World

_HOSTED = "https://api.openai.com/v1"
_ADDRESS = "OPENAI_BASE_URL"
_LENGTH = re.compile(r"too large to process|physical batch size|input length", re.IGNORECASE)
"""What servers say of texts that are too long, beside what they say of prompts; llama.cpp does with a 500."""
_BEGINNING = 60
"""Characters of a text by which it is named."""
_PLAIN = "information"
"""A text that any endpoint takes which takes one at all."""


class OpenAIEmbedder(Embedder):
    """Any OpenAI-compatible `/v1/embeddings` endpoint: hosted, vLLM, Ollama, llama.cpp, text-embeddings-inference."""

    model_config = ConfigDict(hide_input_in_errors=True)

    operational: ClassVar[frozenset[str]] = Embedder.operational | {
        "base_url", "api_key_env", "headers", "in_flight", "retry",
    }  # fmt: skip
    neutral: ClassVar[frozenset[str]] = Embedder.neutral | operational | {"query_model"}

    type: Literal["openai"] = "openai"
    model: str = Field(min_length=1)
    """The model's name at the endpoint."""
    query_model: str | None = None
    """The model's name for questions, where the endpoint tells the two apart by name."""
    passage_model: str | None = None
    """The model's name for passages."""
    base_url: str | None = None
    """The address up to and with `/v1`; OpenAI's own if not given."""
    api_key_env: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; an endpoint of your own may need none."""
    headers: Headers = Field(default_factory=dict)
    """Headers sent with every request."""
    dimensions: int | None = Field(default=None, ge=1)
    """Shortens the vectors, for models that can."""
    in_flight: int = Field(default=8, ge=1)
    """Requests under way at once while an index is built."""
    retry: RetryPolicy = Field(default_factory=RetryPolicy)

    @model_validator(mode="after")
    def _can_be_asked(self) -> "OpenAIEmbedder":
        # not a validator of the field: what a field refuses is repeated to the user, password and all
        try:
            checked(self.url)
        except ValueError as error:
            where = "base_url" if self.base_url is not None else f"the environment variable {_ADDRESS}"
            raise ValueError(f"{where}: {error}") from error
        return self

    @property
    def url(self) -> str:
        """Where the model is served."""
        given = os.environ.get(_ADDRESS) or _HOSTED if self.base_url is None else self.base_url
        return given.strip()

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        """Open a client; nothing is sent yet."""
        from httpx2 import InvalidURL
        from openai import AsyncOpenAI

        name, key = f"embeddings at {shown(self.url)}", self._key()
        headers = {name: value.get_secret_value() for name, value in self.headers.items()}
        sent: dict[str, Any] = {"api_key": key or "none", "default_headers": headers}
        try:
            client = AsyncOpenAI(**sent, base_url=self.url, max_retries=0, timeout=self.retry.timeout)
        except InvalidURL as error:
            raise TaskError(f"{name}: not an address ({one_line(str(error))}); check `base_url`") from error
        async with client:
            yield _OpenAIEncoder(self, client, world.guards.of(name, self.retry), secrets_of(key, headers))

    def _key(self) -> str:
        """Return the key to send; "" if there is none and none is needed."""
        key = os.environ.get(self.api_key_env, "")
        if not key.strip() and self.url.rstrip("/") == _HOSTED:
            raise TaskError(
                f"embedder openai: no key in the environment variable {self.api_key_env}; "
                "set it, or give `base_url` for an endpoint of your own"
            )
        try:
            return sendable(key, f"the key in the environment variable {self.api_key_env}")
        except ValueError as error:
            raise TaskError(f"embedder openai: {error}") from error


class _Refused(EngineError):
    """A request that an endpoint does not take, while it may take others. `said`: its words."""

    def __init__(self, name: str, said: str, too_long: bool) -> None:
        super().__init__(f"{name}: refused ({said}); if a text is too long, set `max_characters`")
        self.said = said
        self.too_long = too_long
        """Whether its words speak of the length of what was sent."""


class _OpenAIEncoder(Encoder):
    """An open client of one endpoint."""

    def __init__(self, embedder: OpenAIEmbedder, client: Any, guard: Guard, secrets: tuple[str, ...]) -> None:
        super().__init__(embedder)
        self.embedder = embedder
        self.client = client
        self.guard = guard
        self.in_flight = embedder.in_flight
        self._secrets = secrets
        self._answered = False

    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        """Return the vectors of one batch."""
        try:
            return await self._sent(texts, kind)
        except _Refused as refused:
            raise await self._told(refused, texts, kind) from refused
        except Exhausted:
            if len(texts) > 1 or not await self._serves(kind):
                raise
        # an endpoint that was away and has come back must not cost a conversation
        try:
            return await self._sent(texts, kind)
        except (_Refused, Exhausted) as failed:
            raise TextRefused(f"{failed} for {self._shown(texts[0], kind)}, and takes others") from failed

    async def _sent(self, texts: list[str], kind: TextKind) -> list[Vector]:
        vectors = await self.guard.call(lambda: self._attempt(texts, kind))
        self._answered = True
        return vectors

    async def _told(self, refused: _Refused, texts: list[str], kind: TextKind) -> EngineError:
        """Return what is to be said of texts that were refused: which one it is, looked for by halves."""
        while len(texts) > 1:
            middle = len(texts) // 2
            for half in (texts[:middle], texts[middle:]):
                try:
                    await self._sent(half, kind)
                except _Refused as again:
                    refused, texts = again, half
                    break
            else:
                return EngineError(
                    f"{self.guard.name}: refused {len(texts)} texts at once ({refused.said}), but takes each half of them; "
                    f"set `batch` to {len(texts) - middle} or less"
                )
        # a build ends in any case; a question ends its conversation alone, so it must be the question that is at fault
        told = refused.too_long or (kind == "passage" and self._answered)
        if not (told or await self._serves(kind)):
            return EngineError(str(refused))
        return TextRefused(
            f"{self.guard.name}: refused {self._shown(texts[0], kind)} ({refused.said}); "
            "if it is too long, set `max_characters` to less than that"
        )

    async def _serves(self, kind: TextKind) -> bool:
        """Say whether a plain text is taken now."""
        try:
            await self._sent([_PLAIN], kind)
        except (_Refused, Exhausted):
            return False
        return True

    def _shown(self, text: str, kind: TextKind) -> str:
        own = text.removeprefix(self._prefix(kind))
        beginning = one_line(own, _BEGINNING) + ("…" if len(own) > _BEGINNING else "")
        return f"the {kind} {beginning!r}, {len(own):,} characters long"

    async def _attempt(self, texts: list[str], kind: TextKind) -> list[Vector]:
        from openai import APIError

        own = self.embedder
        model = (own.query_model if kind == "query" else own.passage_model) or own.model
        shorter = {} if own.dimensions is None else {"dimensions": own.dimensions}
        try:
            answer = await self.client.embeddings.create(model=model, input=texts, encoding_format="float", **shorter)
        except (APIError, ValueError, OverflowError) as error:
            # the client raises the last two for an answer that is no JSON, or has a number that is too large
            raise self._named(error, model) from error
        return self._checked(answer, len(texts))

    def _checked(self, answer: Any, wanted: int) -> list[Vector]:
        """Return the vectors of an answer, or say what is wrong with it."""
        data = getattr(answer, "data", None)
        rows = data if isinstance(data, list) else []
        if len(rows) != wanted:
            raise EngineError(f"{self.guard.name}: {len(rows)} vectors came back for {wanted} texts; is it a `/v1`?")
        try:
            numbered = sorted((row.index if wanted > 1 else 0, [float(x) for x in row.embedding]) for row in rows)
        except (AttributeError, TypeError, ValueError) as error:
            raise EngineError(f"{self.guard.name}: what came back are no vectors ({one_line(str(error))})") from error
        if wanted > 1 and [index for index, _ in numbered] != list(range(wanted)):
            raise EngineError(
                f"{self.guard.name}: the {wanted} vectors that came back are not numbered from 0 to {wanted - 1} (`index`), "
                "so that none can be said to be of this text or that; use a server that numbers them, or set `batch: 1`"
            )
        vectors = [vector for _, vector in numbered]
        if len({len(vector) for vector in vectors}) != 1 or not all(math.isfinite(sum(vector)) for vector in vectors):
            raise EngineError(f"{self.guard.name}: the vectors are not of one length, or hold what is no number")
        return vectors

    def _named(self, error: Exception, model: str) -> Exception:
        """Return the error of ours for one of the client's: `Busy` for what may be tried again."""
        import openai

        at = self.guard.name
        match error:
            case openai.APITimeoutError():
                return Busy("timeout", f"{at}: no answer in time")
            case openai.APIConnectionError():
                return Busy("connection", f"{at}: cannot connect ({one_line(str(error.__cause__ or error))})")
            case openai.APIStatusError(response=response):
                raw = Raw(response.status_code, response.headers, response.content, secrets=self._secrets)
                return self._refusal(raw, model)
            case ValueError() | OverflowError():
                return Busy("server_error", f"{at}: the answer cannot be read ({one_line(str(error))})")
        return EngineError(f"{at}: {one_line(str(error))}")

    def _refusal(self, raw: Raw, model: str) -> Exception:
        """Return what a response other than 200 means."""
        at, said = self.guard.name, raw.message
        if raw.status in (401, 403):
            return EngineError(f"{at}: the key in {self.embedder.api_key_env} is not accepted ({said})")
        if raw.status == 404:
            return EngineError(f"{at}: no model {model!r}, or `base_url` is not the address of a `/v1` ({said})")
        if raw.status == 402 or "insufficient_quota" in raw.code:
            return EngineError(f"{at}: the account is spent ({said}); the run can be resumed")
        too_long = _speaks_of_length(raw)
        if raw.status in (400, 413, 422) or (raw.status == 500 and too_long):
            return _Refused(at, said, too_long)
        return busy(raw, at) or EngineError(f"{at}: refused ({said})")


def _speaks_of_length(raw: Raw) -> bool:
    meant = refusal(raw, "", "")
    too_long = isinstance(meant, ModelError) and meant.reason == "context_too_long"
    return too_long or bool(_LENGTH.search(raw.message))
