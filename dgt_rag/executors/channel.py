"""What the processes of one run say to each other: pickled tuples, those of one turn of the loop in one frame."""

import asyncio
import pickle
from collections.abc import AsyncIterator
from typing import Any

_LENGTH = 8
"""Bytes that tell how long a frame is."""


class Channel:
    """One end of a pair of pipes between two of our own processes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._out: list[tuple[Any, ...]] = []

    def send(self, *message: Any) -> None:
        """Send a message; with the others of this turn of the loop."""
        if not self._out:
            asyncio.get_running_loop().call_soon(self.flush)
        self._out.append(message)

    def flush(self) -> None:
        """Send what waits now."""
        if self._out and not self._writer.is_closing():
            frame = pickle.dumps(self._out, pickle.HIGHEST_PROTOCOL)
            self._writer.write(len(frame).to_bytes(_LENGTH, "big") + frame)
        self._out = []

    async def messages(self) -> AsyncIterator[tuple[Any, ...]]:
        """Yield what the other end sends, until it is gone."""
        while True:
            try:
                length = await self._reader.readexactly(_LENGTH)
                frame = await self._reader.readexactly(int.from_bytes(length, "big"))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            for message in pickle.loads(frame):
                yield message

    async def close(self) -> None:
        """Send what waits and hang up."""
        self.flush()
        self._writer.close()
