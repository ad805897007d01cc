"""One conversation: stages before, stages for each turn, stages after. What fills it is in the task."""

import traceback
from collections.abc import Sequence
from pathlib import Path

from dgt_rag.errors import DgtError, Dropped, ModelError
from dgt_rag.records import ConversationDataPoint
from dgt_rag.stages.base import Bench, Stage
from dgt_rag.task import Task
from dgt_rag.validation import faults


class Ended(Exception):
    """A stage gave up; `talk` is the conversation as far as it came."""

    def __init__(self, talk: ConversationDataPoint, why: Dropped | ModelError) -> None:
        super().__init__(str(why))
        self.talk = talk
        self.why = why


async def through(stages: Sequence[Stage], talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
    """Return the conversation that these stages make of one, each with dice of its own; raises `Ended`."""
    for place, stage in enumerate(stages):
        try:
            talk = await stage(talk, bench.at(place))
        except (Dropped, ModelError) as why:
            raise Ended(talk, why) from why
        except DgtError:
            raise
        except Exception as bug:  # a stage may be a guest's; a bug in it costs this conversation, not the night's run
            said = f"{stage.plugin_name()}: {type(bug).__name__}: {bug} ({_where(bug)})"
            raise Ended(talk, Dropped("stage_error", said)) from bug
    return talk


def _where(bug: Exception) -> str:
    """Return the line that a bug was raised on."""
    last = traceback.extract_tb(bug.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


async def make_conversation(task: Task, bench: Bench, index: int) -> ConversationDataPoint:
    """Make conversation `index` of a run, kept or dropped with its reason.

    One that fails falls back to its last whole turn if that is long enough, for a whole turn is whole whatever came after.
    """
    talk = ConversationDataPoint(
        task_name=task.task_name, index=index, conversation_id=f"{task.task_name}-{task.seed}-{index}"
    )
    bench = bench.at(index)
    whole = talk
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
            why = end.why
            return end.talk.drop(why.reason, getattr(why, "detail", "") or str(why), why.raw)
        talk = whole
    wrong = faults(talk)
    return talk.drop("invalid_conversation", "; ".join(wrong[:5])) if wrong else talk.keep()
