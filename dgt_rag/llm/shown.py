"""What one endpoint has shown in a run and in those before it: how it is to be asked, and whether it answers at all."""

from collections.abc import Mapping
from typing import Any

from dgt_rag.errors import Busy, ModelClosed
from dgt_rag.llm.refusals import Raw, Refused, kind_of, one_line
from dgt_rag.llm.traits import Rung, Traits, changes, learned, lower
from dgt_rag.llm.wire import Answer
from dgt_rag.world import World

_STRAYS = 3
_REFUSALS = 12
_UNREAD = 3


class Shown:
    """Learns from what an endpoint answers, remembers it in the folder, and tells the user in one line each."""

    def __init__(self, name: str, rungs: tuple[Rung, ...], world: World) -> None:
        self.name = name
        self._rungs = rungs
        self._world = world
        self.has_answered = self._uncounted = False
        self._strays = self._refusals = self._unread = 0
        fresh = Traits(rung=rungs[0])
        self.traits = self.recalled() or fresh
        if not self.traits.proven or self.traits.rung not in rungs:
            # a way in which nothing was ever read is no knowledge
            self.traits = self.traits.model_copy(update={"rung": rungs[0], "proven": False})
        self._served = {self.traits.serves} - {""}
        if lines := changes(fresh, self.traits):
            world.say(f"{name}: remembered: {'; '.join(lines)}; `check --online` or --restart looks again")

    @property
    def memory(self) -> str:
        """The name under which it is remembered."""
        return f"endpoint {self.name}"

    def recalled(self) -> Traits | None:
        """Return what is remembered of the endpoint, by this process or another one of the run."""
        known = self._world.calls.recall(self.memory) if self._world.calls else None
        return Traits.model_validate_json(known) if known else None

    def become(self, traits: Traits, why: str = "") -> None:
        """Take what was found out."""
        before, self.traits = self.traits, traits
        if self._world.calls:
            self._world.calls.remember(self.memory, self.lasting().model_dump_json())
        for line in changes(before, traits):
            self._world.say(f"{self.name}: {line}{f' ({one_line(why, 160)})' if why else ''}")

    def lasting(self) -> Traits:
        """Return what is worth remembering: a way to ask for JSON only once a reply was read in it."""
        if self.traits.proven:
            return self.traits
        known = self.recalled() or Traits(rung=self._rungs[0])
        return self.traits.model_copy(update={"rung": known.rung, "proven": known.proven})

    def answered(self, answer: Answer) -> None:
        """Take note of a chat completion."""
        self.has_answered = True
        self._refusals = 0
        if not (answer.usage.prompt_tokens or answer.usage.completion_tokens or self._uncounted):
            self._uncounted = True
            self._world.say(f"{self.name}: tells no token counts; max_tokens and max_cost cannot be kept")
        if answer.model and answer.model not in self._served:
            self._served.add(answer.model)
            # a router names many, and goes to and fro among them: of those the first change is enough
            if len(self._served) <= 2:
                self.become(self.traits.model_copy(update={"serves": answer.model}))

    def shaped(self, asked: Traits, good: bool) -> None:
        """Take note whether a reply had the shape asked for; a schema that is never obeyed is no longer relied on."""
        if asked.rung != self.traits.rung or self.traits.proven:
            return
        if good:
            self.become(self.traits.model_copy(update={"proven": True}))
            return
        self._unread += 1
        after = lower(self.traits, self._rungs) if self._unread >= _UNREAD else None
        if after:
            self._unread = 0
            self.become(after, "three replies were not of the shape asked for")

    def stray(self, raw: Raw) -> Exception:
        """Return what a 200 that is no chat completion means: a wrong address if nothing else ever came."""
        self._strays += 1
        said = f"{self.name}: answered {kind_of(raw)}"
        if self.has_answered:
            return Busy("server_error", said)
        said += (
            ": it streams, unasked; switch that off at the server or in `extra_body`"
            if raw.streams
            else ", not a chat completion; check `base_url` (it mostly ends in /v1)"
        )
        return ModelClosed(said) if self._strays >= _STRAYS else Busy("server_error", said)

    def learn(self, before: Traits, body: Mapping[str, Any], refused: Refused) -> bool:
        """Take what a refusal shows; True if the request is worth another try."""
        if not refused.teaches:
            return False
        if self.traits != before:
            return True
        after = learned(before, body, refused.said, self._rungs)
        if after is not None:
            self.become(after, refused.said)
        return after is not None

    def refused(self, body: Mapping[str, Any], refused: Refused) -> Exception:
        """Return what a refusal that shows nothing means: for this ask alone, or for all, as nothing is ever answered."""
        self._refusals += 1
        # a request with tools may be refused for them alone
        never = not self.has_answered and not self.traits.proven and "tools" not in body
        if not never and self._refusals < _REFUSALS:
            return refused
        keys = ("`model`", "`base_url`", *(("`response_mode`",) if len(self._rungs) < 4 else ()))
        return ModelClosed(
            f"{self.name}: refuses every request ({refused.said}); check {' and '.join(keys)}; the run can be resumed"
        )
