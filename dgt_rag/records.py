"""The records that flow: documents, hits, tool calls and results, steps, and the conversation they make.

All are frozen and closed: a stage returns a new conversation, and what is written is read back equal. Steps are a fixed
union on `role`, so whoever turns them into something else ends in `assert_never`. DiGiT's seed lines are read as well.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, model_validator

from dgt_rag.foreign import conversation_of, document_of, role_of

Answerability = Literal["answerable", "partial", "unanswerable", "underspecified"]


class Record(BaseModel):
    """Frozen, closed, equal by value."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class Document(Record):
    """One passage of a corpus, in our names whatever the corpus calls its fields."""

    doc_id: str
    body: str
    title: str = ""
    domain: str = ""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """Fields of the corpus that the projection does not name."""

    @model_validator(mode="before")
    @classmethod
    def _read_digit(cls, data: Any) -> Any:
        return document_of(data) if isinstance(data, Mapping) else data

    def field(self, path: str) -> JsonValue:
        """Return a field by its dotted path, ours (`domain`) or the corpus's (`source.category`); None if absent."""
        if path in {"doc_id", "body", "title", "domain"}:
            own: str = getattr(self, path)
            return own or self.metadata.get(path, own)
        if path in self.metadata:
            return self.metadata[path]
        value: JsonValue = self.metadata
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                return None
            value = value[part]
        return value

    def labels(self, path: str) -> tuple[str, ...]:
        """Return the values of a field as they name groups: none if it is absent or empty, several if it is a list."""
        value = self.field(path)
        found = (label_of(item) for item in (value if isinstance(value, list) else (value,)))
        return tuple(dict.fromkeys(label for label in found if label is not None))

    def matches(self, where: Mapping[str, JsonValue]) -> bool:
        """Say whether each named field has the value given, or one of the values; null matches an empty field."""
        for path, wanted in where.items():
            own = self.labels(path) or (None,)
            if not any(label_of(one) in own for one in (wanted if isinstance(wanted, list) else (wanted,))):
                return False
        return True


def label_of(value: JsonValue) -> str | None:
    """Return a value as it names a group, so that the group "2024" is where the field is 2024; None if it names none."""
    if value is None or value == "" or isinstance(value, dict | list):
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


class Hit(NamedTuple):
    """A document that a search returned; `rank` counts from 1, `score` is the engine's own. Checked as `FoundDocument`."""

    document: Document
    score: float
    rank: int


class ToolSpec(Record):
    """A tool as a model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, JsonValue]


class ToolCall(Record):
    """One call of a tool; `call_id` is unique in its conversation and pairs it with its result."""

    call_id: str
    name: str
    arguments: dict[str, JsonValue]


class ToolError(Record):
    """Why a tool call has no result; `injected` marks a fault that the task asked for."""

    type: str
    message: str
    injected: bool = False


class FoundDocument(Record):
    """A hit as it stands in a tool result."""

    doc_id: str
    title: str = ""
    domain: str = ""
    body: str
    score: float
    rank: int


class ToolResult(Record):
    """What came back for the call of the same `call_id`: documents, or an error."""

    call_id: str
    name: str
    result: tuple[FoundDocument, ...] | None = None
    error: ToolError | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class Usage(Record):
    """Tokens as the endpoint counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class Provenance(Record):
    """Who wrote a step: the model, the hash of the prompt it was shown, the tokens it took."""

    model: str
    prompt_hash: str = ""
    usage: Usage = Usage()
    fault: str | None = None
    """The kind of fault that was injected into this step, if one was."""


class Citation(Record):
    """A span that an answer rests on: `quote` stands verbatim at `start:end` (characters) of that document's body."""

    doc_id: str
    quote: str
    start: int = -1
    end: int = -1


class Critique(Record):
    """What the critic said of the answer that was kept, and how often it was rewritten before."""

    verdict: Literal["supported", "unsupported", "not_checked"]
    issues: tuple[str, ...] = ()
    rewrites: int = 0
    critic: str = ""


class StepBase(Record):
    """What every step carries."""

    stage_name: str = ""
    provenance: Provenance | None = None


class ScenarioStep(StepBase):
    """Who the user is and what they want, grounded in the documents."""

    role: Literal["scenario"] = "scenario"
    content: str
    documents: tuple[Document, ...] = ()


class Personality(Record):
    """The five factors, each from -1 to 1."""

    openness: float = 0.0
    conscientiousness: float = 0.0
    extraversion: float = 0.0
    agreeableness: float = 0.0
    neuroticism: float = 0.0


class PersonaStep(StepBase):
    """How the user is and writes."""

    role: Literal["persona"] = "persona"
    content: str
    target: Literal["user", "assistant"] = "user"
    persona_role: str = ""
    expertise: str = ""
    domain: str = ""
    goals: tuple[str, ...] = ()
    personality: Personality = Personality()
    style_override: str | None = None


class FlowControllerStep(StepBase):
    """What the next turn is to be: a pattern's name, and a hint for the user."""

    role: Literal["flow_controller"] = "flow_controller"
    content: str
    description: str = ""
    """What happens in such a turn, in the words of the pattern."""
    hint: str = ""
    terminate: bool = False
    eligible_patterns: tuple[str, ...] = ()
    reasoning: str = ""


class UserStep(StepBase):
    """What the user says."""

    role: Literal["user"] = "user"
    content: str


class AssistantStep(StepBase):
    """What the assistant says, the spans it rests on, and whether the documents held an answer at all."""

    role: Literal["assistant"] = "assistant"
    content: str
    citations: tuple[Citation, ...] = ()
    answerability: Answerability | None = None
    critique: Critique | None = None
    reasoning: str = ""
    """What a reasoning model thought before it answered; never part of `content`."""


class ToolCallStep(StepBase):
    """One tool call; neighbouring ones were made at once."""

    role: Literal["tool_call"] = "tool_call"
    content: ToolCall


class ToolResultStep(StepBase):
    """What one tool call brought."""

    role: Literal["tool_result"] = "tool_result"
    content: ToolResult


Step = Annotated[
    Annotated[ScenarioStep, Tag("scenario")]
    | Annotated[PersonaStep, Tag("persona")]
    | Annotated[FlowControllerStep, Tag("flow_controller")]
    | Annotated[UserStep, Tag("user")]
    | Annotated[AssistantStep, Tag("assistant")]
    | Annotated[ToolCallStep, Tag("tool_call")]
    | Annotated[ToolResultStep, Tag("tool_result")],
    Discriminator(role_of),
]


class ConversationDataPoint(Record):
    """One conversation: the unit that is made, dropped or kept, written, and read back equal."""

    task_name: str = ""
    index: int = 0
    """Its number in the run; all that is drawn for it depends on the task, the seed and this."""
    conversation_id: str = ""
    is_seed: bool = False
    status: Literal["open", "kept", "dropped"] = "open"
    drop_reason: str | None = None
    drop_detail: str | None = None
    raw: str | None = None
    """The text of the model that a conversation failed on."""
    cut_short: str | None = None
    """Why a kept conversation ends at its last whole turn: what failed after it, reason first."""
    steps: tuple[Step, ...] = ()

    def add(self, *steps: Step) -> "ConversationDataPoint":
        """Return the conversation with these steps at its end."""
        return self.model_copy(update={"steps": (*self.steps, *steps)})

    def keep(self, cut_short: str = "", raw: str = "") -> "ConversationDataPoint":
        """Return it as finished and good."""
        return self.model_copy(update={"status": "kept", "cut_short": cut_short or None, "raw": raw or None})

    def drop(self, reason: str, detail: str = "", raw: str = "") -> "ConversationDataPoint":
        """Return it as data about a failure."""
        update = {"status": "dropped", "drop_reason": reason, "drop_detail": detail or None, "raw": raw or None}
        return self.model_copy(update=update)

    @property
    def turns(self) -> int:
        """How many turns are whole: a user message and all that answers it."""
        return sum(step.role == "assistant" for step in self.steps)

    @property
    def closed(self) -> bool:
        """Whether the last whole turn was the one that ends the conversation."""
        flow = self.last_flow
        return flow is not None and flow.terminate and bool(self.steps) and self.steps[-1].role == "assistant"

    @property
    def scenario(self) -> ScenarioStep | None:
        """The scenario, if there is one yet."""
        return next((step for step in self.steps if isinstance(step, ScenarioStep)), None)

    @property
    def persona(self) -> PersonaStep | None:
        """The user's persona, if there is one."""
        return next((step for step in self.steps if isinstance(step, PersonaStep)), None)

    @property
    def last_flow(self) -> FlowControllerStep | None:
        """The choice that the present turn follows, if a flow controller made one."""
        return next((step for step in reversed(self.steps) if isinstance(step, FlowControllerStep)), None)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns chosen so far, in order."""
        return tuple(step.content for step in self.steps if isinstance(step, FlowControllerStep))

    def found(self) -> Iterator[Document]:
        """The documents that searches returned, each once, in order; one that came back with another text is another one."""
        hits = (hit for step in self.steps if isinstance(step, ToolResultStep) for hit in step.content.result or ())
        seen = set()
        for hit in hits:
            if (hit.doc_id, hit.body) not in seen:
                seen.add((hit.doc_id, hit.body))
                yield Document(doc_id=hit.doc_id, body=hit.body, title=hit.title, domain=hit.domain)

    @model_validator(mode="before")
    @classmethod
    def _read_digit(cls, data: Any) -> Any:
        return conversation_of(data) if isinstance(data, Mapping) else data
