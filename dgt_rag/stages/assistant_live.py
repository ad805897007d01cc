"""The assistant that searches while it talks, and answers from what it found."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

from pydantic import BaseModel, Field, JsonValue

from dgt_rag.dice import Dice
from dgt_rag.engines.tool import MISTAKES
from dgt_rag.errors import Dropped, TaskError
from dgt_rag.llm.base import Ask, Reply, Speaker
from dgt_rag.plugins import unknown
from dgt_rag.records import (
    AssistantStep,
    ConversationDataPoint,
    Document,
    Provenance,
    ToolCall,
    ToolCallStep,
    ToolError,
    ToolResult,
    ToolResultStep,
    UserStep,
)
from dgt_rag.stages.answers import AnswerReply, AnswerStage, Draft, cited, settle
from dgt_rag.stages.base import Bench, answer_of, copies_its_task
from dgt_rag.stages.moves import AT_ONCE, LastReply, MoveReply, Query, SearchReply, queries_in, queries_of
from dgt_rag.stages.nonsense import is_placeholder
from dgt_rag.together import together


class LiveRagAssistant(AnswerStage):
    """Searches for what the user asks, again with better queries if need be, and answers from what it found.

    One turn has at most `max_tool_rounds` rounds of searches, each of up to three at once. A call that does not fit the
    tool's schema, and a search that fails, become results that the model sees.
    """

    name: Literal["lm/assistant/rag/live"] = "lm/assistant/rag/live"
    aliases: ClassVar[tuple[str, ...]] = ("lm/assistant/rag",)
    tools: tuple[str, ...] = ()
    """The tools offered, by name; all there are if not given. Where engines share a `tool_name`, each tool has its engine's name."""
    max_tool_rounds: int = Field(default=3, ge=1)
    """Rounds of searches in one turn at most."""
    tool_choice: Literal["required", "auto"] = "required"
    """Whether each turn (but the closing one) must begin with a search, or the model decides."""

    def offers(self, tools: Collection[str]) -> tuple[str, ...]:
        """Return the tools named, or all; refuses a name that is not there, and a run without tools."""
        missing = [name for name in self.tools if name not in tools]
        if missing:
            raise TaskError(f"{self.name}: tools: {unknown('tool', missing[0], list(tools))}")
        if not tools:
            raise TaskError(f"{self.name}: there is nothing to search with; name an engine under `tools.engines`")
        return self.tools or tuple(tools)

    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with the searches of this turn and the assistant's answer."""
        turn = Turn(self, bench, talk)
        reply = await turn.search_and_answer()
        if self.tool_choice == "required" and not turn.closing and not turn.searched:
            raise Dropped("no_valid_search", "no call of the turn fits a tool's schema", reply.text)
        documents = tuple(turn.talk.found())
        draft = Draft(turn.talk, documents, turn.ask, turn.closing)
        return turn.talk.add(await settle(self, draft, reply, bench))


class Turn:
    """One turn of the live assistant; `talk` grows by what it searches and finds."""

    def __init__(self, stage: LiveRagAssistant, bench: Bench, talk: ConversationDataPoint) -> None:
        self.stage = stage
        self.bench = bench
        self.talk = talk
        self.tools = {name: bench.tools[name] for name in stage.offers(bench.tools)}
        self.closing = bool(talk.last_flow and talk.last_flow.terminate)
        self.calls = 0
        self.begin = len(talk.steps)

    @property
    def speaker(self) -> Speaker:
        """The model that plays the assistant."""
        return self.bench.speakers[self.stage.generator]

    @property
    def searched(self) -> bool:
        """Whether any call of this turn was one that a tool could answer."""
        results = (step.content for step in self.talk.steps[self.begin :] if isinstance(step, ToolResultStep))
        return any(result.error is None or result.error.type not in MISTAKES for result in results)

    async def search_and_answer(self) -> Reply:
        """Search until the model answers or the rounds are used up; return the reply that holds the answer."""
        rounds = 0
        if not self.closing:
            calls, provenance = await self._first_calls()
            rounds = await self._execute(calls, provenance)
        while True:
            last = self.closing or not 0 < rounds < self.stage.max_tool_rounds
            reply = await self._sound(partial(self._move, last))
            if not isinstance(reply.value, MoveReply):
                return reply
            if reply.value.action == "answer" and reply.value.answer.strip():
                return reply
            calls = self._new_calls(reply.value.queries)
            # a model that wants to search but has no new query is asked for its answer
            rounds = rounds + await self._execute(calls, reply.provenance) if calls else self.stage.max_tool_rounds

    async def _first_calls(self) -> tuple[list[ToolCall], Provenance]:
        """Return the first searches of the turn; none if the model may do without and does."""
        reply = await self._sound(self._search)
        return self._calls_of(reply), reply.provenance

    async def _sound(self, ask: Callable[[int], Awaitable[Reply]]) -> Reply:
        """Return a reply whose queries are not copied from what the model was told; raises `Dropped` if none is."""
        for attempt in range(self.stage.max_retries + 1):
            reply = await ask(attempt)
            if not any(copies_its_task(query, self.speaker, self.talk, self.bench) for query in queries_in(reply)):
                return reply
        raise Dropped("query_says_its_task", f"after {self.stage.max_retries} retries", reply.text)

    async def _search(self, attempt: int) -> Reply:
        if self.speaker.tool_mode == "native":
            reply = await self.speaker.reply(self._first_ask(attempt))
            # an endpoint that turned out to ignore tools is asked again, for a value
            if reply.tool_calls or reply.value or self.speaker.tool_mode == "native":
                return reply
        return await answer_of(self.speaker, self._first_ask(attempt))

    def _first_ask(self, attempt: int) -> Ask:
        required = self.stage.tool_choice == "required"
        reply_type = queries_of(SearchReply, len(self.tools), int(required))
        ask = self.ask("search", self.talk, reply_type, {"required": required}, choice=self.stage.tool_choice)
        return _anew(ask, attempt)

    def _calls_of(self, reply: Reply) -> list[ToolCall]:
        if isinstance(reply.value, SearchReply):
            return self._new_calls(reply.value.queries)
        different: dict[str, ToolCall] = {}
        for call in reply.tool_calls:
            different.setdefault(_fold(call.name, call.arguments), call)
        return [self._numbered(call.name, call.arguments) for call in list(different.values())[:AT_ONCE]]

    async def _move(self, last: bool, attempt: int) -> Reply:
        base = LastReply if last else queries_of(MoveReply, len(self.tools), 0)
        assert issubclass(base, AnswerReply)
        reply_type = cited(base, len(list(self.talk.found())))
        values: dict[str, object] = {"last_round": last, "closing": self.closing}
        return await answer_of(self.speaker, _anew(self.ask("move", self.talk, reply_type, values), attempt))

    async def _execute(self, calls: list[ToolCall], provenance: Provenance) -> int:
        """Make these searches at once and add them with their results; return 1 if there was one, else 0."""
        if not calls:
            return 0
        name = self.stage.name
        dice = self.bench.dice.child("search")
        results = await together(self._result(call, dice.child(call.call_id)) for call in calls)
        made = [
            ToolCallStep(stage_name=name, content=call, provenance=provenance if n == 0 else None)
            for n, call in enumerate(calls)
        ]
        found = [ToolResultStep(stage_name=name, content=result) for result in results]
        self.talk = self.talk.add(*made, *found)
        return 1

    async def _result(self, call: ToolCall, dice: Dice) -> ToolResult:
        tool = self.tools.get(call.name)
        if tool is None:
            message = f"There is no tool {call.name!r}; there are: {', '.join(self.tools)}."
            return ToolResult(
                call_id=call.call_id, name=call.name, error=ToolError(type="unknown_tool", message=message)
            )
        return await tool.execute(call, dice)

    def _numbered(self, name: str, arguments: Mapping[str, JsonValue]) -> ToolCall:
        """Return a call with an id of ours: endpoints number theirs as they like, and rows must not depend on it.

        It has nine letters and digits, because some chat templates (Mistral's) take no other.
        """
        call_id = f"call{self.talk.turns:02d}{self.calls:03d}"
        call = ToolCall(call_id=call_id, name=name, arguments=dict(arguments))
        self.calls += 1
        return call

    def _new_calls(self, queries: list[str] | list[Query]) -> list[ToolCall]:
        """Return calls for the queries that this turn has not made yet; one that failed may be made again."""
        turn = self.talk.steps[self.begin :]
        failed = {step.content.call_id for step in turn if isinstance(step, ToolResultStep) and step.content.error}
        calls_made = [step.content for step in turn if isinstance(step, ToolCallStep)]
        made = {_fold(call.name, call.arguments) for call in calls_made if call.call_id not in failed}
        names = list(self.tools)
        calls = []
        for said in queries:
            name, query = (names[0], said) if isinstance(said, str) else (names[said.tool - 1], said.query)
            arguments: dict[str, JsonValue] = {self.tools[name].query_key: query.strip()}
            if not is_placeholder(query) and _fold(name, arguments) not in made:
                made.add(_fold(name, arguments))
                calls.append(self._numbered(name, arguments))
        return calls

    def ask(
        self,
        purpose: str,
        talk: ConversationDataPoint,
        reply_type: type[BaseModel],
        values: dict[str, object],
        choice: Literal["none", "auto", "required"] = "none",
    ) -> Ask:
        """Return an ask that sees what the assistant sees: what was said and found, not the scenario."""
        bench = self.bench.at("rewrite", str(values["rewrites"])) if "rewrites" in values else self.bench
        seen = talk.model_copy(
            update={
                "steps": tuple(
                    s for s in talk.steps if isinstance(s, UserStep | AssistantStep | ToolCallStep | ToolResultStep)
                )
            }
        )
        documents: tuple[Document, ...] = tuple(talk.found())
        scenario = self.talk.scenario
        shared = {
            "documents": documents,
            "examples": bench.examples.like(scenario.documents if scenario else ()),
            "instructions": bench.instructions,
            "searching": True,
            "offered": tuple(tool.spec for tool in self.tools.values()),
        }
        asked = self.stage.critic if purpose == "critique" and self.stage.critic else self.stage.generator
        native = self.bench.speakers[asked].tool_mode == "native"
        ask = Ask(
            purpose,
            seen,
            {**shared, **values},
            reply_type,
            bench.dice.child(purpose, self.calls),
            system="system_live",
            native=native,
            sampling=self.stage.sampling,
        )
        return (
            replace(ask, tools=tuple(tool.spec for tool in self.tools.values()), tool_choice=choice) if native else ask
        )


def _anew(ask: Ask, attempt: int) -> Ask:
    return replace(ask, dice=ask.dice.child("try", attempt)) if attempt else ask


def _fold(name: str, arguments: Mapping[str, JsonValue]) -> str:
    return " ".join(" ".join([name, *(str(value) for value in arguments.values())]).lower().split())
