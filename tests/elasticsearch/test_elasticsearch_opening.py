"""What an index must hold to be opened, on real servers: documents that are left, text that is stored, ids that differ."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from launcher import Node
from loading import FewWordEmbedder, call, corpus, engine, load

from dgt_rag.dice import Dice
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.errors import CorpusError, EngineError
from dgt_rag.world import World

ROOT = Path(__file__).parents[2]
KEYWORD = {"type": "keyword"}
TEXT = {"type": "text"}
TASK = """
task_name: waiting
num_outputs: 2
tools:
  engines:
    es: {{type: search/elasticsearch, hosts: "{url}", default_index: {index}, limit: 3, filter: {filter}}}
initialization_stages:
  - {{name: lm/scenario/rag, document_samplers: [{{type: search/random, engine: es, k: 2}}]}}
iteration_stages:
  - name: lm/flow_controller/rag
  - name: lm/user/rag
  - name: lm/assistant/rag/live
"""


def made(node: Node, fields: Mapping[str, Any], documents: Mapping[str, Any], **settings: Any) -> ElasticsearchEngine:
    """Return an engine on an index made by somebody else."""
    one = engine(node.url, **settings)
    call(node, "PUT", f"/{one.default_index}", {"mappings": {"properties": fields}})
    for name, source in documents.items():
        call(node, "PUT", f"/{one.default_index}/_doc/{name}?refresh=true", source)
    return one


async def refused(one: ElasticsearchEngine) -> str:
    with pytest.raises(CorpusError) as refusal:
        async with one.open(World()):
            pass
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


async def test_an_index_that_is_empty_can_be_searched_and_is_refused_where_documents_are_wanted(node):
    one = made(node, {"content": TEXT, "doc_id": KEYWORD}, {})
    said: list[str] = []
    wanted = f"index {one.default_index!r} holds no document; load some: python -m dgt_rag index"
    async with one.open(World(say=said.append)) as opened:
        assert await opened.search("anything", 3) == await opened.search("else", 3) == []
        assert [wanted in line for line in said] == [True]
        assert await opened.count() == 0
        for use in (opened.sample(Dice(1), 3), opened.groups("domain"), opened.at([0]), opened.fingerprint()):
            with pytest.raises(CorpusError, match="holds no document; load some") as refusal:
                await use
            assert "\n" not in str(refusal.value)
        with pytest.raises(CorpusError, match="holds no document; load some"):
            await anext(opened.documents())


def program(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run the command line; return its exit code and what it said."""
    command = [sys.executable, "-m", "dgt_rag", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def test_an_index_before_and_after_it_is_loaded_is_searched_loaded_and_run_from_the_command_line(newest, tmp_path):
    english = {"type": "text", "analyzer": "english"}
    one = made(newest, {"content": english, "title": english, "doc_id": KEYWORD, "domain": KEYWORD}, {})
    task = tmp_path / "task.yaml"
    task.write_text(TASK.format(url=newest.url, index=one.default_index, filter="{}"), encoding="utf-8")
    file = tmp_path / "documents.jsonl"
    rows = [{"id": document.doc_id, "text": document.body, "domain": document.domain} for document in corpus(12)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    empty = f"elasticsearch {newest.url}: index {one.default_index!r} holds no document; load some: "
    for verb in ((), ("check",)):
        code, _, said = program(tmp_path, *verb, "task.yaml")
        assert code == 2 and said.count(empty) == 1 and said.count("\n") == 1, said
    code, shown, said = program(tmp_path, "search", "task.yaml", "meter")
    assert code == 0 and "0 hits" in shown and said.count(empty) == 1
    code, _, said = program(tmp_path, "index", "task.yaml", "--engine", "es", "--from", "documents.jsonl")
    assert (code, said) == (0, f"index {one.default_index!r}: 12 documents added, 0 were there\n")
    code, shown, said = program(tmp_path, "search", "task.yaml", "meter")
    assert code == 0 and "3 hits" in shown and not said
    task.write_text(TASK.format(url=newest.url, index=one.default_index, filter="{domain: nowhere}"), encoding="utf-8")
    code, _, said = program(tmp_path, "task.yaml")
    assert code == 2 and 'filter: no document has {"domain": "nowhere"}' in said and said.count("\n") == 1, said


async def test_a_filter_that_leaves_nothing_is_refused_with_the_name_of_the_index(node):
    one = engine(node.url, filter={"domain": "nowhere"})
    await load(one, corpus(5))
    said = await refused(one)
    assert f'index {one.default_index!r}: filter: no document has {{"domain": "nowhere"}}; change `filter`' in said


async def test_an_index_in_which_no_document_has_a_body_is_refused_with_the_fields_there_are(node):
    one = made(node, {"content": TEXT, "text": TEXT}, {"a": {"text": "words"}})
    assert "no document has a 'content' (projection.body); there are: content, text" in await refused(one)


async def test_a_body_that_is_searched_but_not_stored_is_refused(node):
    fields = {"title": {**TEXT, "copy_to": "all"}, "all": TEXT}
    one = made(node, fields, {"a": {"title": "words"}}, projection={"body": "all"})
    assert "'all' (projection.body) can be searched but is not stored with the documents" in await refused(one)


async def test_all_ids_are_told_to_be_read_once_though_a_filter_leaves_few(newest):
    one = made(newest, {"content": TEXT, "kind": KEYWORD}, {"a": {"content": "x", "kind": "k"}}, filter={"kind": "k"})
    said: list[str] = []
    async with one.open(World(say=said.append)) as opened:
        call(newest, "POST", f"/{one.default_index}/_update/a?refresh=true", {"doc": {"kind": "other"}})
        for _ in range(3):
            assert await opened.sample(Dice(1), 2) == []
    assert sum("all ids are read once" in line for line in said) == 1


async def test_a_text_of_several_values_is_read_as_its_lines_and_a_number_as_text(node):
    fields = {"content": TEXT, "title": TEXT, "domain": KEYWORD, "parts": {"properties": {"text": TEXT}}}
    bodies = [["first words", "second words"], [["deep words"], None, "more"], 5, True, [[]], None, "plain words"]
    documents = {f"d{n}": {"content": body, "title": ["A", "B"], "domain": ["k"]} for n, body in enumerate(bodies)}
    one = made(node, fields, documents)
    said: list[str] = []
    async with one.open(World(say=said.append)) as opened:
        found = {document.doc_id: document async for document in opened.documents()}
        hits = await opened.search("words", 9)
    texts = {"d0": "first words\nsecond words", "d1": "deep words\nmore", "d2": "5", "d3": "true", "d6": "plain words"}
    assert {name: document.body for name, document in found.items()} == texts
    assert {(document.title, document.domain, len(document.metadata)) for document in found.values()} == {
        ("A\nB", "k", 0)
    }
    assert {hit.document.doc_id for hit in hits} == {"d0", "d1", "d6"}
    assert sum("2 documents have no 'content'; they are left out" in line for line in said) == 1


async def test_a_body_in_a_list_of_objects_is_found(newest):
    fields = {"parts": {"properties": {"text": TEXT}}}
    parts = {"parts": [{"text": "first words"}, {"page": 2}, {"text": ["second", "third"]}]}
    one = made(newest, fields, {"a": parts}, projection={"body": "parts.text"})
    async with one.open(World()) as opened:
        (hit,) = await opened.search("words", 3)
    assert hit.document.body == "first words\nsecond\nthird"


async def test_a_domain_of_several_values_is_refused_with_its_document_and_left_alone_when_it_is_not_named(newest):
    fields = {"content": TEXT, "domain": KEYWORD}
    one = made(newest, fields, {"a": {"content": "words", "domain": ["k", "l"]}})
    async with one.open(World()) as opened:
        with pytest.raises(EngineError, match=r"document 'a': the field 'domain' \(domain\) is not text .*''.*mend"):
            await opened.search("words", 3)
    unnamed = engine(newest.url, one.default_index, projection={"domain": ""})
    async with unnamed.open(World()) as opened:
        (hit,) = await opened.search("words", 3, {"domain": "l"})
        assert (hit.document.domain, hit.document.metadata) == ("", {"domain": ["k", "l"]})
        assert await opened.groups("domain") == {"k": 1, "l": 1}


async def test_indices_behind_one_name_that_share_ids_are_refused_with_their_names(node):
    first, second = engine(node.url), engine(node.url)
    await load(first, corpus(20))
    await load(second, corpus(40)[15:])
    names = sorted((first.default_index, second.default_index))
    alias = aliased(node, names)
    for projection in ({}, {"doc_id": "doc_id"}):
        said = await refused(engine(node.url, alias, projection=projection))
        assert "have the doc_id 'd000" in said
        assert f"name one of the indices behind it in default_index: {', '.join(names)}" in said


def aliased(node: Node, names: list[str]) -> str:
    alias = f"{names[0]}-all"
    call(node, "POST", "/_aliases", {"actions": [{"add": {"index": name, "alias": alias}} for name in names]})
    return alias


async def test_indices_behind_one_name_are_one_corpus(node):
    first, second = engine(node.url), engine(node.url)
    await load(first, corpus(20))
    await load(second, corpus(40)[20:])
    async with engine(node.url, aliased(node, [first.default_index, second.default_index])).open(World()) as opened:
        assert [document async for document in opened.documents()] == corpus(40)
        assert await opened.at([39, 0]) == [corpus(40)[39], corpus(40)[0]]


@pytest.mark.parametrize("fields", [{"content": TEXT, "doc_id": KEYWORD}, {"content": TEXT}], ids=["field", "no-field"])
async def test_an_id_that_two_documents_come_to_share_is_found_once_told_and_refused_in_a_stream(newest, fields):
    text = {"content": "the same words"}
    first = made(newest, fields, {"a": {**text, "doc_id": "a"}} if "doc_id" in fields else {"a": text})
    second = made(newest, fields, {"b": {**text, "doc_id": "b"}} if "doc_id" in fields else {"b": text})
    said: list[str] = []
    one = engine(newest.url, aliased(newest, [first.default_index, second.default_index]))
    async with one.open(World(say=said.append)) as opened:
        call(newest, "PUT", f"/{second.default_index}/_doc/a?refresh=true", {**text, "doc_id": "a"})
        for _ in range(2):
            assert [hit.document.doc_id for hit in await opened.search("words", 5)] == ["a", "b"]
        if "doc_id" in fields:
            assert sorted(document.doc_id for document in await opened.sample(Dice(1), 5)) == ["a", "b"]
        for use in (opened.at([0]), rest(opened)):
            with pytest.raises(CorpusError, match=r"two documents of index .* have the doc_id 'a'"):
                await use
    assert sum("until then the one that stands first is taken" in line for line in said) == 1


async def rest(opened: Any) -> list[Any]:
    return [document async for document in opened.documents()]


async def test_an_embedder_is_not_loaded_for_an_index_of_which_nothing_is_left(newest):
    one = engine(newest.url, embedder=FewWordEmbedder(), query="knn", filter={"domain": "nowhere"})
    await load(one, corpus(3))
    assert "filter: no document has" in await refused(one)
