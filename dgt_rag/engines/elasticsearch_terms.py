"""The field of an index that ranks as our own lexical engines do: terms made here, which the server splits at blanks.

No server takes part in the making, so every generation ranks alike, in every language. The field is indexed and not
stored: a document that others write or change lacks it, and is never found by terms that it no longer holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dgt_rag.engines.analysis import ANALYSIS, Language
from dgt_rag.engines.base import Projection
from dgt_rag.engines.elasticsearch_cluster import Json
from dgt_rag.engines.elasticsearch_index import Index
from dgt_rag.engines.elasticsearch_query import TERMS, narrowed
from dgt_rag.errors import EngineError

FIELD: Json = {"type": "text", "analyzer": "whitespace", "index_options": "freqs"}
"""The mapping of the terms."""
LOADING = "loading"
"""The note on an index whose load has not come to its end."""
_NO_TERMS = "-"
_OTHER_NAMES = {"none": "standard", "tamil": "standard", "chinese": "cjk", "japanese": "cjk", "korean": "cjk"}


def notes_on(projection: Projection, language: Language, analyzer: str | None) -> Json:
    """Return what an index says about how its words were made, and of which fields."""
    if analyzer:
        return {"analyzer": analyzer}
    return {"language": language, "analysis": ANALYSIS, "of": [projection.title or "title", projection.body]}


def server_analyzer(language: Language) -> str:
    """Return the analyzer that servers have for a language; title and body have it, for who asks them directly."""
    return _OTHER_NAMES.get(language, language)


def check_notes(index: Index, wanted: Mapping[str, Any], way_out: str) -> None:
    """Refuse an index that was made by another language or analyzer than the one wanted."""
    place = f"{index.connection.place}: index {index.name!r}"
    for notes in index.shape.notes_of_each:
        made, ours = _named(notes), _named(wanted)
        # an index that somebody else made, or an earlier version by the default
        if made and made != ours and ("language" in notes or "analyzer" in wanted):
            raise EngineError(
                f"{place} was made with `{made}`, this engine has `{ours}`; write that in the task, {way_out}"
            )
        if "language" in notes and notes.get("analysis") != ANALYSIS:
            raise EngineError(f"{place} holds words as another version cut them; {way_out}")


def _named(notes: Mapping[str, Any]) -> str:
    return next((f"{key}: {notes[key]}" for key in ("language", "analyzer") if key in notes), "")


async def obstacle(index: Index, wanted: Mapping[str, Any], body: str) -> str:
    """Return why the words of an index are not looked for by their terms; empty if they are."""
    if not index.shape.noted("language"):
        return "was not made by a `language`"
    for made_of in index.shape.noted("of"):
        if made_of != wanted.get("of"):
            return f"holds the terms of {' and '.join(map(repr, made_of))}, which `projection` does not name"
    lacking = {"bool": {"must_not": {"exists": {"field": TERMS}}}}
    if count := await index.count(narrowed([{"exists": {"field": body}}, lacking])):
        way_out = "load them into another index to rank by `language`"
        return f"has documents ({count:,}) that were not written by `index`, or changed since ({way_out})"
    return ""


def joined(terms: Sequence[str]) -> str:
    """Return the terms of a document as the server reads them; one without any holds what no query has.

    Lucene counts only documents that have terms, our own index all of them, and a term's weight hangs on the number.
    """
    return " ".join(terms) or _NO_TERMS


def holding(terms: Mapping[str, int]) -> Json:
    """Return the BM25 query for terms, each of which counts as often as it stands there."""
    return {"bool": {"should": [{"term": {TERMS: {"value": term, "boost": much}}} for term, much in terms.items()]}}
