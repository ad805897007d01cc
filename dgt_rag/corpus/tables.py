"""CSV and TSV: the first line holds the names of the columns, a field in quotes may run over several lines.

CSV is read strictly, so that a quote that is not closed does not take the following rows into one field. In TSV files of
passages quotes mostly belong to the text, so there a field that is not quoted as CSV has it is read as it stands.
"""

import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO, Any, NamedTuple

_QUOTED = re.compile(r'"[^"]*"')
_UNCLOSED = "a quote that is opened here is not closed; close it, or double quotes that belong to the text"


class Damaged(Exception):
    """A file does not hold what its format says; the rest of it cannot be read."""


class Line(NamedTuple):
    """A row of a table with the number of its first line; `record` is None where it cannot be read."""

    place: int
    record: dict[str, str] | None
    problem: str = ""


def csv_lines(file: IO[bytes]) -> Iterator[Line]:
    """Stream the rows of a CSV file; one without a comma in its first line is parted by its semicolons, tabs or bars."""
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        before, first = next(((number, line) for number, line in enumerate(text) if line.strip()), (0, ""))
        reader = csv.reader(chain([first], text), delimiter=_delimiter(first), strict=True)
        names: Sequence[str] = ()
        place = before + 1
        while (values := _values(reader, place, before)) is not None:
            if isinstance(values, str):
                if not names:
                    raise Damaged(f"line {place}: {values}")
                yield Line(place, None, values)
            elif values and not names:
                names = _names(values)
            elif values:
                yield _line(place, names, values)
            place = before + reader.line_num + 1


def _values(reader: Any, place: int, before: int) -> list[str] | str | None:
    """Return the next row, or why its line cannot be read, or None at the end."""
    try:
        values: list[str] | None = next(reader, None)
        return values
    except csv.Error as error:
        if before + reader.line_num > place or "unexpected end" in str(error):
            # which of the lines belong together is not to be known, so none of them can be skipped
            raise Damaged(f"line {place}: {_UNCLOSED}") from None
        return f"not CSV: {error} (quotes within a quoted field are doubled)"


def _delimiter(first: str) -> str:
    bare = _QUOTED.sub("", first)
    return max(",;\t|", key=bare.count)


def tsv_lines(file: IO[bytes]) -> Iterator[Line]:
    """Stream the rows of a TSV file."""
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(file, "utf-8-sig", newline="\n") as text:
        ahead = _Ahead(text)
        names: Sequence[str] = ()
        for place, line in ahead:
            if not line.strip("\r\n"):
                continue
            values = _fields(line)
            if not names:
                names = _names(values or _bare(line))
                continue
            values = values or _run_on(line, ahead, len(names))
            if values is None:
                yield Line(place, None, f"{_UNCLOSED} (format: csv takes all quotes strictly)")
            else:
                yield _line(place, names, values)


class _Ahead:
    """Lines with their numbers; `following` is the one that comes next, empty at the end."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._place = 0
        self.following = next(lines, "")

    def __iter__(self) -> "_Ahead":
        return self

    def __next__(self) -> tuple[int, str]:
        if not self.following:
            raise StopIteration
        line, self.following = self.following, next(self._lines, "")
        self._place += 1
        return self._place, line


def _fields(text: str) -> list[str] | None:
    """Return the fields of a line; None if the last one is quoted and goes on after it."""
    if '"' not in text:
        return _bare(text)
    try:
        return _strict(text)
    except csv.Error as error:
        return None if "unexpected end" in str(error) else _bare(text)


def _strict(text: str) -> list[str]:
    return next(csv.reader([text], delimiter="\t", strict=True))


def _bare(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _run_on(line: str, ahead: _Ahead, width: int) -> list[str] | None:
    """Return a row whose quote is open at the end of its line; the line as it stands if the next one is a row of its own."""
    if line.count("\t") == width - 1 and (not ahead.following or _is_row(ahead.following, width)):
        return _bare(line)
    text = line
    while ahead.following and not ("\t" in text and _begins(text, ahead.following, width)):
        text += next(ahead)[1]
        if text.count('"') % 2 == 0:
            try:
                return _strict(text)
            except csv.Error:
                return None
    return None


def _begins(text: str, line: str, width: int) -> bool:
    """Say whether a line is a row of its own, and not the end of the row that a quote is open in."""
    if not _is_row(line, width):
        return False
    try:
        return len(_strict(text + line)) != width
    except csv.Error:
        return True


def _is_row(line: str, width: int) -> bool:
    return line.count("\t") == width - 1 > 0 and not line.startswith("\t")


def _names(values: Sequence[str]) -> Sequence[str]:
    names = [value or f"column {number}" for number, value in enumerate(values, 1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Damaged(f"two columns are named {twice!r}; rename one")
    return names


def _line(place: int, names: Sequence[str], values: Sequence[str]) -> Line:
    if len(values) > len(names):
        return Line(place, None, "more values than the first line has names")
    return Line(place, dict(zip(names, values, strict=False)))
