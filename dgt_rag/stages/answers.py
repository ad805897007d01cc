"""What makes an answer good enough to keep: citations checked by code, claims by a critic, and rewrites until both agree."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, create_model

from dgt_rag.citations import find_citation
from dgt_rag.errors import Dropped, ModelError
from dgt_rag.llm.base import Ask, Reply
from dgt_rag.prompts.told import said_in
from dgt_rag.records import (
    Answerability,
    AssistantStep,
    Citation,
    ConversationDataPoint,
    Critique,
    Document,
    Usage,
    UserStep,
)
from dgt_rag.stages.base import Bench, ModelStage, answer_of, copies_its_task, talks_of_documents
from dgt_rag.stages.nonsense import copies, is_no_language, is_placeholder, repeats_itself, talks_of_its_task
from dgt_rag.stages.quoting import choices, keeps_to, nearest


class CitedQuote(BaseModel):
    """A span copied from a document, which is named by its number."""

    document: int = Field(ge=1)
    quote: str = Field(max_length=1000)


class AnswerReply(BaseModel):
    """The spans an answer rests on, whether the documents hold it, and the answer.

    Where a schema is enforced, a model writes its fields in this order: first what it found, then what follows from it.
    """

    citations: list[CitedQuote] = Field(max_length=12)
    answerability: Answerability
    answer: str = Field(min_length=1)


class CritiqueReply(BaseModel):
    """What is wrong with an answer, and whether it can be trained on."""

    issues: list[Annotated[str, Field(max_length=800)]] = Field(max_length=8)
    verdict: Literal["supported", "unsupported"]


@lru_cache(maxsize=128)
def cited(base: type[AnswerReply], documents: int) -> type[AnswerReply]:
    """Return the reply class whose citations can only name one of this many documents."""
    if not documents:
        return create_model(base.__name__, __base__=base, citations=(list[CitedQuote], Field(max_length=0)))
    quote = create_model("CitedQuote", __base__=CitedQuote, document=(int, Field(ge=1, le=documents)))
    return create_model(base.__name__, __base__=base, citations=(list[quote], Field(max_length=12)))


@lru_cache(maxsize=128)
def chosen(documents: int, quotes: tuple[str, ...]) -> type[AnswerReply]:
    """Return the reply class of an answer that rests on at least one of these quotes, and on no other."""
    one_of: Any = Literal[quotes]
    held: Any = Literal["answerable", "partial"]
    number = (int, Field(ge=1, le=documents))
    quote = create_model("CitedQuote", __base__=CitedQuote, document=number, quote=(one_of, ...))
    return create_model(
        "AnswerReply",
        __base__=AnswerReply,
        citations=(list[quote], Field(min_length=1, max_length=4)),
        answerability=(held, ...),
    )


class AnswerStage(ModelStage):
    """Base of the stages that write the assistant."""

    max_retries: int = Field(default=3, ge=0)
    """How often an answer that the checks or the critic refuse is written anew; then the conversation is dropped."""
    critique: bool = True
    """Whether a critic checks every answer, beside the checks by code."""
    critic: str | None = None
    """The model that criticises, by its name under `models`; the generator itself if not given."""

    def model_names(self) -> tuple[str, ...]:
        """Return the names of the models it asks."""
        return (self.generator, *([self.critic] if self.critic else []))


_SHORT = 300
"""Characters that the answer to a goodbye has at most."""
_UNREAD = frozenset({"truncated", "bad_reply", "empty_reply"})
"""Replies of which a rewrite may be tried once more."""
_QUOTING = frozenset({"citation_not_shown", "unsupported_answer"})
"""Reasons whose issues hold words of a model or of a document."""


@dataclass(frozen=True)
class Draft:
    """An answer on trial: the reply, what was shown, and how to ask about it."""

    talk: ConversationDataPoint
    """The conversation as the assistant sees it, up to the user's message and what was found for it."""
    documents: tuple[Document, ...]
    ask: Callable[[str, ConversationDataPoint, type[BaseModel], dict[str, object]], Ask]
    """Makes an ask with this conversation's prefix: purpose, conversation, reply class, values."""
    closing: bool


async def settle(stage: AnswerStage, draft: Draft, reply: Reply, bench: Bench) -> AssistantStep:
    """Return the assistant's step once checks and critic accept it; raises `Dropped` if no rewrite does."""
    trial = Trial(stage, draft, bench, reply)
    for rewrites in range(stage.max_retries + 1):
        if rewrites and not await trial.rewrite(rewrites):
            continue
        step = _step(stage, draft, trial.reply)
        trial.reason, trial.issues = trial.faults(step)
        if not trial.reason and stage.critique and not draft.closing:
            verdict = await _criticise(stage, draft, step, bench)
            trial.asked.append(verdict)
            trial.reason, trial.issues = _refusal(verdict)
        if not trial.reason:
            return _finish(stage, step, trial.asked, rewrites, draft.closing)
    raise Dropped(trial.reason, f"after {stage.max_retries} rewrites: {'; '.join(trial.issues)}", trial.reply.text)


class Trial:
    """An answer and its rewrites: the last reply, what was wrong with it, and all that was asked on the way."""

    def __init__(self, stage: AnswerStage, draft: Draft, bench: Bench, reply: Reply) -> None:
        self.bench = bench
        self.speaker = bench.speakers[stage.generator]
        self.draft = draft
        self.reply = reply
        self.asked = [reply]
        self.reason = ""
        self.issues: list[str] = []
        self.sentences: tuple[str, ...] = ()
        """What quotes are chosen from, once the model has twice copied what does not stand there."""

    async def rewrite(self, number: int) -> bool:
        """Ask for a better answer; False if there was none that can be read, which leaves the next try."""
        if number > 1 and self.reason == "citation_not_shown" and not self.sentences:
            value = _value(self.reply)
            said = (_question(self.draft.talk), value.answer, *(quoted.quote for quoted in value.citations))
            self.sentences = choices(said, self.draft.documents)
        try:
            self.reply = await answer_of(self.speaker, self._ask(number))
        except ModelError as error:
            if error.reason not in _UNREAD:
                raise
            self.reason, self.issues = error.reason, ["The reply could not be read to its end. Be brief."]
            return False
        self.asked.append(self.reply)
        return True

    def _ask(self, number: int) -> Ask:
        shown = len(self.draft.documents)
        reply_type = chosen(shown, self.sentences) if self.sentences else cited(AnswerReply, shown)
        values = {"issues": self.issues, "closing": self.draft.closing, "rewrites": number, "sentences": self.sentences}
        # a model that made up its quotes would go on from its words
        refused = AssistantStep(content="\u2026") if self.sentences else _plain(self.reply)
        return self.draft.ask("rewrite", self.draft.talk.add(refused), reply_type, values)

    def faults(self, step: AssistantStep) -> tuple[str, list[str]]:
        """Return why code refuses the answer, as a reason and sentences that say what to mend."""
        # what others said of the answer before may hold words that are right in this one
        told = said_in(self.issues if self.reason not in _QUOTING else [])
        if copies(step.content, told, ()) or copies_its_task(step.content, self.speaker, self.draft.talk, self.bench):
            return "talks_of_its_task", [
                "The answer copies what it was told to do; speak to the person about the matter."
            ]
        if is_no_language(step.content, [document.body for document in self.draft.documents]):
            return "malformed_answer", ["The answer holds signs in a row that are no words; write plain sentences."]
        if self.draft.closing:
            reason, issues = flaws(step.content)
            return (reason, issues) if reason else _claims(self.draft.talk, step.content)
        reason, issues = faults(step, self.reply, self.draft.documents)
        return (reason, issues) if reason or not self.sentences else _strays(self.draft.talk, step)


def _question(talk: ConversationDataPoint) -> str:
    return next((step.content for step in reversed(talk.steps) if isinstance(step, UserStep)), "")


def _claims(talk: ConversationDataPoint, text: str) -> tuple[str, list[str]]:
    """Return why a closing answer is refused: nothing checks what it states, so it may state nothing."""
    said = {
        number for step in talk.steps if isinstance(step, UserStep | AssistantStep) for number in _digits(step.content)
    }
    if len(text) <= _SHORT and _digits(text) <= said:
        return "", []
    return "closing_states_facts", ["The conversation is over: one short friendly sentence without facts is all."]


def _digits(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\d+", text))


def _strays(talk: ConversationDataPoint, step: AssistantStep) -> tuple[str, list[str]]:
    """Return why an answer with chosen quotes is refused: that they were chosen is no sign that the answer rests on them."""
    if keeps_to(step.content, [citation.quote for citation in step.citations], _question(talk)):
        return "", []
    return "answer_beyond_quotes", ["The answer says what its quotes do not say; say what they say, in their words."]


def _value(reply: Reply) -> AnswerReply:
    assert isinstance(reply.value, AnswerReply)
    return reply.value


def _plain(reply: Reply) -> AssistantStep:
    return AssistantStep(content=_value(reply).answer)


def _step(stage: AnswerStage, draft: Draft, reply: Reply) -> AssistantStep:
    value = _value(reply)
    found: dict[Citation, None] = {}
    for quoted in [] if draft.closing else value.citations:
        found.update(dict.fromkeys(find_citation(quoted.quote, draft.documents, quoted.document)))
    return AssistantStep(
        stage_name=stage.plugin_name(),
        content=value.answer.strip(),
        citations=tuple(found),
        answerability=None if draft.closing else value.answerability,
        reasoning=reply.reasoning,
        provenance=reply.provenance,
    )


_MARKERS = re.compile(r"<\|[a-z_]+\|>|</?(?:think|s|answer|tool_call)>|\"answerability\"|^\s*\{\s*\"", re.IGNORECASE)


def faults(step: AssistantStep, reply: Reply, documents: Sequence[Document]) -> tuple[str, list[str]]:
    """Return why code refuses an answer, as a reason and sentences that say what to mend; ("", []) if it does not."""
    value = _value(reply)
    lost = [quoted.quote for quoted in value.citations if not find_citation(quoted.quote, documents, quoted.document)]
    if lost:
        return "citation_not_shown", [_misquoted(quote, documents) for quote in lost]
    if value.answerability in {"answerable", "partial"} and not step.citations:
        return "no_citation", ["The answer states facts without a citation; each fact needs a quote from a document."]
    return flaws(step.content)


def _misquoted(quote: str, documents: Sequence[Document]) -> str:
    near = nearest(quote, documents)
    said = f"This quote does not stand word for word in any document that was shown: {quote[:200]!r}"
    return f"{said}; what stands there and is nearest to it: {near!r}" if near else said


def flaws(text: str) -> tuple[str, list[str]]:
    """Return why code refuses the words of an answer, whatever they rest on; ("", []) if it does not."""
    if talks_of_documents(text):
        return "talks_of_documents", [
            "The answer talks about documents or their numbers; speak to the person about the matter itself."
        ]
    if _MARKERS.search(text) or is_placeholder(text):
        return "malformed_answer", ["The answer holds marks of its format instead of plain text."]
    if talks_of_its_task(text):
        return "talks_of_its_task", ["The answer talks about how it was to be written; speak to the person."]
    if repeats_itself(text):
        return "answer_repeats_itself", ["The answer says the same thing again and again; say it once."]
    return "", []


async def _criticise(stage: AnswerStage, draft: Draft, step: AssistantStep, bench: Bench) -> Reply:
    ask = draft.ask(
        "critique",
        draft.talk.add(step),
        CritiqueReply,
        {"citations": step.citations, "answerability": step.answerability},
    )
    return await answer_of(bench.speakers[stage.critic or stage.generator], ask)


def _refusal(verdict: Reply) -> tuple[str, list[str]]:
    value = verdict.value
    assert isinstance(value, CritiqueReply)
    if value.verdict == "supported":
        return "", []
    return "unsupported_answer", [issue for issue in value.issues if issue.strip()] or [
        "A claim is not supported by the documents."
    ]


def _finish(stage: AnswerStage, step: AssistantStep, asked: list[Reply], rewrites: int, closing: bool) -> AssistantStep:
    """Add the critic's word and the tokens of all that was asked for this answer."""
    checked = stage.critique and not closing
    critique = Critique(
        verdict="supported" if checked else "not_checked", rewrites=rewrites, critic=asked[-1].model if checked else ""
    )
    assert step.provenance is not None
    usage = sum((reply.usage for reply in asked), Usage())
    return step.model_copy(
        update={"critique": critique, "provenance": step.provenance.model_copy(update={"usage": usage})}
    )
