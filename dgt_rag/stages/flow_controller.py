"""Chooses what the next turn is: rules are code, chance is the dice, and the model says what fits and gives the hint."""

from functools import lru_cache
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, Field, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from dgt_rag.errors import Dropped
from dgt_rag.records import ConversationDataPoint, FlowControllerStep
from dgt_rag.stages.base import Bench, ModelStage, answer_of, ask_for
from dgt_rag.stages.passages import fresh_passages
from dgt_rag.stages.patterns import SHIPPED, FlowPattern, by_name, complete, draw_order

_SHORTLIST = 4
"""How many kinds the model is shown; more cost tokens and are hardly ever reached."""


class FlowChoice(BaseModel):
    """The first kind of turn that fits, by its number, and a hint for the person."""

    choice: int = Field(ge=1)
    hint: str = Field(min_length=1, max_length=1000)


@lru_cache(maxsize=32)
def _choice_of(count: int) -> type[FlowChoice]:
    return create_model("FlowChoice", __base__=FlowChoice, choice=(int, Field(ge=1, le=count)))


class FlowController(ModelStage):
    """Chooses the next turn's pattern among those that the rules allow, and gives the user a hint.

    The patterns allowed are put in an order drawn by weight, and the model takes the first that fits: that is a draw by
    weight among those that fit, in one call. A pattern that ends the conversation may be drawn from `min_turns` on, and is
    taken in the last turn.
    """

    name: Literal["lm/flow_controller"] = "lm/flow_controller"
    patterns: tuple[FlowPattern, ...] = SHIPPED
    """Patterns of your own, ours by name, all of ours as `rag/standard`, or a name of ours with other settings."""
    termination_patterns: tuple[str, ...] = ("rag/termination",)
    """The patterns that end the conversation when they are chosen; none: it ends at `max_turns`."""

    _complete = field_validator("patterns", mode="before", json_schema_input_type=str | tuple[str | FlowPattern, ...])(
        complete
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in self.termination_patterns:
            by_name(name, self.patterns)
        others = [pattern for pattern in self.patterns if pattern.name not in self.termination_patterns]
        if not any(pattern.may_open for pattern in others):
            raise PydanticCustomError("task", "patterns: none of them may be the first turn of a conversation")
        return self

    @property
    def endings(self) -> list[FlowPattern]:
        """The patterns that end the conversation."""
        return [by_name(name, self.patterns) for name in self.termination_patterns]

    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with the choice for its next turn."""
        order = draw_order(self._allowed(talk, bench), bench.dice.child("pattern"))
        if not order:
            raise Dropped("no_pattern_left", f"no pattern's rules allow it as turn {talk.turns + 1}")
        if order[0].name in self.termination_patterns:
            return talk.add(self._ending(order[0]))
        shortlist = [pattern for pattern in order if pattern.name not in self.termination_patterns][:_SHORTLIST]
        return talk.add(await self._choose(talk, bench, shortlist))

    def _allowed(self, talk: ConversationDataPoint, bench: Bench) -> list[FlowPattern]:
        turn = talk.turns + 1
        endings = self.endings
        if endings and turn >= bench.max_turns > 1:
            return endings
        others = [
            pattern
            for pattern in self.patterns
            if pattern.name not in self.termination_patterns and pattern.allows(talk)
        ]
        may_end = turn >= max(bench.min_turns, 2)
        return others + [pattern for pattern in endings if may_end and (pattern.allows(talk) or not others)]

    def _ending(self, pattern: FlowPattern) -> FlowControllerStep:
        return FlowControllerStep(
            stage_name=self.name,
            content=pattern.name,
            description=pattern.description,
            hint=pattern.hint,
            terminate=True,
            eligible_patterns=(pattern.name,),
        )

    async def _choose(
        self, talk: ConversationDataPoint, bench: Bench, shortlist: list[FlowPattern]
    ) -> FlowControllerStep:
        scenario = talk.scenario
        ask = ask_for(
            self,
            "flow",
            talk,
            bench,
            _choice_of(len(shortlist)),
            scenario=scenario.content if scenario else "",
            persona=talk.persona.content if talk.persona else "",
            turn=talk.turns + 1,
            max_turns=bench.max_turns,
            candidates=shortlist,
            passages=fresh_passages(talk, scenario.documents if scenario else (), bench.dice.child("passages")),
        )
        reply = await answer_of(bench.speakers[self.generator], ask)
        assert isinstance(reply.value, FlowChoice)
        chosen = shortlist[reply.value.choice - 1]
        fits = tuple(pattern.name for pattern in shortlist[reply.value.choice - 1 :])
        return FlowControllerStep(
            stage_name=self.name,
            content=chosen.name,
            description=chosen.description,
            hint=reply.value.hint,
            eligible_patterns=fits,
            provenance=reply.provenance,
        )


class RagFlowController(FlowController):
    """Chooses the next turn of a RAG conversation; the patterns are ours unless the task gives its own."""

    name: Literal["lm/flow_controller/rag"] = "lm/flow_controller/rag"  # type: ignore[assignment]
    aliases: ClassVar[tuple[str, ...]] = ()
