"""What embedders share whose model is loaded into this process."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator

from dgt_rag.embedders.base import Embedder, Encoder, TextKind, Vector
from dgt_rag.errors import EngineError
from dgt_rag.plugins import find_path

T = TypeVar("T")


def _folder_or_name(model: str) -> str:
    try:
        return str(find_path(Path(model)))
    except ValueError:
        return model


ModelName = Annotated[str, AfterValidator(_folder_or_name)]
"""A folder, looked for like any other path of a task; what is not there is a name on the hub."""


class LocalEncoder(Encoder):
    """A loaded model; one batch at a time, in a thread."""

    def __init__(self, embedder: Embedder, encode: Callable[[list[str], TextKind], Any]) -> None:
        super().__init__(embedder)
        self._encode = encode
        self._turn = asyncio.Lock()

    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        """Return the vectors of one batch."""
        async with self._turn:
            vectors: list[Vector] = (await asyncio.to_thread(self._encode, texts, kind)).tolist()
        return vectors


async def load(who: str, model: str, loader: Callable[[], T]) -> T:
    """Load a model in a thread; one that cannot be had is refused in one line."""
    try:
        return await asyncio.to_thread(loader)
    except (OSError, ValueError, KeyError) as error:
        said = str(error).strip().partition("\n")[0]
        raise EngineError(
            f"{who}: cannot load {model!r}, no folder and no model to be had by that name ({said})"
        ) from error
