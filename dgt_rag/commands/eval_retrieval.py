"""`eval-retrieval`: engines of a task measured on queries with judgements, in one table."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from dgt_rag.commands.tasks import add_task_arguments, engine_named, load_one, open_only, say
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.errors import Dropped, EngineError, Exit, TaskError
from dgt_rag.interrupts import run_to_end
from dgt_rag.plugins import unknown
from dgt_rag.report.retrieval import (
    Figure,
    Grades,
    Query,
    RetrievalScore,
    evaluate,
    judged_in,
    read_grades,
    read_queries,
)
from dgt_rag.task import Task

_FEW_QUERIES = 20
"""Queries below which an interval says little: those drawn are too much alike."""
_FEW_LACKING = 0.1
"""The part of the judged documents that a corpus may lack though the ids agree, as empty documents are left out."""
_SMALL = 100_000
"""Documents up to which a corpus is looked through for the judged ones though some were found."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_task_arguments(parser)
    parser.add_argument(
        "--queries",
        required=True,
        type=Path,
        metavar="FILE",
        help="JSON lines with id and text, and form where a query is worded in several ways; "
        "or, in a file named .tsv, lines of id and text parted by a tab (.gz is unpacked)",
    )
    parser.add_argument(
        "--qrels",
        required=True,
        type=Path,
        metavar="FILE",
        help="lines of query, document and grade, parted by tabs; or TREC's four columns, parted by blanks (.gz is unpacked)",
    )
    parser.add_argument(
        "--engine",
        action="append",
        metavar="NAME",
        help="an engine of the task; may be given again, all are set against the first; every engine if not given",
    )
    parser.add_argument("--form", metavar="NAME", help="only queries of this form")


def main(args: argparse.Namespace) -> int:
    """Measure and print the table."""
    task = load_one(args).task
    names = list(dict.fromkeys(args.engine or task.tools.engines))
    for name in names:
        engine_named(task, name)
    queries, grades = read_queries(args.queries), read_grades(args.qrels)
    scores = run_to_end(_measure(task, names, _of_form(queries, args.form), grades))
    known = {query.query_id for query in queries}
    if absent := [query_id for query_id in grades if query_id not in known]:
        say(
            f"warning: {args.qrels}: {len(absent):,} of the {len(grades):,} queries with a relevant document are not in "
            f"{args.queries}, such as {absent[0]!r}; they are not asked"
        )
    print(
        "\n".join(line for form, some in groupby(scores, lambda score: score.form) for line in table(form, list(some)))
    )
    return Exit.MADE


def _of_form(queries: Sequence[Query], form: str | None) -> Sequence[Query]:
    forms = sorted({query.form for query in queries if query.form})
    if form is not None and form not in forms:
        raise TaskError(f"--form: {unknown('form', form, forms)}")
    return [query for query in queries if form is None or query.form == form]


async def _measure(task: Task, names: Sequence[str], queries: Sequence[Query], grades: Grades) -> list[RetrievalScore]:
    async with open_only(task, names) as retrievers:
        asked = {name: retrievers[name] for name in names}
        try:
            scores = await evaluate(asked, queries, grades, Dice(task.seed, "eval-retrieval"))
        except Dropped as why:
            raise EngineError(f"eval-retrieval: {why.detail}; leave that query out") from why
        said: dict[str, list[str]] = {}
        for name in names:
            missed = not any(score.ndcg_at_10.value for score in scores if score.engine == name)
            said.setdefault(await lacking(retrievers[name], grades, missed), []).append(name)
        for what, of in said.items():
            if what:
                say(f"warning: {'engine' if len(of) == 1 else 'engines'} {', '.join(of)}: {what}")
        return scores


async def lacking(retriever: Retriever, grades: Grades, missed: bool) -> str:
    """Say how many of the judged documents a corpus has, if not all; one of many documents is read only if none was found."""
    try:
        if not missed and await retriever.count() > _SMALL:
            return ""
        judged, absent = await judged_in(retriever, grades)
    except (TaskError, NotImplementedError):
        # an engine that can only search, such as one over HTTP
        return "no judged document was found; do the ids of judgements and corpus agree?" if missed else ""
    if not absent:
        return ""
    which = f"the corpus lacks {len(absent):,} of the {judged:,} relevant documents, such as {absent[0]!r}"
    if len(absent) <= _FEW_LACKING * judged:
        return f"{which}; what is not there counts as not found"
    return f"{which}; do the ids of judgements and corpus agree?"


def table(form: str, scores: Sequence[RetrievalScore]) -> Iterator[str]:
    """Return the lines of a table: a mean and its 95 % confidence interval for each engine and measure."""
    first = scores[0]
    skipped = f"; {first.unjudged} without a relevant document were not asked" if first.unjudged else ""
    few = "; so few that the intervals say little" if first.queries < _FEW_QUERIES else ""
    asked = f"{first.queries} {'query' if first.queries == 1 else 'queries'}{f' of form {form}' if form else ''}"
    yield f"{asked}, in brackets 95 % confidence intervals{few}{skipped}"
    width = max(6, *(len(score.engine) for score in scores))
    above = f"nDCG@10 above {first.engine}" if len(scores) > 1 else ""
    yield f"{'engine':<{width}}  {'nDCG@10':<23}{'Recall@5':<23}{'MRR@10':<23}{above}".rstrip()
    for score in scores:
        figures = "".join(f"{_shown(figure):<23}" for figure in (score.ndcg_at_10, score.recall_at_5, score.mrr))
        yield f"{score.engine:<{width}}  {figures}{_shown(score.ndcg_difference, '+') if score.ndcg_difference else ''}".rstrip()
    yield ""


def _shown(figure: Figure, sign: str = "") -> str:
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f}…{figure.high:{sign}.3f})"
