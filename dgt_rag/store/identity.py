"""What a run is made from: every key and every file that decides what comes out, so that a resumed run is the same run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dgt_rag.plugins import Plugin
from dgt_rag.store.folder import digest
from dgt_rag.task import Task

_FREE = frozenset({
    "num_outputs", "max_attempts", "concurrency", "processes", "max_cost", "max_tokens", "max_minutes", "formatters",
    "output_dir", "task_description", "created_by", "plugins",
})  # fmt: skip
"""Keys that may differ when a run is resumed."""


def identity(task: Task, corpora: Mapping[str, str]) -> dict[str, str]:
    """Return the task's deciding values by dotted key; files by their content, corpora by their fingerprints."""
    found = dict(_flat("", {name: getattr(task, name) for name in type(task).model_fields if name not in _FREE}))
    found.update({f"corpus of {name}": mark[:16] for name, mark in corpora.items()})
    return dict(sorted(found.items()))


def _flat(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """Walk through a value down to what is no container."""
    if isinstance(value, Path):
        yield place, _content(value)
    elif hasattr(value, "model_fields_set"):
        free = value.operational if isinstance(value, Plugin) else frozenset()
        fields = {name: getattr(value, name) for name in type(value).model_fields if name not in free}
        yield from _flat(place, fields)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _flat(f"{place}.{key}" if place else str(key), part)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _flat(f"{place}.{number}", part)
    elif value is not None:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
        yield place, text if len(text) <= 60 else f"{text[:40]}… #{digest(text)}"


def _content(path: Path) -> str:
    """Name a file or a folder of templates by its content; a corpus is named by its engine and not read here."""
    if path.is_dir():
        return digest(b"".join(file.name.encode() + file.read_bytes() for file in sorted(path.glob("*.j2"))))
    return digest(path.read_bytes()) if path.stat().st_size < 50_000_000 else path.name
