"""Gives the user a persona, drawn from a file."""

from codecs import BOM_UTF8 as BOM
from functools import cached_property
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from dgt_rag.errors import TaskError
from dgt_rag.plugins import InputFile, Settings
from dgt_rag.records import ConversationDataPoint, Personality, PersonaStep, Record
from dgt_rag.sentences import sentence
from dgt_rag.stages.base import Bench, Stage


class Persona(Record):
    """A line of a persona file."""

    role: str
    expertise: str = ""
    domain: str = ""
    goals: tuple[str, ...] = ()
    personality: Personality = Personality()
    style_override: str | None = None

    @property
    def text(self) -> str:
        """The persona as a model reads it."""
        traits = [word for word in (_trait(name, value) for name, value in self.personality) if word]
        parts = {
            "Role": self.role,
            "Expertise": self.expertise,
            "Domain": self.domain,
            "Goals": "; ".join(self.goals),
            "Temper": ", ".join(traits),
            "Style": self.style_override or "",
        }
        return " ".join(f"{name}: {value.rstrip('.')}." for name, value in parts.items() if value)


_TRAITS = {
    "openness": ("curious", "sticks to what is known"),
    "conscientiousness": ("thorough", "careless about details"),
    "extraversion": ("talkative", "sparing with words"),
    "agreeableness": ("friendly", "blunt"),
    "neuroticism": ("anxious", "calm"),
}


def _trait(name: str, value: float) -> str:
    if abs(value) < 0.3:
        return ""
    word = _TRAITS[name][value < 0]
    return f"very {word}" if abs(value) > 0.7 else word


class PersonaStore(Settings):
    """Where the personas are."""

    type: Literal["default"] = "default"
    data_path: InputFile = Field(examples=["personas.jsonl"])
    """JSON Lines: `{role, expertise, domain, goals, personality, style_override}`; only `role` is needed."""

    @cached_property
    def personas(self) -> tuple[Persona, ...]:
        """The personas of the file; a line of another shape is refused with its place."""
        found = []
        for number, line in enumerate(self.data_path.read_bytes().removeprefix(BOM).splitlines(), start=1):
            if not line.strip():
                continue
            try:
                found.append(Persona.model_validate_json(line))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(str(part) for part in first["loc"])
                raise TaskError(
                    f"{self.data_path}:{number}: not a persona: {place + ': ' if place else ''}{sentence(first)}"
                ) from error
        if not found:
            raise TaskError(
                f"{self.data_path}: holds no persona; one JSON object a line with at least `role` is needed"
            )
        return tuple(found)


class SamplePersona(Stage):
    """Draws who the user is, how much they know and how they write."""

    name: Literal["sample/persona"] = "sample/persona"
    persona_store: PersonaStore
    """The file of personas."""
    target: Literal["user"] = "user"
    """Whose persona it is."""
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    """Free remarks of yours; not read."""

    async def __call__(self, talk: ConversationDataPoint, bench: Bench) -> ConversationDataPoint:
        """Return the conversation with a persona."""
        persona = bench.dice.child("persona").choose(self.persona_store.personas)
        values = persona.model_dump(exclude={"role"})
        return talk.add(
            PersonaStep(
                stage_name=self.name, content=persona.text, target=self.target, persona_role=persona.role, **values
            )
        )
