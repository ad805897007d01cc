"""How well engines rank: nDCG@10, Recall@5 and MRR on a judged collection, with confidence intervals.

A collection is three files: a corpus (the engines serve it), queries (`id`, `text`, sometimes `form`) as JSON lines, and
judgements as tab-separated lines (query, document, grade). Intervals are 95 % by bootstrap over the queries; engines are
compared on the same draws.
"""

import gzip
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.errors import TaskError
from dgt_rag.records import Record
from dgt_rag.together import together

_DRAWS = 1000
_AT_ONCE = 16
_DEPTH = 10
_GRADE = re.compile(r"([+-]?[0-9]{1,9})(?:\.0*)?")
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
    query_id = record.get("id", record.get("_id"))
    if query_id is None or not isinstance(record["text"], str):
        raise KeyError("id")
    return Query(query_id=str(query_id), text=record["text"], form=str(record.get("form") or ""))


def _tabbed(line: str) -> Query:
    query_id, text = line.rstrip("\r\n").split("\t")
    return Query(query_id=query_id, text=text)


def read_grades(path: Path) -> dict[str, dict[str, int]]:
    """Read judgements from tab-separated lines (a first line of names is skipped); also TREC's form of four columns.

    Of two judgements of one document the later counts.
    """
    grades: dict[str, dict[str, int]] = {}
    names = True
    for place, line in _lines(path):
        parts = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
        grade = _GRADE.fullmatch(parts[-1].strip()) if len(parts) in {3, 4} else None
        if grade is not None:
            grades.setdefault(parts[0], {})[parts[-2]] = int(grade[1])
        elif not (names and parts[-1].strip()[:1].isalpha()):
            raise TaskError(f"{path}:{place}: query, document and grade (a whole number) are needed, parted by tabs")
        names = False
    relevant = {query: {own: grade for own, grade in found.items() if grade > 0} for query, found in grades.items()}
    if not any(relevant.values()):
        raise TaskError(f"{path}: there is no judgement above 0 in it")
    return {query: found for query, found in relevant.items() if found}


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for place, line in enumerate(file, 1):
                if line.strip():
                    yield place, line.removeprefix("\ufeff")
    except (OSError, EOFError, UnicodeDecodeError) as error:
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
            raise TaskError(f"no query{f' of form {form!r}' if form else ''} has a judged document; do the ids agree?")
        draws = _draws(len(asked), dice.child(form))
        first: list[float] | None = None
        for name, retriever in retrievers.items():
            ranked = await _ranked(retriever, asked)
            measured = [_measure(ids, grades[query.query_id]) for ids, query in zip(ranked, asked, strict=True)]
            ndcg, recall, mrr = ([one[n] for one in measured] for n in range(3))
            above = [mine - theirs for mine, theirs in zip(ndcg, first, strict=True)] if first is not None else None
            scores.append(
                RetrievalScore(
                    engine=name,
                    form=form,
                    queries=len(asked),
                    unjudged=unjudged,
                    ndcg_at_10=_figure(ndcg, draws),
                    recall_at_5=_figure(recall, draws),
                    mrr=_figure(mrr, draws),
                    ndcg_difference=_figure(above, draws) if above is not None else None,
                )
            )
            first = ndcg if first is None else first
    return scores


async def judged_in(retriever: Retriever, grades: Grades) -> tuple[int, int]:
    """Return how many of the judged documents a corpus has, and how many are judged; reads the whole corpus."""
    judged = {doc_id for relevant in grades.values() for doc_id in relevant}
    return len({one.doc_id async for one in retriever.documents() if one.doc_id in judged}), len(judged)


async def _ranked(retriever: Retriever, queries: Sequence[Query]) -> list[list[str]]:
    out = []
    for start in range(0, len(queries), _AT_ONCE):
        some = queries[start : start + _AT_ONCE]
        for hits in await together(retriever.search(query.text, _DEPTH) for query in some):
            out.append([hit.document.doc_id for hit in hits])
    return out


def _measure(ids: Sequence[str], relevant: Mapping[str, int]) -> tuple[float, float, float]:
    """Return nDCG@10 (gain is the grade), Recall@5 and the reciprocal rank of one answer."""
    gain = sum(relevant.get(doc_id, 0) / math.log2(place + 2) for place, doc_id in enumerate(ids[:_DEPTH]))
    best = sorted(relevant.values(), reverse=True)[:_DEPTH]
    ideal = sum(grade / math.log2(place + 2) for place, grade in enumerate(best))
    found = sum(doc_id in relevant for doc_id in ids[:5])
    rank = next((place for place, doc_id in enumerate(ids[:_DEPTH], 1) if doc_id in relevant), None)
    return gain / ideal, found / len(relevant), 1 / rank if rank else 0.0


def _draws(count: int, dice: Dice) -> list[list[int]]:
    return [[dice.below(count) for _ in range(count)] for _ in range(_DRAWS)]


def _figure(values: Sequence[float], draws: Sequence[Sequence[int]]) -> Figure:
    means = sorted(sum(values[place] for place in places) / len(places) for places in draws)
    low, high = means[int(0.025 * len(means))], means[int(0.975 * len(means))]
    return Figure(value=round(sum(values) / len(values), 4), low=round(low, 4), high=round(high, 4))
