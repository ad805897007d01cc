"""Corpus files → documents: rows under our names, with everything that is skipped counted and told.

A line that cannot be read and a second document of one id are refused with their places, unless `on_bad_line: skip`;
a document without a body or an id is skipped and counted; a corpus of which nothing is left is refused.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import JsonValue

from dgt_rag.corpus.advice import fields, misread, suggest
from dgt_rag.corpus.rows import Row, Source, clean
from dgt_rag.errors import CorpusError
from dgt_rag.records import Document

OnBadLine = Literal["refuse", "skip"]
_DETAIL = re.compile(r" \((?:byte|projection).*|:.*", re.DOTALL)
"""What a problem says of its own line, and must not be counted apart for."""
NAMES = ("body", "doc_id", "title", "domain")
_made = tuple.__new__


class Parts(NamedTuple):
    """What a row says under our names; what it lacks is empty."""

    body: str
    doc_id: str
    title: str
    domain: str


@dataclass(frozen=True)
class Projector:
    """Takes the fields of a row under our names; `paths` holds their dotted paths in the order of `NAMES`."""

    paths: tuple[str, str, str, str]

    @classmethod
    def of(cls, projection: Any) -> "Projector":
        """Take the paths from an object that has them as attributes."""
        return cls((projection.body, projection.doc_id, projection.title, projection.domain))

    def parts(self, record: dict[str, Any]) -> Parts:
        """Return body, id, title and domain; ValueError if one is not text."""
        body, doc_id, title, domain = self.paths
        # what Parts(...) does, in half its time; as there are millions
        return _made(
            Parts,
            (
                value if type(value := record.get(body)) is str else self._text(0, record),
                value if type(value := record.get(doc_id)) is str else self._text(1, record),
                value if type(value := record.get(title)) is str else self._text(2, record),
                value if type(value := record.get(domain)) is str else self._text(3, record),
            ),
        )

    def _text(self, number: int, record: dict[str, Any]) -> str:
        """Return a field that is not plainly there: deeper down, a number, or nothing."""
        path = self.paths[number]
        value = record[path] if path in record else _dig(record, path)
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, int | float) and not isinstance(value, bool) and number:
            return str(value)
        way = f" (projection: {{{NAMES[number]}: ''}} leaves it among the metadata)" if number > 1 else ""
        raise ValueError(f"the field {self.paths[number]!r} ({NAMES[number]}) is not text{way}")

    def document(self, record: dict[str, Any], parts: Parts | None = None) -> Document:
        """Return the document that a row holds; the fields not named become its metadata. Takes the row over."""
        body, doc_id, title, domain = parts or self.parts(record)
        for path in self.paths:
            if path in record:
                del record[path]
            elif "." in path:
                _drop(record, path.split("."))
        return Document.model_construct(doc_id=doc_id, body=body, title=title, domain=domain, metadata=record)


class OwnNames(Projector):
    """Reads what `as_record` wrote: documents under our names, metadata apart."""

    def __init__(self) -> None:
        super().__init__(NAMES)

    def document(self, record: dict[str, Any], parts: Parts | None = None) -> Document:
        """Return the document that was written."""
        return Document.model_construct(**record)


def as_record(document: Document) -> dict[str, Any]:
    """Return a document as a record that `OwnNames` reads back."""
    return {name: getattr(document, name) for name in (*NAMES, "metadata")}


def holds(record: dict[str, Any], path: str) -> bool:
    """Whether a record has something under a dotted path."""
    return path in record or _dig(record, path) is not None


def _dig(record: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(record, dict):
            return None
        record = record.get(part)
    return record


def _drop(record: JsonValue, parts: Sequence[str]) -> None:
    if not isinstance(record, dict) or parts[0] not in record:
        return
    if len(parts) > 1:
        _drop(record[parts[0]], parts[1:])
    if len(parts) == 1 or not record[parts[0]]:
        del record[parts[0]]


@dataclass
class Tally:
    """What was left out while a corpus was read: how often, and the first places, by reason."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[int]] = field(default_factory=dict)

    def skip(self, reason: str, place: int) -> None:
        """Count one that is left out."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        first = self.places.setdefault(reason, [])
        if len(first) < 5:
            first.append(place)

    def lines(self) -> list[str]:
        """Return one sentence for each reason."""
        out = []
        for reason, count in self.counts.items():
            places = self.places[reason]
            first = ", ".join(map(str, places)) + (", …" if count > len(places) else "")
            out.append(f"skipped {count:,} document{'s' if count > 1 else ''}: {reason} (at {first})")
        return out


class Rows(Protocol):
    """Where rows come from: a corpus file (`Source`), or records at hand (`Inline`)."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def rows(self) -> Iterator[Row]:
        """Stream the rows from the start."""

    def where(self, place: int) -> str:
        """Return a place as a user reads it."""


@dataclass(frozen=True)
class Inline:
    """Records, or documents, that stand in the task file or were handed over by a program."""

    name: str
    records: Sequence[Any]

    @property
    def made(self) -> bool:
        """Whether they are documents; `OwnNames` reads those."""
        return isinstance(next(iter(self.records), None), Document)

    def where(self, place: int) -> str:
        """Return a place as a user reads it."""
        return f"{self.name}, document {place}"

    def rows(self) -> Iterator[Row]:
        """Stream the records, made clean; what is no mapping is named."""
        for place, record in enumerate(self.records, 1):
            if isinstance(record, Document) and self.made:
                yield Row(place, -1, clean(as_record(record)))
            elif isinstance(record, Mapping) and not self.made:
                yield Row(place, -1, clean(dict(record)))
            else:
                wanted = "a Document like the first" if self.made else "a mapping"
                yield Row(place, -1, None, f"{wanted} is needed, this is {type(record).__name__}")


class Found(NamedTuple):
    """A row that makes a document, with its parts and its place."""

    place: int
    start: int
    record: dict[str, Any]
    parts: Parts


@dataclass
class Corpus:
    """One pass over a corpus."""

    source: Rows
    projector: Projector
    on_bad_line: OnBadLine = "refuse"
    skipping: str = "set on_bad_line: skip"
    """What a user does to have bad lines skipped, for refusals."""
    tally: Tally = field(default_factory=Tally)
    lacking: list[str] = field(default_factory=list)
    """What no document has of what the projection names by other names than ours."""

    def found(self) -> Iterator[Found]:
        """Stream the rows that make documents; raises CorpusError for what is refused."""
        seen: set[int] = set()
        first: dict[str, Any] | None = None
        kept, held = 0, ""
        parts_of = self.projector.parts
        unseen = {number: path for number, path in enumerate(self.projector.paths) if number > 1 and path}
        for place, start, record, problem in self.source.rows():
            if record is None:
                self._bad(place, problem)
                continue
            if first is None:
                # whoever takes the row over takes fields out of it
                first, held = record, fields(record)
            try:
                parts = parts_of(record)
            except ValueError as error:
                self._bad(place, str(error))
                continue
            body, doc_id, _, _ = parts
            if (not body or body.isspace() or not doc_id or doc_id.isspace()) and self._wanting(place, parts, record):
                continue
            key = hash(doc_id)
            if key in seen and self._twice(place, doc_id):
                continue
            seen.add(key)
            kept += 1
            if unseen:
                unseen = {number: path for number, path in unseen.items() if not parts[number]}
            yield _made(Found, (place, start, record, parts))
        if not kept:
            self._refuse_empty(first)
        named = {number: path for number, path in unseen.items() if path != NAMES[number]}
        self.lacking = [
            f"no document has a {path!r} (projection.{NAMES[number]}); the first one has {held}"
            for number, path in named.items()
        ]

    def documents(self) -> Iterator[Document]:
        """Stream the documents of the file."""
        for found in self.found():
            yield self.projector.document(found.record, found.parts)

    def tell(self, say: Callable[[str], None]) -> None:
        """Show what was skipped."""
        for line in (*self.tally.lines(), *self.lacking):
            say(f"{self.source.name}: {line}")

    def _bad(self, place: int, problem: str) -> None:
        if self.on_bad_line == "refuse":
            raise CorpusError(f"{self.source.where(place)}: {problem}; mend it, or {self.skipping}")
        self.tally.skip(_DETAIL.sub("", problem), place)

    def _wanting(self, place: int, parts: Parts, record: dict[str, Any]) -> bool:
        for number in (0, 1):
            if not parts[number] or parts[number].isspace():
                path = self.projector.paths[number]
                lacks = "is empty" if holds(record, path) else "is not there"
                self.tally.skip(f"the field {path!r} ({NAMES[number]}) {lacks}", place)
                return True
        return False

    def _twice(self, place: int, doc_id: str) -> bool:
        """Whether an id whose hash was seen was itself seen; only hashes are held, so the file is asked again."""
        if self.on_bad_line == "skip":
            self.tally.skip("a second document of the same id", place)
            return True
        before = next((row.place for row in self.source.rows() if self._names(row.record, doc_id)), place)
        if before == place:
            return False
        raise CorpusError(
            f"{self.source.where(place)}: the id {doc_id!r} stands at {before} already; ids must differ "
            f"(or {self.skipping} to keep the first)"
        )

    def _names(self, record: dict[str, Any] | None, doc_id: str) -> bool:
        try:
            parts = self.projector.parts(record or {})
            return parts.doc_id == doc_id and not parts.body.isspace() and parts.body != ""
        except ValueError:
            return False

    def _refuse_empty(self, first: dict[str, Any] | None) -> None:
        name = self.source.name
        if first is None:
            skipped = "; ".join(self.tally.lines())
            raise CorpusError(
                f"{name}: empty corpus: there is no document in it" + (f" ({skipped})" if skipped else "")
            )
        raise CorpusError(f"{name}: no document is left: {'; '.join(self.tally.lines())}; {self._advice(first)}")

    def _advice(self, first: dict[str, Any]) -> str:
        table = isinstance(self.source, Source) and self.source.format in {"csv", "tsv"}
        alone = len([*islice(self.source.rows(), 2)]) == 1
        wrong = misread(first, table) if alone or table else None
        return f"the first one has the fields {fields(first)}; {wrong or suggest(first)}"
