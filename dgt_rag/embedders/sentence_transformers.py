"""Embeddings from a transformer that runs here, through the `sentence-transformers` package."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from heapq import nlargest
from importlib import import_module
from typing import Any, ClassVar, Literal

from pydantic import Field

from dgt_rag.embedders.base import Embedder, Encoder, TextKind, Vector
from dgt_rag.embedders.local import LocalEmbedder, LocalEncoder, load, own_thread
from dgt_rag.errors import EngineError, not_installed
from dgt_rag.world import World

_WHO = "embedder sentence_transformers"
_SORTED = 8
"""Batches that are handed over at once: their texts are sorted by length, so that short ones are not filled up."""
_LOOKED_AT = 8
"""Texts of a batch that are looked at for being too long."""
_UNLIKE = (
    "a ferry at noon",
    "beans in the pot",
    "паром уходит в полдень",
    "العبارة تغادر عند الظهر",
    "नाव दोपहर को जाएगी",
    "正午渡轮",
    "7 12 40 9",
)
"""Texts of four words each, some of which a model that reads any words tells apart, whatever its language."""


class SentenceTransformersEmbedder(LocalEmbedder):
    """A sentence-transformers model, from a folder or by its name on the hub.

    A model's own prompts for questions and passages are used; a prefix takes the place of the prompt of its kind.
    """

    neutral: ClassVar[frozenset[str]] = Embedder.neutral | {"device"}

    type: Literal["sentence_transformers"] = "sentence_transformers"
    device: str | None = None
    """`cpu`, `cuda`, `mps`, …; the fastest there is if not given."""
    dimensions: int | None = Field(default=None, ge=1)
    """Shortens the vectors, for models that can."""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        """Load the model and try it."""
        try:
            package = await asyncio.to_thread(import_module, "sentence_transformers")
        except ImportError as error:
            raise not_installed(_WHO, error, "sentence-transformers") from error
        settings: dict[str, Any] = {"device": self.device, "truncate_dim": self.dimensions}
        with _no_progress():
            model = await load(_WHO, self.model, lambda: package.SentenceTransformer(self.model, **settings))
        async with own_thread() as thread:
            encoder = _TransformerEncoder(self, model, thread, world)
            self._check(await encoder.embed(_UNLIKE, "query"))
            yield encoder

    def _check(self, vectors: list[Vector]) -> None:
        """Refuse a model that cannot be what the task means."""
        if self.dimensions and len(vectors[0]) < self.dimensions:
            raise EngineError(
                f"{_WHO}: {self.model!r} has vectors of {len(vectors[0])} numbers; `dimensions` is {self.dimensions}"
            )
        if all(vector == vectors[0] for vector in vectors):
            raise EngineError(
                f"{_WHO}: {self.model!r} has the same vector for different words; are the files of its tokenizer there?"
            )


class _TransformerEncoder(LocalEncoder):
    """A loaded model, with its own prompts, that tells once of passages it does not read to their end."""

    def __init__(self, embedder: SentenceTransformersEmbedder, model: Any, thread: Executor, world: World) -> None:
        super().__init__(embedder, self._made, thread)
        self.model = model
        self.world = world
        self._told = False

    @property
    def at_once(self) -> int:
        """Texts that are handed over at most."""
        return _SORTED * self.settings.batch

    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        """Return the vectors of some batches."""
        if kind == "passage" and not self._told and await self.aside(lambda: self._cut(texts)):
            self._told = True
            self.world.say(
                f"{_WHO}: the model reads the first {self.model.max_seq_length} tokens of a text, and passages here "
                "are longer: they are found by their beginnings alone; shorter passages are found by all they say"
            )
        return await super().encode(texts, kind)

    def _prefix(self, kind: TextKind) -> str:
        # it goes to the model as a prompt, which some leave out of the mean over a text's tokens
        return ""

    def _made(self, texts: list[str], kind: TextKind) -> Any:
        encode = self.model.encode_query if kind == "query" else self.model.encode_document
        prompt = super()._prefix(kind) or None
        size = self.settings.batch
        return encode(texts, prompt=prompt, batch_size=size, show_progress_bar=False, convert_to_numpy=True)

    def _cut(self, texts: list[str]) -> bool:
        """Whether one of the longest texts is longer than the model reads."""
        most, tokenizer = self.model.max_seq_length, self.model.tokenizer
        if not isinstance(most, int) or not callable(tokenizer):
            return False
        # a token is a byte at least
        long = [text for text in nlargest(_LOOKED_AT, texts, key=_bytes) if _bytes(text) > most]
        return bool(long) and any(len(ids) > most for ids in tokenizer(long, truncation=False, verbose=False).input_ids)


def _bytes(text: str) -> int:
    return len(text.encode())


@contextmanager
def _no_progress() -> Iterator[None]:
    """Keep the bar of a load out of what the program says."""
    logging: Any = import_module("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
