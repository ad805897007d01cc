"""Embeddings from static vectors of words, through the `model2vec` package: fast on any machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from pydantic import Field

from dgt_rag.embedders.base import Encoder
from dgt_rag.embedders.local import LocalEmbedder, LocalEncoder, load, own_thread
from dgt_rag.errors import not_installed
from dgt_rag.world import World


class Model2VecEmbedder(LocalEmbedder):
    """A model2vec model, from a folder or by its name on the hub; quick without a GPU."""

    type: Literal["model2vec"] = "model2vec"
    batch: int = Field(default=1024, ge=1)
    """Texts embedded in one call at most."""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        """Load the model."""
        try:
            from model2vec import StaticModel
        except ImportError as error:
            raise not_installed("embedder model2vec", error, "model2vec") from error
        model = await load("embedder model2vec", self.model, lambda: StaticModel.from_pretrained(self.model))
        async with own_thread() as thread:
            yield LocalEncoder(self, lambda texts, kind: model.encode(texts), thread)
