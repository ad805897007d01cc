"""How fast the lexical engines search and build, as ratios to the libraries below them, on a synthetic corpus.

    python benchmarks/search_speed.py [--sizes 2000 100000] [--build 1000000] [--dir FOLDER]

The corpus is made of a fixed seed: sentences of `data/` put together anew, with a long tail of rare words. Each search goes through `await engine.search(...)`; the libraries get analysed terms of the same corpus. bm25s is measured
where it is installed.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.world import World

ROOT = Path(__file__).resolve().parent.parent
SYLLABLES = "ba ce di fo gu ha je ki lo mu na pe qui ro su ta ve wi xo yu zan bre cli dro fru gle".split()
QUERIES = 300


def word(number: int) -> str:
    """Return a rare word of this number."""
    text = ""
    while True:
        number, rest = divmod(number, len(SYLLABLES))
        text += SYLLABLES[rest]
        if not number:
            return text


@cache
def sentences() -> dict[str, list[str]]:
    """Return the sentences of the project's own corpora, by corpus and domain."""
    found: dict[str, list[str]] = {}
    for path in sorted(ROOT.glob("data/*/documents.jsonl")):
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
        words = [word(int((1.0 - dice.unit()) ** -0.9 * 50)) for _ in range(2)]
        wanted = 45 + dice.below(35)
        while len(words) < wanted:
            words += dice.choose(by_domain[domain]).split()
        yield {"id": f"d{number:07}", "title": " ".join(words[:5]), "text": " ".join(words[:wanted]), "domain": domain}


def queries() -> list[str]:
    """Return stretches of four to fifteen words of the sentences."""
    dice, by_domain = Dice("search speed", "queries"), sentences()
    out = []
    for _ in range(QUERIES):
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


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return statistics.median(ordered) * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3


async def measured(retriever: Retriever, asked: list[str], where: dict[str, Any] | None = None) -> tuple[float, float]:
    """Time whole searches, after one round to warm up."""
    seconds = []
    for turn in range(4):
        for query in asked:
            start = time.perf_counter()
            await retriever.search(query, 5, where)
            if turn:
                seconds.append(time.perf_counter() - start)
    return percentiles(seconds)


def measured_library(search: Callable[[str], Any], asked: list[str]) -> tuple[float, float]:
    """Time a library's searches, after one round to warm up."""
    seconds = []
    for turn in range(4):
        for query in asked:
            start = time.perf_counter()
            search(query)
            if turn:
                seconds.append(time.perf_counter() - start)
    return percentiles(seconds)


class RawTantivy:
    """tantivy as its own documentation uses it: a text and an id for each document, the fast query path."""

    def __init__(self, folder: Path | None = None, threads: int = 1) -> None:
        import tantivy

        self._tantivy = tantivy
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("text", tokenizer_name="en_stem", index_option="freq")
        schema.add_integer_field("ordinal", fast=True)
        self._schema = schema.build()
        self._index = tantivy.Index(self._schema, str(folder) if folder else None)
        self._threads = threads

    def build(self, found: Iterator[dict[str, str]]) -> None:
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

    def search(self, terms: list[str]) -> list[int]:
        """Return the best five ordinals."""
        queries, should = self._tantivy.Query, self._tantivy.Occur.Should
        parts = [(should, queries.term_query(self._schema, "text", term, "freq")) for term in terms]
        hits = self._searcher.search(queries.boolean_query(parts), 5, count=False).hits
        ordinals: list[int] = self._searcher.fast_field_values("ordinal", [address for _, address in hits])
        return ordinals


def raw_tantivy(size: int, asked: list[str]) -> tuple[float, float]:
    """Time tantivy on terms that are analysed already, function words left out."""
    from dgt_rag.engines.index import IndexBuilder

    raw = RawTantivy()
    raw.build(documents(size))
    analysed = IndexBuilder("english").finish()
    terms = {query: list(analysed.terms(query)) for query in asked}
    return measured_library(lambda query: raw.search(terms[query]), asked)


def raw_bm25s(size: int, asked: list[str]) -> tuple[float, float] | None:
    """Time bm25s with its fastest backend, on terms that are analysed already; None if it is not installed."""
    try:
        import bm25s
        import numba  # noqa: F401
    except ImportError:
        return None
    from dgt_rag.engines.index import IndexBuilder

    analysed = IndexBuilder("english").finish()
    terms = [list(analysed.terms(query)) for query in asked]
    texts = [list(analysed.terms(document["text"])) for document in documents(size)]
    index = bm25s.BM25(backend="numba")
    index.index(texts, show_progress=False)
    by_query = dict(zip(asked, terms, strict=True))
    return measured_library(lambda query: index.retrieve([by_query[query]], k=5, show_progress=False), asked)


async def compare(size: int, folder: Path) -> None:
    """Print what a search takes at one size."""
    asked = queries()
    path = write(size, folder / f"{size}.jsonl")
    rows: list[tuple[str, tuple[float, float]]] = [("tantivy alone", raw_tantivy(size, asked))]
    other = raw_bm25s(size, asked)
    rows += [("bm25s numba alone", other)] if other else []
    fastest = min(row[1][0] for row in rows)
    for engine in (InMemoryEngine(path=path), FileEngine(path=path)):
        async with engine.open(World(say=print)) as retriever:
            rows.append((engine.type, await measured(retriever, asked)))
            rows.append(
                (f"{engine.type}, one domain", await measured(retriever, asked, {"domain": next(iter(sentences()))}))
            )
    for name, (median, late) in rows:
        print(f"{size:>9,}  {name:32} p50 {median:8.3f} ms  p99 {late:8.3f} ms  {median / fastest:5.2f} × the fastest")


def resident() -> tuple[float, float]:
    """Return the process's own memory and that of mapped files, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith("Rss")}
    return sizes["RssAnon"], sizes["RssFile"]


async def build(size: int, folder: Path) -> None:
    """Print what building, opening and serving takes at one size."""
    path = write(size, folder / f"{size}.jsonl")
    raw = RawTantivy(_made(folder / "raw"), threads=2)
    start = time.perf_counter()
    with path.open(encoding="utf-8") as file:
        raw.build(json.loads(line) for line in file)
    alone = time.perf_counter() - start
    start = time.perf_counter()
    async with FileEngine(path=path).open(World(say=print)):
        took = time.perf_counter() - start
    print(f"{size:>9,}  build: tantivy alone {alone:.1f} s, search/file {took:.1f} s, {took / alone:.2f} ×")
    analysed_start = time.perf_counter()
    async with FileEngine(path=path).open(World(say=print)) as retriever:
        print(f"{size:>9,}  open: {time.perf_counter() - analysed_start:.3f} s")
        before = resident()
        median, late = await measured(retriever, queries())
        anonymous, mapped = resident()
        grown = anonymous - before[0]
        print(f"{size:>9,}  search/file p50 {median:.3f} ms  p99 {late:.3f} ms")
        print(f"{size:>9,}  serving: {anonymous:.0f} MB own ({grown:+.0f} by searches) + {mapped:.0f} MB mapped")
        for path_asked in ("domain", "title"):
            start = time.perf_counter()
            found = await retriever.groups(path_asked)
            print(f"{size:>9,}  groups by {path_asked}: {len(found):,} in {time.perf_counter() - start:.2f} s")
        start = time.perf_counter()
        await retriever.sample(Dice("benchmark"), 1000, {"domain": next(iter(sentences()))})
        print(f"{size:>9,}  1,000 documents of one domain: {(time.perf_counter() - start) * 1e3:.1f} ms")
    from dgt_rag.engines.index import IndexBuilder

    analysed = IndexBuilder("english").finish()
    terms = {query: list(analysed.terms(query)) for query in queries()}
    median_raw, late_raw = measured_library(lambda query: raw.search(terms[query]), queries())
    print(f"{size:>9,}  tantivy alone p50 {median_raw:.3f} ms  p99 {late_raw:.3f} ms; ours {median / median_raw:.2f} ×")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[2_000, 100_000])
    parser.add_argument("--build", type=int, nargs="*", default=[])
    parser.add_argument("--dir", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        for size in args.sizes:
            asyncio.run(compare(size, Path(folder)))
        for size in args.build:
            asyncio.run(build(size, Path(folder)))


if __name__ == "__main__":
    main()
