"""Engines are measured right on judged collections."""

import gzip
import json
import math
from pathlib import Path

import pytest

from dgt_rag.dice import Dice
from dgt_rag.engines.in_memory import InMemoryEngine
from dgt_rag.errors import TaskError
from dgt_rag.report.retrieval import Query, evaluate, read_grades, read_queries
from dgt_rag.world import World

DOCUMENTS = [{"id": name, "text": f"{name} common words {name}"} for name in ("alpha", "beta", "gamma", "delta")]
COLLECTIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "ir"


async def scores(queries, grades, *names):
    async with InMemoryEngine(corpus=DOCUMENTS).open(World()) as one:
        return await evaluate(dict.fromkeys(names or ("memory",), one), queries, grades, Dice("evaluate"))


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
    "text", ["", "not json\n", '{"id": "1"}\n', "[1]\n", '{"text": "no id"}\n', "[" * 100_000 + "\n"]
)
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
    with pytest.raises(TaskError, match="do the ids agree"):
        await scores([Query(query_id="1", text="x")], {"2": {"alpha": 1}})


@pytest.mark.skipif(not COLLECTIONS.exists(), reason="the judged collections are not on this machine")
@pytest.mark.parametrize(("name", "floor"), [("cranfield", 0.365), ("mtrag-govt", 0.44)])
async def test_ranking_is_not_below_a_good_bm25(name, floor):
    folder = COLLECTIONS / name
    async with InMemoryEngine(path=folder / "corpus.jsonl.gz").open(World()) as retriever:
        queries, grades = read_queries(folder / "queries.jsonl"), read_grades(folder / "qrels.tsv")
        for score in await evaluate({"memory": retriever}, queries, grades, Dice("floor")):
            assert score.ndcg_at_10.value >= floor, json.dumps(score.model_dump())
