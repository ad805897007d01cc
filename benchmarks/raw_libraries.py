"""The libraries below the lexical engines, used the fastest way that they document: analysed terms in, places out.

bm25s is here twice: given our terms, which nobody who installs it has, and with the tokenizer and stemmer that it recommends.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dgt_rag.engines.index import IndexBuilder


class Analysis:
    """Our analysis of queries and texts, for libraries that are given terms."""

    def __init__(self) -> None:
        self._terms = IndexBuilder("english").finish().terms

    def __call__(self, text: str) -> list[str]:
        """Return the terms, each once."""
        return list(self._terms(text))


class RawTantivy:
    """tantivy with a text and a number for each document, its English analyzer, and the query path without counting."""

    def __init__(self, folder: Path | None = None, threads: int = 1) -> None:
        import tantivy

        self._tantivy = tantivy
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("text", tokenizer_name="en_stem", index_option="freq")
        schema.add_integer_field("ordinal", fast=True)
        self._schema = schema.build()
        self._index = tantivy.Index(self._schema, str(folder) if folder else None)
        self._threads = threads
        self._searcher = self._index.searcher()

    def build(self, found: Iterable[dict[str, str]]) -> "RawTantivy":
        """Index the documents."""
        writer = self._index.writer(64_000_000 * self._threads, self._threads)
        for ordinal, document in enumerate(found):
            made = self._tantivy.Document()
            made.add_text("text", f"{document['title']}\n{document['text']}")
            made.add_integer("ordinal", ordinal)
            writer.add_document(made)
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()
        return self

    def search(self, terms: list[str]) -> list[int]:
        """Return the best five ordinals."""
        queries, should = self._tantivy.Query, self._tantivy.Occur.Should
        parts = [(should, queries.term_query(self._schema, "text", term, "freq")) for term in terms]
        hits = self._searcher.search(queries.boolean_query(parts), 5, count=False).hits
        ordinals: list[int] = self._searcher.fast_field_values("ordinal", [address for _, address in hits])
        return ordinals


class RawBm25s:
    """bm25s with its fastest backend; ImportError where it is not installed."""

    def __init__(self, found: Iterable[dict[str, str]], analysis: Analysis) -> None:
        import bm25s
        import numba  # noqa: F401

        texts = [list(analysis(f"{document['title']}\n{document['text']}")) for document in found]
        self._index = bm25s.BM25(backend="numba")
        self._index.index(texts, show_progress=False)

    def search(self, terms: list[str]) -> Any:
        """Return the places and scores of the best five."""
        return self._index.retrieve([terms], k=5, show_progress=False)


class OwnBm25s:
    """bm25s with its fastest backend, its own tokenizer and stop words, and PyStemmer; ImportError without one of them."""

    def __init__(self, found: Iterable[dict[str, str]]) -> None:
        import bm25s
        import numba  # noqa: F401
        import Stemmer
        from bm25s.tokenization import Tokenizer

        self._tokenizer = Tokenizer(stemmer=Stemmer.Stemmer("english"), stopwords="en")
        texts = [f"{document['title']}\n{document['text']}" for document in found]
        self._index = bm25s.BM25(backend="numba")
        self._index.index(self._tokenizer.tokenize(texts, show_progress=False), show_progress=False)

    def search(self, query: str) -> Any:
        """Return the places and scores of the best five."""
        terms = self._tokenizer.tokenize([query], update_vocab=False, show_progress=False)
        return self._index.retrieve(terms, k=5, show_progress=False)
