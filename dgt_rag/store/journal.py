"""The journal: one line for each finished conversation, kept or dropped, appended as it ends.

A torn last line is owed again. In memory stand only the places of the lines, so a journal may be far larger than that.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from dgt_rag.errors import StoreError
from dgt_rag.records import ConversationDataPoint


@dataclass(frozen=True)
class Entry:
    """Where a finished conversation stands in the journal, and whether it was kept."""

    offset: int
    length: int
    kept: bool
    reason: str | None


def json_line(text: str) -> bytes:
    """Return JSON as bytes, with the line ends that only some readers know as escapes, so that none splits it."""
    line = text.encode("utf-8", "backslashreplace")
    for end in ("\u0085", "\u2028", "\u2029"):
        line = line.replace(end.encode(), f"\\u{ord(end):04x}".encode())
    return line


class Journal:
    """An append-only file of finished conversations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[int, Entry] = {}
        """By the conversation's index."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot be opened ({error.strerror}); choose another --output-dir") from error
        self._size = self._read()

    def _read(self) -> int:
        """Note the places of all whole lines, cut off a torn last one, and return the size."""
        size = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.endswith(b"\n"):
                    break
                self._note(self._parse(line, number), size, len(line))
                size += len(line)
        os.ftruncate(self._file, size)
        return size

    def _parse(self, line: bytes, number: int) -> ConversationDataPoint:
        try:
            return ConversationDataPoint.model_validate_json(line)
        except ValidationError as error:
            raise StoreError(
                f"{self.path}:{number}: not a line of ours ({error.errors()[0]['msg']}); take it out to have that one made again, or start over with --restart"
            ) from error

    def _note(self, talk: ConversationDataPoint, offset: int, length: int) -> None:
        self.entries[talk.index] = Entry(offset, length, talk.status == "kept", talk.drop_reason)

    def add(self, talk: ConversationDataPoint) -> None:
        """Append a finished conversation; once this returns, a kill does not lose it."""
        line = json_line(talk.model_dump_json()) + b"\n"
        try:
            written = os.pwrite(self._file, line, self._size)
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be written ({error.strerror}); mend that and run again") from error
        if written < len(line):
            # the torn line is cut off when the journal is opened again
            raise StoreError(f"{self.path}: cannot be written (the disk is full); mend that and run again")
        self._note(talk, self._size, len(line))
        self._size += len(line)

    def read(self, index: int) -> ConversationDataPoint:
        """Return a finished conversation."""
        return ConversationDataPoint.model_validate_json(self.line(index))

    def line(self, index: int) -> bytes:
        """Return the line of a finished conversation, with its line end."""
        entry = self.entries[index]
        return os.pread(self._file, entry.length, entry.offset)

    def kept(self, count: int) -> Iterator[int]:
        """Return the indices of the first `count` kept conversations, in order."""
        kept = (index for index in sorted(self.entries) if self.entries[index].kept)
        return (index for index, _ in zip(kept, range(count), strict=False))

    def sync(self) -> None:
        """Make sure that what was added survives a power cut as well."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
