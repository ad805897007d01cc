"""`search/elasticsearch` on real servers of each generation."""

import asyncio
import json
import threading
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from launcher import Node
from loading import FewWordEmbedder, WordEmbedder, WordVectors, call, corpus, engine, load

from dgt_rag.dice import Dice
from dgt_rag.embedders.base import Encoder, TextKind, passage
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.errors import EngineError
from dgt_rag.records import Document
from dgt_rag.testing import LAWS, Opener
from dgt_rag.world import World


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_the_engine_keeps_the_laws_of_all_engines(node, law, tmp_path):
    await law(Opener(Indices(node), tmp_path))


class Indices:
    """Makes engines; the same documents are in the same index, since an index made anew is another corpus."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.made: dict[tuple[str, ...], str] = {}

    def __call__(self, documents: Sequence[Document], folder: Path, **settings: Any) -> ElasticsearchEngine:
        key = tuple(document.model_dump_json() for document in documents)
        one = engine(self.node.url, self.made.get(key, ""), **settings)
        if key not in self.made:
            self.made[key] = one.default_index
            loader = threading.Thread(target=asyncio.run, args=(load(one, documents),))
            loader.start()
            loader.join()
        return one


async def test_what_is_loaded_is_streamed_back_equal_and_in_the_order_of_ids(node):
    one = engine(node.url)
    documents = corpus()
    await load(one, reversed(documents))
    async with one.open(World()) as opened:
        assert [document async for document in opened.documents()] == documents
        assert await opened.count() == 60


async def test_the_document_that_holds_the_words_comes_first_with_its_score_and_rank(node):
    one = engine(node.url)
    await load(one, corpus())
    async with one.open(World()) as opened:
        hits = await opened.search("what about place17?", 3)
    assert hits[0].document == corpus()[17]
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.document.doc_id))


async def test_a_title_is_filtered_and_grouped_by_in_an_index_that_we_made(node):
    one = engine(node.url)
    await load(one, corpus(9))
    async with one.open(World()) as opened:
        assert await opened.groups("title") == {"About parks": 3, "About taxes": 3, "About water": 3}
        assert await opened.count({"title": "About water"}) == 3
        found = await opened.search("place4 place5", 5, {"title": "About water"})
    assert [hit.document.doc_id for hit in found][:1] == ["d00005"]


async def test_filters_hold_in_searches_counts_groups_and_samples(node):
    one = engine(node.url, filter={"source.category": ["c0", "c1"]})
    await load(one, corpus())
    seen = [document for document in corpus() if document.metadata["source"]["category"] in {"c0", "c1"}]
    async with one.open(World()) as opened:
        assert [document async for document in opened.documents()] == seen
        assert await opened.count({"domain": "parks"}) == sum(document.domain == "parks" for document in seen)
        assert await opened.groups("source.category") == {"c0": 15, "c1": 15}
        assert await opened.groups("pages", {"domain": "water", "pages": [1, 2]}) == {"1": 2, "2": 2}
        assert {hit.document.domain for hit in await opened.search("described", 50, {"domain": "water"})} == {"water"}
        drawn = await opened.sample(Dice(1), 5, {"domain": "taxes"})
        assert {document.domain for document in drawn} == {"taxes"}
        assert await opened.sample(Dice(1), 500, {"domain": "nowhere"}) == []
        assert await opened.count({"no.such.field": "x"}) == 0


async def test_equal_scores_stand_in_the_order_of_ids_whatever_shard_they_are_in(node):
    documents = [Document(doc_id=f"same{number:03}", body="the very same words") for number in range(200)]
    one = engine(node.url)
    settings = {"number_of_shards": 5, "number_of_replicas": 0}
    mappings = {"properties": {"content": {"type": "text"}, "doc_id": {"type": "keyword"}}}
    call(node, "PUT", f"/{one.default_index}", {"settings": settings, "mappings": mappings})
    lines = [
        json.dumps(line)
        for document in documents
        for line in ({"create": {"_id": document.doc_id}}, {"content": document.body, "doc_id": document.doc_id})
    ]
    request = urllib.request.Request(
        f"{node.url}/{one.default_index}/_bulk?refresh=true",
        "\n".join([*lines, ""]).encode(),
        {"content-type": "application/x-ndjson"},
    )
    with urllib.request.urlopen(request, timeout=30):
        pass
    async with one.open(World()) as opened:
        hits = await opened.search("same words", 7)
        assert [hit.document.doc_id for hit in hits] == [document.doc_id for document in documents[:7]]
        assert len({hit.score for hit in hits}) == 1


async def test_an_index_without_a_field_of_ids_is_ordered_sampled_and_said_so(node):
    one = engine(node.url)
    call(node, "PUT", f"/{one.default_index}", {"mappings": {"properties": {"content": {"type": "text"}}}})
    for number in (2, 0, 1, 3):
        call(node, "PUT", f"/{one.default_index}/_doc/own{number}?refresh=true", {"content": "one text for all"})
    said: list[str] = []
    async with one.open(World(say=said.append)) as opened:
        assert [hit.document.doc_id for hit in await opened.search("text", 2)] == ["own0", "own1"]
        assert [document.doc_id for document in await opened.at([3, 0])] == ["own3", "own0"]
        assert [document.doc_id async for document in opened.documents()] == ["own0", "own1", "own2", "own3"]
        drawn = await opened.sample(Dice(3), 2)
        assert drawn == await opened.sample(Dice(3), 2)
        assert len({document.doc_id for document in drawn}) == 2
    assert sum("holds the document's id" in line for line in said) == 1


async def test_hostile_questions_are_text_and_never_syntax(node):
    one = engine(node.url)
    await load(one, corpus())
    words = " ".join(f"word{number}" for number in range(1_500))
    hostile = [
        "",
        " \n",
        "the of and",
        '"unclosed AND (field:* OR',
        "/a/b [1 TO *] ~2 ^3",
        "東京都" * 3_000,
        "😀" * 9_000,
    ]
    hostile += ["nul\x00byte", "lone \ud800 surrogate", "x" * 10_000, words, "-", "\\", "{{7*7}}"]
    async with one.open(World()) as opened:
        for question in hostile:
            assert all(hit.score > 0 for hit in await opened.search(question, 3))
        assert (await opened.search(f"place17 {words}", 1))[0].document.doc_id == "d00017"
        assert await opened.search("place17", 0) == []


async def test_places_and_samples_do_not_depend_on_the_order_of_loading_the_name_or_the_shards(node):
    documents = corpus(300)
    orders = [documents, list(reversed(documents)), Dice("order").shuffled(documents)]
    found = []
    for number, order in enumerate(orders):
        one = engine(node.url)
        if number == 2:
            # made before by somebody else, with shards of its own
            first = engine(node.url)
            await load(first, documents[:1])
            mapping = call(node, "GET", f"/{first.default_index}/_mapping")[first.default_index]["mappings"]
            settings = {"number_of_shards": 4, "number_of_replicas": 0}
            call(node, "PUT", f"/{one.default_index}", {"settings": settings, "mappings": mapping})
        await load(one, order)
        async with one.open(World()) as opened:
            drawn = [await opened.sample(Dice("draw", turn), 7) for turn in range(5)]
            found.append((drawn, await opened.at([299, 0, 150]), await opened.sample(Dice(1), 3, {"domain": "parks"})))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == [documents[299], documents[0], documents[150]]


async def test_the_fingerprint_tells_a_changed_corpus(node):
    one = engine(node.url)
    await load(one, corpus(10))
    prints = []
    for change in (False, False, True):
        if change:
            path = f"/{one.default_index}/_update/d00003?refresh=true"
            call(node, "POST", path, {"doc": {"content": "another text"}})
        async with one.open(World()) as opened:
            prints.append(await opened.fingerprint())
    assert prints[0] == prints[1] != prints[2]


async def test_the_fingerprint_tells_what_is_taken_for_a_document_and_stays_when_nothing_has_changed(newest):
    one = engine(newest.url)
    await load(one, corpus(12))
    alias = f"{one.default_index}-alias"
    add = {"index": one.default_index, "alias": alias}
    call(newest, "POST", "/_aliases", {"actions": [{"add": add}]})
    others: list[dict[str, Any]] = [
        {"projection": {"body": "content", "title": "domain"}},
        {"projection": {"body": "content", "doc_id": "doc_id"}},
        {"filter": {"domain": ["parks", "water", "taxes"]}},
        {"filter": {"domain": ["parks", "water"]}},
        {"default_index": alias},
    ]
    same: list[dict[str, Any]] = [
        {},
        {"projection": {"body": "content", "doc_id": "_id"}},
        {"query": "bm25", "fields": {"content": 2}, "limit": 9, "timeout": 60},
    ]
    marks = []
    for settings in [*same, *others]:
        wanted = {"default_index": one.default_index, "hosts": [newest.url], **settings}
        async with ElasticsearchEngine.model_validate(wanted).open(World()) as opened:
            marks.append(await opened.fingerprint())
    assert len(set(marks[: len(same)])) == 1
    assert len(set(marks)) == 1 + len(others)


async def test_documents_without_a_body_are_left_out_and_told(node):
    one = engine(node.url)
    await load(one, corpus(5))
    call(node, "PUT", f"/{one.default_index}/_doc/empty?refresh=true", {"doc_id": "empty", "title": "place1"})
    said: list[str] = []
    async with one.open(World(say=said.append)) as opened:
        assert await opened.count() == 5
        assert [hit.document.doc_id for hit in await opened.search("place1", 1)] == ["d00001"]
    assert any("1 documents" in line and "'content'" in line for line in said)


async def test_vectors_and_both_together_find_what_was_meant(node):
    one = engine(node.url, embedder=WordEmbedder(), query="knn")
    if node.major == 7:
        # the jars that are published for 7.17 lack the type; a distribution has it, but not the search
        with pytest.raises(EngineError, match=r"this server has no vector search \(8 and later have\)"):
            await load(one, corpus())
        return
    await load(one, corpus())
    async with one.open(World()) as opened:
        best = (await opened.search(passage(corpus()[15]), 3))[0]
        assert best.document == corpus()[15]
        assert best.score == pytest.approx(1.0, abs=1e-3)
        near = await opened.search("meter pipe", 5, {"domain": "taxes"})
        assert {hit.document.domain for hit in near} == {"taxes"}
    both = one.model_copy(update={"query": "hybrid"})
    async with both.open(World()) as opened:
        hits = await opened.search("picnic place15", 5)
        assert hits[0].document.doc_id == "d00015"
        assert hits[0].score == pytest.approx(2 / 61)


@pytest.mark.parametrize("major", [8, 9])
@pytest.mark.parametrize("query", ["knn", "hybrid"])
async def test_vectors_are_searched_in_indices_of_several_shards_and_in_several_indices(nodes, major, query):
    node = nodes[major]
    first = engine(node.url, "sharded-a", embedder=WordEmbedder(), query=query)
    second = engine(node.url, "sharded-b", embedder=WordEmbedder(), query=query)
    shards = {"index_patterns": ["sharded-*"], "template": {"settings": {"number_of_shards": 3}}}
    call(node, "PUT", "/_index_template/sharded", shards)
    try:
        await load(first, corpus(30))
        await load(second, corpus()[30:])
        add = [{"add": {"index": name, "alias": "sharded"}} for name in ("sharded-a", "sharded-b")]
        call(node, "POST", "/_aliases", {"actions": add})
        async with first.open(World()) as one, engine(node.url, "sharded", **settings_of(first)).open(World()) as both:
            for opened, number in ((one, 15), (both, 15), (both, 45)):
                hits = await opened.search(corpus()[number].body, 3)
                assert hits[0].document == corpus()[number]
    finally:
        call(node, "DELETE", "/_index_template/sharded")
        call(node, "DELETE", "/sharded-a,sharded-b")


async def test_indices_behind_one_name_whose_vectors_were_made_by_others_are_refused(newest):
    names = [f"made-{number}" for number in (1, 2)]
    for name, embedder, texts in zip(
        names,
        (WordEmbedder(), WordEmbedder(query_prefix="q", passage_prefix="p")),
        (corpus(5), corpus()[5:10]),
        strict=True,
    ):
        await load(engine(newest.url, name, embedder=embedder), texts)
    call(newest, "POST", "/_aliases", {"actions": [{"add": {"index": name, "alias": "made"}} for name in names]})
    one = engine(newest.url, "made", embedder=WordEmbedder(), query="knn")
    with pytest.raises(EngineError, match=r"were made by words .*, not by words"):
        async with one.open(World()):
            pass
    with pytest.raises(EngineError, match="alias of several indices, which takes no documents; name one of them as"):
        await load(one, corpus(5))


def settings_of(one: ElasticsearchEngine) -> dict[str, Any]:
    """Return what two engines of one kind have in common."""
    return {"embedder": one.embedder, "query": one.query}


async def test_a_question_that_the_embedder_makes_nothing_of_has_no_hits_by_vectors_and_those_by_words(newest):
    one = engine(newest.url, embedder=FewWordEmbedder(), query="knn")
    await load(one, corpus(9))
    async with one.open(World()) as opened:
        assert await opened.search("what about place7?", 3) == []
        assert len(await opened.search("where is a meter?", 3)) == 3
    async with one.model_copy(update={"query": "hybrid"}).open(World()) as opened:
        assert (await opened.search("what about place7?", 3))[0].document.doc_id == "d00007"
        assert await opened.search("xyzzy", 3) == []


class Retrained(WordEmbedder):
    """Another model under the same name: every number stands elsewhere."""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Encoder]:
        class Turned(WordVectors):
            async def encode(self, texts: list[str], kind: TextKind) -> list[list[float]]:
                return [vector[::-1] for vector in await super().encode(texts, kind)]

        yield Turned(self)


async def test_another_model_that_answers_by_the_same_name_is_refused(newest):
    one = engine(newest.url, embedder=WordEmbedder(), query="knn")
    await load(one, corpus(5))
    other = one.model_copy(update={"embedder": Retrained()})
    with pytest.raises(EngineError, match="made by another model than the one that now answers as words"):
        async with other.open(World()):
            pass
    with pytest.raises(EngineError, match=r"made by another model .*; use another index, or delete this one"):
        await load(other, corpus(9))
    async with one.open(World()) as opened:
        assert await opened.count() == 5


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ([], "gives 0 vectors for 1 texts"),
        ([[1.0], [2.0]], "gives 2 vectors for 1 texts"),
        ([["one"]], "gives what is no vector of numbers"),
        ([5], "gives what is no vector of numbers"),
        ([[1.0, float("nan")]], "what is no number"),
    ],
)
async def test_what_a_guests_embedder_gives_that_is_no_vector_is_one_line(newest, given, line):
    class Odd(Encoder):
        async def encode(self, texts: list[str], kind: TextKind) -> Any:
            return given

    class OddEmbedder(WordEmbedder):
        @asynccontextmanager
        async def open(self, world: World) -> AsyncIterator[Encoder]:
            yield Odd(self)

    with pytest.raises(EngineError, match=rf"the embedder 'words' .*{line}.*; use another one"):
        await load(engine(newest.url, embedder=OddEmbedder(), query="knn"), corpus(3))


async def test_an_embedder_of_another_make_or_size_is_refused(newest):
    one = engine(newest.url, embedder=WordEmbedder(), query="knn")
    await load(one, corpus(5))
    other = one.model_copy(update={"embedder": WordEmbedder(dims=64)})
    with pytest.raises(EngineError, match="were made by words"):
        async with other.open(World()):
            pass
    unnoted = engine(newest.url, embedder=WordEmbedder(dims=64), query="knn")
    vector = {"type": "dense_vector", "dims": 256, "index": True, "similarity": "cosine"}
    fields = {"content": {"type": "text"}, "vector": vector}
    call(newest, "PUT", f"/{unnoted.default_index}", {"mappings": {"properties": fields}})
    async with unnoted.open(World()) as opened:
        with pytest.raises(EngineError, match=r"vectors of 64 numbers.*vectors of 256"):
            await opened.search("anything", 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"projection": {"body": "contents"}}, r"no field 'contents' \(projection.body\); there are: content, doc_id"),
        ({"projection": {"body": "content", "doc_id": "nr"}}, r"no field 'nr' \(projection.doc_id\)"),
        ({"projection": {"body": "domain", "doc_id": "_id"}}, "of type keyword; BM25 needs a text field"),
        ({"fields": {"titel": 2}}, "'titel', which is no text field"),
        ({"id_field": "content"}, "id_field 'content' .* is not a keyword field"),
        ({"query": "knn", "embedder": WordEmbedder()}, "vector_field 'vector' .* is not there; there are: content"),
    ],
)
async def test_a_mapping_that_does_not_fit_is_refused_with_the_fields_there_are(newest, settings, said):
    one = engine(newest.url)
    await load(one, corpus(3))
    with pytest.raises(EngineError, match=said) as refusal:
        async with engine(newest.url, one.default_index, **settings).open(World()):
            pass
    assert "\n" not in str(refusal.value)


async def test_a_missing_index_is_refused_with_the_nearest_name(node):
    one = engine(node.url, "city-services-2024")
    await load(one, corpus(3))
    with pytest.raises(EngineError, match=r"unknown index 'city-service-2024'; did you mean 'city-services-2024'\?"):
        async with engine(node.url, "city-service-2024").open(World()):
            pass


async def test_an_alias_with_a_filter_is_seen_through_it(node):
    one = engine(node.url)
    await load(one, corpus())
    alias = f"{one.default_index}-parks"
    add = {"index": one.default_index, "alias": alias, "filter": {"term": {"domain": "parks"}}}
    call(node, "POST", "/_aliases", {"actions": [{"add": add}]})
    async with engine(node.url, alias).open(World()) as opened:
        assert await opened.groups("domain") == {"parks": 20}
        assert {document.domain for document in await opened.sample(Dice(2), 20)} == {"parks"}
