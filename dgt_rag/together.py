"""Several things asked at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from dgt_rag.errors import told_by

Item = TypeVar("Item")
Result = TypeVar("Result")


async def together(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return what they return, in their order; the first that fails ends the others, which are waited for."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise told_by(errors) from None
    return [task.result() for task in tasks]


async def abreast(items: AsyncIterator[Item], work: Callable[[Item], Awaitable[None]], most: int) -> None:
    """Do the work on each as it comes, on so many at once; the first that fails ends the others, which are waited for."""
    places = asyncio.Semaphore(most)

    async def done(item: Item) -> None:
        try:
            await work(item)
        finally:
            places.release()

    try:
        async with asyncio.TaskGroup() as group:
            async for item in items:
                await places.acquire()
                group.create_task(done(item))
    except BaseExceptionGroup as errors:
        raise told_by(errors) from None
