"""How well the lexical engines rank, beside bm25s with the analyzer it recommends, on judged collections.

    python benchmarks/search_quality.py FOLDER [FOLDER ...]

Each folder holds corpus.jsonl.gz, queries.jsonl and qrels.tsv. bm25s and PyStemmer are measured where they are installed.
"""

import argparse
import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, Where
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.records import Document, Hit
from dgt_rag.report.retrieval import evaluate, read_grades, read_queries
from dgt_rag.world import World

FILES = ("corpus.jsonl.gz", "queries.jsonl", "qrels.tsv")


class Bm25s(Retriever):
    """bm25s as its own page shows it: stop words "en" and a stemmer."""

    def __init__(self, documents: list[Document]) -> None:
        import bm25s
        import Stemmer

        self._tokenize = lambda texts: bm25s.tokenize(
            texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False
        )
        self._documents = documents
        self._index = bm25s.BM25()
        self._index.index(self._tokenize([f"{one.title}\n{one.body}" for one in documents]), show_progress=False)

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        """Return the best documents."""
        found, scores = self._index.retrieve(self._tokenize([query]), k=limit, show_progress=False)
        return [
            Hit(document=self._documents[ordinal], score=float(score), rank=rank)
            for rank, (ordinal, score) in enumerate(zip(found[0], scores[0], strict=True), 1)
        ]

    async def documents(self) -> AsyncIterator[Document]:
        """Stream the documents."""
        for document in self._documents:
            yield document


async def measure(folder: Path, indexes: Path) -> None:
    """Print one collection's scores."""
    path = folder / "corpus.jsonl.gz"
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(InMemoryEngine(path=path).open(World()))
        file = await stack.enter_async_context(FileEngine(path=path, index_dir=indexes).open(World()))
        retrievers: dict[str, Retriever] = {}
        try:
            retrievers["bm25s + stemmer"] = Bm25s([document async for document in memory.documents()])
        except ImportError:
            print("bm25s or PyStemmer is not installed: pip install bm25s PyStemmer")
        await show(folder, retrievers | {"search/in_memory": memory, "search/file": file})


async def show(folder: Path, retrievers: dict[str, Retriever]) -> None:
    """Print what retrievers reach on the queries of a collection."""
    print(f"{'collection':12} {'form':10} {'engine':18} nDCG@10, Recall@5, MRR [95 %]; nDCG@10 less the first's")
    queries, grades = read_queries(folder / "queries.jsonl"), read_grades(folder / "qrels.tsv")
    for score in await evaluate(retrievers, queries, grades, Dice("search quality", folder.name)):
        figures = (score.ndcg_at_10, score.recall_at_5, score.mrr)
        shown = "  ".join(f"{one.value:.4f} [{one.low:.3f} {one.high:.3f}]" for one in figures)
        other = score.ndcg_difference
        against = f"  {other.value:+.4f} [{other.low:+.3f} {other.high:+.3f}]" if other else ""
        print(f"{folder.name:12} {score.form:10} {score.engine:18} {shown}{against}", flush=True)


async def main(folders: list[Path]) -> None:
    """Measure all collections."""
    with tempfile.TemporaryDirectory() as indexes:
        for folder in folders:
            await measure(folder, Path(indexes))


def collection(name: str) -> Path:
    """Return the folder of a collection, for argparse."""
    folder = Path(name)
    if lacks := [file for file in FILES if not (folder / file).is_file()]:
        raise argparse.ArgumentTypeError(
            f"{name}: {'no such folder' if not folder.is_dir() else f'no {lacks[0]} in it'}"
        )
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=collection, metavar="FOLDER")
    asyncio.run(main(parser.parse_args().folders))
