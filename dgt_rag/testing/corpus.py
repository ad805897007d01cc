"""The small corpus that the laws of engines are checked on, and queries that are hard to answer."""

import json
from collections.abc import Sequence
from pathlib import Path

from dgt_rag.records import Document

TOPICS = {
    "parking": "A resident permit lets you park on the street in your own zone. Visitors buy a day ticket at the meter.",
    "library": "Books are lent for three weeks and may be renewed twice. Late returns cost twenty cents a day.",
    "waste": "The green cart takes food scraps. Put it at the kerb before seven in the morning on collection day.",
    "pools": "Swimming lessons for children start in September. A season ticket covers every pool of the city.",
}
OFFICES = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heron", "iris", "jade")


def corpus() -> list[Document]:
    """Return forty documents of four domains, each with one word of its own topic and number."""
    out = []
    for number in range(40):
        domain = list(TOPICS)[number % 4]
        body = f"{TOPICS[domain]} Office {OFFICES[number // 4]} answers questions about {domain}, form {domain[0]}{number:02}."
        metadata = {
            "source": {"category": f"c{number % 3}"},
            "year": 2020 + number % 2,
            "tags": ["all", f"t{number % 5}"],
        }
        title = f"{domain.capitalize()} {OFFICES[number // 4]}"
        out.append(Document(doc_id=f"doc-{number:02}", body=body, title=title, domain=domain, metadata=metadata))
    return out


HOSTILE = (
    "",
    "   \n\t ",
    "the of and to",
    "?",
    "resident " * 1200,
    " ".join(f"term{number}" for number in range(1100)),
    "x" * 10_000,
    '"',
    "'unclosed \"quote",
    "body:permit AND (title:[a TO z] OR NOT -x) ^2 ~3 *",
    "{[(<permit>)]}\\/",
    "a:b:c::",
    "'; DROP TABLE documents; --",
    "permit\x00zone",
    "\x01\x02\x1b[31m",
    "停车许可证在哪里",
    "駐車 許可",
    "주차 허가",
    "🚗🅿️ permit",
    "تصريح وقوف",
    "pérmît zöne",
    "lone \ud800 surrogate",
    "{{ template }} {% raw %} ${HOME}",
    "../../etc/passwd",
)
"""Queries that a model or a user may send; every one must be answered, if only with nothing."""


def write_corpus(documents: Sequence[Document], path: Path) -> Path:
    """Write documents as JSON lines that the default projection reads; metadata stand beside our fields."""
    with path.open("w", encoding="utf-8") as file:
        for document in documents:
            own = {"id": document.doc_id, "text": document.body, "title": document.title, "domain": document.domain}
            file.write(json.dumps({**document.metadata, **own}) + "\n")
    return path
