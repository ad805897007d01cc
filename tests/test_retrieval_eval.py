"""Engines are measured right on judged collections."""

import gzip
import json
import math
import tracemalloc
from pathlib import Path

import pytest

from dgt_rag.commands.eval_retrieval import lacking, table
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import TaskError
from dgt_rag.records import Document, Hit
from dgt_rag.report.retrieval import Figure, Query, evaluate, read_grades, read_queries
from dgt_rag.world import World

DOCUMENTS = [{"id": name, "text": f"{name} common words {name}"} for name in ("alpha", "beta", "gamma", "delta")]
COLLECTIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "ir"


async def scores(queries, grades, *names):
    async with InMemoryEngine(corpus=DOCUMENTS).open(World()) as one:
        return await evaluate(dict.fromkeys(names or ("memory",), one), queries, grades, Dice("evaluate"))


class Fixed(Retriever):
    """Answers every query with the documents of these ids, however many are asked for; has `count` documents, of which it streams these."""

    def __init__(self, *ids, count=0, answers=None):
        self.ids, self.size, self.answers = ids, count, answers or {}

    async def search(self, query, limit, where=None):
        ids = self.answers.get(query, self.ids)
        return [Hit(Document(doc_id=one, body="x"), 1.0, rank) for rank, one in enumerate(ids, 1)]

    async def documents(self):
        for one in self.ids:
            yield Document(doc_id=one, body="x")

    async def count(self, where=None):
        return self.size


async def measured(ids, relevant):
    (score,) = await evaluate(
        {"fixed": Fixed(*ids)}, [Query(query_id="1", text="x")], {"1": dict.fromkeys(relevant, 1)}, Dice("measured")
    )
    return score.ndcg_at_10.value, score.recall_at_5.value, score.mrr.value


def hit_or_miss(hits, of, form=""):
    """Return an engine that finds the document of some queries, those queries, and the judgements."""
    queries = [Query(query_id=str(number), text=str(number), form=form) for number in range(of)]
    answers = {str(number): ["found" if number < hits else "other"] for number in range(of)}
    return Fixed(answers=answers), queries, {query.query_id: {"found": 1} for query in queries}


async def test_a_document_that_is_given_again_takes_up_a_place_and_gains_nothing():
    assert await measured(["a", "a", "a"], ["a"]) == (1.0, 1.0, 1.0)
    assert await measured("aaab", "ab") == (
        pytest.approx((1 + 1 / math.log2(5)) / (1 + 1 / math.log2(3)), abs=1e-4),
        1,
        1,
    )
    assert (await measured("aaaaab", "ab"))[1] == 0.5


async def test_recall_is_that_of_five_places_and_the_others_are_those_of_ten():
    ids = [f"x{n}" for n in range(9)]
    assert await measured([*ids[:4], "a"], ["a"]) == (pytest.approx(1 / math.log2(6), abs=1e-4), 1.0, 0.2)
    assert await measured([*ids[:5], "a"], ["a"]) == (pytest.approx(1 / math.log2(7), abs=1e-4), 0.0, 0.1667)
    assert await measured([*ids, "a"], ["a"]) == (pytest.approx(1 / math.log2(11), abs=1e-4), 0.0, 0.1)
    assert await measured([*ids, "x9", "a"], ["a"]) == (0.0, 0.0, 0.0)
    assert await measured("abcde", "abcdefgh") == (pytest.approx(sum(1 / math.log2(n) for n in range(2, 7)) / sum(
        1 / math.log2(n) for n in range(2, 10)), abs=1e-4), 0.625, 1.0)  # fmt: skip


async def test_an_engine_that_is_worse_than_the_first_has_a_difference_below_nought():
    better, queries, grades = hit_or_miss(40, 50)
    worse, _, _ = hit_or_miss(20, 50)
    first, second = await evaluate({"better": better, "worse": worse}, queries, grades, Dice("worse"))
    assert first.ndcg_difference is None
    assert (second.ndcg_difference.value, second.ndcg_at_10.value) == (-0.4, 0.4)
    assert -0.56 < second.ndcg_difference.low < -0.4 < second.ndcg_difference.high < -0.24
    _, turned = await evaluate({"worse": worse, "better": better}, queries, grades, Dice("worse"))
    assert turned.ndcg_difference.value == 0.4 and turned.ndcg_difference.low > 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("hits", "of"), [(60, 100), (30, 200), (180, 200)])
async def test_an_interval_is_that_of_the_binomial_where_queries_hit_or_miss(hits, of, seed):
    retriever, queries, grades = hit_or_miss(hits, of)
    (score,) = await evaluate({"one": retriever}, queries, grades, Dice("binomial", seed))
    low, high = binomial(hits / of, of)
    for figure in (score.ndcg_at_10, score.recall_at_5, score.mrr):
        assert figure.value == hits / of
        assert figure.low == pytest.approx(low, abs=0.02) and figure.high == pytest.approx(high, abs=0.02)


def binomial(chance, count):
    """Return the bounds between which 95 % of means of `count` draws lie."""
    below, bounds = 0.0, []
    for hits in range(count + 1):
        below += math.comb(count, hits) * chance**hits * (1 - chance) ** (count - hits)
        if len(bounds) == 0 and below >= 0.025:
            bounds.append(hits / count)
        if below >= 0.975:
            return bounds[0], hits / count
    raise AssertionError("the chances add up to 1")


async def test_figures_are_the_same_wherever_they_are_made_and_each_form_has_draws_of_its_own():
    ranks = {str(number): [*["other"] * (number % 11), "found"] for number in range(97)}
    queries = [Query(query_id=own, text=own, form=form) for form in "ab" for own in ranks]
    grades = {own: {"found": 1} for own in ranks}
    one, other = await evaluate({"one": Fixed(answers=ranks)}, queries, grades, Dice("forms", 1))
    assert one.ndcg_at_10 == Figure(value=0.4186, low=0.3735, high=0.4645)
    assert other.ndcg_at_10 == Figure(value=0.4186, low=0.3712, high=0.4711)
    assert await evaluate({"one": Fixed(answers=ranks)}, queries[97:], grades, Dice("forms", 1)) == [other]


async def test_one_draw_is_held_at_a_time():
    retriever, queries, grades = hit_or_miss(400, 1000)
    tracemalloc.start()
    try:
        await evaluate({"one": retriever}, queries, grades, Dice("memory"))
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("of", "few"), [(1, True), (19, True), (20, False)])
async def test_few_queries_are_said_to_be_few(of, few):
    retriever, queries, grades = hit_or_miss(1, of)
    heading = next(table("", await evaluate({"one": retriever}, queries, grades, Dice("few"))))
    counted = f"{'1 query' if of == 1 else f'{of} queries'}, in brackets 95 % confidence intervals"
    assert heading == (f"{counted}; so few that the intervals say little" if few else counted)


async def test_a_large_corpus_is_looked_through_for_judged_documents_only_if_none_was_found():
    large, grades = Fixed("a", "b", count=1_000_000), {"1": {"a": 1, "x": 1}, "2": {"y": 1}}
    assert await lacking(large, grades, missed=False) == ""
    told = "the corpus lacks 2 of the 3 relevant documents, such as 'x'; do the ids of judgements and corpus agree?"
    assert await lacking(large, grades, missed=True) == told
    assert await lacking(Fixed("a", "b", count=2), grades, missed=False) == told


async def test_where_nearly_all_judged_documents_are_there_one_that_is_not_is_named():
    grades = {"1": {f"d{n}": 1 for n in range(20)}}
    there = [f"d{n}" for n in range(20) if n != 7]
    assert await lacking(Fixed(*there), grades, missed=False) == (
        "the corpus lacks 1 of the 20 relevant documents, such as 'd7'; what is not there counts as not found"
    )
    assert await lacking(Fixed(*there, "d7"), grades, missed=False) == ""


async def test_an_engine_that_can_only_search_is_asked_for_nothing_else():
    assert await lacking(Retriever(), {"1": {"a": 1}}, missed=False) == ""
    assert "do the ids of judgements and corpus agree?" in await lacking(Retriever(), {"1": {"a": 1}}, missed=True)


async def test_a_perfect_answer_scores_one_and_a_missed_one_nought():
    queries = [Query(query_id="1", text="alpha"), Query(query_id="2", text="beta")]
    (score,) = await scores(queries, {"1": {"alpha": 2}, "2": {"nowhere": 1}})
    assert (score.ndcg_at_10.value, score.recall_at_5.value, score.mrr.value) == (0.5, 0.5, 0.5)
    assert score.queries == 2
    assert score.ndcg_at_10.low == 0.0
    assert score.ndcg_at_10.high == 1.0


async def test_grades_places_and_ideals_count_as_defined():
    query = Query(query_id="1", text="beta beta common")
    (score,) = await scores([query], {"1": {"beta": 1, "alpha": 3}})
    ideal = 3 + 1 / math.log2(3)
    assert score.ndcg_at_10.value == pytest.approx((1 + 3 / math.log2(3)) / ideal, abs=1e-4)
    assert score.recall_at_5.value == 1.0
    (late,) = await scores([query], {"1": {"alpha": 1}})
    assert late.mrr.value == 0.5


async def test_forms_are_apart_and_engines_are_compared_with_the_first():
    queries = [Query(query_id="1", text="alpha", form="a"), Query(query_id="1", text="gamma", form="b")]
    found = await scores([*queries, Query(query_id="9", text="x", form="b")], {"1": {"alpha": 1}}, "one", "two")
    assert [(score.form, score.engine, score.queries, score.unjudged) for score in found] == [
        ("a", "one", 1, 0), ("a", "two", 1, 0), ("b", "one", 1, 1), ("b", "two", 1, 1)
    ]  # fmt: skip
    assert found[0].ndcg_difference is None
    assert found[1].ndcg_difference.value == 0.0
    assert (await scores(queries, {"1": {"alpha": 1}}))[0].ndcg_at_10 == found[0].ndcg_at_10


def test_the_three_files_are_read_packed_or_plain_with_or_without_names(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"_id": 1, "text": "words"}\n\n{"id": "2", "text": "more", "form": "rewrite"}\n')
    assert read_queries(tmp_path / "q.jsonl") == [
        Query(query_id="1", text="words"),
        Query(query_id="2", text="more", form="rewrite"),
    ]
    with gzip.open(tmp_path / "r.tsv.gz", "wt") as file:
        file.write("query-id\tcorpus-id\tscore\n1\ta b\t2\n1\tc\t0\n2\td\t1\n")
    assert read_grades(tmp_path / "r.tsv.gz") == {"1": {"a b": 2}, "2": {"d": 1}}
    (tmp_path / "trec").write_text("1 0 a 2\n")
    assert read_grades(tmp_path / "trec") == {"1": {"a": 2}}


@pytest.mark.parametrize(
    "text",
    [
        "", "not json\n", '{"id": "1"}\n', "[1]\n", '{"text": "no id"}\n', "[" * 100_000 + "\n",
        *(f'{{"id": {one}, "text": "words"}}\n' for one in ("true", '["a"]', '""', '" "', "{}", "null")),
        '{"id": 1, "text": 2}\n', '{"id": 1, "text": "words", "form": ["a"]}\n',
    ],
)  # fmt: skip
def test_wrong_queries_are_refused_with_their_place(text, tmp_path):
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(TaskError, match=str(tmp_path / "q.jsonl")):
        read_queries(tmp_path / "q.jsonl")


@pytest.mark.parametrize("text", ["", "names\tonly\tgrade\n", "1\ta\t1\n2\tb\n", "1\ta\t0\n"])
def test_wrong_judgements_are_refused_with_their_place(text, tmp_path):
    (tmp_path / "r.tsv").write_text(text)
    with pytest.raises(TaskError, match=str(tmp_path / "r.tsv")):
        read_grades(tmp_path / "r.tsv")


@pytest.mark.parametrize("grade", ["--1", "²", "1.5", "-", "9" * 5000, ""])
@pytest.mark.parametrize("before", ["", "q\td\tgrade\n", "1\tb\t1\n"])
def test_a_grade_that_is_no_whole_number_is_refused_with_its_place(grade, before, tmp_path):
    (tmp_path / "r.tsv").write_text(f"{before}1\ta\t{grade}\n")
    with pytest.raises(TaskError, match=f"r.tsv:{2 if before else 1}: query, document and grade"):
        read_grades(tmp_path / "r.tsv")


def test_blanks_part_columns_only_where_the_form_is_trecs(tmp_path):
    (tmp_path / "r").write_text("q1 0 a 2\nq2 Q0 a 1\nq3 4.5 a 1\nq4 a 1\n")
    assert read_grades(tmp_path / "r") == {"q1": {"a": 2}, "q2": {"a": 1}, "q3": {"a": 1}, "q4": {"a": 1}}
    (tmp_path / "r").write_text("q1 0 a 2\nq1 my doc 2\n")
    with pytest.raises(TaskError, match=r"r:2: four words are TREC's form .*'my' is none of its 0; part by tabs"):
        read_grades(tmp_path / "r")
    (tmp_path / "r").write_text("q1\tmy doc\t2\n")
    assert read_grades(tmp_path / "r") == {"q1": {"my doc": 2}}


@pytest.mark.parametrize("line", ["\ta\t1", "1\t\t1", " \ta\t1", "1\t0\t\t1"])
def test_a_judgement_without_an_id_is_refused(line, tmp_path):
    (tmp_path / "r.tsv").write_text(f"2\ta\t1\n{line}\n")
    with pytest.raises(TaskError, match=r"r\.tsv:2: query, document and grade"):
        read_grades(tmp_path / "r.tsv")
    (tmp_path / "q.tsv").write_text("1\twords\n\twords\n")
    with pytest.raises(TaskError, match=r"q\.tsv:2: a query is needed"):
        read_queries(tmp_path / "q.tsv")


@pytest.mark.parametrize("read", [read_queries, read_grades])
def test_a_packed_file_that_is_damaged_anywhere_is_one_line(read, tmp_path):
    lines = (f"{n}\t{math.sin(n)}" + ("\t1" if read is read_grades else "") for n in range(3000))
    whole = gzip.compress("\n".join(lines).encode())
    path, said = tmp_path / "f.tsv.gz", set()
    for place in range(20, len(whole) - 8, len(whole) // 60):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(bytes(damaged))
        with pytest.raises(TaskError) as refused:
            read(path)
        assert "\n" not in str(refused.value)
        said.add(str(refused.value).split(": ")[1])
    assert "cannot be read" in said
    path.write_bytes(whole[:-20])
    with pytest.raises(TaskError, match="cannot be read"):
        read(path)


def test_grades_are_read_as_other_programs_write_them_and_the_last_of_two_counts(tmp_path):
    (tmp_path / "r.tsv").write_text(
        "\n\nquery-id\tcorpus-id\tscore\n1\ta\t2.0\n1\tb\t+1\n1\tc\t-1\n1\ta\t3\n1\tb\t0\n2\ta\t0\n"
    )
    assert read_grades(tmp_path / "r.tsv") == {"1": {"a": 3}}


def test_queries_parted_by_tabs_are_read_and_a_line_that_stands_twice_counts_once(tmp_path):
    (tmp_path / "q.tsv").write_text("1\twords\n2\tmore words\n1\twords\n")
    assert [query.query_id for query in read_queries(tmp_path / "q.tsv")] == ["1", "2"]
    (tmp_path / "Q.TSV").write_text("Query-ID\ttext\n1\twords\n")
    assert read_queries(tmp_path / "Q.TSV") == [Query(query_id="1", text="words")]
    (tmp_path / "q.tsv").write_text("1\twords\n2 words\n")
    with pytest.raises(TaskError, match=r"q\.tsv:2: a query is needed, such as an id, a tab and words"):
        read_queries(tmp_path / "q.tsv")
    (tmp_path / "q.tsv").write_text("1\twords\n1\tother words\n")
    with pytest.raises(TaskError, match=r"q\.tsv:2: the query '1' stands above already, with another text"):
        read_queries(tmp_path / "q.tsv")


async def test_ids_that_do_not_agree_are_named():
    with pytest.raises(
        TaskError, match=r"do the ids agree\? queries are such as '1', those of judgements such as 'q1'"
    ):
        await scores([Query(query_id="1", text="x")], {"q1": {"alpha": 1}})


@pytest.mark.skipif(not COLLECTIONS.exists(), reason="the judged collections are not on this machine")
@pytest.mark.parametrize(("name", "floor"), [("cranfield", 0.365), ("mtrag-govt", 0.44)])
async def test_ranking_is_not_below_a_good_bm25(name, floor):
    folder = COLLECTIONS / name
    async with InMemoryEngine(path=folder / "corpus.jsonl.gz").open(World()) as retriever:
        queries, grades = read_queries(folder / "queries.jsonl"), read_grades(folder / "qrels.tsv")
        for score in await evaluate({"memory": retriever}, queries, grades, Dice("floor")):
            assert score.ndcg_at_10.value >= floor, json.dumps(score.model_dump())
