"""The one door to tantivy: an inverted index of texts by ordinal, in memory or in a folder, ranked by BM25.

Queries are built from analysed terms, never parsed, so any text is a query. A term that a query repeats counts as
often; function words count only if a query has no others.
"""

import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import floor, log10
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from dgt_rag.engines.analysis import FUNCTION_WORDS, MAX_TERMS, Language, prepare, prepare_query
from dgt_rag.errors import EngineError

Ranking = tuple[list[float], list[int], bool]
"""Scores, best first, the ordinals that have them, and whether some of one score may not stand in the order of `doc_id`."""

_ANALYZER = "dgt"
_MEGABYTE = 1_000_000
_NO_STEMS = ("none", "chinese", "japanese", "korean")
_NO_STOP_WORDS = ("arabic", "greek", "romanian", "tamil", "turkish", *_NO_STEMS)
_WORD = r"[\p{L}\p{M}\p{N}]+"
"""A word with the signs that join its letters, at which the quicker tokenizer parts it."""
BLOCK = 64
"""Neighbours by ordinal that a query is limited to at once; to index each ordinal would cost a term for each text."""
_KNOWN_TERMS = 4096
"""Terms whose queries are kept for the next search."""
_TIED = 2
"""Hits fetched past the last one that is wanted, to see whether it is tied; as cheap as one, and mostly enough."""
_SCALE = 10_000
"""Scores of 1 and more are rounded to one part of this, as equal texts differ below: sums are made in the order of the
postings. Smaller ones, which words make that stand nearly everywhere, are rounded as much finer as they are smaller."""


def _tantivy() -> ModuleType:
    try:
        import tantivy
    except ImportError:
        raise EngineError("this engine needs the package tantivy: pip install tantivy") from None
    return tantivy


def _analyzer(language: Language, stop: bool) -> Any:
    """Return what turns text into terms; accents are folded after a stemmer that reads them."""
    tantivy = _tantivy()
    filters = tantivy.Filter
    tokenizer = tantivy.Tokenizer.regex(_WORD) if language == "tamil" else tantivy.Tokenizer.simple()
    chain = tantivy.TextAnalyzerBuilder(tokenizer).filter(filters.remove_long(256))
    chain = chain.filter(filters.lowercase())
    if language == "english" or language in _NO_STEMS:
        chain = chain.filter(filters.ascii_fold())
    if language == "english":
        # 33 words are not even indexed, as lengths of texts then say more; the long list is for queries
        words = filters.custom_stopword(sorted(FUNCTION_WORDS)) if stop else filters.stopword("english")
        chain = chain.filter(words)
    elif stop and language not in _NO_STOP_WORDS:
        chain = chain.filter(filters.stopword(language))
    if language not in _NO_STEMS:
        chain = chain.filter(filters.stemmer(language))
        chain = chain if language == "english" else chain.filter(filters.ascii_fold())
    return chain.build()


def _text(title: str, body: str) -> str:
    """Return what is indexed of a document; a title counts twice, as it says in few words what the text is about."""
    text = f"{title}\n{title}\n{body}" if title else body
    return text if text.isascii() else prepare(text)


class Terms:
    """What a language makes of texts and of queries."""

    def __init__(self, language: Language) -> None:
        self._ask = _analyzer(language, stop=True).analyze
        self._read = _analyzer(language, stop=False).analyze

    def of_document(self, title: str, body: str) -> list[str]:
        """Return the terms that a document is found by, as often as they count."""
        terms: list[str] = self._read(_text(title, body))
        return terms

    def of_query(self, query: str) -> dict[str, int]:
        """Return the terms of a query with their numbers: a `Counter`, if they may be other than 1."""
        text = prepare_query(query)
        found = self._ask(text) or self._read(text)
        terms = dict.fromkeys(found, 1)
        if len(terms) < len(found):
            terms = Counter(found)
        return terms if len(terms) <= MAX_TERMS else Counter(dict(list(terms.items())[:MAX_TERMS]))


def _schema() -> Any:
    fields = _tantivy().SchemaBuilder()
    fields.add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
    fields.add_text_field("domain", tokenizer_name="raw", index_option="basic")
    fields.add_integer_field("ordinal", fast=True)
    fields.add_integer_field("block", indexed=True)
    return fields.build()


class IndexBuilder:
    """An index being made; without a folder it stays in memory."""

    def __init__(self, language: Language, folder: Path | None = None, threads: int = 1) -> None:
        tantivy = _tantivy()
        self._document = tantivy.Document
        self._language = language
        self._folder = folder
        self._count = 0
        try:
            self._index = tantivy.Index(_schema(), str(folder) if folder else None)
            self._index.register_tokenizer(_ANALYZER, _analyzer(language, stop=False))
            self._writer = self._index.writer(64 * _MEGABYTE * threads, threads)
        except (ValueError, OSError) as error:
            raise self._failed(error) from error

    def add(self, title: str, body: str, domain: str, ordinal: int | None = None) -> None:
        """Add the next text; ordinals count from 0 if they are not given."""
        ordinal = self._count if ordinal is None else ordinal
        document = self._document()
        document.add_text("text", _text(title, body))
        document.add_integer("ordinal", ordinal)
        document.add_integer("block", ordinal // BLOCK)
        if domain:
            document.add_text("domain", domain)
        try:
            self._writer.add_document(document)
        except (ValueError, OSError) as error:
            raise self._failed(error) from error
        self._count += 1

    def finish(self, by_id: Sequence[int] | None = None) -> "TextIndex":
        """Write what was added and return the index, ready for searches.

        `by_id` are the ordinals as they were added, if that was in the order of `doc_id`. As long as the index is in one
        part, which a large one is not, equal texts then come in that order.
        """
        try:
            self._writer.commit()
            self._writer.wait_merging_threads()
            self._index.reload()
        except (ValueError, OSError) as error:
            raise self._failed(error) from error
        return TextIndex(self._index, self._language, by_id)

    def _failed(self, error: Exception) -> EngineError:
        where = f" in {self._folder}" if self._folder else ""
        way = "; set index_dir to a folder with room" if self._folder else ""
        return EngineError(
            f"the index cannot be written{where}; is the disk full, or the folder read-only? ({error}){way}"
        )


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


@contextmanager
def _linked(folder: Path) -> Iterator[str]:
    """Give a folder of links to an index that others made, or on a disk that is read only: opening wants to lock it.

    What is open stays so when the links are gone.
    """
    with TemporaryDirectory() as links:
        for file in folder.iterdir():
            if not file.name.startswith("."):
                (Path(links) / file.name).symlink_to(file.resolve())
        yield links


def _finer(best: float) -> float:
    return _SCALE if best <= 0 else _SCALE * 10.0 ** -floor(log10(best))


class _Known(dict[str, Any]):
    """What a term makes, kept for the next search; a plain dictionary, as that is asked for each term of each search."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make = make

    def __missing__(self, term: str) -> Any:
        if len(self) >= _KNOWN_TERMS:
            self.clear()
        made = self[term] = self._make(term)
        return made


class TextIndex:
    """An index that is open; searches may run at once and let other threads run."""

    def __init__(self, index: Any, language: Language, by_id: Sequence[int] | None = None) -> None:
        tantivy = _tantivy()
        self._queries = queries = tantivy.Query
        self._should = should = tantivy.Occur.Should
        self._must = tantivy.Occur.Must
        self._schema = schema = index.schema
        self._searcher = index.searcher()
        self._ranked = self._searcher.search
        self.terms = Terms(language).of_query
        self._part = _Known(lambda term: (should, queries.term_query(schema, "text", term, "freq"))).__getitem__
        self.count: int = self._searcher.num_docs
        self._by_id = array("i", by_id) if by_id is not None and self._in_id_order(by_id) else None

    @classmethod
    def open(cls, folder: Path, language: Language) -> "TextIndex":
        """Open the index of a folder."""
        try:
            if _writable(folder) and _writable(folder / ".managed.json"):
                return cls(_tantivy().Index.open(str(folder)), language)
            with _linked(folder) as links:
                return cls(_tantivy().Index.open(links), language)
        except (ValueError, OSError) as error:
            raise EngineError(
                f"{folder}: the index cannot be opened ({error}); remove that folder, and it is made anew"
            ) from error

    def query(
        self, terms: dict[str, int], domains: Sequence[Sequence[str]] = (), ordinals: Sequence[int] | None = None
    ) -> Any:
        """Return a query for texts with any of the terms, in one of each of the domains, in the ordinals' blocks."""
        queries, schema, should = self._queries, self._schema, self._should
        parts = list(map(self._part, terms))
        if isinstance(terms, Counter):
            for at, times in enumerate(terms.values()):
                if times > 1:
                    parts[at] = (should, queries.boost_query(parts[at][1], float(times)))
        # one term alone is found faster without a query around it
        ranked = queries.boolean_query(parts) if len(parts) > 1 else parts[0][1]
        if not domains and ordinals is None:
            return ranked
        limits = [
            queries.boolean_query([(should, queries.term_query(schema, "domain", name, "basic")) for name in names])
            for names in domains
        ]
        if ordinals is not None:
            blocks = sorted({ordinal // BLOCK for ordinal in ordinals})
            limits.append(queries.term_set_query(schema, "block", blocks))
        unscored = [(self._must, queries.const_score_query(limit, 0.0)) for limit in limits]
        return queries.boolean_query([(self._must, ranked), *unscored])

    def best(self, query: Any, limit: int, member: Sequence[int] | None = None, among: int = 1) -> Ranking:
        """Return the best `limit`; if ties among them are not in order, with all that are tied with the last one.

        Only those whose place in `member` is not 0 count, about one of `among`.
        """
        fetch = limit * among + _TIED
        while True:
            hits = self._ranked(query, fetch if fetch < self.count else self.count, count=False).hits
            whole = len(hits) < fetch
            scale = _SCALE if not hits or hits[0][0] >= 1 else _finer(hits[0][0])
            if member is None and len(hits) > limit and hits[limit][0] < hits[limit - 1][0] - 1 / scale:
                return self._scored(hits[:limit], scale)
            scores, ordinals, tied = self._scored(hits, scale)
            lowest = scores[-1] if scores else 0.0
            if member is not None:
                kept = [at for at, ordinal in enumerate(ordinals) if member[ordinal]]
                scores, ordinals = [scores[at] for at in kept], [ordinals[at] for at in kept]
            if whole or (len(scores) > limit and lowest < scores[limit - 1]):
                end = limit
                while tied and end < len(scores) and scores[end] == scores[limit - 1]:
                    end += 1
                return scores[:end], ordinals[:end], tied
            fetch *= 4

    def _scored(self, hits: Sequence[tuple[float, Any]], scale: float) -> Ranking:
        """Return what hits say; scores are rounded so that equal texts are equal."""
        by_id = self._by_id
        scores, places, tied, above, last = [], [], False, -1.0, 0
        for hit, address in hits:
            score = int(hit * scale + 0.5) / scale
            if by_id is None:
                tied = tied or score == above
                places.append(address)
            else:
                place = address.doc
                tied = tied or (score == above and place < last)
                last = place
                places.append(by_id[place])
            above = score
            scores.append(score)
        return scores, self._searcher.fast_field_values("ordinal", places) if by_id is None else places, tied

    def _in_id_order(self, ordinals: Sequence[int]) -> bool:
        """Whether these are the ordinals of the places in the index, as one writer makes them; none is looked up then."""
        if self._searcher.num_segments != 1:
            return False
        address = _tantivy().DocAddress
        found = self._searcher.fast_field_values("ordinal", [address(0, place) for place in range(self.count)])
        return bool(found == list(ordinals))
