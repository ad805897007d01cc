"""`eval-retrieval`: engines of a task measured on queries with judgements, in one table."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from dgt_rag.commands.tasks import add_task_arguments, engine_named, load_one, open_only, say
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.errors import Exit, TaskError
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
        help="JSON lines with id and text, and form where a query is worded in several ways",
    )
    parser.add_argument(
        "--qrels", required=True, type=Path, metavar="FILE", help="lines of query, document and grade, parted by tabs"
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
    queries = _of_form(read_queries(args.queries), args.form)
    scores = run_to_end(_measure(task, names, queries, read_grades(args.qrels)))
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
        scores = await evaluate(
            {name: retrievers[name] for name in names}, queries, grades, Dice(task.seed, "eval-retrieval")
        )
        lacking: dict[str, list[str]] = {}
        for name in names:
            missed = not any(score.ndcg_at_10.value for score in scores if score.engine == name)
            lacking.setdefault(await _lacking(retrievers[name], grades, missed), []).append(name)
        for what, of in lacking.items():
            if what:
                say(f"warning: {'engine' if len(of) == 1 else 'engines'} {', '.join(of)}: {what}")
        return scores


async def _lacking(retriever: Retriever, grades: Grades, missed: bool) -> str:
    """Say how many of the judged documents a corpus has, if not all; one of many documents is read only if none was found."""
    try:
        if not missed and await retriever.count() > _SMALL:
            return ""
        present, judged = await judged_in(retriever, grades)
    except TaskError:
        # an engine that can only search, such as one over HTTP
        return "no judged document was found; do the ids of judgements and corpus agree?" if missed else ""
    if present == judged:
        return ""
    return f"the corpus has {present:,} of the {judged:,} judged documents; do the ids of judgements and corpus agree?"


def table(form: str, scores: Sequence[RetrievalScore]) -> Iterator[str]:
    """Return the lines of a table: a mean and its 95 % confidence interval for each engine and measure."""
    first = scores[0]
    skipped = f"; {first.unjudged} without a relevant document were not asked" if first.unjudged else ""
    yield f"{first.queries} {'query' if first.queries == 1 else 'queries'}{f' of form {form}' if form else ''}{skipped}"
    width = max(6, *(len(score.engine) for score in scores))
    above = f"nDCG@10 above {first.engine}" if len(scores) > 1 else ""
    yield f"{'engine':<{width}}  {'nDCG@10':<23}{'Recall@5':<23}{'MRR@10':<23}{above}".rstrip()
    for score in scores:
        figures = "".join(f"{_shown(figure):<23}" for figure in (score.ndcg_at_10, score.recall_at_5, score.mrr))
        yield f"{score.engine:<{width}}  {figures}{_shown(score.ndcg_difference, '+') if score.ndcg_difference else ''}".rstrip()
    yield ""


def _shown(figure: Figure, sign: str = "") -> str:
    return f"{figure.value:{sign}.3f} ({figure.low:{sign}.3f}…{figure.high:{sign}.3f})"
