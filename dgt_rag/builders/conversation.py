"""One conversation: stages before, stages for each turn, stages after. What fills it is in the task."""

import asyncio
from collections.abc import Sequence

from dgt_rag.catalog import SHIPPED
from dgt_rag.errors import DgtError, Dropped, ModelError
from dgt_rag.plugins import bug_line
from dgt_rag.records import ConversationDataPoint
from dgt_rag.stages.base import Bench, Stage
from dgt_rag.task import Task
from dgt_rag.validation import chat_marker, faults


class Ended(Exception):
    """A stage gave up; `talk` is the conversation as far as it came."""

    def __init__(self, talk: ConversationDataPoint, why: Dropped | ModelError) -> None:
        super().__init__(str(why))
        self.talk = talk
        self.why = why
        self.detail = getattr(why, "detail", "") or str(why)


async def through(stages: Sequence[Stage], talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
    """Return the conversation that these stages make of one, each with dice of its own; raises `Ended`."""
    for place, stage in enumerate(stages):
        try:
            talk = _whole(talk, await stage(talk, bench.at(place)), stage)
        except (Dropped, ModelError) as why:
            raise Ended(talk, why) from why
        except DgtError:
            raise
        # a stage may be a guest's; a bug in it costs this conversation, not the night's run
        except (Exception, SystemExit, asyncio.CancelledError) as bug:
            if _stopped(bug):
                raise
            raise Ended(talk, Dropped("stage_error", f"{stage.plugin_name()}: {bug_line(bug)}")) from bug
    return talk


def _stopped(bug: BaseException) -> bool:
    """Whether the run itself is being stopped; a guest's own cancelled task is none of its business."""
    task = asyncio.current_task()
    return isinstance(bug, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _whole(before: ConversationDataPoint, after: object, stage: Stage) -> ConversationDataPoint:
    """Return what a stage made; a guest's must be the same conversation, and one that is read back as it is written."""
    if type(stage) in SHIPPED and isinstance(after, ConversationDataPoint):
        return after
    if not isinstance(after, ConversationDataPoint):
        raise TypeError(f"a ConversationDataPoint must be returned, not {type(after).__name__}")
    if after.model_copy(update={"steps": before.steps}) != before:
        raise ValueError("another conversation was returned than the one that was given")
    return ConversationDataPoint.model_validate_json(after.model_dump_json(warnings="error"))


async def make_conversation(task: Task, bench: Bench, index: int) -> ConversationDataPoint:
    """Make conversation `index` of a run, kept or dropped with its reason."""
    return _writable(await _made(task, bench, index))


def _writable(talk: ConversationDataPoint) -> ConversationDataPoint:
    """Return the conversation; if a plugin gave it text that cannot be written, that it was dropped for this."""
    try:
        talk.model_dump_json()
    except ValueError as error:
        bare = talk.model_copy(update={"steps": (), "raw": None})
        return bare.drop("unwritable_text", ascii(str(error)))
    return talk


async def _made(task: Task, bench: Bench, index: int) -> ConversationDataPoint:
    """Make a conversation.

    One that fails falls back to its last whole turn if that is long enough, for a whole turn is whole whatever came after;
    what failed is kept with it.
    """
    talk = ConversationDataPoint(
        task_name=task.task_name, index=index, conversation_id=f"{task.task_name}-{task.seed}-{index}"
    )
    bench = bench.at(index)
    whole, cut_short, raw = talk, "", ""
    try:
        talk = await through(task.initialization_stages, talk, bench.at("init"))
        while talk.turns < task.max_turns and not talk.closed:
            before = talk.turns
            talk = whole = await through(task.iteration_stages, talk, bench.at("turn", talk.turns))
            if talk.turns == before:
                raise Ended(talk, Dropped("no_answer", "the iteration stages wrote no assistant step"))
        talk = await through(task.termination_stages, talk, bench.at("end"))
    except Ended as end:
        if whole.turns < task.min_turns:
            return end.talk.drop(end.why.reason, end.detail, end.why.raw)
        talk, cut_short, raw = whole, f"{end.why.reason}: {end.detail}", end.why.raw
    if wrong := faults(talk):
        return talk.drop("invalid_conversation", "; ".join(wrong[:5]))
    if task.chat_markers != "keep" and (found := chat_marker(talk)):
        return talk.drop("chat_marker", found)
    return talk.keep(cut_short, raw)
