"""A digest of the text of each row of a file of vectors: 16 bytes a row, in a file of their own with a checksum at its end."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

Keys = np.ndarray[Any, np.dtype[np.uint64]]
"""Two numbers a row."""

KEY = 16
"""Bytes of the digest of a text."""


def key(text: str) -> bytes:
    """Return the digest of a text."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY).digest()


def keep_keys(path: Path, keys: bytearray) -> None:
    """Write the keys of all rows; they are there whole or not at all. OSError if they cannot be kept."""
    draft = path.with_name(f"keys-{os.getpid()}.part")
    try:
        with draft.open("wb") as file:
            file.write(keys)
            file.write(_checksum(keys))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def kept_keys(path: Path, count: int) -> Keys | None:
    """Return the keys of so many rows, read from the disk when they are needed; None if they are not there, or damaged."""
    try:
        if path.stat().st_size != KEY * (count + 1):
            return None
        held = np.asarray(np.memmap(path, "<u8", "r", shape=(count + 1, 2)))
    except OSError:
        return None
    return held[:count] if held[count].tobytes() == _checksum(held[:count]) else None


def _checksum(keys: bytearray | Keys) -> bytes:
    return hashlib.blake2b(keys if isinstance(keys, bytearray) else keys.ravel().data, digest_size=KEY).digest()
