"""Vectors of passages in a folder: appended while they are made, so that a killed build goes on where it was.

`vectors.f32` holds the rows (float32, length one; a blank passage has zeros), `manifest.json` says what they are.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from dgt_rag.errors import EngineError
from dgt_rag.plugins import Settings

Matrix = np.ndarray[Any, np.dtype[np.float32]]

_FORMAT = 1


class Manifest(Settings):
    """What the vectors in a folder are."""

    format: int = _FORMAT
    embedder: str
    fingerprint: str
    """The digest of the corpus."""
    count: int
    """Rows when it is whole."""
    dimension: int


class VectorStore:
    """The vectors of one corpus by one embedder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = folder / "vectors.f32"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Name the folder when it cannot be written, or the disk is full."""
        try:
            yield
        except OSError as error:
            raise EngineError(
                f"{self.folder}: cannot keep the vectors here ({error.strerror}); set `index_dir` to another folder"
            ) from error

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Give whether this process may build; False while another one does."""
        lock = FileLock(self.folder / "lock", timeout=0)
        with self.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                mine = False
            else:
                mine = True
        try:
            yield mine
        finally:
            lock.release()

    def manifest(self) -> Manifest | None:
        """Return what the folder says it holds; None if it holds nothing that can be read."""
        try:
            return Manifest.model_validate_json((self.folder / "manifest.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def start(self, manifest: Manifest) -> None:
        """Begin anew: no rows, and what they are going to be."""
        with self.writing():
            for path in self.folder.glob("ivf*.faiss"):
                path.unlink()
            self.rows.write_bytes(b"")
            draft = self.folder / "manifest.json.part"
            draft.write_text(json.dumps(manifest.model_dump(), indent=1) + "\n", encoding="utf-8")
            draft.replace(self.folder / "manifest.json")

    def done(self, manifest: Manifest) -> int:
        """Return how many whole rows there are; a torn last one is cut off."""
        with self.writing():
            if not self.rows.exists():
                self.rows.write_bytes(b"")
            size = 4 * manifest.dimension
            whole = self.rows.stat().st_size // size
            os.truncate(self.rows, whole * size)
        return whole

    def whole(self, manifest: Manifest) -> bool:
        """Whether all rows are there."""
        return self.rows.exists() and self.rows.stat().st_size == 4 * manifest.dimension * manifest.count

    def add(self, vectors: Matrix) -> None:
        """Append rows, brought to length one."""
        with self.writing(), self.rows.open("ab") as file:
            file.write(unit(vectors).tobytes())

    def matrix(self, manifest: Manifest) -> Matrix:
        """Return all rows, read from the disk when they are needed."""
        return np.memmap(self.rows, np.float32, "r", shape=(manifest.count, manifest.dimension))


def unit(vectors: Matrix) -> Matrix:
    """Return the rows brought to length one; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    out: Matrix = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return out
