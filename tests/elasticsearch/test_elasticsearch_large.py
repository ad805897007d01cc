"""A hundred thousand documents in a real index."""

from loading import SWIFT, engine, load

from dgt_rag.dice import Dice
from dgt_rag.records import Document
from dgt_rag.world import World

COUNT = 100_000


async def test_a_hundred_thousand_documents_are_loaded_searched_streamed_sampled_and_found_by_place(newest):
    words = "river stone market harbour lantern orchard ticket permit notice winter".split()
    dice = Dice("large")
    documents = [
        Document(
            doc_id=f"p{number:06}",
            domain=f"domain{number % 10}",
            body=f"unique{number} " + " ".join(dice.choose(words) for _ in range(20)),
        )
        for number in range(COUNT)
    ]
    one = engine(newest.url, retry=SWIFT.model_copy(update={"attempts": 10}))
    said: list[str] = []
    done = await load(one, documents, World(say=said.append))
    assert done.added == COUNT
    assert len(said) == COUNT // 10_000 + 1
    async with one.open(World()) as opened:
        assert await opened.count() == COUNT
        assert await opened.groups("domain") == {f"domain{number}": COUNT // 10 for number in range(10)}
        assert (await opened.search("harbour unique54321 ticket", 5))[0].document == documents[54_321]
        assert await opened.at([99_999, 12_345, 0]) == [documents[99_999], documents[12_345], documents[0]]
        drawn = await opened.sample(Dice(1), 12_000)
        assert len({document.doc_id for document in drawn}) == 12_000
        assert drawn[:5] == await opened.sample(Dice(1), 5)
        assert sum([1 async for _ in opened.documents()]) == COUNT
