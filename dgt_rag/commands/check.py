"""`check`: whether a task file is right, and what is there; with --online, whether its models and search services answer."""

import argparse
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

from dgt_rag.commands.tasks import add_task_arguments, load_path, open_only, task_paths
from dgt_rag.corpus.markers import marked
from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever
from dgt_rag.engines.http import HttpEngine
from dgt_rag.errors import CorpusError, DgtError, Exit, TaskError
from dgt_rag.interrupts import run_to_end
from dgt_rag.llm.probe import probe
from dgt_rag.pipeline.opening import engines_used, offered_tools
from dgt_rag.prompts import Prompts
from dgt_rag.records import ToolSpec
from dgt_rag.samplers.base import GroupedSampler, fields_of
from dgt_rag.stages.assistant_live import LiveRagAssistant
from dgt_rag.stages.base import Stage
from dgt_rag.stages.examples import read_examples
from dgt_rag.stages.persona import SamplePersona
from dgt_rag.stages.scenario import RagScenario
from dgt_rag.store.calls import open_calls
from dgt_rag.task import Task

_QUESTION = "information"
"""Asked of a search service to see that it answers."""
_DRAWN = 1_000
"""So many documents are looked at for control tokens."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    add_task_arguments(parser, many=True)
    parser.add_argument(
        "--online",
        action="store_true",
        help="ask search services and the endpoints of the models as well: a few short calls each",
    )


def main(args: argparse.Namespace) -> int:
    """Check every task named; one that is wrong does not keep the others from being checked."""
    codes = [Exit.MADE]
    for path in task_paths(args):
        try:
            task = load_path(path, args).task
            print(f"{path}: {task.task_name}")
            run_to_end(_check(task, args.online))
        except DgtError as error:
            print(error, file=sys.stderr)
            codes.append(error.exit_code)
    return max(codes)


async def _check(task: Task, online: bool) -> None:
    for line in _files(task):
        print(f"  {line}")
    async with open_only(task, list(task.tools.engines), lazy=True) as retrievers:
        async for line in _retrieval(task, retrievers):
            print(f"  {line}")
        # all other engines have been asked something by now
        for name in task.tools.engines if online else ():
            if isinstance(task.tools.engines[name], HttpEngine):
                await retrievers[name].search(_QUESTION, 1)
                print(f"  engine {name}: answers", flush=True)
    if not online:
        for name, model in task.models.items():
            missing = model.missing()
            print(f"  model {name}: {model.plugin_name()}{f'; still needed: {missing}' if missing else ''}")
    else:
        store = Path(task.output_dir).expanduser() / task.task_name / "calls.sqlite"
        with open_calls(store) if store.exists() else nullcontext() as calls:
            async for line in probe(task.models, calls):
                print(f"  {line}", flush=True)
    most = f", of at most {task.attempts} begun" if task.attempts > task.num_outputs else ""
    ready = online or not any(model.missing() for model in task.models.values())
    right = "right" if ready else "right, once that is there"
    print(f"  {right}: {task.num_outputs} conversations of {task.min_turns} to {task.max_turns} turns{most}")


def _files(task: Task) -> Iterator[str]:
    """Tell what the files of a task hold, but for the documents."""
    if task.seed_examples:
        seeds = read_examples(task.seed_examples)
        yield f"seed conversations: {len(seeds)} with {sum(seed.turns for seed in seeds)} turns, in {task.seed_examples.name}"
    for stage in _stages(task):
        if isinstance(stage, SamplePersona):
            yield f"personas: {len(stage.persona_store.personas)}, in {stage.persona_store.data_path.name}"
    prompts = Prompts(task.prompts)
    prompts.check()
    if task.prompts:
        own = sorted(path.name for path in task.prompts.glob("*.j2"))
        yield f"prompts of your own: {', '.join(own) or f'none in {task.prompts}'}"


async def _retrieval(task: Task, retrievers: Mapping[str, Retriever]) -> AsyncIterator[str]:
    """Tell what the engines hold, what samplers draw from it, and what tools an assistant is offered."""
    used = engines_used(task)
    for name, retriever in retrievers.items():
        unused = "" if name in used else "; no stage uses it, so a run does not open it"
        held = await _documents(task, name, retriever)
        yield f"engine {name}: {task.tools.engines[name].plugin_name()}, {held}{unused}"
    for stage in _stages(task):
        if isinstance(stage, RagScenario):
            for sampler in stage.document_samplers:
                if isinstance(sampler, GroupedSampler) and sampler.group_by:
                    yield await _groups(sampler, retrievers[sampler.engine])
    tools = offered_tools(task, retrievers)
    for stage in _stages(task):
        if isinstance(stage, LiveRagAssistant):
            for name in stage.tools or tools:
                yield f"tool {_signature(tools[name].spec)}: {tools[name].spec.description}"


def _signature(spec: ToolSpec) -> str:
    properties = spec.parameters.get("properties")
    return f"{spec.name}({', '.join(properties) if isinstance(properties, dict) else ''})"


async def _documents(task: Task, name: str, retriever: Retriever) -> str:
    try:
        fields = await fields_of(retriever)
        count = await retriever.count()
        if not count:
            raise CorpusError(f"engine {name!r}: there is no document in it; is its path right?")
        many = f"{count:,} document{'s' if count > 1 else ''}"
        held = f"{many}, fields {', '.join(fields) or 'none beside id and body'}"
        return f"{held}{await _markers(task, retriever)}"
    except TaskError:
        # an engine that can only be searched is in its place where nothing is sampled from it
        if any(name in stage.engine_names() for stage in _stages(task)):
            raise
        return "whose documents cannot be counted; it is searched only"


async def _markers(task: Task, retriever: Retriever) -> str:
    """Tell how many of some documents hold control tokens of chat templates, and what becomes of them."""
    drawn = await retriever.sample(Dice(task.seed, task.task_name, "check"), _DRAWN)
    tokens = [token for document in drawn if (token := marked(document))]
    if not tokens:
        return ""
    what = {"break": "are broken up by a space", "drop": "drop whoever meets them", "keep": "stand as they are"}
    few = f"{len(tokens):,} of {len(drawn):,} drawn hold control tokens of chat templates, such as {tokens[0]!r}"
    return f"; {few}, which {what[task.chat_markers]} (chat_markers: {task.chat_markers})"


async def _groups(sampler: GroupedSampler, retriever: Retriever) -> str:
    groups = await sampler.wanted(await retriever.groups(sampler.group_by or ""), retriever)
    sizes = [f"{name} {size}" for name, size in groups.items()]
    more = f" and {len(sizes) - 12} more" if len(sizes) > 12 else ""
    return f"groups by {sampler.group_by}: {len(sizes)}: {', '.join(sizes[:12])}{more}"


def _stages(task: Task) -> Iterator[Stage]:
    return (stage for stages in task.stages.values() for stage in stages)
