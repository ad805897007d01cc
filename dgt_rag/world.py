"""What a plugin may use of the run when it is opened: notices, guards of endpoints, the store of calls, other engines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dgt_rag.dice import Dice
from dgt_rag.guard import Guards
from dgt_rag.records import ConversationDataPoint, Document


class CallStore(Protocol):
    """The store of model calls: what was asked before is answered from it. `store/calls.py` is the one on disk."""

    def find(self, key: str) -> str | None:
        """Return the reply stored for a request's key, or None."""

    def add(self, key: str, reply: str, facts: Mapping[str, Any]) -> None:
        """Store a reply under its request's key with its facts (model, tokens, seconds, outcome)."""

    def recall(self, name: str) -> str | None:
        """Return what was remembered under a name, or None."""

    def remember(self, name: str, value: str) -> None:
        """Remember a small fact for later runs in the folder, such as what an endpoint can do."""


def _say_nothing(line: str) -> None:
    del line


def _by_index(talk: ConversationDataPoint) -> tuple[int, ...]:
    return (talk.index,)


@dataclass(frozen=True)
class World:
    """The services of one run, shared by all its plugins."""

    dice: Dice = field(default_factory=lambda: Dice("world"))
    guards: Guards = field(default_factory=Guards)
    say: Callable[[str], None] = _say_nothing
    """Show the user a line now (an index being built, tools ignored by an endpoint, …)."""
    calls: CallStore | None = None
    name: str = ""
    """The name in the task of what is being opened."""
    lazy: bool = False
    """Whether what is opened is only looked at: what costs tokens to get ready is told and left; a search may be refused."""
    corpora: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    """Documents given from Python, by the name of the engine that is to hold them."""
    engines: Mapping[str, Any] = field(default_factory=dict)
    """The retrievers opened before this one, by name, for engines that stand on others."""
    prompts: Path | None = None
    """The task's folder of templates that replace ours."""
    order: Callable[[ConversationDataPoint], tuple[int, ...]] = _by_index
    """Which conversation's call goes first when calls wait for a place: the smaller."""
