"""`language` on real servers of each generation: ranked as by our own lexical engines, and what has no such terms."""

import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
from faulty_proxy import Fault, faulty
from launcher import Node
from loading import call, corpus, engine, load

from dgt_rag.dice import Dice
from dgt_rag.engines.analysis import Language
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.elasticsearch import ElasticsearchEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import EngineError
from dgt_rag.records import Document
from dgt_rag.world import World

DATA = Path(__file__).parents[2] / "data"
CORPORA = sorted(path.parent.name for path in DATA.glob("*/documents.jsonl"))
NAMES = (("id", "_id", "key"), ("title", "heading"), ("domain", "area"), ("text", "body", "content"))
TALES: dict[Language, tuple[str, str, str]] = {
    "german": ("de", "Die Häuser am Fluss werden vermietet.", "Haus"),
    "french": ("fr", "Les chevaux mangent dans les écuries.", "une écurie"),
    "spanish": ("es", "Las bibliotecas abren por las mañanas.", "biblioteca"),
    "russian": ("ru", "Лошади стоят в конюшнях.", "конюшня"),
    "tamil": ("ta", "நூலகங்கள் திங்கள் கிழமை மூடப்படும்.", "நூலகம்"),
    "turkish": ("tr", "İstanbul'da kütüphaneler pazartesi kapalıdır.", "istanbul"),
    "chinese": ("zh", "停车许可证每年必须更新。", "许可证更新"),
    "japanese": ("ja", "図書館は毎週月曜日に閉館します。", "月曜日の図書館"),
    "korean": ("ko", "도서관은 매주 월요일에 문을 닫습니다.", "월요일 도서관"),
}
"""Language → a document's id and text, and words of its own that stand there in another form or place."""
ODD = [
    Document(
        doc_id="accents", title="Café rules", body="The café's naïve résumé was déjà vu, re-naïve and co-operative."
    ),
    Document(doc_id="apart", body="Cafe\u0301 with its accents apart, \ufb01ne ligatures, ｆｕｌｌ width, x² and ½."),
    Document(doc_id="numbers", body="Form 12-B costs 1,250.75 dollars, i.e. $3 more than v2.0_beta of 2024-05-01."),
    Document(doc_id="long", body=f"{'x' * 255} {'y' * 256} {'é' * 127}e {'z' * 300} short"),
    Document(doc_id="empty", title="?!", body="-- ... --"),
    Document(doc_id="words", body="to be or not to be that is the question and whether it is"),
    Document(doc_id="thai", body="ใบอนุญาตจอดรถ ต้องต่ออายุทุกปี ｶﾀｶﾅ 𠮷野家 permits"),
    *(Document(doc_id=name, body=text) for name, text, _ in TALES.values()),
    *(Document(doc_id=f"same{number}", title="Equal", body="one and the same permit") for number in range(15)),
]


def documents(name: str) -> list[Document]:
    """Return a corpus of the project, with texts that are hard to cut into words."""
    lines = (DATA / name / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    named = [[next((row[key] for key in keys if key in row), "") for keys in NAMES] for row in rows]
    return [*(Document(**dict(zip(("doc_id", "title", "domain", "body"), one, strict=True))) for one in named), *ODD]


def questions(texts: Sequence[Document], dice: Dice, many: int) -> list[str]:
    """Return titles, words as they stand in the texts, some twice and with function words, and what is no word."""
    words = [word for one in texts for word in one.body.split()]
    asked = [one.title for one in texts] + [one.body for one in dice.sample(texts, 5)]
    for number in range(many):
        some = [dice.choose(words) for _ in range(1 + number % 6)]
        some += some[:1] * (number % 3) + ["what", "is", "the"][: number % 4]
        asked.append(" ".join(dice.shuffled(some)))
    asked += ["the of and", "what is it", "to be or not to be", "and whether", "?!", "", "permit permit permit cafe"]
    return [*asked, *(text for *_, text in TALES.values()), "证", "x" * 255, "z" * 300, "y" * 256, "½ x² fine cafés"]


@asynccontextmanager
async def both(node: Node, texts: Sequence[Document], **settings: Any) -> AsyncIterator[tuple[Retriever, Retriever]]:
    """Open documents in memory and in an index."""
    here, there = InMemoryEngine(corpus=texts, **settings), engine(node.url, **settings)
    await load(there, texts)
    async with here.open(World()) as memory, there.open(World()) as index:
        yield memory, index


async def assert_alike(here: Retriever, there: Retriever, questions: Sequence[str]) -> None:
    """Hold that both find the same documents with the same scores; those whose scores are equal may change places."""
    for question in questions:
        scores = {hit.document.doc_id: hit.score for hit in await here.search(question, 10_000)}
        found = await there.search(question, 10)
        wanted = sorted(scores.values(), reverse=True)[:10]
        assert [hit.score for hit in found] == pytest.approx(wanted, rel=2e-4), question
        assert [scores[hit.document.doc_id] for hit in found] == pytest.approx(wanted, rel=2e-4), question


@pytest.mark.parametrize("name", CORPORA)
async def test_an_index_ranks_as_the_engine_in_memory_does_with_its_scores(node, name):
    texts = documents(name)
    asked = questions(texts, Dice("questions", name), 250)
    async with both(node, texts) as (memory, index):
        await assert_alike(memory, index, asked)


@pytest.mark.parametrize("language", get_args(Language))
async def test_every_language_ranks_as_the_engine_in_memory_does(newest, language):
    texts = documents(CORPORA[0])
    async with both(newest, texts, language=language) as (memory, index):
        await assert_alike(memory, index, questions(texts, Dice("questions", language), 30))


@pytest.mark.parametrize("language", TALES)
async def test_words_are_found_by_another_form(node, language):
    name, _, question = TALES[language]
    one = engine(node.url, language=language)
    await load(one, ODD)
    async with one.open(World()) as opened:
        assert (await opened.search(question, 3))[0].document.doc_id == name
    assert (await load(one, ODD)).present == len(ODD)


async def told(one: ElasticsearchEngine) -> str:
    """Open an engine and return what it says of its index."""
    said: list[str] = []
    async with one.open(World(say=said.append)):
        return "\n".join(said)


async def test_a_server_without_an_analyzer_for_the_language_ranks_by_it_all_the_same(node):
    why = "Failed to parse mapping [_doc]: analyzer [german] has not been configured in mappings"
    error = {"type": "mapper_parsing_exception", "reason": why}
    said: list[str] = []
    async with faulty(node.port) as proxy:
        one = engine(proxy.url, language="german")
        proxy.plan += [Fault("_alias"), Fault(one.default_index, answer=(400, {}, {"error": error, "status": 400}))]
        await load(one, ODD, World(say=said.append))
        assert not proxy.plan
        assert (await load(one, ODD)).added == 0
        async with one.open(World()) as opened:
            assert [hit.document.doc_id for hit in await opened.search("Haus", 3)] == ["de"]
    assert "the server has no analyzer for german" in said[0]
    shape = call(node, "GET", f"/{one.default_index}/_mapping")[one.default_index]["mappings"]["properties"]
    assert shape["content"]["analyzer"] == shape["title"]["analyzer"] == "standard"


async def test_an_index_of_another_language_or_analyzer_is_refused_with_the_way_out(newest):
    one = engine(newest.url, language="german")
    await load(one, corpus(6))
    for settings, asked in (({}, "language: english"), ({"analyzer": "standard"}, "analyzer: standard")):
        with pytest.raises(EngineError, match=f"was made with `language: german`, this engine has `{asked}`"):
            await told(engine(newest.url, one.default_index, **settings))
        with pytest.raises(EngineError, match=f"was made with `language: german`, this engine has `{asked}`"):
            await load(engine(newest.url, one.default_index, **settings), corpus(6))
    assert not await told(engine(newest.url, one.default_index, fields={"title": 1, "content": 1}))


async def test_words_that_an_earlier_version_cut_are_not_searched_by_those_of_this_one(newest):
    one = engine(newest.url)
    await load(one, corpus(6))
    old = {"dgt_rag": {**one.made, "analysis": 1}}
    call(newest, "PUT", f"/{one.default_index}/_mapping", {"_meta": old})
    with pytest.raises(
        EngineError, match="holds words as another version cut them; load another index, or let the server rank"
    ):
        await told(one)


async def test_an_index_that_others_made_is_ranked_by_the_server_and_told_where_a_language_is_written(newest):
    name = f"foreign-{uuid.uuid4().hex[:8]}"
    document = {"doc_id": "a", "content": "The meters are read in spring."}
    call(newest, "PUT", f"/{name}/_doc/a?refresh=true", document)
    assert not await told(engine(newest.url, name))
    said = await told(engine(newest.url, name, language="english"))
    assert f"index '{name}' was not made by a `language`; words are looked for in 'content' as the server" in said
    async with engine(newest.url, name).open(World()) as opened:
        assert not await opened.search("meter", 3)
        assert [hit.document.doc_id for hit in await opened.search("meters", 3)] == ["a"]


async def test_documents_that_others_add_or_change_are_found_by_what_they_say_now_and_told(newest):
    one = engine(newest.url)
    await load(one, corpus(6))
    change = {"doc": {"content": "nothing but zebras"}}
    call(newest, "POST", f"/{one.default_index}/_update/d00003?refresh=true", change)
    said = await told(one)
    assert "has documents (1) that were not written by `index`, or changed since" in said and "'content'" in said
    async with one.open(World()) as opened:
        assert [hit.document.doc_id for hit in await opened.search("zebra", 3)] == ["d00003"]
        assert "d00003" not in [hit.document.doc_id for hit in await opened.search("place3", 3)]


async def test_indices_behind_one_name_with_terms_of_other_fields_are_ranked_by_the_server_and_told(newest):
    first = engine(newest.url)
    second = engine(newest.url, projection={"title": "heading"})
    await load(first, corpus(6))
    await load(second, corpus(12)[6:])
    for alias, names in (("mixed-1", (first, second)), ("mixed-2", (second, first))):
        for one in names:
            add = {"index": one.default_index, "alias": alias}
            call(newest, "POST", "/_aliases", {"actions": [{"add": add}]})
        said = await told(engine(newest.url, alias))
        assert "holds the terms of 'heading' and 'content', which `projection` does not name" in said


async def test_the_terms_show_in_no_document_and_stand_in_no_ones_way(newest):
    one, documents = engine(newest.url), corpus(6)
    await load(one, documents)
    async with one.open(World()) as opened:
        assert [document async for document in opened.documents()] == documents
        assert [hit.document for hit in await opened.search("place3", 1)] == [documents[3]]
    mine = Document(doc_id="mine", body="x", metadata={"dgt_rag_text": "y"})
    with pytest.raises(EngineError, match="'dgt_rag_text', which the index needs for the terms of `language`; rename"):
        await load(engine(newest.url), [mine])
    await load(engine(newest.url, analyzer="english"), [mine])


async def test_blank_bodies_are_left_out_of_an_index_and_told_and_an_id_that_comes_twice_is_refused(newest):
    one, said = engine(newest.url), []
    blank = [Document(doc_id=f"blank{number}", title="?", body=" \n") for number in range(2)]
    assert (await load(one, [*corpus(6), *blank], World(say=said.append))).added == 6
    assert f"index '{one.default_index}': 2 documents with a blank body are left out" in said
    with pytest.raises(EngineError, match="two documents have the doc_id 'd00000'; ids must differ"):
        await load(engine(newest.url), [*corpus(6), corpus(1)[0]])
