"""Reads a row of a table as a person would: what it is named by, what its columns say, how one asks for a cell."""

import re
from collections.abc import Collection

from dgt_rag.llm.extraction.grammar import decapitalised
from dgt_rag.llm.extraction.person import in_first_person
from dgt_rag.llm.extraction.question import Question, plain
from dgt_rag.llm.extraction.sentence import Sentence

Cell = tuple[str, str]
_ATTRIBUTE = re.compile(
    r"\b(?:charges?|prices?|fees?|penalt(?:y|ies)|amounts?|rates?|limits?|periods?|times?|levels?|meaning|torque|size|weight|colou?r|name|date|deadline|costs?|pressure|length|duration|number|thread"
    r"|renewals?|contravention|interval|reason|cause|action|approval|area|address|capacity|range|value|discount|reduction|deposit|fine|notice|consequence|temperature|retention|storage|pay|hours|admission|budget|payment|type|class|status|requirement|frequency|dose|speed|version|default|unit)(?: (?:per|a|an|in|at|for) [\w ]{2,20})?$",
    re.I,
)
_SUM = re.compile(r"[$\u20ac\u00a3\u00a5]\s?\d|\d[\d.,]* ?(?:euros?|EUR|USD|dollars?|pounds?)\b")
_TIME = re.compile(r"\d{1,2}[:.]\d\d|\bclosed\b|\b\d{1,2} ?[ap]\.?m\b", re.I)
_DAYS = {
    "mon": "Monday",
    "tue": "Tuesday",
    "tues": "Tuesday",
    "wed": "Wednesday",
    "thu": "Thursday",
    "thur": "Thursday",
    "thurs": "Thursday",
    "fri": "Friday",
    "sat": "Saturday",
    "sun": "Sunday",
}
_EMPTY = frozenset({"-", "\u2013", "\u2014", "n/a", "?", "*", "x", "same"})


def _name_cell(cells: Collection[Cell]) -> Cell | None:
    """Return the cell that names a row: the first one with letters enough."""
    for name, value in list(cells)[:2]:
        if sum(map(str.isalpha, value)) >= 3 or re.fullmatch(r"[A-Z]{1,3}[- ]?\d{1,4}", value):
            return (name, value) if len(value) <= 60 and not _SUM.search(value) else None
    return None


def row_name(cells: Collection[Cell]) -> str:
    """Return what a row is named by; "" if nothing names it."""
    found = _name_cell(cells)
    return found[1] if found else ""


def _shown(cell: Cell, body: str) -> str:
    """Return the name of a row as it stands in a sentence."""
    label, value = cell
    code = len(value) < 8 and any(map(str.isdigit, value))
    named = decapitalised(value, body) == value and not re.search(r"[,;:.]", value)
    said = value if named or code else f"\u201c{value}\u201d"
    kind = _small(label).rstrip(":")
    return f"{kind} {said}" if code and 0 < len(label.split()) <= 2 and kind not in said.lower() else said


def has_attribute(column: str) -> bool:
    """Say whether a column names something that a thing has, such as a price or a size."""
    return bool(_ATTRIBUTE.search(column)) and not re.search(r"\d|^(?:then|also|after|other)\b", column, re.I)


def columns(sentence: Sentence) -> list[Cell]:
    """Return the cells that say something of what a row is named by."""
    named = _name_cell(sentence.cells)
    after = list(sentence.cells).index(named) + 1 if named else len(sentence.cells)
    return [(name, value) for name, value in sentence.cells[after:] if name and value.lower() not in _EMPTY]


def of_row(sentence: Sentence, body: str) -> list[Question]:
    """Return the questions that a row answers, one for each cell that can be asked for by the name of its column."""
    named = _name_cell(sentence.cells)
    if named is None:
        return []
    name = _shown(named, body)
    if not any(column for column, _ in sentence.cells):
        attribute = len(sentence.cells) == 2 and _ATTRIBUTE.search(named[1])
        return [Question("row", in_first_person(f"{_be(named[1])} the {_small(named[1])}?"))] if attribute else []
    made = [_of_cell(name, column, value) for column, value in columns(sentence)[:6]]
    return [Question("row", in_first_person(text), name) for text in made if text]


def _of_cell(row: str, column: str, value: str) -> str:
    day, column = _weekday(column), _column(column)
    if day and _TIME.search(value):
        return f"What are the hours of {row} on {day}?"
    if has_attribute(column):
        return f"{_be(column)} the {_small(column)} for {row}?"
    if re.match(r"who [a-z]+s$", column, re.I):
        return f"{column} for {row}?"
    if _SUM.search(value) and 0 < len(column) <= 40:
        return f"How much is it for {row}, {_small(column)}?"
    return ""


def _be(column: str) -> str:
    return "What are" if re.search(r"[^s]s$", column) else "What is"


def _weekday(column: str) -> str:
    words = column.replace("-", " to ").replace("\u2013", " to ").split()
    named = [_DAYS.get(word.lower().strip("."), word if word.lower().endswith("day") else "") for word in words]
    between = {"to", "and", "&"}
    if not any(named) or not all(day or word in between for day, word in zip(named, words, strict=True)):
        return ""
    return " ".join(day or word for day, word in zip(named, words, strict=True))


def row_told(sentence: Sentence, message: str, body: str) -> str:
    """Return a row as an answer says it: the cell whose column is asked for, else all that it holds."""
    named = _name_cell(sentence.cells)
    cells = columns(sentence)
    if named is None or not cells:
        return _ended(sentence.text)
    name = _shown(named, body)
    wanted = asked_cells(sentence, message)
    if len(wanted) == 1:
        return _ended(_cell_told(name, *wanted[0]))
    said = "; ".join(f"{_weekday(column) or _small(column)}: {value}" for column, value in wanted or cells)
    return _ended(f"For {name}: {said}")


def asked_cells(sentence: Sentence, message: str) -> list[Cell]:
    """Return the cells of a row whose columns a message names; of two names, one within the other, the longer one."""
    said = plain(message)
    found = [(column, value) for column, value in columns(sentence) if plain(_column(column)) in said]
    names = [plain(_column(column)) for column, _ in found]
    return [
        cell for cell, name in zip(found, names, strict=True) if not any(name != one and name in one for one in names)
    ]


def _cell_told(name: str, column: str, value: str) -> str:
    if day := _weekday(column):
        shut = value.lower() in {"closed", "open"}
        return f"On {day}, {name} is {value}" if shut else f"The hours of {name} on {day} are {value}"
    if has_attribute(column):
        return f"The {_small(column)} for {name} {_be(column)[5:]} {value}"
    return f"{column[:1].upper()}{column[1:]} for {name}: {value}"


def _column(column: str) -> str:
    """Return a column as a question names it."""
    return _weekday(column) or re.sub(r"\s*\([^)]*\)", "", column).strip(" :?")


def _small(text: str) -> str:
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _ended(text: str) -> str:
    return text if text[-1:] in ".!?" else f"{text}."
