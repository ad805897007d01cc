"""Small tasks for tests, over a corpus that is written here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

BODIES = {
    "bins": "Household waste is collected every Tuesday. Put the bin out before 7 a.m. A second bin costs 48 euros a year.",
    "glass": "Glass goes into the containers at the corner of each block. Noise is not allowed after 8 p.m. on weekdays.",
    "bulky": "Bulky items are collected on request. Two collections a year are free. A third collection costs 35 euros.",
    "parking": "A resident permit costs 120 euros a year. It is valid for one vehicle and one zone. Apply with the registration.",
    "visitors": "A visitor permit is valid for one day. A book of ten visitor permits costs 25 euros. Each household may buy five books.",
    "library": "A library card is free for everybody under 18. Adults pay 20 euros a year. Books are lent for four weeks.",
    "fines": "A late book costs 20 cents a day. The fine for one book never exceeds 10 euros. A lost book is charged at its price.",
    "water": "The water meter is read once a year, in November. A reading can be sent by post. Estimated bills are corrected later.",
    "pool": "The pool opens at 6.30 a.m. on weekdays. A ticket costs 5 euros. Children under 6 swim for free with an adult.",
    "dogs": "Every dog must be registered within 14 days. The dog tax is 90 euros a year. Guide dogs are exempt from the tax.",
}

DIGIT_LIVE = """\
tools:
  engines:
    es_retriever:
      type: search/elasticsearch
      hosts: ["https://localhost:9200"]
      default_index: my_index
      projection:
        body: content
        doc_id: _id
        title: title
      limit: 5
initialization_stages:
  - name: lm/scenario/rag
    generator: generator
    document_samplers:
      - type: search/random
        engine: es_retriever
        strategy: uniform
        weight: 1.0
        k: 5
iteration_stages:
  - name: lm/flow_controller/rag
    generator: generator
    patterns: [...]
  - name: lm/user/rag
    generator: generator
  - name: lm/assistant/rag/live
    generator: generator
"""
"""The live block of DiGiT's documents."""


def write_corpus(path: Path, bodies: Mapping[str, str] = BODIES) -> Path:
    """Write a corpus of JSON Lines, every other document in domain `home`, the rest in `town`."""
    rows = [
        {"id": name, "title": name.title(), "domain": ("home", "town")[n % 2], "text": body}
        for n, (name, body) in enumerate(bodies.items())
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def task_values(folder: Path, live: bool = False, **changes: Any) -> dict[str, Any]:
    """Return a task over the small corpus; its rows go below the folder."""
    corpus = folder / "corpus.jsonl"
    if not corpus.exists():
        write_corpus(corpus)
    assistant = "lm/assistant/rag/live" if live else "lm/assistant/rag/static"
    return {
        "task_name": "small",
        "num_outputs": 6,
        "seed": 3,
        "max_turns": 4,
        "output_dir": str(folder / "output"),
        "tools": {"engines": {"retriever": {"type": "search/in_memory", "path": str(corpus), "limit": 3}}},
        "initialization_stages": [
            {
                "name": "lm/scenario/rag",
                "document_samplers": [{"type": "search/random", "engine": "retriever", "group_by": "domain", "k": 3}],
            }
        ],
        "iteration_stages": [{"name": "lm/flow_controller/rag"}, {"name": "lm/user/rag"}, {"name": assistant}],
        **changes,
    }


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
