"""The assistant that answers from the scenario's documents and never searches."""

from typing import Literal

from pydantic import BaseModel

from dgt_rag.llm.base import Ask
from dgt_rag.records import ConversationDataPoint
from dgt_rag.stages.answers import AnswerReply, AnswerStage, Draft, cited, settle
from dgt_rag.stages.base import Bench, answer_of, ask_for


class StaticRagAssistant(AnswerStage):
    """Answers from the scenario's documents: writes, has code and a critic check it, and rewrites what they refuse."""

    name: Literal["lm/assistant/rag/static"] = "lm/assistant/rag/static"

    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with the assistant's answer."""
        flow = talk.last_flow
        closing = bool(flow and flow.terminate)
        documents = talk.scenario.documents if talk.scenario else ()

        def ask(
            purpose: str, seen: ConversationDataPoint, reply_type: type[BaseModel], values: dict[str, object]
        ) -> Ask:
            at = bench.at("rewrite", str(values["rewrites"])) if "rewrites" in values else bench
            return ask_for(self, purpose, seen, at, reply_type, **values)

        draft = Draft(talk, documents, ask, closing)
        first = ask("answer", talk, cited(AnswerReply, len(documents)), {"closing": closing})
        reply = await answer_of(bench.speakers[self.generator], first)
        return talk.add(await settle(self, draft, reply, bench))
