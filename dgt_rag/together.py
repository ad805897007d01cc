"""Several things asked at once."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

from dgt_rag.errors import told_by

Result = TypeVar("Result")


async def together(works: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Return what they return, in their order; the first that fails ends the others, which are waited for."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as errors:
        raise told_by(errors) from None
    return [task.result() for task in tasks]
