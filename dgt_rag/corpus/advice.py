"""What to tell of a corpus of which nothing can be used: the fields it has, and the projection that may be meant."""

from collections.abc import Iterator
from typing import Any

_BODIES = ("text", "body", "content", "contents", "passage")
_IDS = ("id", "_id", "doc_id", "docid", "uuid", "url", "key", "pid")
_SHOWN = 12
_LONG = 40
_DEEP = 3


def fields(record: dict[str, Any]) -> str:
    """Return the names of a record's fields; not all if they are many, and long ones cut."""
    names = [repr(name if len(name) <= _LONG else f"{name[:_LONG]}…") for name in record]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN]) or 'none'}{more}"


def misread(record: dict[str, Any], table: bool) -> str | None:
    """Return what is wrong with the file if its first record is none: documents lie within it, or the names are values."""
    if table and any(name.isdigit() or len(name) > _LONG for name in record):
        return "the first line must hold the names of the columns, such as id and text"
    if len(record) > 1 and all(isinstance(value, dict) for value in record.values()):
        return "if each of these is a document, write them as an array, or one on each line, with their ids in a field"
    lists = (name for name, value in record.items() if isinstance(value, list) and value and isinstance(value[0], dict))
    within = next(lists, None)
    return within and f"if the documents are those in {within!r}, write them as an array, or one on each line"


def suggest(record: dict[str, Any]) -> str:
    """Return a projection that may be meant, for a refusal."""
    values = dict(sorted(_values(record, "", _DEEP), key=lambda pair: pair[0].count(".")))
    texts = {path: len(value) for path, value in values.items() if isinstance(value, str) and value.strip()}
    doc_id = _first(_IDS, [path for path, value in values.items() if value not in (None, "")])
    body = _first(_BODIES, list(texts)) or max(
        (path for path in texts if path != doc_id), key=texts.__getitem__, default=None
    )
    if body and doc_id:
        return f"set e.g. projection: {{body: {body}, doc_id: {doc_id}}}"
    lacking = [what for what, path in (("a text", body), ("an id", doc_id)) if not path]
    return f"no field of it looks like {' or '.join(lacking)}; set projection to the fields that hold them"


def _values(record: dict[str, Any], above: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Return the values that are no objects by dotted path."""
    for name, value in record.items():
        if not isinstance(value, dict):
            yield f"{above}{name}", value
        elif depth > 1:
            yield from _values(value, f"{above}{name}.", depth - 1)


def _first(names: tuple[str, ...], paths: list[str]) -> str | None:
    """Return the first path that ends in the first of the names that there is."""
    return next((path for name in names for path in paths if path.rpartition(".")[2] == name), None)
