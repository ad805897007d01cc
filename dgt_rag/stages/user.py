"""Writes what the user says next."""

import re
from typing import Literal

from pydantic import BaseModel, Field

from dgt_rag.errors import Dropped
from dgt_rag.llm.base import Reply
from dgt_rag.records import ConversationDataPoint, UserStep
from dgt_rag.stages.base import Bench, ModelStage, answer_of, ask_for
from dgt_rag.stages.patterns import SHIPPED

_DESCRIPTIONS = {pattern.name: pattern.description for pattern in SHIPPED}
_TALKS_OF_DOCUMENTS = re.compile(
    r"\[document|\bdocument \d|\b(?:according to|based on|provided|given) (?:the |these )?documents?\b|\bthe documents? (?:says?|states?|mentions?)\b",
    re.IGNORECASE,
)


class UserReply(BaseModel):
    """The person's message."""

    message: str = Field(min_length=1)


class RagUser(ModelStage):
    """Writes the user's next message, after the hint of the flow controller, in the manner of the persona."""

    name: Literal["lm/user/rag"] = "lm/user/rag"
    max_retries: int = Field(default=2, ge=0)
    """How often a message is written anew that repeats an earlier one or talks of documents that a user cannot see."""

    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with the user's message."""
        fault = ""
        for attempt in range(self.max_retries + 1):
            reply = await self._write(talk, bench.at("try", attempt) if attempt else bench)
            assert isinstance(reply.value, UserReply)
            message = reply.value.message.strip()
            fault = _fault(message, talk)
            if not fault:
                return talk.add(UserStep(stage_name=self.name, content=message, provenance=reply.provenance))
        raise Dropped(fault, f"after {self.max_retries} retries", reply.text or message)

    async def _write(self, talk: ConversationDataPoint, bench: Bench) -> Reply:
        scenario, flow, persona = talk.scenario, talk.last_flow, talk.persona
        ask = ask_for(
            self,
            "user",
            talk,
            bench,
            UserReply,
            scenario=scenario.content if scenario else "",
            persona=persona.content if persona else "",
            turn=talk.turns + 1,
            closing=bool(flow and flow.terminate),
            pattern=flow.content if flow else "",
            description=_DESCRIPTIONS.get(flow.content, "") if flow else "",
            hint=flow.hint if flow else "",
        )
        return await answer_of(bench.speakers[self.generator], ask)


def _fault(message: str, talk: ConversationDataPoint) -> str:
    said = {" ".join(step.content.lower().split()) for step in talk.steps if isinstance(step, UserStep)}
    if not any(letter.isalnum() for letter in message):
        return "user_says_nothing"
    if " ".join(message.lower().split()) in said:
        return "user_repeats_question"
    if _TALKS_OF_DOCUMENTS.search(message):
        return "user_talks_of_documents"
    return ""
