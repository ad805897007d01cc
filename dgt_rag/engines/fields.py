"""The fields that documents have, and what to tell of a filter that leaves none of them."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping

from pydantic import JsonValue

from dgt_rag.errors import CorpusError
from dgt_rag.plugins import unknown
from dgt_rag.records import Document, label_of

_LOOKED_AT = 100
_NAMED = ("title", "domain")


async def first(documents: AsyncIterator[Document]) -> list[Document]:
    """Return the first documents of a stream, some of them, and close it."""
    found: list[Document] = []
    async for document in documents:
        found.append(document)
        if len(found) == _LOOKED_AT:
            break
    if isinstance(documents, AsyncGenerator):
        await documents.aclose()
    return found


def fields_in(documents: Iterable[Document]) -> list[str]:
    """Return the fields, beside id and body, that documents have, as dotted paths."""
    found: set[str] = set()
    for document in documents:
        found.update(name for name in _NAMED if document.field(name))
        found.update(_paths(document.metadata))
    return sorted(found)


def nothing_left(
    place: str,
    filter: Mapping[str, JsonValue],
    values: Mapping[str, Collection[str]],
    fields: Collection[str],
    ours: Mapping[str, str] | None = None,
) -> CorpusError:
    """Return the refusal of a filter that no document matches, from the values that its fields have.

    `fields` are those that there are, `ours` is the projection: our name → the corpus's.
    """
    line = f"{place}: filter: no document of the corpus has {json.dumps(dict(filter), ensure_ascii=False)}"
    names = {theirs: own for own, theirs in (ours or {}).items()}
    for path, wanted in filter.items():
        labels = [label_of(one) for one in (wanted if isinstance(wanted, list) else [wanted])]
        if values[path]:
            strange = [one for one in labels if one is not None and one not in values[path]]
            if strange and len(strange) == len(labels):
                return CorpusError(f"{line}; {path}: {unknown('value', strange[0], list(values[path]))}")
        elif None not in labels and path in names and names[path] != path:
            return CorpusError(f"{line}; the field {path!r} is called {names[path]} here (projection)")
        elif None not in labels:
            return CorpusError(f"{line}; {unknown('field', path, ['doc_id', 'body', *fields])}")
    return CorpusError(f"{line}; change `filter`")


def _paths(value: Mapping[str, JsonValue], above: str = "") -> list[str]:
    out: list[str] = []
    for name, below in value.items():
        out += _paths(below, f"{above}{name}.") if isinstance(below, dict) else [f"{above}{name}"]
    return out
