"""What a notebook needs: load or build a task, run it, iterate over its conversations."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dgt_rag.errors import TaskError
from dgt_rag.loader import load
from dgt_rag.pipeline.run import RunResult, run_task
from dgt_rag.pipeline.way import Way
from dgt_rag.plugins import Plugin
from dgt_rag.records import Document
from dgt_rag.sentences import sentence
from dgt_rag.task import Task


def load_task(task: str | Path | Mapping[str, Any], *overrides: str, plugins: Sequence[type[Plugin]] = ()) -> Task:
    """Return the task of a YAML file or of a mapping of the same shape; `overrides` are written `key=value`."""
    return load(task if isinstance(task, Mapping) else Path(task), overrides, guests=plugins).task


async def arun(
    task: Task | str | Path | Mapping[str, Any],
    *overrides: str,
    plugins: Sequence[type[Plugin]] = (),
    corpora: Mapping[str, Sequence[Document]] | None = None,
    restart: bool = False,
    **changes: Any,
) -> RunResult:
    """Run a task to its end; where it was left before, if it was. `changes` are keys of the task, as `num_outputs=5`."""
    ready = task if isinstance(task, Task) else load_task(task, *overrides, plugins=plugins)
    if changes:
        ready = _changed(ready, changes)
    return await run_task(ready, Way(restart=restart, corpora=corpora or {}, say=_quiet))


def _changed(task: Task, changes: Mapping[str, Any]) -> Task:
    try:
        return Task.model_validate({**{name: getattr(task, name) for name in Task.model_fields}, **changes})
    except ValidationError as error:
        told = (f"{'.'.join(map(str, one['loc']))}: {sentence(one)}" for one in error.errors(include_url=False))
        raise TaskError("; ".join(told)) from error


def run(task: Task | str | Path | Mapping[str, Any], *overrides: str, **options: Any) -> RunResult:
    """Run a task to its end (`arun` without `await`), also where an event loop is running, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(arun(task, *overrides, **options))
    return _in_a_thread(task, *overrides, **options)


def _in_a_thread(task: Task | str | Path | Mapping[str, Any], *overrides: str, **options: Any) -> RunResult:
    """Run beside the loop of a notebook, which cannot run another."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(arun(task, *overrides, **options))).result()


def _quiet(line: str) -> None:
    del line
