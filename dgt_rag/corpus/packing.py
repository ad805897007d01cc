"""Opening a corpus file, unpacked if it is packed by gzip or zstd; one that was cut is refused, not taken for the whole."""

import errno
import gzip
import io
import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from dgt_rag.errors import CorpusError

_BUFFER = 1 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CHUNK = 1 << 14
"""Packed bytes unpacked at once; few, as they may grow a thousandfold."""


def opened(path: Path, packing: str) -> io.BufferedReader:
    """Open a file; OSError, EOFError or zlib.error, now or while it is read, if it cannot be unpacked to its end."""
    if packing == "gzip":
        return io.BufferedReader(gzip.open(path, "rb"), _BUFFER)
    if packing == "zstd":
        try:
            import zstandard
        except ImportError:
            raise CorpusError(f"{path}: zstd files need one more package: pip install 'dgt-rag[zstd]'") from None
        return io.BufferedReader(_Zstd(path.open("rb"), zstandard), _BUFFER)
    return io.BufferedReader(io.FileIO(path), _BUFFER)


def seekable(file: io.BufferedReader) -> IO[bytes]:
    """Return what may be read in any order: an unpacked copy that is gone when it is closed, or the file itself."""
    if isinstance(file.raw, io.FileIO):
        return file
    with ExitStack() as stack:
        copy = stack.enter_context(tempfile.TemporaryFile())
        try:
            shutil.copyfileobj(file, copy, _BUFFER)
            copy.seek(0)
        except OSError as error:
            # closing writes what is left, and would fail again
            with suppress(OSError):
                copy.close()
            if error.errno not in _NO_ROOM:
                raise
            where = f"is unpacked in {tempfile.gettempdir()}, where no room is left ({error.strerror})"
            raise CorpusError(f"{file.name}: {where}; set TMPDIR to a folder with room") from error
        stack.pop_all()
    return copy


class _Zstd(io.RawIOBase):
    """What a zstd file holds, frame after frame. The package's own reader ends without a word where a frame is cut."""

    def __init__(self, file: IO[bytes], zstandard: ModuleType) -> None:
        self.name = file.name
        self._file = file
        self._error = zstandard.ZstdError
        self._new = zstandard.ZstdDecompressor().decompressobj
        self._frame: Any = None
        self._packed = b""
        self._left = memoryview(b"")

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, which is not filled only at the end."""
        done = 0
        while done < len(buffer) and self._more():
            size = min(len(buffer) - done, len(self._left))
            buffer[done : done + size] = self._left[:size]
            self._left = self._left[size:]
            done += size
        return done

    def _more(self) -> bool:
        """Unpack something unless there is something left; whether there is."""
        while not self._left:
            self._packed = self._packed or self._file.read(_CHUNK)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the file ends within a frame")
                return False
            self._left = memoryview(self._unpack())
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def _unpack(self) -> bytes:
        self._frame = self._frame or self._new()
        try:
            out: bytes = self._frame.decompress(self._packed)
        except self._error as error:
            raise OSError(f"{error}") from error
        self._packed = self._frame.unused_data if self._frame.eof else b""
        if self._frame.eof:
            self._frame = None
        return out
