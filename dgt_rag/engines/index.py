"""The one door to tantivy: an inverted index of texts by ordinal, in memory or in a folder, ranked by BM25.

Queries are built from analysed terms, never parsed, so any text is a query. A term that a query repeats counts as
often; function words count only if a query has no others.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from dgt_rag.engines.analysis import FUNCTION_WORDS, MAX_TERMS, Language, prepare, prepare_query
from dgt_rag.errors import EngineError

_ANALYZER = "dgt"
_MEGABYTE = 1_000_000
_NO_STEMS = ("none", "chinese", "japanese", "korean")
_NO_STOP_WORDS = ("arabic", "greek", "romanian", "tamil", "turkish", *_NO_STEMS)


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
    chain = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(filters.remove_long(256))
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


def _schema() -> Any:
    fields = _tantivy().SchemaBuilder()
    fields.add_text_field("text", tokenizer_name=_ANALYZER, index_option="freq")
    fields.add_text_field("domain", tokenizer_name="raw", index_option="basic")
    fields.add_integer_field("ordinal", indexed=True, fast=True)
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

    def add(self, title: str, body: str, domain: str) -> None:
        """Add the next text; ordinals count from 0."""
        document = self._document()
        document.add_text("text", prepare(f"{title}\n{body}" if title else body))
        document.add_integer("ordinal", self._count)
        if domain:
            document.add_text("domain", domain)
        try:
            self._writer.add_document(document)
        except (ValueError, OSError) as error:
            raise self._failed(error) from error
        self._count += 1

    def finish(self) -> "TextIndex":
        """Write what was added and return the index, ready for searches."""
        try:
            self._writer.commit()
            self._writer.wait_merging_threads()
            self._index.reload()
        except (ValueError, OSError) as error:
            raise self._failed(error) from error
        return TextIndex(self._index, self._language)

    def _failed(self, error: Exception) -> EngineError:
        where = f" in {self._folder}" if self._folder else ""
        return EngineError(f"the index cannot be written{where}; is the disk full, or the folder read-only? ({error})")


class TextIndex:
    """An index that is open; searches may run at once and let other threads run."""

    def __init__(self, index: Any, language: Language) -> None:
        tantivy = _tantivy()
        self._queries = tantivy.Query
        self._should, self._must = tantivy.Occur.Should, tantivy.Occur.Must
        self._schema = index.schema
        self._searcher = index.searcher()
        self._analyze = _analyzer(language, stop=True).analyze
        self._analyze_all = _analyzer(language, stop=False).analyze
        self.count: int = self._searcher.num_docs

    @classmethod
    def open(cls, folder: Path, language: Language) -> "TextIndex":
        """Open the index of a folder."""
        try:
            return cls(_tantivy().Index.open(str(folder)), language)
        except (ValueError, OSError) as error:
            raise EngineError(f"{folder}: the index cannot be opened: {error}") from error

    def terms(self, query: str) -> dict[str, int]:
        """Return the terms of a query with their numbers."""
        text = prepare_query(query)
        terms: dict[str, int] = {}
        for term in self._analyze(text) or self._analyze_all(text):
            terms[term] = terms.get(term, 0) + 1
        return terms if len(terms) <= MAX_TERMS else dict(list(terms.items())[:MAX_TERMS])

    def query(self, terms: dict[str, int], domains: Sequence[Sequence[str]], ordinals: Sequence[int] | None) -> Any:
        """Return a query for texts with any of the terms, in one of each of the domains, among the ordinals."""
        queries, schema, should = self._queries, self._schema, self._should
        parts = []
        for term, times in terms.items():
            part = queries.term_query(schema, "text", term, "freq")
            parts.append((should, part if times == 1 else queries.boost_query(part, float(times))))
        ranked = queries.boolean_query(parts)
        limits = [
            queries.boolean_query([(should, queries.term_query(schema, "domain", name, "basic")) for name in names])
            for names in domains
        ]
        if ordinals is not None:
            limits.append(queries.term_set_query(schema, "ordinal", list(ordinals)))
        if not limits:
            return ranked
        unscored = [(self._must, queries.const_score_query(limit, 0.0)) for limit in limits]
        return queries.boolean_query([(self._must, ranked), *unscored])

    def search(self, query: Any, limit: int) -> list[tuple[float, int]]:
        """Return at most `limit` (score, ordinal), best first; scores are rounded so that equal texts are equal."""
        hits = self._searcher.search(query, limit, count=False).hits
        ordinals = self._searcher.fast_field_values("ordinal", [address for _, address in hits])
        return [(round(hit[0], 4), ordinal) for hit, ordinal in zip(hits, ordinals, strict=True)]
