"""How well engines rank: nDCG@10, Recall@5 and MRR on a judged collection, with confidence intervals.

A collection is three files: a corpus (the engines serve it), queries (`id`, `text`, sometimes `form`) as JSON lines, and
judgements as tab-separated lines (query, document, grade). Intervals are 95 % by bootstrap over the queries; engines are
compared on the same draws.
"""

import asyncio
import gzip
import json
import math
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from operator import sub
from pathlib import Path

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.errors import TaskError
from dgt_rag.records import Record
from dgt_rag.together import together

_DRAWS = 1000
_AT_ONCE = 16
_DEPTH = 10
_RECALL_DEPTH = 5
_GRADE = re.compile(r"([+-]?[0-9]{1,9})(?:\.0*)?")
_ROUND = re.compile(r"[0-9.]+|Q0")
"""The second column of TREC's form: the round in which a document was judged, mostly 0."""
_ID_NAMES = {"id", "_id", "qid", "query_id", "query-id"}

Grades = Mapping[str, Mapping[str, int]]
"""Query → document → grade, only those above 0."""


class Query(Record):
    """A query of a collection; `form` tells apart several wordings of one."""

    query_id: str
    text: str
    form: str = ""


class Figure(Record):
    """A mean over queries with the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float


class RetrievalScore(Record):
    """What one engine reached on one form of the queries."""

    engine: str
    form: str
    queries: int
    """How many were judged and asked."""
    unjudged: int
    """How many have no relevant document, and were not asked."""
    ndcg_at_10: Figure
    recall_at_5: Figure
    mrr: Figure
    """1 / rank of the first relevant document among the best ten."""
    ndcg_difference: Figure | None = None
    """By how much nDCG@10 is above that of the first engine, on the same queries."""


def read_queries(path: Path) -> list[Query]:
    """Read queries from JSON lines with `id` (or `_id`) and `text`, or from lines of id and text parted by a tab.

    A first line of names is skipped there.
    """
    found: dict[tuple[str, str], Query] = {}
    tabbed = ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]]
    read, like = (_tabbed, "an id, a tab and words") if tabbed else (_query, '{"id": "1", "text": "words"}')
    for number, (place, line) in enumerate(_lines(path)):
        if tabbed and not number and line.split("\t")[0].strip().lower() in _ID_NAMES:
            continue
        try:
            query = read(line)
        except (ValueError, LookupError, AttributeError, RecursionError):
            raise TaskError(f"{path}:{place}: a query is needed, such as {like}") from None
        if found.setdefault((query.query_id, query.form), query) != query:
            raise TaskError(f"{path}:{place}: the query {query.query_id!r} stands above already, with another text")
    if not found:
        raise TaskError(f"{path}: there is no query in it")
    return list(found.values())


def _query(line: str) -> Query:
    record = json.loads(line)
    form = record.get("form")
    return Query(
        query_id=_name(record.get("id", record.get("_id"))),
        text=record["text"],
        form="" if form is None or form == "" else _name(form),
    )


def _tabbed(line: str) -> Query:
    query_id, text = line.rstrip("\r\n").split("\t")
    return Query(query_id=_name(query_id), text=text)


def _name(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise ValueError(value)
    return str(value)


def read_grades(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements from tab-separated lines (a first line of names is skipped); also TREC's form of four columns.

    Of two judgements of one document the later counts.
    """
    grades: dict[str, dict[str, int]] = {}
    for number, (place, line) in enumerate(_lines(path)):
        parts = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        if not number and parts[-1].strip()[:1].isalpha():
            continue
        try:
            query, document, grade = _judgement(parts, tabbed="\t" in line)
        except ValueError as error:
            raise TaskError(f"{path}:{place}: {error}") from None
        grades.setdefault(query, {})[document] = grade
    relevant = {query: {own: grade for own, grade in found.items() if grade > 0} for query, found in grades.items()}
    if not any(relevant.values()):
        raise TaskError(f"{path}: there is no judgement above 0 in it")
    return {query: found for query, found in relevant.items() if found}


def _judgement(parts: Sequence[str], tabbed: bool) -> tuple[str, str, int]:
    """Return query, document and grade; raises ValueError with what is wrong."""
    grade = _GRADE.fullmatch(parts[-1].strip()) if len(parts) in {3, 4} else None
    if grade is None or not parts[0].strip() or not parts[-2].strip():
        raise ValueError("query, document and grade (a whole number) are needed, parted by tabs")
    if not tabbed and len(parts) == 4 and not _ROUND.fullmatch(parts[1]):
        raise ValueError(
            f"four words are TREC's form (query, 0, document, grade), and {parts[1]!r} is none of its 0; part by tabs"
        )
    return parts[0], parts[-2], int(grade[1])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for place, line in enumerate(file, 1):
                if line.strip():
                    yield place, line.removeprefix("\ufeff")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise TaskError(f"{path}: cannot be read: {said}") from error


async def evaluate(
    retrievers: Mapping[str, Retriever], queries: Sequence[Query], grades: Grades, dice: Dice
) -> list[RetrievalScore]:
    """Ask every engine every judged query; return its scores by form, forms in order, engines as given."""
    scores = []
    for form in sorted({query.form for query in queries}):
        asked = [query for query in queries if query.form == form and query.query_id in grades]
        unjudged = sum(query.form == form for query in queries) - len(asked)
        if not asked:
            one, judged = next(query.query_id for query in queries if query.form == form), next(iter(grades), "")
            raise TaskError(
                f"no query{f' of form {form!r}' if form else ''} has a judged document; do the ids agree? "
                f"queries are such as {one!r}, those of judgements such as {judged!r}"
            )
        columns: list[array[float]] = []
        for retriever in retrievers.values():
            ndcg, recall, mrr = await _measured(retriever, asked, grades)
            first = columns[0] if columns else ndcg
            columns += [ndcg, recall, mrr, array("d", map(sub, ndcg, first))]
        figures = await _figures(columns, len(asked), dice.child(form))
        for place, name in enumerate(retrievers):
            ndcg_at_10, recall_at_5, mean_rank, difference = figures[4 * place : 4 * place + 4]
            scores.append(
                RetrievalScore(
                    engine=name,
                    form=form,
                    queries=len(asked),
                    unjudged=unjudged,
                    ndcg_at_10=ndcg_at_10,
                    recall_at_5=recall_at_5,
                    mrr=mean_rank,
                    ndcg_difference=difference if place else None,
                )
            )
    return scores


async def judged_in(retriever: Retriever, grades: Grades) -> tuple[int, list[str]]:
    """Return how many documents are judged, and which of them a corpus lacks; reads the whole corpus."""
    judged = dict.fromkeys(doc_id for relevant in grades.values() for doc_id in relevant)
    present = {one.doc_id async for one in retriever.documents() if one.doc_id in judged}
    return len(judged), [doc_id for doc_id in judged if doc_id not in present]


async def _measured(
    retriever: Retriever, queries: Sequence[Query], grades: Grades
) -> tuple["array[float]", "array[float]", "array[float]"]:
    """Return nDCG@10, Recall@5 and reciprocal rank, each as a column with a number for each query."""
    columns = (array("d"), array("d"), array("d"))
    for start in range(0, len(queries), _AT_ONCE):
        some = queries[start : start + _AT_ONCE]
        answers = await together(retriever.search(query.text, _DEPTH) for query in some)
        for query, hits in zip(some, answers, strict=True):
            measured = _measure([hit.document.doc_id for hit in hits], grades[query.query_id])
            for column, value in zip(columns, measured, strict=True):
                column.append(value)
    return columns


def _measure(ids: Sequence[str], relevant: Mapping[str, int]) -> tuple[float, float, float]:
    """Return nDCG@10 (gain is the grade), Recall@5 and the reciprocal rank of one answer.

    A document that is given again takes up a place and gains nothing.
    """
    places = {doc_id: place for place, doc_id in reversed([*enumerate(ids[:_DEPTH])]) if doc_id in relevant}
    gain = sum(relevant[doc_id] / math.log2(place + 2) for doc_id, place in places.items())
    best = sorted(relevant.values(), reverse=True)[:_DEPTH]
    ideal = sum(grade / math.log2(place + 2) for place, grade in enumerate(best))
    found = sum(place < _RECALL_DEPTH for place in places.values())
    return gain / ideal, found / len(relevant), 1 / (1 + min(places.values())) if places else 0.0


async def _figures(columns: Sequence["array[float]"], count: int, dice: Dice) -> list[Figure]:
    """Return the mean of each column and its interval. All are drawn alike, and one draw is held at a time."""
    means = [array("d") for _ in columns]
    for _ in range(_DRAWS):
        places = [dice.below(count) for _ in range(count)]
        for column, own in zip(columns, means, strict=True):
            own.append(sum(map(column.__getitem__, places)) / count)
        # between two draws of very many queries it can be interrupted
        await asyncio.sleep(0)
    return [_figure(sum(column) / count, sorted(own)) for column, own in zip(columns, means, strict=True)]


def _figure(value: float, means: Sequence[float]) -> Figure:
    low, high = means[int(0.025 * len(means))], means[int(0.975 * len(means))]
    return Figure(value=round(value, 4), low=round(low, 4), high=round(high, 4))
