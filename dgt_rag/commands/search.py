"""`search`: what the assistant would see for a query."""

import argparse
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dgt_rag.commands.tasks import add_task_arguments, engine_named, load_one, open_only
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.guarded import guarded
from dgt_rag.engines.tool import SearchTool
from dgt_rag.engines.tool_schema import problem_of
from dgt_rag.errors import Dropped, Exit, TaskError
from dgt_rag.interrupts import run_to_end
from dgt_rag.pipeline.opening import in_order
from dgt_rag.records import FoundDocument, ToolCall
from dgt_rag.report.conversation import printable
from dgt_rag.task import Task

_WORD = re.compile(r"\w+")
_WINDOW = 220
"""Characters of a body that are shown."""
_NEAR = 160
"""Characters from the first of the words shown to the last."""
_LOOKED_THROUGH = 1_000_000
"""Characters of a body in which the words of the question are looked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_task_arguments(parser)
    parser.usage = '%(prog)s TASK.yaml "a question" [key=value …] [--engine NAME] [--limit N]'
    parser.add_argument(
        "--engine",
        action="append",
        metavar="NAME",
        help="an engine of the task; may be given again; those that the assistant is offered if not given",
    )
    parser.add_argument(
        "--limit", type=int, metavar="N", help="hits to show at most; the engine's own limit if not given"
    )


def main(args: argparse.Namespace) -> int:
    """Search and print the hits."""
    if len(args.words) + len(args.task_paths) < 2 or not args.words:
        raise TaskError('search: a task file and a question are wanted: dgt-rag search TASK.yaml "a question"')
    if args.limit is not None and args.limit < 1:
        raise TaskError(f"--limit {args.limit}: at least 1")
    question = args.words.pop(0 if args.task_paths else 1)
    if more := [word for word in args.words[not args.task_paths :] if "=" not in word]:
        raise TaskError(f'search: one question is wanted; put it in quotes: "{" ".join([question, *more])}"')
    task = load_one(args).task
    for name in args.engine or ():
        engine_named(task, name)
    run_to_end(_search(task, question, args))
    return Exit.MADE


async def _search(task: Task, question: str, args: argparse.Namespace) -> None:
    # one after the other, so that one that does not open takes nothing from those before it
    for name in args.engine or _offered(task):
        started = time.perf_counter()
        async with open_only(_unbarred(task, name), [name]) as retrievers:
            opened = time.perf_counter() - started
            print(f"\nengine {name}: {task.tools.engines[name].plugin_name()}, opened in {opened:.2f} s")
            tool = _tool(task, name, retrievers[name], args.limit)
            if await _show(tool, question) == 0 and tool.threshold is not None:
                for hit in await retrievers[name].search(question, 1):
                    print(f"relevance_threshold {tool.threshold:g} leaves nothing: the best score is {hit.score:.4g}")


def _unbarred(task: Task, name: str) -> Task:
    """Return the task with an engine that hands over what is below its threshold as well; the tool keeps that."""
    engine = task.tools.engines[name].model_copy(update={"relevance_threshold": None})
    tools = task.tools.model_copy(update={"engines": {**task.tools.engines, name: engine}})
    return task.model_copy(update={"tools": tools})


def _offered(task: Task) -> Sequence[str]:
    engines = task.tools.engines
    if task.tools.registry:
        return list(dict.fromkeys(inline.engine for inline in task.tools.registry))
    in_order(engines)  # refuses engines that need each other in a circle; they would all be taken for parts
    parts = {part for engine in engines.values() for part in engine.needs()}
    return [name for name in engines if name not in parts]


def _tool(task: Task, name: str, retriever: Retriever, limit: int | None) -> SearchTool:
    tool = SearchTool.of(task.tools.engines[name], guarded(retriever, task.chat_markers))
    return replace(tool, error_categories=(), limit=limit or tool.limit)


async def _show(tool: SearchTool, question: str) -> int | None:
    """Print what a call brings; return how many hits, None where the conversation would be dropped."""
    call = ToolCall(call_id="1", name=tool.spec.name, arguments={tool.query_key: question})
    problem = problem_of(call.arguments, tool.spec)
    if problem:
        raise TaskError(f"search: {problem.partition(' The arguments of')[0]}")
    started = time.perf_counter()
    try:
        result = await tool.execute(call, Dice("search"))
    except Dropped as why:
        print(f"nothing: the conversation would be dropped: {printable(why.detail)}")
        return None
    seconds = time.perf_counter() - started
    hits = len(result.result or ())
    print(f"{hits} {'hit' if hits == 1 else 'hits'} in {seconds * 1000:.1f} ms: {printable(question)}")
    for hit in result.result or ():
        print("\n".join(_lines(hit, question)))
    return hits


def _lines(hit: FoundDocument, question: str) -> Iterator[str]:
    yield f"\n{hit.rank:>3}. {hit.score:<9.4g} {_one_line(hit.doc_id)}  {_one_line(hit.title)}".rstrip()
    yield f"     {snippet(hit.body, question)}"


def snippet(body: str, question: str) -> str:
    """Return the stretch of a body in which most words of the question stand, on one line."""
    text = _one_line(body[:_LOOKED_THROUGH])
    # word forms differ at their ends, so the beginnings are looked for
    stems = {word.lower()[:5] for word in _WORD.findall(question) if len(word) > 3} or {
        word.lower() for word in _WORD.findall(question)
    }
    found = [(match.start(), match[0].lower()[:5]) for match in _WORD.finditer(text) if match[0].lower()[:5] in stems]
    best = _densest(found)
    start = max(0, best - 40)
    start = text.rfind(" ", 0, start) + 1 if start else 0
    end = start + _WINDOW
    return f"{'… ' if start else ''}{text[start:end].strip()}{' …' if end < len(text) or len(body) > _LOOKED_THROUGH else ''}"


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _densest(found: Sequence[tuple[int, str]]) -> int:
    """Return where the first stretch begins in which most different words stand; `found` is in order."""
    within: Counter[str] = Counter()
    best, most, end = 0, 0, 0
    for start, stem in found:
        while end < len(found) and found[end][0] < start + _NEAR:
            within[found[end][1]] += 1
            end += 1
        if len(within) > most:
            best, most = start, len(within)
        within[stem] -= 1
        if not within[stem]:
            del within[stem]
    return best
