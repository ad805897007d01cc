"""Kinds of turns: what a pattern says, and the rules about it that are code."""

from collections.abc import Sequence

from pydantic import Field
from pydantic_core import PydanticCustomError

from dgt_rag.dice import Dice
from dgt_rag.plugins import Settings, unknown
from dgt_rag.records import ConversationDataPoint


class FlowPattern(Settings):
    """A kind of turn. `description` and `hint` are for the model; everything else is held by code."""

    name: str
    description: str = ""
    """What happens in such a turn. May be left out for a pattern of ours."""
    hint: str = ""
    """How to ask, for every turn of this kind."""
    weight: float = Field(default=1.0, gt=0)
    """How likely it is drawn, against the others that fit."""
    max_uses: int | None = Field(default=None, ge=1)
    """How often in one conversation at most."""
    max_consecutive: int | None = Field(default=None, ge=1)
    """How often in a row at most."""
    min_turn: int = Field(default=1, ge=1)
    """The first turn it may be used in."""
    max_turn: int | None = Field(default=None, ge=1)
    """The last turn it may be used in."""
    requires_documents: int = Field(default=0, ge=0)
    """How many documents the conversation must have at least."""
    after: tuple[str, ...] = ()
    """The turn before must be one of these patterns."""
    not_after: tuple[str, ...] = ()
    """The turn before must not be one of these patterns."""

    @property
    def label(self) -> str:
        """Its name as the model sees it."""
        return self.name.removeprefix("rag/").replace("_", " ")

    @property
    def may_open(self) -> bool:
        """Whether its rules allow it as the first turn, if there are documents enough."""
        return self.min_turn == 1 and not self.after

    def allows(self, talk: ConversationDataPoint) -> bool:
        """Say whether its rules allow it as the next turn."""
        used = talk.patterns
        turn = talk.turns + 1
        documents = len(talk.scenario.documents) if talk.scenario else 0
        last = used[-1] if used else None
        run = len(used) - max((i + 1 for i, name in enumerate(used) if name != self.name), default=0)
        rules = (
            self.max_uses is None or used.count(self.name) < self.max_uses,
            self.max_consecutive is None or run < self.max_consecutive,
            self.min_turn <= turn <= (self.max_turn or turn),
            documents >= self.requires_documents,
            not self.after or last in self.after,
            last not in self.not_after,
        )
        return all(rules)


SHIPPED: tuple[FlowPattern, ...] = (
    FlowPattern(
        name="rag/factoid",
        description="The person asks for one definite fact: a number, a date, a fee, a place, a name, a yes or no, that stands in one place of the documents.",
        weight=1.5,
        max_consecutive=2,
    ),
    FlowPattern(
        name="rag/explanation",
        description="The person wants to understand why something is so or how it works: a reason, a rule, a connection that the documents explain.",
        max_consecutive=2,
    ),
    FlowPattern(
        name="rag/instructional",
        description="The person wants to do something and asks how: the steps, their order, what is needed for them.",
        max_uses=2,
        max_consecutive=1,
    ),
    FlowPattern(
        name="rag/comparative",
        description="The person weighs two things that the documents describe (two permits, two products, two cases) and asks how they differ or which of them suits.",
        max_uses=2,
        max_consecutive=1,
    ),
    FlowPattern(
        name="rag/follow_up",
        description="The person goes on from the last answer: a detail of it, the next step, the same for another case. Often short, and only clear from what was said before.",
        weight=1.5,
        min_turn=2,
        max_consecutive=2,
    ),
    FlowPattern(
        name="rag/clarification",
        description="The person did not understand a part of the last answer, or took it in another sense, and says so: a term, a condition, two things that seem to contradict each other.",
        min_turn=2,
        max_uses=1,
        not_after=("rag/unanswerable", "rag/underspecified"),
    ),
    FlowPattern(
        name="rag/ambiguous",
        description="The person asks in a way that can mean two different things in the documents, without noticing it.",
        weight=0.5,
        max_uses=1,
    ),
    FlowPattern(
        name="rag/unanswerable",
        description="The person asks for something that belongs to the matter, and that one would expect to find, but that these documents do not say.",
        weight=0.7,
        max_uses=1,
        min_turn=2,
    ),
    FlowPattern(
        name="rag/underspecified",
        description="The person asks something whose answer depends on a fact about them that they have not said (which model, which district, since when), and does not say it now either.",
        weight=0.7,
        max_uses=1,
    ),
    FlowPattern(
        name="rag/multi_hop",
        description="The person asks something that can only be answered by putting together what two different documents say.",
        max_uses=2,
        max_consecutive=1,
        requires_documents=2,
    ),
    FlowPattern(
        name="rag/termination",
        description="The person has what they came for and ends the conversation.",
        min_turn=2,
    ),
)
"""The set `rag/standard`."""

_BY_NAME = {pattern.name: pattern for pattern in SHIPPED}


def complete(entries: object) -> object:
    """Return a task's patterns with ours filled in: a name, the whole set by `rag/standard`, a name with changes."""
    if isinstance(entries, str):
        entries = [entries]
    if not isinstance(entries, Sequence):
        return entries
    out: list[object] = []
    for entry in entries:
        out.extend(SHIPPED if entry == "rag/standard" else [_one(entry)])
    # an entry that comes later changes the one of the same name before it
    named = {
        entry.name
        if isinstance(entry, FlowPattern)
        else str(entry.get("name"))
        if isinstance(entry, dict)
        else repr(entry): entry
        for entry in out
    }
    return tuple(named.values())


def _one(entry: object) -> object:
    if isinstance(entry, str):
        if entry not in _BY_NAME:
            raise PydanticCustomError(
                "unknown_pattern", "{message}", {"message": unknown("pattern", entry, ["rag/standard", *_BY_NAME])}
            )
        return _BY_NAME[entry]
    if isinstance(entry, dict) and entry.get("name") in _BY_NAME and not entry.get("description"):
        return {**_BY_NAME[entry["name"]].model_dump(exclude_defaults=True), **entry}
    if isinstance(entry, dict) and not entry.get("description"):
        name = str(entry.get("name"))
        raise PydanticCustomError(
            "no_description", "pattern {name} is not one of ours, so it needs a `description`", {"name": repr(name)}
        )
    return entry


def by_name(name: str, own: Sequence[FlowPattern]) -> FlowPattern:
    """Return the pattern of this name, the task's own before ours; one that is not there is refused."""
    found = {**_BY_NAME, **{pattern.name: pattern for pattern in own}}
    if name not in found:
        raise PydanticCustomError(
            "unknown_pattern", "{message}", {"message": unknown("termination pattern", name, found)}
        )
    return found[name]


def draw_order(patterns: Sequence[FlowPattern], dice: Dice) -> list[FlowPattern]:
    """Return the patterns in drawn order: whichever subset fits, its first one is a draw by weight among that subset."""
    keys = [dice.unit() ** (1.0 / pattern.weight) for pattern in patterns]
    return [patterns[place] for place in sorted(range(len(patterns)), key=lambda place: -keys[place])]
