"""Corpus files → rows: JSON lines, JSON, CSV, TSV and Parquet, plain or packed by gzip or zstd.

A row is the mapping that a line holds, with its place in the file, or why the line cannot be read. Files are streamed;
only a JSON array is held as text.
"""

import json
import math
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic_core import from_json

from dgt_rag.corpus.packing import opened, seekable
from dgt_rag.corpus.tables import Damaged, Line, csv_lines, tsv_lines
from dgt_rag.errors import CorpusError

Format = Literal["jsonl", "json", "csv", "tsv", "parquet"]

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_PACKED = {".gz": "gzip", ".zst": "zstd"}
_SPACE = re.compile(r"[ \t\r\n]*")
_SURROGATES = re.compile("[\ud800-\udfff]")
_DEEPEST = 100
"""Levels of nesting of a record at most; a journal's line, in which it stands, is read back up to 200."""
_PLAIN = {str, int, bool, type(None)}
"""What neither a number too large to be one nor anything nested hides in."""
_TOO_DEEP = "not readable: nested too deeply"
_made = tuple.__new__
_decoder = json.JSONDecoder(parse_constant=lambda name: None)


class Row(NamedTuple):
    """One line, item or row of a file; `record` is None where it cannot be read, and `problem` says why."""

    place: int
    """The number of its line (JSON array: item; Parquet: row), from 1."""
    start: int
    """JSON lines: the byte at which the line starts in the unpacked file."""
    record: dict[str, Any] | None
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """A corpus file and how it is to be read."""

    path: Path
    format: Format
    packing: str = ""

    @classmethod
    def of(cls, path: Path, format: Format | None = None) -> "Source":
        """Tell format and packing from the file's name, unless the format is given."""
        packing = _PACKED.get(path.suffix.lower(), "")
        inner = Path(path.stem) if packing else path
        found = format or _SUFFIXES.get(inner.suffix.lower())
        if found is None:
            raise CorpusError(
                f"{path}: the format cannot be told from {inner.suffix or 'a name without a suffix'}; "
                f"set format to one of {', '.join(sorted(set(_SUFFIXES.values())))}"
            )
        return cls(path, found, packing)

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path)

    @property
    def seekable(self) -> bool:
        """Whether a document can be read from the file by the byte at which its line starts."""
        return self.format == "jsonl" and not self.packing

    def where(self, place: int) -> str:
        """Return a place of this file as a user reads it."""
        if self.format in {"jsonl", "csv", "tsv"}:
            return f"{self.path}:{place}"
        return f"{self.path}, {'row' if self.format == 'parquet' else 'item'} {place}"

    def rows(self) -> Iterator[Row]:
        """Stream the rows of the file."""
        try:
            with opened(self.path, self.packing) as file:
                yield from _ROWS[self.format](file)
        except UnicodeDecodeError as error:
            byte = f"byte 0x{error.object[error.start]:02x}"
            raise CorpusError(f"{self.path}: not UTF-8 ({byte}: {error.reason}); write it as UTF-8") from error
        except Damaged as error:
            raise CorpusError(f"{self.path}: cannot be read as {self.format}: {error}") from error
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.filename:
                raise CorpusError(f"{self.path}: cannot be read: {error.strerror}") from error
            said = " ".join("".join(sign if sign.isprintable() else " " for sign in str(error)).split()).rstrip(".")
            raise CorpusError(
                f"{self.path}: cannot be read as {self.packing or self.format}: {said}; "
                "is it damaged or cut? write or fetch it anew"
            ) from error


def parse_line(line: bytes) -> dict[str, Any]:
    """Return the mapping that a line of JSON holds; ValueError says why it holds none."""
    try:
        record = from_json(line, allow_inf_nan=False, cache_strings="keys")
    except ValueError:
        # it knows no lone surrogates, no NaN and no depth, and says less of what is wrong
        return _parse_slowly(line)
    if isinstance(record, dict):
        if _PLAIN.issuperset(map(type, record.values())):
            return record
        if _infinite(record):
            return _parse_slowly(line)
    return _mapping(record, line.count(b"[") + line.count(b"{"))


def _infinite(value: object) -> bool:
    """Whether there is a number in it that is too large to be one."""
    if isinstance(value, float):
        return math.isinf(value)
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_infinite, inner))


def _parse_slowly(line: bytes) -> dict[str, Any]:
    try:
        record = _decoder.decode(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start + 1} of the line)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    return kept(record)


def kept(record: object) -> dict[str, Any]:
    """Return a mapping as JSON holds it; ValueError says why it is none that can be kept."""
    found: dict[str, Any] = clean(_mapping(record))
    return found


def _mapping(record: object, brackets: int = sys.maxsize) -> dict[str, Any]:
    """Return what is a mapping and not nested too deeply, as nothing of few brackets is; ValueError for all else."""
    if not isinstance(record, dict):
        raise ValueError(f"a JSON object is needed, this is {_a(record)}")
    if brackets > _DEEPEST and _deeper(record, _DEEPEST):
        raise ValueError(_TOO_DEEP)
    return record


def _deeper(value: object, levels: int) -> bool:
    """Whether mappings and lists stand in one another deeper than so many levels."""
    inner = list(value.values()) if isinstance(value, dict) else value
    return isinstance(inner, list) and (levels == 0 or any(_deeper(item, levels - 1) for item in inner))


def clean(value: Any) -> Any:
    """Return the value as JSON holds it: text without lone surrogates, dates as text."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(str(key)): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _a(value: Any) -> str:
    names = {list: "a list", str: "text", int: "a number", float: "a number", bool: "a truth value"}
    return "null" if value is None else names.get(type(value), "something else")


def _json_lines(file: BufferedReader) -> Iterator[Row]:
    start = 0
    for place, line in enumerate(file, 1):
        text = line
        if place == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise Damaged("it is UTF-16; write it as UTF-8")
            text = line.removeprefix(b"\xef\xbb\xbf")
        if not text.isspace() and text:
            try:
                # what Row(...) does, in half its time; as there are millions
                yield _made(Row, (place, start + len(line) - len(text), parse_line(text), ""))
            except ValueError as error:
                yield Row(place, start, None, str(error))
        start += len(line)


def _json(file: BufferedReader) -> Iterator[Row]:
    """An array of objects; a file that starts with an object is read as JSON lines."""
    first = file.peek(1024)[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    if first[:1] == b"[":
        yield from _array(file.read().decode("utf-8-sig"))
    elif first.partition(b"\n")[0].rstrip() == b"{":
        raise Damaged(
            "an array of objects, or one object on each line, is needed; this is one object over several lines"
        )
    else:
        yield from _json_lines(file)


def _array(text: str) -> Iterator[Row]:
    at, place = _after(text, text.index("[") + 1), 0
    while text[at : at + 1] != "]" or place:
        place += 1
        try:
            record, at = _decoder.raw_decode(text, at)
        except RecursionError:
            raise Damaged(f"item {place} is nested too deeply") from None
        except ValueError as error:
            raise Damaged(f"not JSON in item {place}: {error}; is the file cut?") from None
        try:
            yield Row(place, -1, kept(record))
        except ValueError as error:
            yield Row(place, -1, None, str(error))
        at = _after(text, at)
        if text[at : at + 1] != ",":
            break
        at = _after(text, at + 1)
    if text[at : at + 1] != "]":
        raise Damaged(f"after item {place} a comma or the end of the array is needed; is the file cut?")
    if _after(text, at + 1) < len(text):
        raise Damaged("there is more after the end of the array; one array, or one object on each line, is needed")


def _after(text: str, at: int) -> int:
    """Return where the white space that stands here ends."""
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _table(lines: Iterator[Line]) -> Iterator[Row]:
    for place, record, problem in lines:
        yield Row(place, -1, record, problem)


def _csv(file: BufferedReader) -> Iterator[Row]:
    return _table(csv_lines(file))


def _tsv(file: BufferedReader) -> Iterator[Row]:
    return _table(tsv_lines(file))


def _parquet(file: BufferedReader) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise CorpusError(f"{file.name}: Parquet needs one more package: pip install 'dgt-rag[parquet]'") from None
    place = 0
    try:
        with seekable(file) as whole:
            for batch in parquet.ParquetFile(whole).iter_batches(batch_size=1000):
                for record in batch.to_pylist():
                    place += 1
                    yield Row(place, -1, clean(record))
    except pyarrow.ArrowException as error:
        raise EOFError(str(error)) from None


_ROWS = {"jsonl": _json_lines, "json": _json, "csv": _csv, "tsv": _tsv, "parquet": _parquet}
