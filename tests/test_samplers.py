"""Samplers: what they promise of chance, groups, neighbours and coverage."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from building import BODIES, task_values
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dgt_rag.api import run
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, Where
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import Dropped, EngineError, TaskError
from dgt_rag.records import Document, Hit
from dgt_rag.samplers.base import DocumentSampler, Shelf, Source
from dgt_rag.samplers.coverage import CoverageSampler
from dgt_rag.samplers.mix import mixed
from dgt_rag.samplers.random import RandomSampler
from dgt_rag.samplers.related import RelatedSampler
from dgt_rag.samplers.shuffle import Shuffle
from dgt_rag.world import World


class Listed(Retriever):
    """A retriever over a list, ranked by the number of words shared."""

    def __init__(self, documents: list[Document]) -> None:
        self.held = documents
        self.streams = 0

    async def documents(self) -> AsyncIterator[Document]:
        self.streams += 1
        for document in self.held:
            yield document

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        words = set(query.lower().split())
        scored = [(len(words & set(d.body.lower().split())), d) for d in self.held if d.matches(where or {})]
        best = sorted((pair for pair in scored if pair[0]), key=lambda pair: (-pair[0], pair[1].doc_id))
        return [Hit(document=d, score=score, rank=rank) for rank, (score, d) in enumerate(best[:limit], start=1)]


def corpus(sizes: dict[str, int]) -> Shelf:
    return Shelf(
        Listed(
            [
                Document(doc_id=f"{group}-{n}", body=f"text {n} on {group}", metadata={"source": {"kind": group}})
                for group, size in sizes.items()
                for n in range(size)
            ]
        )
    )


async def drawn(sampler: DocumentSampler, shelf: Shelf, k: int, runs: int) -> list[list[Document]]:
    run_dice = Dice("run")
    return [await sampler.sample(Source(shelf, Dice("talk", i), run_dice, i), k) for i in range(runs)]


async def test_random_draws_every_document_equally_often() -> None:
    counts = Counter(d.doc_id for ds in await drawn(RandomSampler(engine="e"), corpus({"a": 20}), 2, 2000) for d in ds)
    assert len(counts) == 20
    # chi-square with 19 degrees of freedom stays below 43.8 in 99.9 % of fair draws
    assert sum((count - 200) ** 2 / 200 for count in counts.values()) < 43.8


class Gone(dict[str, int]):
    """Groups that tell how often they were gone through."""

    times = 0

    def __iter__(self) -> Iterator[str]:
        self.times += 1
        return super().__iter__()


@pytest.mark.parametrize("strategy", ["uniform", "proportional"])
async def test_however_many_groups_there_are_they_are_gone_through_once_and_not_in_each_draw(
    strategy: Literal["uniform", "proportional"],
) -> None:
    groups = Gone({f"g{n}": 1 + n % 9 for n in range(500)})

    class Held(Listed):
        async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
            return groups

    shelf = Shelf(Held([Document(doc_id=name, body="x", metadata={"kind": name}) for name in groups]))
    sampler = RandomSampler(engine="e", group_by="kind", strategy=strategy, exclude_groups=("g3",))
    first = await drawn(sampler, shelf, 1, 1)
    gone = groups.times
    again = await drawn(sampler, shelf, 1, 40)
    assert groups.times == gone
    assert again[0] == first[0]
    assert len({document.doc_id for (document,) in again}) > 20
    # another choice of groups of the same field is another urn
    other = await drawn(RandomSampler(engine="e", group_by="kind", include_groups=("g3",)), shelf, 1, 3)
    assert [[document.doc_id for document in documents] for documents in other] == [["g3"]] * 3


@given(st.lists(st.floats(0.001, 9), min_size=1, max_size=30), st.integers())
def test_a_place_is_drawn_as_an_item_of_these_weights_is(weights: list[float], seed: int) -> None:
    one, other = Dice("d", seed), Dice("d", seed)
    assert one.weighted(range(len(weights)), weights) == other.place(list(accumulate(weights)))


async def test_random_draws_different_documents_and_the_same_again() -> None:
    shelf = corpus({"a": 9})
    first = await drawn(RandomSampler(engine="e"), shelf, 4, 20)
    assert all(len({d.doc_id for d in ds}) == 4 for ds in first)
    assert first == await drawn(RandomSampler(engine="e"), shelf, 4, 20)


@pytest.mark.parametrize(("strategy", "share"), [("uniform", 0.5), ("proportional", 0.9)])
async def test_a_group_is_drawn_as_the_strategy_says(strategy: str, share: float) -> None:
    sampler = RandomSampler.model_validate({"engine": "e", "group_by": "source.kind", "strategy": strategy})
    got = await drawn(sampler, corpus({"big": 45, "small": 5}), 3, 600)
    assert all(len({d.field("source.kind") for d in ds}) == 1 for ds in got)
    assert sum(ds[0].field("source.kind") == "big" for ds in got) / 600 == pytest.approx(share, abs=0.07)


async def test_a_group_smaller_than_k_gives_what_there_is() -> None:
    got = await drawn(RandomSampler(engine="e", group_by="source.kind"), corpus({"a": 2}), 5, 3)
    assert [len(ds) for ds in got] == [2, 2, 2]


async def test_groups_can_be_included_and_excluded() -> None:
    shelf = corpus({"a": 3, "b": 3, "c": 3})
    only = await drawn(RandomSampler(engine="e", group_by="source.kind", include_groups=("b",)), shelf, 1, 30)
    without = await drawn(RandomSampler(engine="e", group_by="source.kind", exclude_groups=("b",)), shelf, 1, 60)
    assert {ds[0].field("source.kind") for ds in only} == {"b"}
    assert {ds[0].field("source.kind") for ds in without} == {"a", "c"}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"group_by": "source.knd"}, "engine 'e': group_by: unknown field 'source.knd'; did you mean 'source.kind'?"),
        (
            {"group_by": "source.kind", "include_groups": ("x",)},
            "group_by source.kind: unknown group 'x'; there are: a",
        ),
        ({"group_by": "source.kind", "exclude_groups": ("a",)}, "exclude_groups leaves no group"),
    ],
)
@pytest.mark.parametrize("kind", [RandomSampler, RelatedSampler, CoverageSampler])
async def test_a_field_or_group_that_is_not_there_is_refused_in_one_line(kind, settings: dict, line: str) -> None:
    with pytest.raises(TaskError) as refused:
        await drawn(kind(engine="e", **settings), corpus({"a": 3}), 2, 1)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)


def test_groups_without_a_field_are_refused() -> None:
    with pytest.raises(ValidationError, match="need `group_by: FIELD`"):
        RandomSampler(engine="e", include_groups=("a",))


def test_a_weight_must_be_positive() -> None:
    with pytest.raises(ValidationError, match="greater than 0"):
        RandomSampler(engine="e", weight=0)


async def test_groups_named_by_numbers_are_drawn_from() -> None:
    shelf = Shelf(Listed([Document(doc_id=str(n), body="x", metadata={"year": 2020 + n % 2}) for n in range(6)]))
    for sampler in (RandomSampler(engine="e", group_by="year"), CoverageSampler(engine="e", group_by="year")):
        assert all(len({d.field("year") for d in ds}) == 1 and len(ds) == 3 for ds in await drawn(sampler, shelf, 3, 4))


@pytest.mark.parametrize("kind", [RandomSampler, RelatedSampler, CoverageSampler])
async def test_groups_are_named_by_numbers_and_truth_values_as_a_filter_names_them(kind) -> None:
    metadata = [{"year": 2020 + n % 3, "old": n % 3 == 0, "part": n % 3 / 2} for n in range(9)]
    shelf = Shelf(Listed([Document(doc_id=str(n), body=f"x {n}", metadata=one) for n, one in enumerate(metadata)]))
    for keys in (
        {"group_by": "year", "include_groups": [2020]},
        {"group_by": "year", "include_groups": ["2020"]},
        {"group_by": "year", "exclude_groups": [2021, "2022"]},
        {"group_by": "old", "include_groups": [True]},
        {"group_by": "part", "include_groups": [0.0]},
    ):
        got = await drawn(kind.model_validate({"engine": "e", **keys}), shelf, 3, 4)
        assert {d.field("year") for ds in got for d in ds} == {2020}, keys


@pytest.mark.parametrize("group", [None, ["a"], {"a": 1}])
def test_a_group_that_names_nothing_is_refused(group: object) -> None:
    with pytest.raises(ValidationError, match="valid string"):
        RandomSampler.model_validate({"engine": "e", "group_by": "year", "include_groups": [group]})


def test_a_schema_lets_numbers_name_groups() -> None:
    groups = RandomSampler.model_json_schema()["properties"]["include_groups"]
    assert {one["type"] for one in groups["items"]["anyOf"]} == {"string", "integer", "number", "boolean"}


async def test_related_brings_the_nearest_and_no_copies() -> None:
    bodies = ["red bike brakes squeak", "red bike brakes  squeak", "bike brakes worn", "blue soup spoon", "brakes"]
    shelf = Shelf(Listed([Document(doc_id=str(n), body=body) for n, body in enumerate(bodies)]))
    got = await drawn(RelatedSampler(engine="e"), shelf, 3, 40)
    about_brakes = next(ds for ds in got if ds[0].doc_id == "0")
    assert [d.doc_id for d in about_brakes] == ["0", "2", "4"]
    assert [d.doc_id for d in next(ds for ds in got if ds[0].doc_id == "3")] == ["3"]


async def test_related_is_coherent_on_a_real_corpus_where_chance_is_not() -> None:
    corpus = Path(__file__).parents[1] / "data" / "city_services" / "documents.jsonl"
    shares = {}
    async with InMemoryEngine(path=corpus).open(World()) as retriever:
        for sampler in (RelatedSampler(engine="e"), RandomSampler(engine="e")):
            got = await drawn(sampler, Shelf(retriever), 3, 60)
            shares[sampler.type] = sum(d.domain == ds[0].domain for ds in got for d in ds[1:]) / 120
    assert shares["search/related"] > 0.6 > 0.3 > shares["search/random"]


async def test_related_stays_in_its_group() -> None:
    got = await drawn(RelatedSampler(engine="e", group_by="source.kind"), corpus({"a": 5, "b": 5}), 3, 20)
    assert all(len(ds) == 3 and len({d.field("source.kind") for d in ds}) == 1 for ds in got)


@pytest.mark.parametrize("kind", [RandomSampler, RelatedSampler, CoverageSampler])
async def test_of_a_field_with_several_values_the_one_group_drawn_is_kept_to(kind) -> None:
    documents = [
        Document(doc_id=str(n), body=f"bike brakes {n}", metadata={"tags": ["all", f"t{n % 4}"]}) for n in range(20)
    ]
    shelf = Shelf(Listed(documents))
    got = await drawn(kind(engine="e", group_by="tags", include_groups=("t2",)), shelf, 4, 10)
    assert all(len(ds) == 4 and {d.labels("tags")[1] for d in ds} == {"t2"} for ds in got)


async def test_related_looks_past_any_number_of_copies() -> None:
    copies = [Document(doc_id=f"copy-{n:02}", body="red bike brakes squeak") for n in range(50)]
    others = [Document(doc_id=f"other-{n}", body=f"bike brakes worn {n}") for n in range(3)]
    got = await drawn(RelatedSampler(engine="e"), Shelf(Listed([*copies, *others])), 3, 20)
    assert any(ds[0].doc_id.startswith("copy") for ds in got)
    assert all(len({d.body for d in ds}) == 3 for ds in got)


class Capped(Listed):
    """A service that refuses to give more than so many hits."""

    def __init__(self, documents: list[Document], most: int) -> None:
        super().__init__(documents)
        self.most = most
        self.ends = False
        """Whether it refuses all after what it has refused."""
        self.asked: list[int] = []
        self.refusal: Exception = EngineError("size must be at most so much")

    async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
        self.asked.append(limit)
        if limit > self.most:
            self.most = 0 if self.ends else self.most
            raise self.refusal
        return await super().search(query, limit, where)


async def test_related_takes_what_a_service_gives_and_looks_no_further_than_it_says() -> None:
    copies = [Document(doc_id=f"copy-{n:04}", body="red bike brakes squeak") for n in range(1200)]
    other = Document(doc_id="other", body="bike brakes worn")
    shelf = Capped([*copies, other], most=20)
    (got,) = await drawn(RelatedSampler(engine="e"), Shelf(shelf), 3, 1)
    assert len(got) == 1 and shelf.asked == [6, 24, 6]
    shelf.most, before = 5000, len(shelf.asked)
    await drawn(RelatedSampler(engine="e"), Shelf(shelf), 3, 1)
    assert shelf.asked[before:] == [6, 24, 96, 384, 1000]
    for shelf.most, shelf.ends in ((3, False), (20, True)):
        with pytest.raises(EngineError, match="size must be"):
            await drawn(RelatedSampler(engine="e"), Shelf(shelf), 3, 1)


async def test_related_takes_what_it_has_where_a_service_refuses_the_query_only_with_more_hits() -> None:
    copies = [Document(doc_id=f"copy-{n:02}", body="red bike brakes squeak") for n in range(50)]
    shelf = Capped(copies, most=20)
    shelf.refusal = Dropped("search_refused", "size must be at most so much")
    (got,) = await drawn(RelatedSampler(engine="e"), Shelf(shelf), 3, 1)
    assert len(got) == 1 and shelf.asked == [6, 24, 6]
    shelf.most = 3
    with pytest.raises(Dropped, match="size must be"):
        await drawn(RelatedSampler(engine="e"), Shelf(shelf), 3, 1)
    shelf.most, shelf.refusal = 20, Dropped("chat_marker", "document 'copy-30' holds a token")
    with pytest.raises(Dropped, match="chat_marker"):
        await drawn(RelatedSampler(engine="e"), Shelf(shelf), 3, 1)


async def test_a_body_that_is_the_id_of_another_document_makes_no_copy_of_it() -> None:
    class Fixed(Listed):
        async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
            return [Hit(document=one, score=1.0, rank=rank) for rank, one in enumerate(self.held[:limit], start=1)]

        async def sample(self, dice: Dice, count: int, where: Where | None = None) -> list[Document]:
            return self.held[:count]

    bodies = {"oak": "a tree", "2": "oak", "a tree": "elm", "2b": "oak", "3": "ash"}
    shelf = Shelf(Fixed([Document(doc_id=doc_id, body=body) for doc_id, body in bodies.items()]))
    (got,) = await drawn(RelatedSampler(engine="e"), shelf, 9, 1)
    assert [document.doc_id for document in got] == ["oak", "2", "a tree", "3"]


async def test_related_asks_with_the_title_and_the_beginning_of_a_body() -> None:
    class Heard(Listed):
        queries: ClassVar[list[str]] = []

        async def search(self, query: str, limit: int, where: Where | None = None) -> list[Hit]:
            self.queries.append(query)
            return await super().search(query, limit, where)

    body = " ".join(f"word{n:05}" for n in range(1000))
    shelf = Shelf(Heard([Document(doc_id="1", title="A title", body=body)]))
    await drawn(RelatedSampler(engine="e"), shelf, 3, 1)
    assert Heard.queries == [f"A title\n{body[:600]}".strip()]


@settings(deadline=None)
@given(st.integers(1, 1000), st.integers())
def test_a_shuffle_is_a_permutation(size: int, seed: int) -> None:
    shuffle = Shuffle(size, Dice(seed))
    assert sorted(shuffle[place] for place in range(size)) == list(range(size))


def test_a_shuffle_of_millions_holds_no_table_and_no_place_twice() -> None:
    shuffle = Shuffle(50_000_000, Dice("big"))
    places = [shuffle[place] for place in range(2000)]
    assert len(set(places)) == 2000
    assert all(0 <= place < 50_000_000 for place in places)
    assert sum(places) / 2000 == pytest.approx(25_000_000, rel=0.1)


@pytest.mark.parametrize("size", [2, 3, 5, 16])
def test_a_shuffle_brings_every_place_to_the_front_equally_often(size: int) -> None:
    counts = Counter(Shuffle(size, Dice(n))[0] for n in range(1000 * size))
    # 37.7 is the 99.9 % bound for 15 degrees of freedom, the most there are here
    assert sum((counts[n] - 1000) ** 2 / 1000 for n in range(size)) < 37.7


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1), st.integers(1, 6), st.booleans())
def test_coverage_is_whole_before_it_repeats(sizes: dict[str, int], k: int, grouped: bool) -> None:
    shelf = corpus(sizes)
    sampler = CoverageSampler(engine="e", group_by="source.kind" if grouped else None)
    many = sum(-(-size // k) for size in (sizes.values() if grouped else [sum(sizes.values())]))
    for turn in asyncio.run(_rounds(sampler, shelf, k, many)):
        assert {d.doc_id for ds in turn for d in ds} == {d.doc_id for d in shelf.lender.held}
        assert all(len({d.doc_id for d in ds}) == len(ds) for ds in turn)
        if grouped:
            assert all(len({d.field("source.kind") for d in ds}) == 1 for ds in turn)


async def _rounds(sampler: CoverageSampler, shelf: Shelf, k: int, many: int) -> list[list[list[Document]]]:
    got = await drawn(sampler, shelf, k, 2 * many)
    return [got[:many], got[many:]]


async def test_coverage_takes_another_order_in_another_round_and_run() -> None:
    shelf = corpus({"a": 40})
    sampler = CoverageSampler(engine="e")
    first, again = (await drawn(sampler, shelf, 4, 20))[:10], (await drawn(sampler, shelf, 4, 20))[10:]
    other = [await sampler.sample(Source(shelf, Dice(), Dice("other"), i), 4) for i in range(10)]
    assert first != again
    assert first != other


async def test_coverage_samplers_of_other_engines_and_fields_take_orders_of_their_own() -> None:
    shelf = corpus({"a": 40})
    samplers = [
        CoverageSampler(engine="e"),
        CoverageSampler(engine="f"),
        CoverageSampler(engine="e", group_by="source.kind"),
    ]
    orders = [[one.doc_id for ds in await drawn(sampler, shelf, 4, 10) for one in ds] for sampler in samplers]
    assert len({tuple(order) for order in orders}) == 3


async def test_coverage_of_groups_takes_another_order_and_other_company_in_each_round() -> None:
    shelf = corpus({"a": 6, "b": 6, "c": 6})
    got = await drawn(CoverageSampler(engine="e", group_by="source.kind"), shelf, 2, 27)
    rounds = [got[:9], got[9:18], got[18:]]
    orders = {tuple(str(ds[0].field("source.kind")) for ds in turn) for turn in rounds}
    companies = {frozenset(frozenset(d.doc_id for d in ds) for ds in turn) for turn in rounds}
    assert all(len({d.doc_id for ds in turn for d in ds}) == 18 for turn in rounds)
    assert len(orders) == len(companies) == 3


async def test_group_tables_are_asked_once() -> None:
    shelf = corpus({"a": 5, "b": 5})
    sampler = CoverageSampler(engine="e", group_by="source.kind")
    places = await asyncio.gather(*(shelf.places("source.kind") for _ in range(8)))
    await asyncio.gather(*(shelf.groups("source.kind") for _ in range(8)), *(shelf.count() for _ in range(8)))
    assert all(found == places[0] for found in places)
    assert shelf.lender.streams == 3
    await sampler.sample(Source(shelf, Dice(), Dice(), 0), 2)
    assert shelf.lender.streams == 4


async def test_a_table_that_failed_is_asked_again() -> None:
    class Failing(Listed):
        failed = False

        async def groups(self, path: str, where: Where | None = None) -> dict[str, int]:
            if not self.failed:
                self.failed = True
                raise TaskError("not now")
            return await super().groups(path, where)

    shelf = Shelf(Failing([Document(doc_id="1", body="x", domain="d")]))
    with pytest.raises(TaskError):
        await shelf.groups("domain")
    assert await shelf.groups("domain") == {"d": 1}


async def test_one_who_stops_waiting_does_not_stop_the_others() -> None:
    gate = asyncio.Event()

    class Slow(Listed):
        async def count(self, where: Where | None = None) -> int:
            await gate.wait()
            return 7

    shelf = Shelf(Slow([]))
    first, second = asyncio.create_task(shelf.count()), asyncio.create_task(shelf.count())
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await second == 7


WEIGHTS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=5)


@settings(deadline=None)
@given(WEIGHTS, st.integers(0, 20), st.integers())
def test_in_a_mix_each_gets_its_share_and_counts_its_own_draws(weights: list[float], blocks: int, seed: int) -> None:
    many = 16 * blocks
    draws = [mixed(weights, index, Dice(seed)) for index in range(many)]
    for one, weight in enumerate(weights):
        numbers = sorted(number for drawn_one, number in draws if drawn_one == one)
        assert numbers == list(range(len(numbers)))
        assert abs(len(numbers) - many * weight / sum(weights)) < len(weights)


@pytest.mark.parametrize("weights", [(1e308, 1e308), (5e-324, 1.0), (1.0, 1e-9, 1.0)])
def test_a_mix_of_any_weights_counts_on_far_out(weights: tuple[float, ...]) -> None:
    start = 16 * 10**9
    draws = [mixed(weights, start + index, Dice("far")) for index in range(160)]
    assert len(set(draws)) == 160
    for one in range(len(weights)):
        numbers = sorted(number for drawn_one, number in draws if drawn_one == one)
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True


def test_in_a_mix_neighbours_are_drawn_by_chance() -> None:
    draws = [mixed((1.0, 1.0), index, Dice("chance"))[0] for index in range(4000)]
    same = sum(left == right for left, right in pairwise(draws))
    assert 0.40 < same / 4000 < 0.55


def test_in_a_short_run_a_rare_sampler_has_its_chance() -> None:
    firsts = [{mixed((1.0, 31.0), index, Dice(seed))[0] for index in range(16)} for seed in range(400)]
    # half of one draw is due to it in so many; 0.42 to 0.58 holds 99.9 % of fair draws
    assert 0.42 < sum(0 in first for first in firsts) / 400 < 0.58


def test_a_mix_takes_another_order_in_another_run() -> None:
    orders = [tuple(mixed((1.0, 1.0), index, Dice(seed))[0] for index in range(16)) for seed in range(20)]
    assert len(set(orders)) == 20 and {order[0] for order in orders} == {0, 1}


def test_a_mix_covers_the_corpus_as_soon_as_its_share_allows(tmp_path: Path) -> None:
    samplers = [
        {"type": "search/random", "engine": "retriever", "weight": 3.0, "k": 1},
        {"type": "search/coverage", "engine": "retriever", "weight": 1.0, "k": 2},
    ]
    stages = [{"name": "lm/scenario/rag", "document_samplers": samplers}]
    made = run(task_values(tmp_path, initialization_stages=stages, num_outputs=32, min_turns=1, max_turns=1))
    assert made.summary.kept == 32 and not made.summary.dropped
    stretches = [talk.scenario.documents for talk in made.conversations() if len(talk.scenario.documents) == 2]
    covered = [document.doc_id for stretch in stretches for document in stretch]
    # a quarter of 32 conversations, two documents each, over a corpus of ten
    assert len(stretches) == 8 and set(covered) == set(BODIES)
    assert max(Counter(covered).values()) == 2
