"""Task files as DiGiT writes them run here; what has no meaning is named in a warning."""

import json
import os
from pathlib import Path

import pytest
from building import DIGIT_LIVE

from dgt_rag.api import run
from dgt_rag.cli import run_command
from dgt_rag.errors import TaskError
from dgt_rag.loader import load
from dgt_rag.records import Document
from dgt_rag.stages.patterns import SHIPPED

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("DGT_SHARED_DATA") or ROOT.parent / "shared" / "data")
DMV = SHARED / "multi_doc2dial" / "dmv"

STATIC_FILE = """\
tools:
  engines:
    file_retriever:
      type: search/file
      path: ${DGT_DATA_DIR}/public/rag/static/my_corpus/documents.jsonl
      format: jsonl
      projection:
        body: text
        doc_id: id
      limit: 3
initialization_stages:
  - name: lm/scenario/rag
    generator: generator
    document_samplers:
      - type: search/random
        engine: file_retriever
        group_by: domain
        strategy: uniform
        weight: 1.0
        k: 3
iteration_stages:
  - name: lm/flow_controller/rag
    generator: generator
    patterns: [...]
  - name: lm/user/rag
    generator: generator
  - name: lm/assistant/rag/static
    generator: generator
"""
IN_MEMORY = """\
tools:
  engines:
    memory_retriever:
      type: search/in_memory
      projection:
        body: text
        doc_id: id
      limit: 5
initialization_stages:
  - name: lm/scenario/rag
    generator: generator
    document_samplers:
      - type: search/random
        engine: memory_retriever
        strategy: uniform
        weight: 1.0
        k: 5
"""
FULL = """\
task_name: public/rag/live/my_corpus
task_description: Questions to the desk.
created_by: someone
data_builder: public/rag/conversation
task_card: {intended_use: training}
seed_datastore:
  type: default
  data_path: ${DGT_DATA_DIR}/public/rag/static/my_corpus/seed_examples.jsonl
  num_samples: 4
formatter:
  type: formatters/conversation/messages
runner_config:
  save_formatted_output: true
  seed_batch_size: 10
  machine_batch_size: 10
  num_outputs_to_generate: 3
max_turns: 4
min_turns: 2
tools:
  registry:
    - type: inline
      engine: retriever
      tools:
        - name: look_up
          description: Looks something up in the rules of the tool library.
          parameters:
            type: object
            properties: {query: {type: string, description: What to look for}}
            required: [query]
  engines:
    retriever:
      type: search/file
      path: ${DGT_DATA_DIR}/public/rag/static/my_corpus/documents.jsonl
      format: jsonl
      projection: {body: text, doc_id: id, title: title, domain: domain}
      limit: 3
      error_categories:
        - {type: network_error, probability: 0.2, message: The connection was lost.}
initialization_stages:
  - name: lm/scenario/rag
    generator: generator
    document_samplers:
      - {type: random, engine: retriever, group_by: domain, strategy: uniform, weight: 1.0}
    k: 2
  - name: sample/persona
    persona_store: {type: default, data_path: "${DGT_DATA_DIR}/personas.jsonl"}
iteration_stages:
  - name: lm/flow_controller
    generator: generator
    termination_patterns: [done]
    patterns:
      - {name: fact, description: The person asks for a fact., hint: Ask for a number., weight: 2.0}
      - {name: done, description: The person thanks and leaves., hint: Say thanks., weight: 1.0}
  - {name: lm/user/rag, generator: generator}
  - {name: lm/assistant/rag, generator: generator, max_retries: 2}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A data folder laid out as DiGiT's, with documents of our own in it."""
    templates = ROOT / "dgt_rag" / "templates"
    corpus = tmp_path / "data/public/rag/static/my_corpus"
    corpus.mkdir(parents=True)
    for name, home in (
        ("documents.jsonl", corpus),
        ("seed_examples.jsonl", corpus),
        ("personas.jsonl", tmp_path / "data"),
    ):
        (home / name).write_bytes((templates / name).read_bytes())
    monkeypatch.setenv("DGT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def documents() -> list[Document]:
    lines = Path(os.environ["DGT_DATA_DIR"], "public/rag/static/my_corpus/documents.jsonl").read_text().splitlines()
    return [
        Document(doc_id=raw["id"], body=raw["text"], title=raw["title"], domain=raw["domain"])
        for raw in map(json.loads, lines)
    ]


def rows(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / "output" / name).read_text().splitlines()]


def test_the_static_block_runs_as_printed_once_its_path_is_there(folder, capsys):
    Path("static.yaml").write_text(STATIC_FILE)
    assert run_command(["static.yaml", "num_outputs=3", "--quiet"]) == 0
    assert len(rows(folder, "static/final_data.jsonl")) == 3
    assert capsys.readouterr().err == ""


def test_patterns_abbreviated_with_dots_are_our_standard_set():
    Path("static.yaml").write_text(STATIC_FILE)
    assert load(Path("static.yaml")).task.iteration_stages[0].patterns == SHIPPED


def test_the_in_memory_block_runs_with_documents_given_from_python(folder):
    Path("memory.yaml").write_text(IN_MEMORY)
    result = run("memory.yaml", "num_outputs=2", corpora={"memory_retriever": documents()})
    talks = list(result.conversations())
    assert [len(talk.scenario.documents) for talk in talks] == [5, 5]


@pytest.mark.parametrize("source", ["corpus", "path"])
def test_the_in_memory_block_runs_with_documents_from_the_task_file(folder, source):
    given = {
        "corpus": "corpus: [{id: a, text: A drill is lent for seven days and costs nothing.}]",
        "path": "path: ${DGT_DATA_DIR}/public/rag/static/my_corpus/documents.jsonl",
    }
    Path("memory.yaml").write_text(IN_MEMORY.replace("      limit: 5\n", f"      limit: 5\n      {given[source]}\n"))
    result = run("memory.yaml", "num_outputs=1")
    (talk,) = result.conversations()
    assert len(talk.scenario.documents) == (1 if source == "corpus" else 5)


def test_the_live_block_is_read_as_printed():
    Path("live.yaml").write_text(DIGIT_LIVE)
    loaded = load(Path("live.yaml"))
    engine = loaded.task.tools.engines["es_retriever"]
    assert (engine.plugin_name(), engine.hosts, engine.projection.doc_id, engine.limit) == (
        "search/elasticsearch",
        ("https://localhost:9200",),
        "_id",
        5,
    )
    assert loaded.warnings == ()


def test_a_whole_task_file_of_digit_runs_and_names_what_has_no_meaning_here(folder, capsys):
    Path("task.yaml").write_text(FULL)
    assert run_command(["task.yaml", "--show", "0"]) == 0
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")] == [
        "warning: task.yaml:5: task_card has no meaning here: what a run was made from stands in its `run.json`",
        "warning: task.yaml:9: seed_datastore.num_samples has no meaning here: a file of JSON Lines is read whole",
        "warning: task.yaml:14: runner_config.seed_batch_size has no meaning here: "
        "there are no batches; `concurrency` bounds the conversations in the air",
        "warning: task.yaml:15: runner_config.machine_batch_size has no meaning here: "
        "there are no batches, and a run's own rows are no examples",
    ]
    talks = rows(folder, "public/rag/live/my_corpus/final_data.jsonl")
    formatted = rows(folder, "public/rag/live/my_corpus/formatted_output.jsonl")
    assert (len(talks), len(formatted)) == (3, 3)
    assert {tool["function"]["name"] for row in formatted for tool in row["tools"]} == {"look_up"}
    called = {step["content"]["name"] for talk in talks for step in talk["steps"] if step["role"] == "tool_call"}
    assert called == {"look_up"}
    assert {len(talk["steps"][0]["documents"]) for talk in talks} == {2}


def test_the_flags_of_digit_mean_what_they_mean_there(folder, monkeypatch):
    Path("task.yaml").write_text(FULL)
    Path("models.yaml").write_text("models:\n  generator: {type: extractive}\n")
    monkeypatch.delenv("DGT_DATA_DIR")
    words = ["--task-paths", "task.yaml", "--num-outputs-to-generate", "1", "--config-path", "models.yaml", "--quiet"]
    flags = ["--data-dir", str(folder / "data"), "--output-dir", "elsewhere", "--restart"]
    assert run_command([*words, *flags]) == 0
    assert len((folder / "elsewhere/public/rag/live/my_corpus/final_data.jsonl").read_text().splitlines()) == 1


def test_formatted_output_may_be_turned_off(folder):
    Path("task.yaml").write_text(FULL.replace("save_formatted_output: true", "save_formatted_output: false"))
    assert load(Path("task.yaml")).task.formatters == ()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "  data_path: ${DGT_DATA_DIR}",
            "  path: ${DGT_DATA_DIR}",
            "task.yaml:6: seed_datastore: needs a `data_path`, the file of seed conversations",
        ),
        (
            "  type: default\n",
            "  type: hub\n",
            "task.yaml:6: seed_datastore: only `type: default`, a file, is read; got 'hub'",
        ),
        (
            "task_card:",
            "seed_examples: x.jsonl\ntask_card:",
            "task.yaml:7: seed_datastore: `seed_examples` names the seed conversations already; leave one out",
        ),
        (
            "lm/assistant/rag,",
            "lm/assistent/rag,",
            "task.yaml:55: iteration_stages.2.name: unknown stage 'lm/assistent/rag'; did you mean 'lm/assistant/rag'?",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(old, new, line):
    assert old in FULL
    Path("task.yaml").write_text(FULL.replace(old, new, 1))
    with pytest.raises(TaskError) as caught:
        load(Path("task.yaml"))
    assert str(caught.value) == line


def test_a_seed_file_that_is_not_there_is_told_at_the_key_that_names_it(folder):
    (folder / "data/public/rag/static/my_corpus/seed_examples.jsonl").unlink()
    Path("task.yaml").write_text(FULL)
    with pytest.raises(TaskError) as caught:
        load(Path("task.yaml"))
    path = folder / "data/public/rag/static/my_corpus/seed_examples.jsonl"
    assert str(caught.value) == f"task.yaml:8: seed_datastore.data_path: no such file: {path}"


@pytest.mark.skipif(
    not DMV.exists(),
    reason=f"needs multi_doc2dial; name the folder that holds it in DGT_SHARED_DATA (looked in {SHARED})",
)
def test_digits_own_corpus_and_seed_conversations_are_read_and_run(folder, monkeypatch):
    text = FULL.replace("${DGT_DATA_DIR}/public/rag/static/my_corpus", str(DMV)).replace("group_by: domain, ", "")
    text = text.replace("format: jsonl\n", f"format: jsonl\n      index_dir: {folder}/index\n")
    Path("task.yaml").write_text(text)
    assert run_command(["task.yaml", "--quiet"]) == 0
    talks = rows(folder, "public/rag/live/my_corpus/final_data.jsonl")
    assert len(talks) == 3
    known = {json.loads(line)["id"] for line in (DMV / "documents.jsonl").read_text().splitlines()}
    assert {document["doc_id"] for talk in talks for document in talk["steps"][0]["documents"]} <= known
