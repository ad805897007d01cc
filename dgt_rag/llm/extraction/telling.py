"""Puts sentences into an answer: with what they point back to, the line that opens their list, the columns of their row."""

import re
from collections.abc import Sequence

from dgt_rag.llm.extraction.matching import Pages
from dgt_rag.llm.extraction.question import plain
from dgt_rag.llm.extraction.rows import asked_cells, row_name, row_told
from dgt_rag.llm.extraction.sentence import Sentence

Told = tuple[str, tuple[Sentence, ...]]
"""What is said, and the sentences that it rests on."""
_POINTS_BACK = re.compile(
    r"(?:It|They|This|These|That|Those|He|She|Such|Both|Here|There|Then|Otherwise|However|After that|In that case|If so|If not|If it|If they|The same)\b"
)


def told(pages: Pages, sentence: Sentence, message: str = "") -> Told:
    """Return a sentence as it is said, with those before it that it points back to, and one after that points to it."""
    reading = pages.reading(sentence)
    if sentence.kind == "row":
        return row_told(sentence, message, reading.body), (sentence,)
    if sentence.kind != "prose":
        return spoken(sentence), (sentence,)
    used = [sentence]
    while len(used) < 3 and _POINTS_BACK.match(used[0].text) and (before := _beside(reading.sentences, used[0], -1)):
        used.insert(0, before)
    after = _beside(reading.sentences, sentence, 1)
    if after and _POINTS_BACK.match(after.text) and after.whole:
        used.append(after)
    return " ".join(map(spoken, used)), tuple(used)


def opened(pages: Pages, sentence: Sentence) -> Told:
    """Return the beginning of a section: a sentence and the next of the same block."""
    after = _beside(pages.reading(sentence).sentences, sentence, 1)
    used = (sentence, after) if after and after.whole and after.heading == sentence.heading else (sentence,)
    return " ".join(map(spoken, used)), used


def _beside(sentences: Sequence[Sentence], sentence: Sentence, step: int) -> Sentence | None:
    """Return the sentence before or after one, if it belongs to the same paragraphs and can be said."""
    place = sentence.place + step
    if not 0 <= place < len(sentences):
        return None
    found = sentences[place]
    same = found.block == sentence.block and found.kind == "prose"
    return found if same and found.quotable and found.text[-1:] not in ":?" else None


def weighed(pages: Pages, names: Sequence[str], message: str) -> Told | None:
    """Return two rows of one table side by side, in the column that is asked for; None if they are not there."""
    wanted = [plain(name) for name in names]
    sentences = [s for reading in pages.readings for s in reading.sentences if s.cells]
    rows = [(s, wanted.index(name)) for s in sentences if (name := plain(row_name(s.cells))) in wanted]
    pairs = [
        (first, second)
        for first, n in rows
        for second, m in rows
        if (n, m) == (0, 1) and (first.doc_id, first.block) == (second.doc_id, second.block)
    ]
    if not pairs:
        return None
    best = max(pairs, key=lambda pair: sum(bool(asked_cells(row, message)) for row in pair))
    return " ".join(row_told(row, message, pages.reading(row).body) for row in best), best


def row_of(pages: Pages, name: str) -> Sentence | None:
    """Return the first row that is named so."""
    rows = (s for reading in pages.readings for s in reading.sentences if s.cells)
    return next((row for row in rows if plain(row_name(row.cells)) == plain(name)), None)


def same_or_not(rows: Sequence[Sentence], column: str) -> str:
    """Return yes or no, whether rows hold the same in a column; "" if it is not one cell of each."""
    cells = [asked_cells(row, column) for row in rows]
    if any(len(found) != 1 for found in cells):
        return ""
    return "Yes." if len({plain(found[0][1]) for found in cells}) == 1 else "No."


def spoken(sentence: Sentence) -> str:
    """Return a sentence as it stands in an answer: a fragment with the words that it hangs on."""
    text = ended(sentence.text)
    listed = sentence.kind in {"item", "step"} and sentence.intro
    fragment = text[:1].islower() or len(text.split()) < 4
    opening = sentence.intro if listed else sentence.heading if fragment and not sentence.whole else ""
    return f"{opening.rstrip(' :.')}: {text}" if opening else text


def ended(text: str) -> str:
    """Return a text with a stop at its end; the "and" before a list's last item is left out."""
    text = re.sub(r"(?:[;,] (?:and|or)|[;,.]+)\.$", ".", re.sub(r"[;,] (?:and|or)$", "", text)).rstrip(" ,;:")
    return text if text[-1:] in '.!?\u3002\uff01\uff1f)\u201d"' else f"{text}."
