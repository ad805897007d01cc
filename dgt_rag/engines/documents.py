"""Where the documents of a lexical engine stand: in memory, or in a file of JSON lines read by byte offsets."""

import hashlib
import mmap
import os
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from dgt_rag.corpus.rows import parse_line
from dgt_rag.engines.groups import Groups, grouped
from dgt_rag.errors import EngineError
from dgt_rag.records import Document

_BLOCK = 1000
_BLOCK_BYTES = 4 << 20


class DocumentStore(Protocol):
    """Documents by ordinal, from 0, in the order of the corpus. All of it may block and be called from any thread."""

    count: int

    def check(self) -> None:
        """Raise EngineError if the corpus is no more what was indexed."""

    def read(self, ordinals: Sequence[int]) -> list[Document]:
        """Return the documents at these ordinals, in the order asked."""

    def blocks(self) -> Iterator[list[Document]]:
        """Stream the documents, many at a time."""

    def groups(self, path: str) -> Groups:
        """Return the groups by a dotted field."""

    def digest(self) -> str:
        """Return a digest of the documents."""


class Once:
    """Makes the value of a key when it is first asked for, once even if many ask at the same time."""

    def __init__(self, make: Callable[[str], Groups]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: dict[str, Groups] = {}

    def __call__(self, key: str) -> Groups:
        """Return the value of this key."""
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(key)
            return self._made[key]

    def __contains__(self, key: str) -> bool:
        return key in self._made


class MemoryDocuments:
    """Documents held in memory."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self.count = len(documents)
        self.groups = Once(lambda path: grouped([documents], path))

    def check(self) -> None:
        """Nothing can have changed."""

    def read(self, ordinals: Sequence[int]) -> list[Document]:
        """Return the documents at these ordinals."""
        documents = self._documents
        return [documents[ordinal] for ordinal in ordinals]

    def blocks(self) -> Iterator[list[Document]]:
        """Stream the documents."""
        for start in range(0, self.count, _BLOCK):
            yield list(self._documents[start : start + _BLOCK])

    def digest(self) -> str:
        """Return a digest of the documents."""
        digest = hashlib.sha256()
        for document in self._documents:
            digest.update(document.model_dump_json().encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()


def mapped(path: Path, code: Literal["q", "i"]) -> Sequence[int]:
    """Return the numbers of a file without reading it: `q` for eight bytes each, `i` for four."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return array(code)
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast(code)


class FileDocuments:
    """Documents read from a file of JSON lines when they are asked for; offsets and groups are mapped, not loaded."""

    def __init__(
        self,
        lines: Path,
        offsets: Sequence[int],
        document_of: Callable[[dict[str, Any]], Document],
        group: Callable[["FileDocuments", str], Groups],
        unchanged: "Unchanged",
    ) -> None:
        self._path = lines
        self._offsets = offsets
        self._document_of = document_of
        self._unchanged = unchanged
        self._file = os.open(lines, os.O_RDONLY)
        self.count = len(offsets) - 1
        self.groups = Once(lambda path: group(self, path))

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def check(self) -> None:
        """Raise EngineError if the corpus file was written to or replaced."""
        self._unchanged.check()

    def read(self, ordinals: Sequence[int]) -> list[Document]:
        """Read the documents at these ordinals."""
        offsets = self._offsets
        out = []
        for ordinal in ordinals:
            start = offsets[ordinal]
            out.append(self._document(os.pread(self._file, offsets[ordinal + 1] - start, start), ordinal))
        return out

    def blocks(self) -> Iterator[list[Document]]:
        """Read the documents in order, some megabytes at a time."""
        offsets, first = self._offsets, 0
        while first < self.count:
            last = first + 1
            while last < self.count and last - first < _BLOCK and offsets[last + 1] - offsets[first] <= _BLOCK_BYTES:
                last += 1
            base = offsets[first]
            data = os.pread(self._file, offsets[last] - base, base)
            yield [
                self._document(data[offsets[ordinal] - base : offsets[ordinal + 1] - base], ordinal)
                for ordinal in range(first, last)
            ]
            first = last

    def digest(self) -> str:
        """Return the digest of the documents."""
        return self._unchanged.digest

    def _document(self, data: bytes, ordinal: int) -> Document:
        # what was skipped when the corpus was read stands between the line and the next offset
        try:
            return self._document_of(parse_line(data[: data.find(b"\n") + 1] or data))
        except ValueError as error:
            self._unchanged.check()
            raise EngineError(f"{self._path}: document {ordinal} cannot be read any more: {error}") from error


class Unchanged:
    """Tells whether a corpus file is still the one that was indexed, by size and time of change."""

    def __init__(self, path: Path, size: int, changed: int, digest: str) -> None:
        self._path = path
        self._expected = (size, changed)
        self.digest = digest

    def check(self) -> None:
        """Raise EngineError if the file was written to, replaced or removed."""
        try:
            found = self._path.stat()
        except OSError as error:
            raise EngineError(f"{self._path}: the corpus is gone: {error.strerror}") from error
        if (found.st_size, found.st_mtime_ns) != self._expected:
            raise EngineError(f"{self._path}: the corpus was changed while it was in use; start again to index it anew")
