"""Ranking quality of Elasticsearch's BM25 (its English analyzer) against `search/in_memory`, in one run.

    python benchmarks/search_elasticsearch.py COLLECTIONS [COLLECTION ...]

COLLECTIONS holds a folder for each collection with corpus.jsonl.gz, queries.jsonl and qrels.tsv. Starts its own server.
"""

import asyncio
import gzip
import json
import math
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "elasticsearch"))

from launcher import Node

from dgt_rag.engines.base import Retriever
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.elasticsearch_load import load_index
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.records import Document
from dgt_rag.world import World


class Collection(NamedTuple):
    """Documents, queries by form, and judgements: query → document → gain."""

    documents: list[Document]
    queries: dict[str, dict[str, str]]
    judged: dict[str, dict[str, int]]


def read(folder: Path) -> Collection:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    documents = [Document(doc_id=row["id"], body=row["text"], title=row.get("title", "")) for row in rows]
    queries: dict[str, dict[str, str]] = defaultdict(dict)
    for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        queries[row.get("form", "query")][row["id"]] = row["text"]
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, doc_id, gain = line.split("\t")
        judged[query][doc_id] = int(gain)
    return Collection(documents, queries, judged)


def ndcg(found: list[str], gains: dict[str, int], depth: int = 10) -> float:
    best = sorted(gains.values(), reverse=True)[:depth]
    ideal = sum(gain / math.log2(place + 2) for place, gain in enumerate(best))
    got = sum(gains.get(doc_id, 0) / math.log2(place + 2) for place, doc_id in enumerate(found[:depth]))
    return got / ideal if ideal else 0.0


async def measure(engine: Retriever, queries: dict[str, str], judged: dict[str, dict[str, int]]) -> tuple[float, float]:
    """Return the mean nDCG@10 and the median milliseconds of a search."""
    scores, times = [], []
    for name, text in queries.items():
        start = time.perf_counter()
        hits = await engine.search(text, 10)
        times.append(time.perf_counter() - start)
        scores.append(ndcg([hit.document.doc_id for hit in hits], judged.get(name, {})))
    return statistics.fmean(scores), statistics.median(times) * 1000


async def stream(documents: list[Document]) -> AsyncIterator[Document]:
    for document in documents:
        yield document


def joined(document: Document) -> Document:
    """Return a document whose title stands in its body, as engines of one field have it."""
    return Document(doc_id=document.doc_id, body=f"{document.title}\n{document.body}")


async def compare(folder: Path, url: str) -> None:
    documents, queries_by_form, judged = read(folder)
    name = folder.name.lower()
    world = World()
    two = ElasticsearchEngine(hosts=(url,), default_index=name)
    one = ElasticsearchEngine(hosts=(url,), default_index=f"{name}-joined")
    await load_index(two, stream(documents), world)
    await load_index(one, stream([*map(joined, documents)]), world)
    own = InMemoryEngine(corpus=documents)
    engines = {"elasticsearch": two, "elasticsearch, one field": one, "in_memory": own}
    for label, engine in engines.items():
        async with engine.open(world) as retriever:
            for form, queries in queries_by_form.items():
                quality, millis = await measure(retriever, queries, judged)
                print(f"{name:<12} {form:<10} {label:<25} nDCG@10 {quality:.4f}   p50 {millis:6.2f} ms", flush=True)


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
