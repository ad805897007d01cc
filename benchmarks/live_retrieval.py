"""Does retrieval in live mode answer the query? The share of searches whose lexically best document was returned.

    python benchmarks/live_retrieval.py [--count 100] [--corpus documents.jsonl]

Runs a live task on the embedded model, without injected faults, and ranks the whole corpus anew for every query that the
assistant made with a plain BM25 of its own (no stemmer, no stop words), independent of the engine.
"""

import argparse
import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path

from dgt_rag import run
from dgt_rag.records import ToolCallStep, ToolResultStep

ROOT = Path(__file__).parents[1]
CORPORA = {
    "city_services": {"doc_id": "id", "title": "title", "domain": "domain", "body": "text"},
    "cargo_bike_manual": {"doc_id": "key", "title": "heading", "domain": "source.part", "body": "body"},
    "museum_policies": {"doc_id": "_id", "title": "title", "domain": "area", "body": "content"},
}


class PlainBM25:
    """BM25 with k1 1.2 and b 0.75 over lower-cased words of title and body."""

    def __init__(self, texts: dict[str, str]) -> None:
        self.counts = {name: Counter(words(text)) for name, text in texts.items()}
        self.lengths = {name: sum(count.values()) for name, count in self.counts.items()}
        self.mean = sum(self.lengths.values()) / len(self.lengths)
        frequencies = Counter(word for count in self.counts.values() for word in count)
        self.idf = {word: math.log(1 + (len(texts) - n + 0.5) / (n + 0.5)) for word, n in frequencies.items()}

    def best(self, query: str) -> set[str]:
        """Return the best document, and those tied with it."""
        scores = {name: self.score(name, words(query)) for name in self.counts}
        top = max(scores.values())
        return {name for name, score in scores.items() if score >= top - 1e-9} if top else set()

    def score(self, name: str, query: list[str]) -> float:
        """Return the score of a document."""
        count, length = self.counts[name], self.lengths[name]
        norm = 1.2 * (0.25 + 0.75 * length / self.mean)
        return sum(self.idf[word] * count[word] * 2.2 / (count[word] + norm) for word in query if count[word])


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def share(name: str, path: Path, projection: dict[str, str], count: int) -> tuple[int, int]:
    """Return (searches whose best document was returned, searches)."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    judge = PlainBM25(
        {row[projection["doc_id"]]: f"{row[projection['title']]} {row[projection['body']]}" for row in rows}
    )
    with tempfile.TemporaryDirectory() as folder:
        task = {
            "task_name": name,
            "num_outputs": count,
            "output_dir": folder,
            "tools": {"engines": {"corpus": {"type": "search/in_memory", "path": str(path), "projection": projection}}},
            "initialization_stages": [
                {
                    "name": "lm/scenario/rag",
                    "document_samplers": [{"type": "search/random", "engine": "corpus", "k": 3}],
                }
            ],
            "iteration_stages": [
                {"name": "lm/flow_controller/rag"},
                {"name": "lm/user/rag"},
                {"name": "lm/assistant/rag/live"},
            ],
        }
        found = total = 0
        for talk in run(task).conversations():
            queries = {
                step.content.call_id: str(step.content.arguments["query"])
                for step in talk.steps
                if isinstance(step, ToolCallStep)
            }
            for step in talk.steps:
                if isinstance(step, ToolResultStep):
                    best = judge.best(queries[step.content.call_id])
                    returned = {hit.doc_id for hit in step.content.result or ()}
                    total += bool(best)
                    found += bool(best & returned)
    return found, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="conversations for each corpus")
    parser.add_argument(
        "--corpus",
        type=Path,
        action="append",
        default=[],
        help="another corpus, with the fields id, title, domain, text",
    )
    args = parser.parse_args()
    cases = [(name, ROOT / "data" / name / "documents.jsonl", projection) for name, projection in CORPORA.items()]
    cases += [(path.parent.name, path, CORPORA["city_services"]) for path in args.corpus]
    for name, path, projection in cases:
        found, total = share(name, path, projection, args.count)
        print(f"{name}: best document returned in {found} of {total} searches ({found / total:.1%}; at least 95 %)")


if __name__ == "__main__":
    main()
