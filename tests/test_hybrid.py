"""Reciprocal rank fusion over engines of any kind, a plugin's too."""

import json
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SkipValidation, ValidationError

from dgt_rag.cli import run_command
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, SearchToolEngine, Where
from dgt_rag.engines.hybrid import HybridEngine, fuse
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import CorpusError, EngineError, Exit, TaskError
from dgt_rag.records import Document, Hit
from dgt_rag.testing import LAWS, Opener
from dgt_rag.world import World


class Fixed(Retriever):
    """A plugin's engine: always the same ranking."""

    def __init__(self, *ids: str) -> None:
        self.hits = [hit(doc_id, rank) for rank, doc_id in enumerate(ids, start=1)]
        self.limits: list[int] = []

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        self.limits.append(limit)
        found = [one for one in self.hits if one.document.matches(where or {})]
        return [one._replace(rank=rank) for rank, one in enumerate(found[:limit], start=1)]

    async def documents(self) -> AsyncIterator[Document]:
        for one in self.hits:
            yield one.document


class Fused(SearchToolEngine):
    """A hybrid that brings its parts with it."""

    type: Literal["test/fused"] = "test/fused"
    corpus: SkipValidation[Sequence[Document]]

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Retriever]:
        part = InMemoryEngine(corpus=self.corpus)
        other = part.model_copy(update={"language": "german"})
        engine = HybridEngine(
            engines={"one": 1, "two": 2}, relevance_threshold=self.relevance_threshold, filter=self.filter
        )
        async with (
            part.open(world) as one,
            other.open(world) as two,
            engine.open(World(engines={"one": one, "two": two})) as retriever,
        ):
            yield retriever


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_it_keeps_the_laws_of_every_engine(law, tmp_path: Path) -> None:
    await law(Opener(lambda documents, folder, **settings: Fused(corpus=documents, **settings), tmp_path))


def hit(doc_id: str, rank: int) -> Hit:
    return Hit(document=Document(doc_id=doc_id, body=f"body {doc_id}"), score=1 / rank, rank=rank)


async def searched(engine: HybridEngine, limit: int = 10, where: Where | None = None, **parts: Retriever) -> list[Hit]:
    async with engine.open(World(engines=parts)) as retriever:
        return await retriever.search("query", limit, where)


async def test_what_both_rank_high_comes_first_and_the_sums_are_the_scores() -> None:
    hits = await searched(HybridEngine(engines=["one", "two"]), one=Fixed("a", "b", "c"), two=Fixed("b", "d", "a"))
    assert [one.document.doc_id for one in hits] == ["b", "a", "d", "c"]
    assert hits[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert [one.rank for one in hits] == [1, 2, 3, 4]


async def test_weights_k_depth_limit_threshold_and_where_do_what_they_say() -> None:
    one, two = Fixed(*"abcdef"), Fixed(*"fedcba")
    engine = HybridEngine(engines={"one": 1.0, "two": 3.0}, k=0, depth=2)
    assert [h.document.doc_id for h in await searched(engine, one=one, two=two)][:2] == ["f", "e"]
    assert one.limits == [10]
    assert [h.document.doc_id for h in await searched(engine, 1, one=one, two=two)] == ["f"]
    assert one.limits[-1] == 2
    only = await searched(engine, where={"doc_id": ["a", "b"]}, one=one, two=two)
    assert [h.document.doc_id for h in only] == ["b", "a"]
    strict = HybridEngine(engines=["one", "two"], relevance_threshold=0.0325)
    assert {h.document.doc_id for h in await searched(strict, one=Fixed("a", "b"), two=Fixed("a", "c"))} == {"a"}


async def test_a_document_that_several_engines_find_is_shown_as_the_first_of_them_has_it() -> None:
    class Other(Fixed):
        async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
            hits = await super().search(query, limit, where)
            return [one._replace(document=one.document.model_copy(update={"body": "other"})) for one in hits]

    hits = await searched(HybridEngine(engines=["one", "two"]), one=Fixed("a", "b"), two=Other("b", "c", "a"))
    assert {one.document.doc_id: one.document.body for one in hits} == {"a": "body a", "b": "body b", "c": "other"}


@pytest.mark.parametrize(
    ("k", "weights"),
    [
        (60, (1e-7, 1e-7)),
        (60, (1e-300, 1e-300)),
        (60, (1e300, 1e300)),
        (60, (1.0, 1e-9)),
        (1e6, (1.0, 1.0)),
        (1e9, (1.0, 1.0)),
        (0, (1e-7, 1e-8)),
    ],
)
def test_an_order_that_all_agree_on_is_kept_however_little_it_weighs(k: float, weights: tuple[float, ...]) -> None:
    ranked = [[hit(doc_id, rank) for rank, doc_id in enumerate("zayb", start=1)]] * 2
    fused = fuse(ranked, weights, k)
    assert [document.doc_id for document, _ in fused] == [*"zayb"]
    assert fused[0][1] == pytest.approx(sum(weights) / (k + 1))


def test_what_is_as_good_in_another_way_is_a_tie() -> None:
    places = {"b": (1, None, 1), "a": (None, 1, None), "d": (7, None, 7), "c": (None, 7, None)}
    for k in (60.0, 1e6):
        ranked = [[hit(one, at[place]) for one, at in places.items() if at[place]] for place in range(3)]
        for scale in (1.0, 1e-7, 3.0):
            fused = fuse(ranked, [scale * weight for weight in (0.1, 0.3, 0.2)], k)
            assert [document.doc_id for document, _ in fused] == [*"abcd"]


@pytest.mark.parametrize("weights", [(5e-324, 1e308), (1e308, 1e308), (5e-324, 5e-324)])
def test_weights_of_any_size_are_no_error(weights: tuple[float, ...]) -> None:
    for k in (0.0, 1e308):
        ranked = [[hit("b", 1), hit("a", 2)], []]
        assert {document.doc_id for document, _ in fuse(ranked, weights, k)} == {"a", "b"}
    assert fuse([[], []], weights, 60) == []


async def test_documents_are_those_of_the_first_engine_or_of_the_one_named() -> None:
    parts = {"one": Fixed("a", "b"), "two": Fixed("c"), "three": Fixed("d", "e", "f")}
    async with HybridEngine(engines=["one", "two"]).open(World(engines=parts)) as retriever:
        assert [d.doc_id async for d in retriever.documents()] == ["a", "b"]
        assert await retriever.count() == 2
        assert [d.doc_id for d in await retriever.at([1, 0])] == ["b", "a"]
    engine = HybridEngine(engines=["one", "two"], documents_from="three")
    assert engine.needs() == ("one", "two", "three")
    async with engine.open(World(engines=parts)) as retriever:
        assert {d.doc_id for d in await retriever.sample(Dice(1), 9)} == {"d", "e", "f"}
        assert await retriever.groups("doc_id") == {"d": 1, "e": 1, "f": 1}
        assert await retriever.fingerprint() == await parts["three"].fingerprint()


async def test_a_shipped_engine_and_a_plugins_can_be_fused() -> None:
    corpus = [{"id": "a", "text": "the red bicycle"}, {"id": "b", "text": "a query about soup"}]
    async with InMemoryEngine(corpus=corpus).open(World()) as bm25:
        hits = await searched(HybridEngine(engines={"bm25": 1, "mine": 1}), bm25=bm25, mine=Fixed("z", "b"))
    assert [one.document.doc_id for one in hits] == ["b", "z"]


async def test_a_filter_goes_down_to_the_engines_that_are_fused_with_the_filter_of_the_caller() -> None:
    documents = [
        {"id": str(n), "text": "a query on soup", "domain": "ab"[n % 2], "tags": ["all", f"t{n % 3}"]}
        for n in range(400)
    ]
    async with (
        InMemoryEngine(corpus=documents).open(World()) as one,
        InMemoryEngine(corpus=documents).open(World()) as two,
    ):
        engine = HybridEngine(engines=["one", "two"], filter={"domain": "b", "tags": ["t0", "t1"]}, depth=5)
        async with engine.open(World(engines={"one": one, "two": two})) as retriever:
            assert await retriever.count() == 134 == len([1 async for _ in retriever.documents()])
            assert await retriever.groups("domain", {"tags": ["t2", "all"]}) == {"b": 134}
            for where in ({}, {"tags": "t1"}, {"tags": "all"}, {"tags": ["t2", "t1", "t0"]}, {"domain": ["a", "b"]}):
                conditions: Where = where
                found = await retriever.search("query", 300, conditions)
                wanted = [d async for d in one.documents() if d.matches(engine.filter) and d.matches(conditions)]
                assert sorted(hit.document.doc_id for hit in found) == sorted(d.doc_id for d in wanted)
            assert await retriever.search("query", 300, {"domain": "a"}) == []
            assert len(await retriever.search("query", 10, {"tags": "all"})) == 10
        with pytest.raises(
            CorpusError, match=r"engine 'both': filter: .* unknown field 'dmoain'; did you mean 'domain'"
        ):
            async with HybridEngine(engines=["one", "two"], filter={"dmoain": "b"}).open(
                World(name="both", engines={"one": one, "two": two})
            ):
                pass


async def test_a_hit_of_an_engine_that_shows_no_fields_is_kept_if_the_engine_found_it_by_the_filter() -> None:
    class Bare(Fixed):
        async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
            assert where == {"domain": "b"}
            return await super().search(query, limit)

    documents = [{"id": one, "text": "a query", "domain": domain} for one, domain in ("aa", "bb", "cb")]
    async with InMemoryEngine(corpus=documents).open(World()) as held:
        engine = HybridEngine(engines=["held", "bare"], filter={"domain": "b"}, documents_from="held")
        hits = await searched(engine, held=held, bare=Bare("x", "b"))
    assert [one.document.doc_id for one in hits] == ["b", "x", "c"]


async def test_an_engine_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(TaskError, match=r"engines: unknown engine 'tow'; did you mean 'two'\?"):
        await searched(HybridEngine(engines=["one", "tow"]), one=Fixed(), two=Fixed())


async def test_an_engine_that_fails_fails_the_search() -> None:
    class Failing(Fixed):
        async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
            raise EngineError("gone")

    with pytest.raises(EngineError, match="gone"):
        await searched(HybridEngine(engines=["one", "two"]), one=Fixed("a"), two=Failing())


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"engines": ["one"]}, "fewer than two engines"),
        ({"engines": {"one": 1.0, "two": 0.0}}, "greater than 0"),
        ({"engines": {"one": 1.0, "two": math.inf}}, "finite number"),
        ({"engines": {"one": 1.0, "two": "heavy"}}, "valid number"),
        ({"engines": ["one", {"two": 1}]}, "valid string"),
        ({"engines": "one"}, "a list of engines, or a mapping of engine to weight, is needed"),
        ({"engines": ["one", "one"]}, "fewer than two engines"),
    ],
)
def test_settings_that_make_no_sense_are_refused_once(settings: dict, line: str) -> None:
    with pytest.raises(ValidationError, match=line) as refused:
        HybridEngine.model_validate(settings)
    assert refused.value.error_count() == 1


def test_settings_of_both_forms_are_written_back_as_they_were_read() -> None:
    for engines in ({"one": 1.0, "two": 2.5}, ("one", "two")):
        engine = HybridEngine(engines=engines)
        assert engine.engines == engines
        assert HybridEngine.model_validate_json(engine.model_dump_json()) == engine


@pytest.mark.parametrize(
    ("engines", "circle"),
    [
        ({"h": {"type": "search/hybrid", "engines": ["b", "h"]}}, "h needs h"),
        (
            {
                "h": {"type": "search/hybrid", "engines": ["b", "g"]},
                "g": {"type": "search/hybrid", "engines": {"h": 1, "b": 2}},
            },
            "h needs g needs h",
        ),
        (
            {"v": {"type": "search/vector", "embedder": {"type": "openai", "model": "m"}, "documents_from": "v"}},
            "v needs v",
        ),
        ({"w": {"type": "search/http", "url": "http://localhost/", "documents_from": "w"}}, "w needs w"),
    ],
)
def test_a_search_refuses_engines_that_need_each_other_in_a_circle(
    engines: dict[str, Any], circle: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"type": "search/in_memory", "corpus": [{"id": "1", "text": "a ferry"}]}
    stages = [{"name": "lm/scenario/rag", "document_samplers": [{"type": "search/random", "engine": "b", "k": 1}]}]
    task = {"tools": {"engines": {"b": words, **engines}}, "initialization_stages": stages}
    (tmp_path / "task.yaml").write_text(json.dumps(task), encoding="utf-8")
    assert run_command(["search", str(tmp_path / "task.yaml"), "ferry"]) == Exit.YOURS
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"tools.engines: {circle}: engines cannot need each other in a circle\n")


rankings = st.lists(st.lists(st.sampled_from("abcdefgh"), unique=True), min_size=2, max_size=4)


@settings(deadline=None)
@given(rankings)
def test_fusion_does_not_depend_on_the_order_of_engines(ids: list[list[str]]) -> None:
    ranked = [[hit(doc_id, rank) for rank, doc_id in enumerate(one, start=1)] for one in ids]
    weights = [1.0 + place for place in range(len(ranked))]
    forth, back = fuse(ranked, weights, 60), fuse(ranked[::-1], weights[::-1], 60)
    assert [(document.doc_id, score) for document, score in forth] == [(d.doc_id, score) for d, score in back]
    assert {document.doc_id for document, _ in forth} == set("".join("".join(one) for one in ids))


def test_the_order_of_engines_shows_in_no_digit_of_a_score() -> None:
    # added up one after the other, these differ in the twelfth digit by the order
    ranked, weights = [[hit("a", rank)] for rank in (537, 158, 157)], [1.0, 0.7, 0.3]
    assert fuse(ranked, weights, 60) == fuse(ranked[::-1], weights[::-1], 60)


@settings(deadline=None)
@given(rankings)
def test_what_stands_before_another_in_every_ranking_stands_before_it_when_fused(ids: list[list[str]]) -> None:
    ranked = [[hit(doc_id, rank) for rank, doc_id in enumerate(one, start=1)] for one in ids]
    order = [document.doc_id for document, _ in fuse(ranked, [1.0] * len(ranked), 60)]
    for first in order:
        for second in order:
            if all(first in one and (second not in one or one.index(first) < one.index(second)) for one in ids):
                assert first == second or order.index(first) < order.index(second)
