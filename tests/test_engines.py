"""The laws that every engine keeps, for every engine that is shipped and one that a plugin might bring."""

import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import SkipValidation, ValidationError

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Narrowed, Retriever, SearchToolEngine, Where
from dgt_rag.engines.file import FileEngine
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import CorpusError
from dgt_rag.pipeline.opening import open_engines
from dgt_rag.records import Document, Hit
from dgt_rag.testing import LAWS, Factory, Opener, corpus, write_corpus
from dgt_rag.world import World


class Guest(SearchToolEngine):
    """All that a plugin must write: two methods."""

    type: Literal["test/guest"] = "test/guest"
    corpus: SkipValidation[Sequence[Document]]
    heeds: bool = True
    """Whether `where` is heeded, as it must be."""

    async def documents(self) -> AsyncIterator[Document]:
        for document in self.corpus:
            yield document

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        words, found = query.lower().replace("?", " ").split(), []
        for document in self.corpus:
            text = f"{document.title} {document.body}".lower()
            score = sum((word in text) + (word in re.findall(r"\w+", text)) for word in words)
            if score and (not self.heeds or document.matches(where or {})):
                found.append((-score, document.doc_id, document))
        best = sorted(found, key=lambda one: one[:2])[:limit]
        return [Hit(document=one, score=float(-score), rank=rank) for rank, (score, _, one) in enumerate(best, 1)]


def in_memory(documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
    return InMemoryEngine(corpus=documents, **settings)


def file(documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
    return FileEngine(path=write_corpus(documents, folder / "corpus.jsonl"), **settings)


def guest(documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
    return Guest(corpus=documents, **settings)


def opening(documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
    return Opening(corpus=documents, **settings)


ENGINES: dict[str, Factory] = {"in_memory": in_memory, "file": file, "guest": guest, "opening": opening}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("engine", ENGINES)
async def test_every_engine_keeps_the_law(engine, law, tmp_path):
    await law(Opener(ENGINES[engine], tmp_path))


async def test_a_guest_without_filter_and_threshold_is_its_own_retriever() -> None:
    engine = Guest(corpus=corpus())
    async with engine.open(World()) as retriever:
        assert retriever is engine


class Opening(Guest):
    """A guest that opens something first, and is its own retriever then."""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        yield self


async def test_a_guest_with_an_open_of_its_own_that_is_its_own_retriever_keeps_filter_and_threshold() -> None:
    engine = Opening(corpus=corpus(), filter={"year": 2021}, relevance_threshold=6)
    async with AsyncExitStack() as stack:
        retriever = (await open_engines({"mine": engine}, World(), stack))["mine"]
        hits = await retriever.search("office questions amber", 100)
        assert hits and all(hit.document.matches({"year": 2021}) and hit.score >= 6 for hit in hits)
        assert await retriever.count() == 20
    with pytest.raises(CorpusError, match="engine 'mine': filter"):
        async with AsyncExitStack() as stack:
            await open_engines({"mine": Opening(corpus=corpus(), filter={"year": 1})}, World(), stack)


async def test_a_filter_holds_for_a_guest_that_does_not_heed_where() -> None:
    async with Guest(corpus=corpus(), heeds=False, filter={"doc_id": ["doc-03", "doc-39"]}).open(World()) as retriever:
        hits = await retriever.search("office questions form", 2)
        assert [(hit.document.doc_id, hit.rank) for hit in hits] == [("doc-03", 1), ("doc-39", 2)]
        assert [hit.document.doc_id for hit in await retriever.search("office", 5, {"domain": "nowhere"})] == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("filter", "line"),
    [
        ({"domain": "nowhere"}, "domain: unknown value 'nowhere'; there are: library, parking, pools, waste"),
        ({"year": [2022, 2031]}, "year: unknown value '2022'; did you mean '2021'?"),
        ({"yaer": 2020}, "unknown field 'yaer'; did you mean 'year'?"),
        ({"meta.é": 3}, "unknown field 'meta.é'; there are: body, doc_id, domain, source.category, tags, title, year"),
        ({"domain": "waste", "title": "Pools amber"}, "change `filter`"),
        ({"year": None}, "change `filter`"),
    ],
)
async def test_a_filter_that_leaves_nothing_is_refused_with_what_there_is(engine, filter, line, tmp_path) -> None:
    with pytest.raises(CorpusError) as refused:
        async with Opener(ENGINES[engine], tmp_path, World(name="mine")).open(corpus(), filter=filter):
            pass
    written = json.dumps(filter, ensure_ascii=False)
    assert str(refused.value) == f"engine 'mine': filter: no document of the corpus has {written}; {line}"


def test_a_filter_may_be_written_by_mappings_within_mappings() -> None:
    engine = Guest(corpus=(), filter={"meta": {"lang": ["en", "de"], "a": {"b": None}}, "x.y": 1})
    assert engine.filter == {"meta.lang": ["en", "de"], "meta.a.b": None, "x.y": 1}
    assert engine.model_validate({**engine.model_dump(), "corpus": ()}) == engine


@pytest.mark.parametrize("wanted", [{}, [["a"]], [{"a": 1}], ["a", {}]])
def test_a_filter_value_that_no_field_can_have_is_refused(wanted: Any) -> None:
    with pytest.raises(ValidationError, match=r"meta\.lang: a value of the field is needed, or a list of values"):
        Guest(corpus=(), filter={"meta": {"lang": wanted}})


@pytest.mark.parametrize(("path", "own"), [("section", "domain"), ("head.line", "title"), ("id", "doc_id")])
async def test_a_filter_by_the_corpuss_own_name_of_a_field_is_told_ours(path: str, own: str, tmp_path: Path) -> None:
    record = {"id": "1", "text": "A ferry.", "section": "sea", "head": {"line": "Ferries"}}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(record))
    keys: dict[str, Any] = {"projection": {"domain": "section", "title": "head.line"}, "filter": {path: "x"}}
    made = InMemoryEngine.model_validate({"corpus": [record], **keys})
    for engine in (made, FileEngine.model_validate({"path": tmp_path / "corpus.jsonl", **keys})):
        with pytest.raises(CorpusError, match=rf"'{path}' is called {own} here \(projection\)$"):
            async with engine.open(World()):
                pass


async def test_a_guest_that_can_only_search_keeps_its_threshold_and_opens_with_a_filter() -> None:
    class Searching(Guest):
        documents = Retriever.documents

    engine = Searching(corpus=corpus(), filter={"year": 2021}, relevance_threshold=6)
    async with engine.open(World()) as retriever:
        hits = await retriever.search("office questions amber", 100)
    assert hits and all(hit.document.matches({"year": 2021}) and hit.score >= 6 for hit in hits)


VALUES = {
    "tags": ["all", "t0", "t1", "t2", "none"],
    "year": [2020, "2021", 1999, None],
    "domain": ["waste", "pools"],
}
conditions = st.fixed_dictionaries(
    {},
    optional={
        path: st.one_of(st.sampled_from(values), st.lists(st.sampled_from(values))) for path, values in VALUES.items()
    },
)


@settings(deadline=None)
@given(conditions, conditions, st.booleans(), st.integers(0, 45))
@example({"tags": "t0"}, {"tags": "all"}, False, 5)
@example({"tags": ["t0", "t1"]}, {"tags": ["t1", "t2"]}, True, 45)
async def test_two_filters_leave_what_both_leave(filter: Where, where: Where, sure: bool, limit: int) -> None:
    whole = Guest(corpus=corpus())
    narrowed = Narrowed(whole, filter, sure=sure)
    left = [one.doc_id for one in corpus() if one.matches(filter) and one.matches(where)]
    hits = await narrowed.search("office questions form", limit, where)
    assert [hit.document.doc_id for hit in hits] == sorted(left)[:limit]
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert await narrowed.count(where) == len(left)
    assert {one.doc_id for one in await narrowed.sample(Dice(1), 100, where)} == set(left)
    assert sum((await narrowed.groups("doc_id", where)).values()) == len(left)
    seen = [one async for one in narrowed.documents()]
    assert await narrowed.at(list(range(len(seen)))[::-1]) == seen[::-1]
    assert (await narrowed.fingerprint() == await whole.fingerprint()) == (not filter)
