"""What makes an answer good enough to keep: citations checked by code, claims by a critic, and rewrites until both agree."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, Field, create_model

from dgt_rag.citations import find_citation
from dgt_rag.errors import Dropped
from dgt_rag.llm.base import Ask, Reply
from dgt_rag.records import Answerability, AssistantStep, Citation, ConversationDataPoint, Critique, Document, Usage
from dgt_rag.stages.base import Bench, ModelStage, answer_of, talks_of_documents


class CitedQuote(BaseModel):
    """A span copied from a document, which is named by its number."""

    document: int = Field(ge=1)
    quote: str


class AnswerReply(BaseModel):
    """The spans an answer rests on, whether the documents hold it, and the answer.

    Where a schema is enforced, a model writes its fields in this order: first what it found, then what follows from it.
    """

    citations: list[CitedQuote] = Field(max_length=12)
    answerability: Answerability
    answer: str = Field(min_length=1)


class CritiqueReply(BaseModel):
    """What is wrong with an answer, and whether it can be trained on."""

    issues: list[str] = Field(max_length=8)
    verdict: Literal["supported", "unsupported"]


@lru_cache(maxsize=128)
def cited(base: type[AnswerReply], documents: int) -> type[AnswerReply]:
    """Return the reply class whose citations can only name one of this many documents."""
    if not documents:
        return create_model(base.__name__, __base__=base, citations=(list[CitedQuote], Field(max_length=0)))
    quote = create_model("CitedQuote", __base__=CitedQuote, document=(int, Field(ge=1, le=documents)))
    return create_model(base.__name__, __base__=base, citations=(list[quote], Field(max_length=12)))


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
    asked: list[Reply] = []
    reason = ""
    issues: list[str] = []
    for rewrites in range(stage.max_retries + 1):
        if rewrites:
            ask = draft.ask(
                "rewrite",
                draft.talk.add(_plain(reply)),
                cited(AnswerReply, len(draft.documents)),
                {"issues": issues, "closing": draft.closing, "rewrites": rewrites},
            )
            reply = await answer_of(bench.speakers[stage.generator], ask)
        asked.append(reply)
        step = _step(stage, draft, reply)
        reason, issues = flaws(step.content) if draft.closing else faults(step, reply, draft.documents)
        if not reason and stage.critique and not draft.closing:
            verdict = await _criticise(stage, draft, step, bench)
            asked.append(verdict)
            reason, issues = _refusal(verdict)
        if not reason:
            return _finish(stage, step, asked, rewrites, draft.closing)
    raise Dropped(reason, f"after {stage.max_retries} rewrites: {'; '.join(issues)}", reply.text)


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
        return "citation_not_shown", [
            f"This quote does not stand word for word in any document that was shown: {quote[:200]!r}" for quote in lost
        ]
    if value.answerability in {"answerable", "partial"} and not step.citations:
        return "no_citation", ["The answer states facts without a citation; each fact needs a quote from a document."]
    return flaws(step.content)


def flaws(text: str) -> tuple[str, list[str]]:
    """Return why code refuses the words of an answer, whatever they rest on; ("", []) if it does not."""
    if talks_of_documents(text):
        return "talks_of_documents", [
            "The answer talks about documents or their numbers; speak to the person about the matter itself."
        ]
    if _MARKERS.search(text) or not any(letter.isalnum() for letter in text):
        return "malformed_answer", ["The answer holds marks of its format instead of plain text."]
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
