"""A whole live task over a real index, through the command line."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[2]
TASK = """
task_name: live/city
task_description: Residents ask the city about its services.
created_by: a test
data_builder: rag/conversation
num_outputs: 4
seed: 7
max_turns: 3
models:
  generator: {{type: extractive}}
tools:
  engines:
    files: {{type: search/file, path: {corpus}, projection: {{body: text, doc_id: id}}}}
    retriever:
      type: search/elasticsearch
      hosts: [{url}]
      default_index: {index}
      projection: {{body: content, doc_id: _id, title: title}}
      api_key: ${{oc.env:ES_KEY}}
      limit: 3
initialization_stages:
  - name: lm/scenario/rag
    generator: generator
    document_samplers: [{{type: search/random, engine: retriever, group_by: domain, strategy: uniform, weight: 1.0, k: 3}}]
iteration_stages:
  - {{name: lm/flow_controller/rag, generator: generator, patterns: [{{name: rag/factoid, description: one fact, hint: Ask for one fact., weight: 1.0}}]}}
  - {{name: lm/user/rag, generator: generator}}
  - {{name: lm/assistant/rag/live, generator: generator}}
"""


def program(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ES_KEY": "VGhlU2VjcmV0"}
    command = [sys.executable, "-m", "dgt_rag", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def test_a_live_task_loads_its_index_and_runs_on_it(newest, tmp_path):
    corpus = tmp_path / "documents.jsonl"
    corpus.write_bytes((ROOT / "data" / "city_services" / "documents.jsonl").read_bytes())
    index = f"city-{uuid.uuid4().hex[:8]}"
    (tmp_path / "task.yaml").write_text(TASK.format(corpus=corpus, url=newest.url, index=index), encoding="utf-8")
    lost = program(tmp_path, "run", "task.yaml")
    assert lost.returncode == 3, lost.stderr
    assert f"unknown index '{index}'" in lost.stderr and "Traceback" not in lost.stderr
    loaded = program(tmp_path, "index", "task.yaml", "--engine", "retriever")
    assert loaded.returncode == 0, loaded.stderr
    made = program(tmp_path, "run", "task.yaml")
    assert made.returncode == 0, made.stderr
    (rows,) = (tmp_path / "output").rglob("final_data.jsonl")
    talks = [json.loads(line) for line in rows.read_text(encoding="utf-8").splitlines()]
    ids = {json.loads(line)["id"] for line in corpus.read_text(encoding="utf-8").splitlines()}
    found = [
        hit["doc_id"]
        for talk in talks
        for step in talk["steps"]
        if step["role"] == "tool_result"
        for hit in step["content"]["result"]
    ]
    assert len(talks) == 4 and found and set(found) <= ids
    written = "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in (tmp_path / "output").rglob("*")
        if path.is_file()
    )
    assert "VGhlU2VjcmV0" not in written + made.stdout + made.stderr + loaded.stdout + loaded.stderr
