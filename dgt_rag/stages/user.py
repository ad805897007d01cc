"""Writes what the user says next."""

from typing import Literal

from pydantic import BaseModel, Field

from dgt_rag.errors import Dropped
from dgt_rag.llm.base import Reply
from dgt_rag.records import ConversationDataPoint, UserStep
from dgt_rag.stages.base import Bench, ModelStage, answer_of, ask_for, talks_of_documents
from dgt_rag.stages.nonsense import is_no_language, is_placeholder, repeats_itself, says_its_task


class UserReply(BaseModel):
    """The person's message."""

    message: str = Field(min_length=1, max_length=1500)


class RagUser(ModelStage):
    """Writes the user's next message, after the hint of the flow controller, in the manner of the persona."""

    name: Literal["lm/user/rag"] = "lm/user/rag"
    max_retries: int = Field(default=2, ge=0)
    """How often a message is written anew that repeats an earlier one or talks of documents that a user cannot see."""

    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with the user's message."""
        refused = fault = ""
        for attempt in range(self.max_retries + 1):
            reply = await self._write(
                talk, bench.at("try", attempt) if attempt else bench, refused, _WHY.get(fault, "")
            )
            assert isinstance(reply.value, UserReply)
            refused = reply.value.message.strip()
            fault = _fault(refused, talk)
            if not fault:
                return talk.add(UserStep(stage_name=self.name, content=refused, provenance=reply.provenance))
        raise Dropped(fault, f"after {self.max_retries} retries", reply.text or refused)

    async def _write(self, talk: ConversationDataPoint, bench: Bench, refused: str, why: str) -> Reply:
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
            description=flow.description if flow else "",
            hint=flow.hint if flow else "",
            refused=refused,
            why=why,
        )
        return await answer_of(bench.speakers[self.generator], ask)


_WHY = {
    "user_says_nothing": "it holds no words of a person",
    "user_says_its_task": "it tells what the person is to say, and is not said by them",
    "user_repeats_itself": "it says the same thing again and again",
    "user_repeats_question": "the person has said that before",
    "user_talks_of_documents": "the person does not know of any documents",
}


def _fault(message: str, talk: ConversationDataPoint) -> str:
    said = {" ".join(step.content.lower().split()) for step in talk.steps if isinstance(step, UserStep)}
    if is_placeholder(message) or is_no_language(message):
        return "user_says_nothing"
    if says_its_task(message, talk.last_flow.description if talk.last_flow else ""):
        return "user_says_its_task"
    if repeats_itself(message):
        return "user_repeats_itself"
    if " ".join(message.lower().split()) in said:
        return "user_repeats_question"
    if talks_of_documents(message):
        return "user_talks_of_documents"
    return ""
