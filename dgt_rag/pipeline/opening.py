"""Opens what a task names, in the order in which it stands on each other, and closes it on every way out."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from dgt_rag.dice import Dice
from dgt_rag.engines.base import Retriever, SearchToolEngine, seen
from dgt_rag.engines.guarded import guarded
from dgt_rag.engines.tool import SearchTool, search_spec
from dgt_rag.errors import EndpointDown, Exhausted, TaskError
from dgt_rag.llm.base import Speaker
from dgt_rag.plugins import answering_for
from dgt_rag.prompts import Prompts
from dgt_rag.records import ToolSpec
from dgt_rag.samplers.base import Shelf
from dgt_rag.stages.base import Bench, Stage
from dgt_rag.stages.examples import Examples, read_examples
from dgt_rag.task import Task
from dgt_rag.world import World

T = TypeVar("T")


@asynccontextmanager
async def opened(task: Task, world: World) -> AsyncIterator[Bench]:
    """Open the models and engines of a task and hand out its bench."""
    run_dice = Dice(task.seed, task.task_name)
    world = replace(world, dice=run_dice.child("world"), prompts=task.prompts)
    if task.prompts:
        Prompts(task.prompts).check()
    async with AsyncExitStack() as stack:
        used = engines_used(task)
        engines = await open_engines({name: task.tools.engines[name] for name in used}, world, stack)
        retrievers = {name: guarded(engine, task.chat_markers) for name, engine in engines.items()}
        asked = {name for stage in _stages(task) for name in stage.model_names()}
        speakers = {
            name: await _entered(f"model {name!r}", model.open(world), Speaker, stack)
            for name, model in task.models.items()
            if name in asked
        }
        examples = Examples(read_examples(task.seed_examples) if task.seed_examples else (), task.num_examples)
        tools = offered_tools(task, retrievers)
        shelves = {name: Shelf(retriever) for name, retriever in retrievers.items()}
        yield Bench(
            speakers, shelves, tools, examples, run_dice, run_dice, task.min_turns, task.max_turns, task.instructions
        )


async def open_engines(
    engines: Mapping[str, SearchToolEngine], world: World, stack: AsyncExitStack
) -> dict[str, Retriever]:
    """Open engines, those that others stand on first."""
    retrievers: dict[str, Retriever] = {}
    for name in in_order(engines):
        own = replace(world, name=name, engines=dict(retrievers))
        try:
            found = await _entered(f"engine {name!r}", engines[name].open(own), Retriever, stack)
        except (EndpointDown, Exhausted) as error:
            # an address alone does not say which of the task's engines needs it
            error.args = (f"engine {name!r}: {error}",)
            raise
        with answering_for(f"engine {name!r}"):
            retrievers[name] = await seen(engines[name], found, own)
    return retrievers


async def _entered(who: str, context: AbstractAsyncContextManager[T], kind: type[Any], stack: AsyncExitStack) -> T:
    """Enter what a plugin's `open` returned, which must give one of this kind."""
    with answering_for(who):
        found = await stack.enter_async_context(context)
        if not isinstance(found, kind):
            raise TypeError(f"`open` must yield a {kind.__name__}, not {type(found).__name__}")
    return found


def in_order(engines: Mapping[str, SearchToolEngine]) -> list[str]:
    """Return the names so that each comes after those it needs; a circle is refused."""
    order: list[str] = []

    def visit(name: str, path: Sequence[str]) -> None:
        if name in path:
            raise TaskError(
                f"tools.engines: {' needs '.join([*path, name])}: engines cannot need each other in a circle"
            )
        if name not in order:
            for needed in engines[name].needs():
                visit(needed, [*path, name])
            order.append(name)

    for name in engines:
        visit(name, [])
    return order


def _specs(task: Task) -> dict[str, tuple[str, ToolSpec]]:
    """Return the tools that an assistant may be offered, each with its engine, by the name that it sees.

    The registry says them if there is one; else each engine brings its own, but for those that only serve another engine.
    """
    engines = task.tools.engines
    if task.tools.registry:
        pairs = [(inline.engine, spec) for inline in task.tools.registry for spec in inline.tools]
    else:
        parts = {needed for engine in engines.values() for needed in engine.needs()}
        names = [name for name in engines if name not in parts]
        alone = len({engines[name].tool_name for name in names}) == len(names)
        pairs = [(name, search_spec(engines[name], engines[name].tool_name if alone else name)) for name in names]
    found = {spec.name: (name, spec) for name, spec in pairs}
    if len(found) < len(pairs):
        raise TaskError("tools: two tools have one name; give them different `name`s or `tool_name`s")
    return found


def engines_used(task: Task) -> list[str]:
    """Return the engines that the stages draw from or search, with those that these stand on; no other one is opened.

    All are, where a stage is a guest's, which may use what it does not name.
    """
    engines, stages = task.tools.engines, _stages(task)
    if not all(type(stage).__module__.startswith("dgt_rag.") for stage in stages):
        return list(engines)
    specs = _specs(task)
    offered = {specs[name][0] for stage in stages for name in stage.offers(specs)}
    wanted = offered.union(*(stage.engine_names() for stage in stages))
    order = in_order(engines)
    for name in reversed(order):
        if name in wanted:
            wanted.update(engines[name].needs())
    return [name for name in engines if name in wanted]


def _stages(task: Task) -> list[Stage]:
    return [stage for stages in task.stages.values() for stage in stages]


def offered_tools(task: Task, retrievers: Mapping[str, Retriever]) -> dict[str, SearchTool]:
    """Return the tools of these retrievers, by the name that an assistant sees."""
    specs = _specs(task)
    found = {
        tool: SearchTool.of(task.tools.engines[name], retrievers[name], spec)
        for tool, (name, spec) in specs.items()
        if name in retrievers
    }
    offered_by(task, found)
    return found


def offered_by(task: Task, tools: Mapping[str, SearchTool]) -> dict[str, ToolSpec]:
    """Return the tools that any stage of a task offers to its model, by name; a stage that names another is refused."""
    names = {name for stage in _stages(task) for name in stage.offers(tools)}
    return {name: tool.spec for name, tool in tools.items() if name in names}
