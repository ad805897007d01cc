"""A corpus of any size from a fixed seed, and queries for it: real sentences put together anew, rare words among them."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dgt_rag.dice import Dice

_ROOT = Path(__file__).resolve().parent.parent
_SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu zan bre cli dro fru gle".split()
_QUERIES = 300


@cache
def sentences() -> dict[str, list[str]]:
    """Return the sentences of the project's own corpora, by corpus and domain."""
    found: dict[str, list[str]] = {}
    for path in sorted(_ROOT.glob("data/*/documents.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            document = json.loads(line)
            text = next(document[name] for name in ("text", "body", "content") if name in document)
            domain = f"{path.parent.name}/{document.get('domain', '')}"
            cut = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text)]
            found.setdefault(domain, []).extend(part for part in cut if len(part.split()) > 3)
    return found


def documents(size: int) -> Iterator[dict[str, str]]:
    """Stream the corpus: about 62 words of one domain and two rare ones; smaller ones are its beginning."""
    dice, by_domain = Dice("search speed", "documents"), sentences()
    domains = list(by_domain)
    for number in range(size):
        domain = dice.choose(domains)
        words = [_word(int((1.0 - dice.unit()) ** -0.9 * 50)) for _ in range(2)]
        wanted = 45 + dice.below(35)
        while len(words) < wanted:
            words += dice.choose(by_domain[domain]).split()
        yield {"id": f"d{number:07}", "title": " ".join(words[:5]), "text": " ".join(words[:wanted]), "domain": domain}


def queries() -> list[str]:
    """Return stretches of four to fifteen words of the sentences."""
    dice, by_domain = Dice("search speed", "queries"), sentences()
    out = []
    for _ in range(_QUERIES):
        words = dice.choose(by_domain[dice.choose(list(by_domain))]).split()
        length = 4 + dice.below(12)
        start = dice.below(max(1, len(words) - length))
        out.append(" ".join(words[start : start + length]))
    return out


def write(size: int, path: Path) -> Path:
    """Write a corpus."""
    with path.open("w", encoding="utf-8") as file:
        for document in documents(size):
            file.write(json.dumps(document) + "\n")
    return path


def _word(number: int) -> str:
    """Return a rare word of this number."""
    text = ""
    while True:
        number, rest = divmod(number, len(_SYLLABLES))
        text += _SYLLABLES[rest]
        if not number:
            return text
