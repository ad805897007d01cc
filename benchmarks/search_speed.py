"""How fast the lexical engines search, beside the libraries below them, on a synthetic corpus of each size.

    python benchmarks/search_speed.py [SIZE ...] [--dir FOLDER]

Top five. An engine is given the query's text by `await engine.search(...)` and returns documents; a library returns
places in the corpus. The rows of libraries:

    NAME, given the text        our analysis of the query, which is tantivy's own in Rust, and then the library's search
    NAME, given the terms       the library's search alone, on terms that were analysed before
    bm25s, its own tokenizer    text to places as bm25s is sold: its tokenizer, its stop words and PyStemmer, both for the
                                corpus and for the queries; the two rows above have bm25s search our terms

All take turns, a round of queries each, so that a machine that slows down slows all; a ratio is the median of the
rounds' ratios of their medians. bm25s is measured where it is installed (pip install bm25s numba PyStemmer).
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from raw_libraries import Analysis, OwnBm25s, RawBm25s, RawTantivy
from synthetic_corpus import documents, queries, sentences, write

from dgt_rag.engines.base import Retriever
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.world import World

Search = Callable[[str], Awaitable[Any]]

_ROUNDS = 9
"""The first one warms up."""


class Contest:
    """Searches that take turns."""

    def __init__(self) -> None:
        self._searches: dict[str, Search | Callable[[str], Any]] = {}
        self._engines: set[str] = set()
        self._seconds: dict[str, list[list[float]]] = {}

    def engine(self, name: str, retriever: Retriever, where: dict[str, Any] | None = None) -> None:
        """Add an engine's whole call."""
        self._engines.add(name)
        self._searches[name] = lambda query: retriever.search(query, 5, where)

    def library(self, name: str, search: Callable[[list[str]], Any], analysis: Analysis) -> None:
        """Add a library, given the text and given the terms."""
        terms = {query: analysis(query) for query in queries()}
        self._searches[f"{name}, given the text"] = lambda query: search(analysis(query))
        self._searches[f"{name}, given the terms"] = lambda query: search(terms[query])

    def whole(self, name: str, search: Callable[[str], Any]) -> None:
        """Add a library that analyses text itself."""
        self._searches[name] = search

    async def run(self) -> None:
        """Let all take their turns."""
        asked = queries()
        self._seconds = {name: [] for name in self._searches}
        for turn in range(_ROUNDS):
            for name, search in self._searches.items():
                took = await self._round(search, asked, name in self._engines)
                if turn:
                    self._seconds[name].append(took)

    async def _round(self, search: Callable[[str], Any], asked: list[str], awaited: bool) -> list[float]:
        out = []
        for query in asked:
            start = time.perf_counter()
            found = search(query)
            if awaited:
                await found
            out.append(time.perf_counter() - start)
        return out

    def over(self, name: str, other: str) -> float:
        """Return how many times as long one takes as the other."""
        pairs = zip(self._seconds[name], self._seconds[other], strict=True)
        return statistics.median(statistics.median(mine) / statistics.median(theirs) for mine, theirs in pairs)

    def lines(self) -> list[str]:
        """Return a line for each, with its ratio to every library."""
        libraries = [name for name in self._searches if name not in self._engines]
        head = f"{'':36} {'p50 ms':>8} {'p99 ms':>8}  over {'; over '.join(libraries)}"
        return [head, *(self._line(name, libraries) for name in self._searches)]

    def _line(self, name: str, libraries: list[str]) -> str:
        late = sorted(second for took in self._seconds[name] for second in took)
        shown = f"{name:36} {self._median(name) * 1e3:8.3f} {late[int(len(late) * 0.99)] * 1e3:8.3f}"
        return f"{shown}  {'; '.join(f'{self.over(name, library):.2f}' for library in libraries)}"

    def _median(self, name: str) -> float:
        return statistics.median(statistics.median(took) for took in self._seconds[name])


async def compare(size: int, folder: Path) -> None:
    """Print what a search takes at one size."""
    path, analysis, contest = write(size, folder / f"{size}.jsonl"), Analysis(), Contest()
    contest.library("tantivy", RawTantivy().build(documents(size)).search, analysis)
    try:
        contest.library("bm25s", RawBm25s(documents(size), analysis).search, analysis)
        contest.whole("bm25s, its own tokenizer", OwnBm25s(documents(size)).search)
    except ImportError:
        print("bm25s is not measured: pip install bm25s numba PyStemmer")
    async with AsyncExitStack() as stack:
        for engine in (InMemoryEngine(path=path), FileEngine(path=path)):
            retriever = await stack.enter_async_context(engine.open(World()))
            contest.engine(engine.type, retriever)
            contest.engine(f"{engine.type}, one domain", retriever, {"domain": next(iter(sentences()))})
        await contest.run()
    print(f"{size:,} passages", *contest.lines(), sep="\n", flush=True)


def main() -> None:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", type=int, nargs="*", default=[2_000, 100_000])
    parser.add_argument("--dir", type=Path, default=None, help="where corpora and indexes stand meanwhile")
    args = parser.parse_args()
    if args.dir:
        args.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        for size in args.sizes:
            asyncio.run(compare(size, Path(folder)))


if __name__ == "__main__":
    main()
