"""The laws that every search engine keeps, each one async function; a broken one raises AssertionError."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, SearchToolEngine, Where, seen
from dgt_rag.records import Document, Hit
from dgt_rag.testing.corpus import HOSTILE, OFFICES, TOPICS, corpus
from dgt_rag.world import World


class Factory(Protocol):
    """Makes an engine that serves these documents; `folder` is empty and its own."""

    def __call__(self, documents: Sequence[Document], folder: Path, **settings: Any) -> SearchToolEngine:
        """Make the engine."""


@dataclass
class Opener:
    """Opens engines of one factory, each in a folder of its own."""

    factory: Factory
    folder: Path
    world: World = field(default_factory=World)
    made: int = 0

    @asynccontextmanager
    async def open(self, documents: Sequence[Document], **settings: Any) -> AsyncIterator[Retriever]:
        """Open an engine that serves these documents."""
        engine = self.engine(documents, **settings)
        async with engine.open(self.world) as retriever:
            yield await seen(engine, retriever, self.world)

    def engine(self, documents: Sequence[Document], **settings: Any) -> SearchToolEngine:
        """Make an engine that serves these documents."""
        self.made += 1
        folder = self.folder / str(self.made)
        folder.mkdir(parents=True)
        return self.factory(documents, folder, **settings)


Law = Callable[[Opener], Awaitable[None]]


def _ids(hits: Sequence[Hit]) -> list[str]:
    return [hit.document.doc_id for hit in hits]


def _well_formed(hits: Sequence[Hit], limit: int) -> None:
    assert len(hits) <= limit, f"{len(hits)} hits for limit {limit}"
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1)), "ranks must count from 1"
    order = [(-hit.score, hit.document.doc_id) for hit in hits]
    assert order == sorted(order), f"hits must stand by score, ties by doc_id: {order}"
    assert len(set(_ids(hits))) == len(hits), "a document must be returned once"


async def finds_what_is_asked(opener: Opener) -> None:
    """The one document that holds all words of a query is first; a query's domain is found."""
    async with opener.open(corpus()) as retriever:
        for document in corpus():
            hits = await retriever.search(f"{document.domain} office {document.title}?", 5)
            _well_formed(hits, 5)
            assert hits[0].document.doc_id == document.doc_id, (document.title, _ids(hits))


async def returns_documents_whole(opener: Opener) -> None:
    """A hit, a sample and a stream give equal documents, with all their fields."""
    made = {document.doc_id: document for document in corpus()}
    async with opener.open(list(made.values())) as retriever:
        streamed = [document async for document in retriever.documents()]
        hits = await retriever.search("season ticket for the pool", 5)
        drawn = await retriever.sample(Dice("whole"), 5)
        for document in [*streamed, *(hit.document for hit in hits), *drawn]:
            assert document == made[document.doc_id], document


async def keeps_the_limit(opener: Opener) -> None:
    """There are never more hits than asked for; fewer asked are the beginning of more asked."""
    async with opener.open(corpus()) as retriever:
        most = await retriever.search("office questions form", 100)
        assert len(most) <= 40
        for limit in (0, 1, 3, 10):
            hits = await retriever.search("office questions form", limit)
            _well_formed(hits, limit)
            assert _ids(hits) == _ids(most)[: len(hits)], limit
            assert len(hits) == min(limit, len(most))


async def keeps_the_filter(opener: Opener) -> None:
    """A filter of the engine hides what does not match from searches, streams, counts, groups and samples."""
    for wanted, count in (({"domain": "waste"}, 10), ({"year": 2021}, 20), ({"source.category": ["c0", "c1"]}, 27)):
        filter: Where = wanted  # type: ignore[assignment]
        async with opener.open(corpus(), filter=filter) as retriever:
            hits = await retriever.search("office questions form", 100)
            seen = [document async for document in retriever.documents()]
            drawn = await retriever.sample(Dice("filter"), 100)
            for document in [*(hit.document for hit in hits), *seen, *drawn]:
                assert document.matches(filter), (filter, document.doc_id)
            assert len(seen) == len(drawn) == await retriever.count() == count, (filter, len(seen))
            assert sum((await retriever.groups("domain")).values()) == count


async def searches_among_what_matches(opener: Opener) -> None:
    """`where` narrows a search to the same order of the same documents, whatever kind of field it names."""
    conditions: list[Where] = [
        {"domain": "pools"},
        {"domain": ["pools", "waste"]},
        {"source.category": "c1"},
        {"year": 2020},
        {"year": "2020"},
        {"tags": "t3"},
        {"domain": "library", "source.category": ["c0", "c2"]},
        {"domain": "nowhere"},
        {"no.such.field": "x"},
    ]
    async with opener.open(corpus()) as retriever:
        every = await retriever.search("office questions form season ticket", 100)
        for where in conditions:
            hits = await retriever.search("office questions form season ticket", 100, where)
            _well_formed(hits, 100)
            assert set(_ids(hits)) == {hit.document.doc_id for hit in every if hit.document.matches(where)}, where
            assert _ids(await retriever.search("office questions form season ticket", 2, where)) == _ids(hits)[:2]
            assert await retriever.count(where) == sum(document.matches(where) for document in corpus()), where


async def keeps_the_threshold(opener: Opener) -> None:
    """Hits below `relevance_threshold` are left out, those at it stay."""
    async with opener.open(corpus()) as retriever:
        hits = await retriever.search("renew a book of the library iris", 10)
    assert len(hits) > 2
    least = hits[1].score
    async with opener.open(corpus(), relevance_threshold=least) as retriever:
        kept = await retriever.search("renew a book of the library iris", 10)
    assert _ids(kept) == [hit.document.doc_id for hit in hits if hit.score >= least]


async def answers_any_query(opener: Opener) -> None:
    """Any text is a query: nothing raises, all answers are well formed."""
    async with opener.open(corpus()) as retriever:
        for query in HOSTILE:
            _well_formed(await retriever.search(query, 5), 5)
        assert await retriever.search("", 5) == [], "an empty query has no hits"


async def holds_any_text(opener: Opener) -> None:
    """Documents of other scripts, control characters, templates and markup are served as they are."""
    texts = [
        "停车许可证 zone",
        "🅿️ permit",
        "NUL \x00 and \x1b",
        "{{ config }} {% x %}",
        "<script>alert(1)</script>",
        "é" * 5000,
    ]
    made = [Document(doc_id=f"odd/{n} #{n}", body=text, title="", domain="") for n, text in enumerate(texts)]
    async with opener.open(made) as retriever:
        assert [document async for document in retriever.documents()] == made
        for query in ("停车", "permit", "config", "script"):
            assert await retriever.search(query, 3), query
        assert await retriever.groups("domain") == {}


async def is_the_same_when_made_again(opener: Opener) -> None:
    """Two engines of the same documents give the same hits, samples, groups and fingerprint."""
    seen = []
    for _ in range(2):
        async with opener.open(corpus()) as retriever:
            hits = [await retriever.search(query, 7) for query in ("office form", "ticket", "three weeks", "kerb day")]
            drawn = [await retriever.sample(Dice("again", number), 4) for number in range(5)]
            seen.append((hits, drawn, await retriever.groups("domain"), await retriever.fingerprint()))
    assert seen[0] == seen[1]


async def breaks_ties_by_id(opener: Opener) -> None:
    """Of equal documents those with the lowest ids are returned, in order, however many there are."""
    order = Dice("ties").shuffled(range(60))
    made = [Document(doc_id=f"copy-{number:02}", body="An answer about parking permits.") for number in order]
    async with opener.open([*made, *corpus()]) as retriever:
        for limit in (1, 5, 20):
            assert _ids(await retriever.search("answer permits", limit)) == [f"copy-{n:02}" for n in range(limit)]


async def streams_each_document_once(opener: Opener) -> None:
    """The stream holds every document once and agrees with the count, the groups and `at`."""
    async with opener.open(corpus()) as retriever:
        streamed = [document async for document in retriever.documents()]
        assert sorted(document.doc_id for document in streamed) == [document.doc_id for document in corpus()]
        assert await retriever.count() == 40
        assert await retriever.at([3, 0, 39]) == [streamed[3], streamed[0], streamed[39]]


async def groups_by_any_field(opener: Opener) -> None:
    """Groups count the values of a field by dotted path, numbers as text, lists by each value; by value."""
    async with opener.open(corpus()) as retriever:
        assert await retriever.groups("domain") == {"library": 10, "parking": 10, "pools": 10, "waste": 10}
        assert await retriever.groups("source.category") == {"c0": 14, "c1": 13, "c2": 13}
        assert await retriever.groups("year") == {"2020": 20, "2021": 20}
        assert (await retriever.groups("tags"))["all"] == 40
        assert await retriever.groups("no.such.field") == {}
        assert await retriever.groups("domain", {"year": 2020}) == {"parking": 10, "waste": 10}
        assert list(await retriever.groups("domain")) == sorted(await retriever.groups("domain"))


async def samples_from_a_group(opener: Opener) -> None:
    """A sample is of different documents of its group, all of them if more are asked for."""
    async with opener.open(corpus()) as retriever:
        for where in ({"domain": "parking"}, {"source.category": "c2"}, {"year": "2021"}):
            filter: Where = where
            drawn = await retriever.sample(Dice("group"), 5, filter)
            assert len({document.doc_id for document in drawn}) == 5
            assert all(document.matches(filter) for document in drawn)
            every = await retriever.sample(Dice("group"), 1000, filter)
            assert {d.doc_id for d in every} == {d.doc_id for d in corpus() if d.matches(filter)}
        assert await retriever.sample(Dice("group"), 0) == []
        assert await retriever.sample(Dice("group"), 3, {"domain": "nowhere"}) == []


async def samples_uniformly(opener: Opener) -> None:
    """Each document is drawn as often as any other, and at each place of the sample (chi-square, 1 in 10,000)."""
    places: list[Counter[str]] = [Counter() for _ in range(3)]
    async with opener.open(corpus()) as retriever:
        for number in range(800):
            for place, document in enumerate(await retriever.sample(Dice("uniform", number), 3)):
                places[place][document.doc_id] += 1
    for counts in (*places, sum(places, Counter())):
        expected = sum(counts.values()) / 40
        chi = sum((counts[document.doc_id] - expected) ** 2 / expected for document in corpus())
        assert chi < 80.2, f"chi-square {chi:.0f} with 39 degrees of freedom"


async def serves_many_at_once(opener: Opener) -> None:
    """Calls at the same time give what they give one after the other."""
    queries = [f"{domain} {own}" for domain in TOPICS for own in OFFICES]
    async with opener.open(corpus()) as retriever:
        alone = [await retriever.search(query, 5) for query in queries]
        together = await asyncio.gather(*(retriever.search(query, 5) for query in queries))
        drawn = await asyncio.gather(*(retriever.sample(Dice(n), 2, {"source.category": "c1"}) for n in range(20)))
        assert list(together) == alone
        assert drawn == [await retriever.sample(Dice(n), 2, {"source.category": "c1"}) for n in range(20)]


async def opens_again(opener: Opener) -> None:
    """One engine may be opened again after it was closed, and twice at the same time."""
    engine = opener.engine(corpus())
    async with engine.open(opener.world) as first:
        before = await first.search("office form", 5)
    async with engine.open(opener.world) as second, engine.open(opener.world) as third:
        assert await second.search("office form", 5) == before
        assert await third.search("office form", 5) == before


async def serves_one_document(opener: Opener) -> None:
    """A corpus of one document is served like any other."""
    async with opener.open(corpus()[:1]) as retriever:
        assert _ids(await retriever.search("resident permit", 5)) == ["doc-00"]
        assert await retriever.sample(Dice("one"), 5) == corpus()[:1]
        assert await retriever.search("unrelated", 5) == []


async def tells_a_changed_corpus(opener: Opener) -> None:
    """The fingerprint changes with a document."""
    marks = set()
    for made in (corpus(), corpus()[1:], [corpus()[0].model_copy(update={"body": "changed"}), *corpus()[1:]]):
        async with opener.open(made) as retriever:
            marks.add(await retriever.fingerprint())
    assert len(marks) == 3


LAWS: tuple[Law, ...] = (
    finds_what_is_asked,
    returns_documents_whole,
    keeps_the_limit,
    keeps_the_filter,
    searches_among_what_matches,
    keeps_the_threshold,
    answers_any_query,
    holds_any_text,
    is_the_same_when_made_again,
    breaks_ties_by_id,
    streams_each_document_once,
    groups_by_any_field,
    samples_from_a_group,
    samples_uniformly,
    serves_many_at_once,
    opens_again,
    serves_one_document,
    tells_a_changed_corpus,
)
