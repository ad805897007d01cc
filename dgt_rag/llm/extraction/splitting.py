"""Cuts a text into sentences, list items and table rows with their places, each under its heading."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

from dgt_rag.llm.extraction.sentence import Kind

_LONGEST = 420
_LINE = 45
"""Characters of a line that may be one of a column of lines, and not of a wrapped paragraph."""
"""Characters of a sentence at most; what is longer is cut where it pauses."""
_TELLING = 10
"""Letters and digits that a quote needs at least to show anything."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a body: a sentence to be, and where it belongs."""

    start: int
    end: int
    kind: Kind
    heading: str
    intro: str
    block: int
    cells: tuple[tuple[str, str], ...] = ()
    """Of a row: its columns and what stands in them."""


_BLOCK_TAG = re.compile(
    r"<(script|style)\b.{0,20000}?</\1>|<!--.{0,5000}?-->|</?(?:p|div|br|li|ul|ol|h[1-6]|tr|table|section|hr|title|head|body|td|th)\b[^<>]{0,300}>",
    re.I | re.S,
)
_TAG_NAMES = (
    "a abbr acronym article aside audio b base bdi bdo big blink blockquote br button canvas caption center cite code col "
    "colgroup dd del details dfn dialog div dl dt em embed fieldset figcaption figure font footer form frame h1 h2 h3 h4 "
    "h5 h6 header hgroup hr html i iframe img input ins kbd label legend li link main mark menu meta nav nobr noscript ol "
    "optgroup option p picture pre q rp rt ruby s samp script select small span strike strong style sub summary sup svg "
    "table tbody td textarea tfoot th thead tr track tt u ul var video wbr"
)
"""The tags of HTML, without those that stand for a value as often, such as <address>, <data> and <time>."""
_TAG = re.compile(rf"</?(?:{_TAG_NAMES.replace(' ', '|')})(?:\s[^<>]{{0,300}})?/?>", re.I)
_HEADING = re.compile(r"\s{0,3}#{1,6}\s+(?P<mark>.+?)[\s#]*$|\s*\*\*(?P<bold>[^*]{2,100})\*\*[:.]?\s*$")
_RUN_IN = re.compile(r"\s*\*\*(?P<head>[^*\n]{2,100}?)[:.]?\*\*[:.]?\s+")
_ITEM = re.compile(r"\s*(?:(?P<step>\(?\d{1,3}[.)]|(?i:step \d{1,2}[.:]))|[-*\u2022\u2013\u25aa])\s+")
_RULER = re.compile(r"[\s|:+=\-]+$")
_STOP = re.compile(
    r"[.!?\u2026]+[\"'\u201d\u2019)\]]*\s+|(?<=[a-z]{2})[.!?](?=[A-Z][a-z]+ )|[\u3002\uff01\uff1f\uff61\u061f\u06d4\u0964]+[\u300d\u300f\u201d\uff09]*\s*"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|cf|approx|no|nos|mr|mrs|ms|dr|prof|st|sr|jr|inc|ltd|co|dept|fig|sec|art|para|tel|ext|min|max|incl|excl|u\.s|p\.o)|(?-i:(?<![\w.])[A-Z]))$",
    re.I,
)
_LINK = re.compile(r"!?\[([^\]\n]{1,200})\]\([^)\s]{1,400}\)")
_MARK = re.compile(r"\*\*|__|`+|(?<!\w)[*_](?=\w)|(?<=[\w.,;:!?)])[*_](?!\w)|\s*\[\d{1,3}\s?\]")


_CONTROL = re.compile(
    r"\x1b\[[0-9;]{0,20}[A-Za-z]|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffd]"
)


def clean(text: str) -> str:
    """Return a stretch of a body as a person reads it: no markup, no control characters, single spaces."""
    text = _TAG.sub(" ", _BLOCK_TAG.sub(" ", _CONTROL.sub(" ", text)))
    text = _MARK.sub("", _LINK.sub(r"\1", html.unescape(text)))
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r" (?=[.,;:!?)])", "", " ".join(text.split()))


def pieces(body: str) -> list[Piece]:
    """Cut a body into sentences, items and rows; a text without any of these is cut by length."""
    body = _CONTROL.sub(lambda code: " " * len(code[0]), body)
    masked = _BLOCK_TAG.sub(lambda tag: "\n" * 2 + " " * (len(tag[0]) - 2), body)
    scan = Scan(_TAG.sub(lambda tag: " " * len(tag[0]), masked))
    scan.lines()
    return scan.found or [
        Piece(start, end, "prose", "", "", 0) for start, end in _sentences(scan.text, 0, len(scan.text), scan.small)
    ]


class Scan:
    """One pass over the lines of a text, with what is open: a heading, a paragraph, a list, a table."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: list[Piece] = []
        self.heading = ""
        self.intro = ""
        self.head: list[str] = []
        self.above = 0
        self.block = 0
        self.paragraph: tuple[int, int] | None = None
        self.last = ""
        self.small = not re.search(r"[A-Z]", text)

    def lines(self) -> None:
        """Take every line."""
        spans = []
        at = 0
        for line in self.text.split("\n"):
            spans.append((at, at + len(line)))
            at += len(line) + 1
        stripped = [self.text[start:end].strip() for start, end in spans]
        for n, (start, end) in enumerate(spans):
            self._line(start, end, stripped[n - 1] if n else "", stripped[n + 1] if n + 1 < len(spans) else "")
        self._flush()

    def _line(self, start: int, end: int, before: str, after: str) -> None:
        line = self.text[start:end]
        text = line.strip()
        if not text:
            self._flush()
        elif heading := _heading(line, before, after):
            self._flush()
            self._open(clean(heading))
        elif text.count("|") >= 2 and (text[0] == "|" or " | " in text):
            self._row(start, end, text, after)
        elif item := _ITEM.match(line):
            self._item(start + item.end(), end, "step" if item["step"] else "item")
        else:
            self._prose(start, end, line)

    def _open(self, heading: str) -> None:
        self.heading, self.intro, self.head, self.last = heading[:120].rstrip(" :."), "", [], ""
        self.block += 1

    def _prose(self, start: int, end: int, line: str) -> None:
        run_in = None if self.paragraph else _RUN_IN.match(line)
        if run_in:
            self._open(clean(run_in["head"]))
            start += run_in.end()
        if self.last in {"item", "step", "row"} and not self.paragraph:
            self.block += 1
            self.intro, self.head = "", []
        if self.paragraph and self._is_column(line):
            self._flush()
        self.paragraph = (self.paragraph[0] if self.paragraph else start, end)
        self.above = start
        self.last = "prose"

    def _is_column(self, line: str) -> bool:
        """Say whether the line above this one is complete by itself, such as an entry of a menu."""
        assert self.paragraph is not None
        over = self.text[self.above : self.paragraph[1]].strip()
        return 0 < len(over) < _LINE and over[-1] not in ".,;:!?-\u3002\u3001" and line.strip()[:1].isupper()

    def _flush(self) -> None:
        if self.paragraph is None:
            return
        for start, end in _sentences(self.text, *self.paragraph, small=self.small):
            self.found.append(Piece(start, end, "prose", self.heading, "", self.block))
        said = self.text[self.paragraph[0] : self.paragraph[1]].strip()
        self.intro = clean(said[-200:].rpartition(". ")[2]).rstrip(":") if said.endswith(":") else ""
        self.paragraph = None

    def _item(self, start: int, end: int, kind: Kind) -> None:
        self._flush()
        if self.last != kind:
            self.block += 1
        self.last = kind
        spans = (
            [(start, end)]
            if kind == "step" and end - start <= _LONGEST
            else list(_sentences(self.text, start, end, small=self.small))
        )
        self.found.extend(
            Piece(*_tight(self.text, *span), kind, self.heading, self.intro, self.block) for span in spans
        )

    def _row(self, start: int, end: int, text: str, after: str) -> None:
        self._flush()
        if self.last != "row":
            self.block += 1
            self.head, self.above = [], start
        self.last = "row"
        cells = [clean(cell) for cell in text.strip("|").split("|")]
        if after.count("|") >= 2 and _RULER.match(after):
            self.head, self.above = cells, start
        elif (edge := re.search(r"[^|\s](?:.*[^|\s])?", self.text[start:end])) and not _RULER.match(text):
            begin, stop = start + edge.start(), start + edge.end()
            if _are_lists(self.head):
                self._columns(start + (self.text[start:end].index("|") + 1 if text[0] == "|" else 0), end)
                return
            # a row of few letters shows nothing by itself: it is quoted with the line above it
            begin = begin if sum(map(str.isalnum, edge[0])) >= _TELLING else self.above
            named = _named(cells, self.head)
            self.found.append(Piece(begin, stop, "row", self.heading, " ".join(self.head), self.block, named))
            self.above = start

    def _columns(self, start: int, end: int) -> None:
        """Take a row whose columns are lists that stand beside each other: each cell is an item of its own."""
        at = start
        for name, cell in zip(self.head, self.text[start:end].split("|"), strict=False):
            if cell.strip():
                span = _tight(self.text, at, at + len(cell))
                self.found.append(Piece(*span, "item", self.heading, name, self.block))
            at += len(cell) + 1


def _heading(line: str, before: str, after: str) -> str:
    if match := _HEADING.match(line):
        return match["mark"] or match["bold"]
    text = line.strip()
    short = (
        len(text) <= 70 and len(text.split()) <= 9 and text[0].isupper() and text[-1] not in ".!?:;,|\u3002\uff01\uff1f"
    )
    follows = not after or len(after) > len(text)
    return text if short and follows and not before and not _ITEM.match(line) and "|" not in text else ""


def _are_lists(head: list[str]) -> bool:
    """Say whether the columns of a table are one list and its opposite, so that its rows say nothing."""
    first, *others = [name.lower() for name in head] or [""]
    return (
        any(name == f"not {first}" or first == f"not {name}" for name in others if name) or set(head[:2]) in _OPPOSITE
    )


_OPPOSITE = ({"Do", "Don't"}, {"Yes", "No"}, {"Allowed", "Forbidden"}, {"Pros", "Cons"}, {"Included", "Excluded"})


def _named(cells: list[str], head: list[str]) -> tuple[tuple[str, str], ...]:
    names = head if len(head) == len(cells) else [""] * len(cells)
    return tuple((name, cell) for name, cell in zip(names, cells, strict=True) if cell)


def row_text(cells: tuple[tuple[str, str], ...]) -> str:
    """Return a row as a person reads it: each cell after the name of its column."""
    named = [f"{name}: {cell}" if name else cell for name, cell in cells]
    return ": ".join(named) if len(named) == 2 and not any(name for name, _ in cells) else "; ".join(named)


def _sentences(text: str, start: int, end: int, small: bool = False) -> Iterator[tuple[int, int]]:
    """Yield the sentences of a stretch; in a text without capital letters, `small`, a small letter may begin one."""
    at = start
    for stop in _STOP.finditer(text, start, end):
        following = text[stop.end() : stop.end() + 1]
        broken = stop[0][0] == "." and _ABBREVIATION.search(text, max(at, stop.start() - 8), stop.start())
        initial = small and re.search(r"\b[a-z]$", text[max(at, stop.start() - 2) : stop.start()])
        if (small or not following.islower()) and not broken and not initial:
            yield from _bounded(text, *_tight(text, at, stop.end()))
            at = stop.end()
    yield from _bounded(text, *_tight(text, at, end))


def _bounded(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > _LONGEST:
        window = text[start : start + _LONGEST - 120]
        cut = max(window.rfind(mark) + len(mark) for mark in ("; ", "\n", "\u3001", "\uff0c"))
        cut = cut if cut > 60 else max(window.rfind(", ") + 2, window.rfind(" ") + 1)
        yield _tight(text, start, start + (cut if cut > 60 else 150))
        start += cut if cut > 60 else 150
    if end > start:
        yield _tight(text, start, end)


def _tight(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), start + len(part.rstrip())
