"""Embeddings from any OpenAI-compatible `/v1/embeddings` endpoint, through the `openai` package."""

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field

from dgt_rag.embedders.base import Embedder, Encoder, TextKind, Vector
from dgt_rag.errors import Busy, EngineError, TaskError
from dgt_rag.guard import Guard
from dgt_rag.llm.refusals import Raw, busy, one_line
from dgt_rag.retry import RetryPolicy
from dgt_rag.world import World


class OpenAIEmbedder(Embedder):
    """Any OpenAI-compatible `/v1/embeddings` endpoint: hosted, vLLM, Ollama, llama.cpp, text-embeddings-inference."""

    neutral: ClassVar[frozenset[str]] = Embedder.neutral | {
        "base_url", "api_key_env", "query_model", "in_flight", "retry",
    }  # fmt: skip

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
    dimensions: int | None = Field(default=None, ge=1)
    """Shortens the vectors, for models that can."""
    in_flight: int = Field(default=8, ge=1)
    """Requests under way at once while an index is built."""
    retry: RetryPolicy = Field(default_factory=RetryPolicy)

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        """Open a client; nothing is sent yet."""
        from openai import AsyncOpenAI

        key = os.environ.get(self.api_key_env)
        if not key and self.base_url is None:
            raise TaskError(
                f"embedder openai: no key in the environment variable {self.api_key_env}; "
                "set it, or give `base_url` for an endpoint of your own"
            )
        client = AsyncOpenAI(api_key=key or "none", base_url=self.base_url, max_retries=0, timeout=self.retry.timeout)
        async with client:
            guard = world.guards.of(f"embeddings at {client.base_url}", self.retry)
            yield _OpenAIEncoder(self, client, guard)


class _OpenAIEncoder(Encoder):
    """An open client of one endpoint."""

    def __init__(self, embedder: OpenAIEmbedder, client: Any, guard: Guard) -> None:
        super().__init__(embedder)
        self.embedder = embedder
        self.client = client
        self.guard = guard
        self.in_flight = embedder.in_flight

    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        """Return the vectors of one batch."""
        return await self.guard.call(lambda: self._attempt(texts, kind))

    async def _attempt(self, texts: list[str], kind: TextKind) -> list[Vector]:
        from openai import APIError

        own = self.embedder
        model = (own.query_model if kind == "query" else own.passage_model) or own.model
        shorter = {} if own.dimensions is None else {"dimensions": own.dimensions}
        try:
            answer = await self.client.embeddings.create(model=model, input=texts, encoding_format="float", **shorter)
        except (APIError, ValueError) as error:  # the client lets an answer that is no JSON through as ValueError
            raise self._named(error, model) from error
        return self._checked(answer, len(texts))

    def _checked(self, answer: Any, wanted: int) -> list[Vector]:
        """Return the vectors of an answer, or say what is wrong with it."""
        rows = list(getattr(answer, "data", None) or ())
        if len(rows) != wanted:
            raise EngineError(f"{self.guard.name}: {len(rows)} vectors came back for {wanted} texts; is it a `/v1`?")
        try:
            vectors = [[float(x) for x in row.embedding] for row in sorted(rows, key=lambda row: row.index)]
        except (AttributeError, TypeError, ValueError) as error:
            raise EngineError(f"{self.guard.name}: what came back are no vectors ({error})") from error
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
                raw = Raw(response.status_code, response.headers, response.content)
                return self._refusal(raw, model)
            case ValueError():
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
        again = busy(raw, at)
        return again or EngineError(f"{at}: refused ({said}); if a text is too long, set `max_characters`")
