"""What is shipped is sound: corpora, personas, seed conversations, task files."""

import json
from collections import Counter
from pathlib import Path

import pytest
from building import ROOT, lines

from dgt_rag import load_task, run
from dgt_rag.citations import locate
from dgt_rag.records import AssistantStep, FlowControllerStep, ToolCallStep, ToolResultStep
from dgt_rag.stages.examples import read_examples
from dgt_rag.stages.patterns import SHIPPED
from dgt_rag.stages.persona import PersonaStore

CORPORA = {
    "city_services": ("id", "title", "domain", "text"),
    "cargo_bike_manual": ("key", "heading", "source", "body"),
    "museum_policies": ("_id", "title", "area", "content"),
}
TASKS = sorted((ROOT / "tasks").rglob("*.yaml"))
SEEDS = sorted((ROOT / "seed_examples").glob("*.jsonl"))


def named(path: Path) -> str:
    return path.stem if path.suffix == ".jsonl" else f"{path.parent.name}-{path.stem}"


def documents(name: str) -> list[dict]:
    return lines(ROOT / "data" / name / "documents.jsonl")


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_has_forty_documents_of_realistic_lengths_and_different_kinds(name):
    key, title, group, body = CORPORA[name]
    rows = documents(name)
    lengths = sorted(len(row[body].split()) for row in rows)
    assert len(rows) >= 40
    assert len({row[key] for row in rows}) == len({row[title] for row in rows}) == len(rows)
    assert lengths[0] >= 60
    assert 150 <= lengths[len(lengths) // 2] <= 600
    assert sum("|" in row[body] for row in rows) >= 3, "tables"
    assert len({json.dumps(row[group]) for row in rows}) >= 5


@pytest.mark.parametrize("name", CORPORA)
def test_no_document_is_another_one_with_other_names_in_it(name):
    body = CORPORA[name][3]
    shingles = Counter()
    texts = [row[body].lower().split() for row in documents(name)]
    for words in texts:
        shingles.update({tuple(words[place : place + 8]) for place in range(len(words) - 7)})
    for words in texts:
        own = {tuple(words[place : place + 8]) for place in range(len(words) - 7)}
        assert sum(shingles[piece] > 1 for piece in own) <= 0.15 * len(own)


def test_there_are_more_than_twenty_different_personas():
    personas = PersonaStore(data_path=ROOT / "data" / "personas.jsonl").personas
    assert len({persona.text for persona in personas}) >= 20


@pytest.mark.parametrize("path", SEEDS, ids=named)
def test_seed_conversations_are_what_we_ask_of_rows(path):
    known = {pattern.name for pattern in SHIPPED}
    for seed in read_examples(path):
        shown = {
            document.doc_id: document.body
            for document in (*(seed.scenario.documents if seed.scenario else ()), *seed.found())
        }
        calls = [step.content.call_id for step in seed.steps if isinstance(step, ToolCallStep)]
        assert sorted(calls) == sorted(
            {step.content.call_id for step in seed.steps if isinstance(step, ToolResultStep)}
        )
        assert bool(calls) == ("live" in path.stem)
        assert seed.closed
        for step in seed.steps:
            if isinstance(step, AssistantStep):
                assert all(locate(citation.quote, shown[citation.doc_id]) for citation in step.citations)
            if isinstance(step, FlowControllerStep):
                assert step.content in known


def test_every_pattern_of_ours_has_a_seed_conversation():
    used = {name for path in SEEDS for seed in read_examples(path) for name in seed.patterns}
    assert used == {pattern.name for pattern in SHIPPED}


@pytest.mark.parametrize("path", TASKS, ids=named)
def test_a_shipped_task_loads_and_makes_rows_on_the_embedded_model(path, tmp_path):
    task = load_task(path, "num_outputs=3", f"output_dir={tmp_path}")
    result = run(task)
    assert result.summary.kept == 3
    assert "stage_error" not in result.summary.dropped
