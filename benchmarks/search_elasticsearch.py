"""Ranking quality of Elasticsearch with its own English analyzer and with our terms, beside `search/in_memory`, in one run.

    python benchmarks/search_elasticsearch.py COLLECTIONS [COLLECTION ...]

COLLECTIONS holds a folder for each collection with corpus.jsonl.gz, queries.jsonl and qrels.tsv. Starts its own server.
By its own analyzer Elasticsearch is asked with title and body as two fields, whose scores add up, and with both joined in
one; our terms are what `index` puts in an index by default, and rank as the engine in memory does.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "elasticsearch"))

from launcher import Node
from search_quality import FILES, collection, show

from dgt_rag.engines.base import Retriever
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_load import load_index
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.records import Document
from dgt_rag.world import World


async def stream(documents: Iterable[Document]) -> AsyncIterator[Document]:
    for document in documents:
        yield document


def joined(document: Document) -> Document:
    """Return a document whose title stands in its body, as engines of one field have it."""
    return Document(doc_id=document.doc_id, body=f"{document.title}\n{document.body}")


async def compare(folder: Path, url: str) -> None:
    """Print one collection's scores; differences are to Elasticsearch with two fields."""
    name, world = folder.name.lower(), World()
    two = ElasticsearchEngine(hosts=(url,), default_index=name, analyzer="english")
    one = ElasticsearchEngine(hosts=(url,), default_index=f"{name}-joined", analyzer="english")
    ours = ElasticsearchEngine(hosts=(url,), default_index=f"{name}-terms")
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(InMemoryEngine(path=folder / "corpus.jsonl.gz").open(world))
        documents = [document async for document in memory.documents()]
        await load_index(two, stream(documents), world)
        await load_index(one, stream(map(joined, documents)), world)
        await load_index(ours, stream(documents), world)
        retrievers: dict[str, Retriever] = {"ES, two fields": await stack.enter_async_context(two.open(world))}
        retrievers["ES, one field"] = await stack.enter_async_context(one.open(world))
        retrievers["ES, our terms"] = await stack.enter_async_context(ours.open(world))
        await show(folder, {**retrievers, "search/in_memory": memory})


def chosen() -> list[Path]:
    """Return the collections that the command line names, or all in its folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, metavar="COLLECTIONS")
    parser.add_argument("names", nargs="*", metavar="COLLECTION")
    args = parser.parse_args()
    names = args.names or sorted(path.parent.name for path in args.root.glob(f"*/{FILES[0]}"))
    try:
        folders = [collection(str(args.root / name)) for name in names]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    if not folders:
        parser.error(f"{args.root}: no folder in it has a {FILES[0]}")
    return folders


async def main(folders: list[Path]) -> None:
    """Measure collections."""
    with tempfile.TemporaryDirectory() as home:
        node = Node(9, Path(home))
        node.launch()
        try:
            node.wait()
            for one in folders:
                await compare(one, node.url)
        finally:
            node.stop()


if __name__ == "__main__":
    asyncio.run(main(chosen()))
