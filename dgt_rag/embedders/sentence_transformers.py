"""Embeddings from a transformer that runs here, through the `sentence-transformers` package."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

from pydantic import Field

from dgt_rag.embedders.base import Embedder, Encoder, TextKind
from dgt_rag.embedders.local import LocalEmbedder, LocalEncoder, load
from dgt_rag.errors import not_installed
from dgt_rag.world import World


class SentenceTransformersEmbedder(LocalEmbedder):
    """A sentence-transformers model, from a folder or by its name on the hub.

    A model's own prompts for questions and passages are used, unless a prefix is given.
    """

    neutral: ClassVar[frozenset[str]] = Embedder.neutral | {"device"}

    type: Literal["sentence_transformers"] = "sentence_transformers"
    device: str | None = None
    """`cpu`, `cuda`, `mps`, …; the fastest there is if not given."""
    dimensions: int | None = Field(default=None, ge=1)
    """Shortens the vectors, for models that can."""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        """Load the model."""
        who = "embedder sentence_transformers"
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise not_installed(who, error, "sentence-transformers") from error
        settings: dict[str, Any] = {"device": self.device, "truncate_dim": self.dimensions}
        model = await load(who, self.model, lambda: SentenceTransformer(self.model, **settings))
        yield LocalEncoder(self, lambda texts, kind: self._encode(model, texts, kind))

    def _encode(self, model: Any, texts: list[str], kind: TextKind) -> Any:
        encode = model.encode_query if kind == "query" else model.encode_document
        if self.query_prefix or self.passage_prefix:
            encode = model.encode
        return encode(texts, batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True)
