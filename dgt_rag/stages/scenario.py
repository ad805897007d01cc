"""Grounds a conversation: documents are sampled, and a situation is written in which someone needs them."""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from dgt_rag.errors import Dropped
from dgt_rag.records import ConversationDataPoint, Document, ScenarioStep
from dgt_rag.samplers.base import AnySampler, Source
from dgt_rag.samplers.mix import mixed
from dgt_rag.stages.base import Bench, ModelStage, answer_of, ask_for


class ScenarioReply(BaseModel):
    """A person's situation in three to five sentences."""

    scenario: str = Field(min_length=1, max_length=1900)


class RagScenario(ModelStage):
    """Samples documents and writes the situation of a person who needs what they say."""

    name: Literal["lm/scenario/rag"] = "lm/scenario/rag"
    document_samplers: tuple[AnySampler, ...] = Field(min_length=1)
    """One is drawn by weight for each conversation."""
    k: int | None = Field(default=None, ge=1)
    """How many documents a conversation is grounded in, where the sampler does not say; 3 if neither does."""

    @field_validator("document_samplers", mode="before", json_schema_input_type=AnySampler | tuple[AnySampler, ...])
    @classmethod
    def _one_is_a_list(cls, samplers: object) -> object:
        return [samplers] if isinstance(samplers, Mapping) else samplers

    def engine_names(self) -> tuple[str, ...]:
        """Return the engines that documents are sampled from."""
        return tuple(dict.fromkeys(sampler.engine for sampler in self.document_samplers))

    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with its scenario."""
        documents = tuple(await self._sample(talk, bench))
        if not documents:
            raise Dropped("no_documents", "the sampler found no document")
        grounded = talk.add(ScenarioStep(content="", documents=documents))
        persona = talk.persona.content if talk.persona else ""
        ask = ask_for(self, "scenario", grounded, bench, ScenarioReply, persona=persona)
        reply = await answer_of(bench.speakers[self.generator], ask)
        assert isinstance(reply.value, ScenarioReply)
        step = ScenarioStep(
            stage_name=self.name, content=reply.value.scenario, documents=documents, provenance=reply.provenance
        )
        return talk.add(step)

    async def _sample(self, talk: ConversationDataPoint, bench: Bench) -> Sequence[Document]:
        run_dice = bench.run_dice.child("documents")
        weights = [sampler.weight for sampler in self.document_samplers]
        place, number = mixed(weights, talk.index, run_dice.child("mix"))
        sampler = self.document_samplers[place]
        source = Source(bench.retrievers[sampler.engine], bench.dice.child("documents"), run_dice.child(place), number)
        return await sampler.sample(source, sampler.k or self.k or 3)
