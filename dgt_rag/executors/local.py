"""Work in one process: one task group, started conversations before new ones, no lockstep between them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress


async def work_off(
    owed: AsyncIterator[int],
    make: Callable[[int], Awaitable[None]],
    width: Callable[[], int],
    complete: Callable[[], bool] = lambda: False,
) -> None:
    """Make everything that is owed, at most `width()` at a time; the first error that `make` lets out ends all.

    What is still in the air when all that is wanted is `complete` was begun as a spare, and is ended.
    """
    place = asyncio.Event()
    running: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        running.discard(task)
        place.set()

    async with asyncio.TaskGroup() as group:
        async for index in owed:
            task = group.create_task(_one(make, index))
            running.add(task)
            task.add_done_callback(ended)
            while len(running) >= width():
                place.clear()
                # the width may grow while nothing ends
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await place.wait()
        while running and not complete():
            place.clear()
            await place.wait()
        for task in running:
            task.cancel()


async def _one(make: Callable[[int], Awaitable[None]], index: int) -> None:
    await make(index)
