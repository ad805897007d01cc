"""What embedders share whose model is loaded into this process."""

import asyncio
import hashlib
import math
from abc import ABC
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import lru_cache
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

_LARGE = 1 << 24
"""Bytes of a file whose digest is kept as long as the process runs; one of less is read again each time."""
_KEPT = 256


class LocalEmbedder(Embedder, ABC):
    """Base of embedders that load a model; one from a folder is told by what is in its files."""

    model: ModelName
    """A folder, or a name on the hub."""

    @property
    def tells_weights(self) -> bool:
        """Whether the model is from a folder, whose files are looked at."""
        return Path(self.model).is_dir()

    def describe(self) -> str:
        """Return the settings that decide the vectors of passages; of a model's folder the name, wherever it stands."""
        folder = Path(self.model)
        return self._named(folder.name) if folder.is_dir() else super().describe()

    def identity(self) -> str:
        """Return a name that changes with the weights, if they are in a folder, and not with where it stands or its name.

        Reads all the files the first time, about a second for a gigabyte: not for the event loop.
        """
        folder = Path(self.model)
        return self._named(f"files {_content(folder)}") if folder.is_dir() else self.describe()

    def _named(self, model: str) -> str:
        return Embedder.describe(self.model_copy(update={"model": model}))


def _content(folder: Path) -> str:
    """Return a digest of a model's files, the same for a copy: times of change do not count, nor do notes."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and path.suffix != ".md" and not any(part.startswith(".") for part in name.parts):
                digest.update(f"{name.as_posix()} {_digest(path)}\n".encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise EngineError(f"{folder}: the model cannot be read ({error.strerror})") from error
    return digest.hexdigest()[:16]


def _digest(path: Path) -> str:
    """Return the digest of a file, read whole; of a large one that has not changed since, the one that was found then."""
    state = path.stat()
    marks = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)
    return _remembered(path, marks) if state.st_size >= _LARGE else _read(path)


@lru_cache(maxsize=_KEPT)
def _remembered(path: Path, marks: tuple[int, ...]) -> str:
    return _read(path)


def _read(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class LocalEncoder(Encoder):
    """A loaded model; one batch at a time, in a thread of its own: tokenizers bear no two."""

    def __init__(self, embedder: Embedder, encode: Callable[[list[str], TextKind], Any], thread: Executor) -> None:
        super().__init__(embedder)
        self._encode = encode
        self._thread = thread

    async def encode(self, texts: list[str], kind: TextKind) -> list[Vector]:
        """Return the vectors of one batch."""
        return await self.aside(lambda: self._checked(texts, kind))

    async def aside(self, work: Callable[[], T]) -> T:
        """Do some work with the model when it is free."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _checked(self, texts: list[str], kind: TextKind) -> list[Vector]:
        who = f"embedder {self.settings.plugin_name()}"
        try:
            made = self._encode(texts, kind)
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            # frameworks raise what they like when the memory of a device is spent, or its driver fails
            raise EngineError(
                f"{who}: {len(texts)} texts cannot be embedded ({_said(error)}); "
                "where memory is short, set a smaller `batch`, or `max_characters`"
            ) from error
        if not math.isfinite(made.sum(dtype="float64")):
            raise EngineError(
                f"{who}: the vectors hold what is no number; is the model whole, and made for this device?"
            )
        vectors: list[Vector] = made.tolist()
        return vectors


@asynccontextmanager
async def own_thread() -> AsyncIterator[Executor]:
    """Give a thread for a model; at the end what it still does is waited for."""
    thread = ThreadPoolExecutor(1, "embedder")
    try:
        yield thread
    finally:
        await asyncio.to_thread(thread.shutdown, cancel_futures=True)


async def load(who: str, model: str, loader: Callable[[], T]) -> T:
    """Load a model in a thread; one that cannot be had is refused in one line."""
    try:
        return await asyncio.to_thread(loader)
    except Exception as error:  # packages raise what they like of files that others wrote
        there = "" if Path(model).exists() else ", no folder and no model to be had by that name"
        raise EngineError(f"{who}: cannot load {model!r}{there} ({_said(error)})") from error


def _said(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
