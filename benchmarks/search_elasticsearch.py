"""Ranking quality of Elasticsearch's BM25 (its English analyzer) beside `search/in_memory`, in one run.

    python benchmarks/search_elasticsearch.py COLLECTIONS [COLLECTION ...]

COLLECTIONS holds a folder for each collection with corpus.jsonl.gz, queries.jsonl and qrels.tsv. Starts its own server.
Elasticsearch is asked with title and body as two fields, whose scores add up, and with both joined in one.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "elasticsearch"))

from launcher import Node
from search_quality import show

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
    two = ElasticsearchEngine(hosts=(url,), default_index=name)
    one = ElasticsearchEngine(hosts=(url,), default_index=f"{name}-joined")
    async with AsyncExitStack() as stack:
        memory = await stack.enter_async_context(InMemoryEngine(path=folder / "corpus.jsonl.gz").open(world))
        documents = [document async for document in memory.documents()]
        await load_index(two, stream(documents), world)
        await load_index(one, stream(map(joined, documents)), world)
        retrievers: dict[str, Retriever] = {"ES, two fields": await stack.enter_async_context(two.open(world))}
        retrievers["ES, one field"] = await stack.enter_async_context(one.open(world))
        await show(folder, {**retrievers, "search/in_memory": memory})


async def main() -> None:
    if len(sys.argv) < 2:
        sys.exit((__doc__ or "").strip())
    root, *names = sys.argv[1:]
    folders = [Path(root) / name for name in names] or sorted(path for path in Path(root).iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as folder:
        node = Node(9, Path(folder))
        node.launch()
        try:
            node.wait()
            for collection in folders:
                await compare(collection, node.url)
        finally:
            node.stop()


if __name__ == "__main__":
    asyncio.run(main())
