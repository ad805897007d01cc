"""Work in one process: one task group, started conversations before new ones, no lockstep between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable


async def work_off(owed: AsyncIterator[int], make: Callable[[int], Awaitable[None]], width: Callable[[], int]) -> None:
    """Make everything that is owed, at most `width()` at a time; the first error that `make` lets out ends all."""
    place = asyncio.Event()
    running = 0

    async def one(index: int) -> None:
        nonlocal running
        try:
            await make(index)
        finally:
            running -= 1
            place.set()

    async with asyncio.TaskGroup() as group:
        async for index in owed:
            running += 1
            group.create_task(one(index))
            while running >= width():
                place.clear()
                await place.wait()
