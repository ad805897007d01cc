"""A model that says what the task tells it: for tests, and for looking at prompts and formats without a model."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from pydantic import JsonValue

from dgt_rag.errors import ModelError
from dgt_rag.llm.base import Ask, Model, Reply, Speaker
from dgt_rag.llm.replies import BadReply, read
from dgt_rag.world import World


class Scripted(Model):
    """Says what the task tells it, for tests and dry runs."""

    type: Literal["scripted"] = "scripted"
    replies: dict[str, tuple[dict[str, JsonValue] | str, ...]]
    """For each purpose (scenario, flow, user, answer, …) the replies, taken in turn by conversation and turn."""

    @asynccontextmanager
    async def open(self, world: World) -> AsyncIterator[Speaker]:
        """Open; there is nothing to open."""
        yield _Script(self.replies)


class _Script(Speaker):
    def __init__(self, replies: Mapping[str, Sequence[dict[str, JsonValue] | str]]) -> None:
        self._replies = replies

    async def reply(self, ask: Ask) -> Reply:
        """Return the reply that stands at the place of this conversation and turn, whatever was asked before."""
        told = self._replies.get(ask.purpose) or ()
        if not told:
            raise ModelError("bad_reply", f"the script has no reply for {ask.purpose!r}")
        said = told[(ask.talk.index + ask.talk.turns) % len(told)]
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        try:
            value = read(text, ask.reply_type, mend=False)
        except BadReply as bad:
            raise ModelError(bad.reason, f"{ask.purpose}: {bad}", text) from bad
        return Reply(value, "scripted", text=text)
