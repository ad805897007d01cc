"""Loading documents into a real index: what is refused, and that nothing is changed by it."""

import pytest
from loading import FewWordEmbedder, WordEmbedder, call, corpus, engine, load

from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import EngineError
from dgt_rag.records import Document
from dgt_rag.world import World


async def refused(one, documents) -> str:
    with pytest.raises(EngineError) as refusal:
        await load(one, documents)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


async def test_another_document_under_an_id_that_is_taken_is_refused(newest):
    one = engine(newest.url)
    await load(one, corpus(5))
    changed = corpus(5)[3].model_copy(update={"body": "other words"})
    assert "holds another document under the id 'd00003'" in await refused(one, [changed])


@pytest.mark.parametrize("other", ["", "!"])
async def test_a_document_that_comes_again_far_behind_is_there_already_or_refused(newest, other):
    documents = corpus(1_500)
    again = documents[3].model_copy(update={"body": documents[3].body + other})
    if other:
        with pytest.raises(EngineError, match="holds another document under the id 'd00003'"):
            await load(engine(newest.url), [*documents, again])
    else:
        done = await load(engine(newest.url), [*documents, again])
        assert (done.added, done.present) == (1_500, 1)


async def test_an_index_of_another_shape_is_refused(node):
    one = engine(node.url)
    await load(one, corpus(5))
    other = engine(node.url, one.default_index, analyzer="standard")
    assert "was made with `language: english`, this engine has `analyzer: standard`" in await refused(other, corpus(5))
    plain = engine(node.url, analyzer="english")
    await load(plain, corpus(5))
    other = engine(node.url, plain.default_index, analyzer="standard")
    assert "was made with `analyzer: english`, this engine has `analyzer: standard`" in await refused(other, corpus(5))
    other = engine(node.url, one.default_index, projection={"body": "text", "doc_id": "id"})
    assert "'text' has type None, text is needed" in await refused(other, corpus(5))


async def test_an_index_with_vectors_of_another_make_is_refused(newest):
    one = engine(newest.url, embedder=WordEmbedder())
    await load(one, corpus(5))
    other = engine(newest.url, one.default_index, embedder=WordEmbedder(dims=64))
    assert "'vector' has dims 256, 64 is needed" in await refused(other, corpus(5))


async def test_an_index_whose_load_was_cut_is_told_as_such_until_it_has_come_to_its_end(node):
    one, said = engine(node.url), []
    mixed = [
        Document(doc_id=str(n), body="x", metadata={"pages": value}) for n, value in enumerate([1, {"of": "many"}])
    ]
    assert "mend it, and the same command goes on from there" in await refused(one, mixed)
    async with one.open(World(say=said.append)) as opened:
        assert await opened.count() <= 1
    (line,) = said
    assert f"index {one.default_index!r} is not whole" in line and "the same `index` command goes on" in line
    for more in (corpus(5), corpus(9)):
        await load(one, [mixed[0], *more])
        async with one.open(World(say=said.append)) as opened:
            assert await opened.count() == 1 + len(more)
    assert len(said) == 1


async def test_a_load_that_adds_nothing_changes_nothing_of_what_an_index_says_of_itself(newest):
    one, said = engine(newest.url), []
    await load(one, corpus(5))
    kept = {"_meta": {"owner": "archive", "dgt_rag": {**one.made}}}
    call(newest, "PUT", f"/{one.default_index}/_mapping", kept)
    assert "holds another document" in await refused(one, [corpus(5)[3].model_copy(update={"body": "other words"})])
    async with one.open(World(say=said.append)):
        assert not said
    await load(one, corpus(9))
    found = call(newest, "GET", f"/{one.default_index}/_mapping")
    assert found[one.default_index]["mappings"]["_meta"] == kept["_meta"]


async def test_values_of_any_kind_are_kept_and_filtered_and_grouped_as_on_this_machine(node):
    values = [2001, "unknown", 2.0, 2, True, "true", "", None, ["", None], "n" * 2000, 2**70, 1e300, ["a", 7], "2001"]
    documents = [
        Document(
            doc_id=f"d{n:02}",
            body="permit",
            metadata={"mark": value, "m": {"n": "p"} if n % 2 else {"n": "q", "k": "p"}},
        )
        for n, value in enumerate(values)
    ]
    one = engine(node.url)
    assert (await load(one, documents)).added == len(documents)
    wheres = [{"mark": value} for value in (*values[:8], None, 2**70, 1e300, "a", 7, ["a", None], "nothing")]
    async with one.open(World()) as there, InMemoryEngine(corpus=documents).open(World()) as here:
        for where in (*wheres, {"m.n": "p"}, {"m": "p"}, {"m.k": None}):
            assert await there.count(where) == await here.count(where), where
            found = {hit.document.doc_id for hit in await there.search("permit", 50, where)}
            assert found == {hit.document.doc_id for hit in await here.search("permit", 50, where)}, where
        long = "n" * 2000
        groups = {name: size for name, size in (await here.groups("mark")).items() if name != long}
        assert {name: size for name, size in (await there.groups("mark")).items() if name} == groups
        assert [document async for document in there.documents()] == documents


async def test_fields_and_ids_that_cannot_be_kept_are_named(newest):
    clash = Document(doc_id="a", body="x", metadata={"content": "mine"})
    assert "document 'a' has a field 'content' of its own" in await refused(engine(newest.url), [clash])
    assert "ids of 1 to 512 bytes" in await refused(engine(newest.url), [Document(doc_id="é" * 300, body="x")])
    mixed = [
        Document(doc_id=str(n), body="x", metadata={"pages": value}) for n, value in enumerate([1, {"of": "many"}])
    ]
    assert "document '1' does not fit index" in await refused(engine(newest.url), mixed)
    assert "there are no documents to load" in await refused(engine(newest.url), [])


async def test_a_text_that_the_embedder_makes_nothing_of_is_loaded_without_a_vector_and_told(newest):
    one = engine(newest.url, embedder=FewWordEmbedder(), query="knn")
    documents = [
        Document(doc_id="known", body="a picnic"),
        Document(doc_id="strange", body="xyzzy"),
        Document(doc_id="two", body="meter levy"),
    ]
    said: list[str] = []
    assert (await load(one, documents, World(say=said.append))).added == 3
    assert any("1 of those added have no vector" in line for line in said)
    async with one.open(World()) as opened:
        assert [hit.document.doc_id for hit in await opened.search("picnic", 5)] == ["known"]
    assert (await load(one, documents)).present == 3


async def test_what_looks_like_a_date_or_sits_deep_is_kept_as_it_is(node):
    one = engine(node.url, projection={"body": "page.text", "doc_id": "page.id", "domain": "page.kind"})
    documents = [
        Document(
            doc_id="1", body="first", domain="k", metadata={"when": "2024-01-02", "tags": ["a", "b"], "half": 0.5}
        ),
        Document(doc_id="2", body="second", domain="k", metadata={"when": "unknown", "deep": {"er": [{"x": None}]}}),
    ]
    await load(one, documents)
    async with one.open(World()) as opened:
        assert [document async for document in opened.documents()] == documents
        assert await opened.count({"tags": "b"}) == await opened.count({"when": "unknown"}) == 1
