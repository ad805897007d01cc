"""What the endpoints of a task's models can do, found out with a few short calls each, and what to change if not."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from dgt_rag.errors import Busy, ModelClosed, ModelError
from dgt_rag.guard import Guards
from dgt_rag.llm.base import Model, Sampling
from dgt_rag.llm.endpoint import AMPLE, LITTLE, Endpoint, Sent
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.llm.replies import BadReply, read
from dgt_rag.llm.shown import Shown
from dgt_rag.llm.traits import Traits, changes
from dgt_rag.llm.wire import Request
from dgt_rag.records import ToolSpec
from dgt_rag.retry import RetryPolicy
from dgt_rag.world import CallStore, World

_SILENCE = 5.0
"""Seconds after which is said what is waited for."""
_SHAPES_ASKED, _SHORT_ONES = 12, 3
"""Replies asked for until one has its shape; so many that tell nothing are enough."""
_UNTOLD = "could not be told"
_SHAPES = {
    "json_schema": "JSON: obeys a JSON schema",
    "bare_schema": "JSON: obeys a JSON schema without lengths and ranges",
    "json_object": "JSON: JSON mode only; shapes are asked for in words and checked (vLLM and llama.cpp can enforce a schema)",
    "text": "JSON: neither schema nor JSON mode; replies are read from text, more of them will be dropped",
}
_NO_TOOLS = (
    "tools: ignored; searches are asked for as JSON (tool_mode: schema), the rows are the same. "
    "vLLM: --enable-auto-tool-choice --tool-call-parser NAME; llama.cpp: --jinja and a chat template with tools"
)
_SEARCH = ToolSpec(
    name="search",
    description="Search the documents.",
    parameters={"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
)


class Hours(BaseModel):
    """A small reply."""

    place: str = Field(max_length=60)
    opens_at: int = Field(ge=0, le=24)


async def probe(
    models: Mapping[str, Model], calls: CallStore | None = None, silence: float = _SILENCE
) -> AsyncIterator[str]:
    """Tell, line by line, what the endpoints of models can do; raises `ModelClosed` for one that does not answer.

    What is found takes the place of what a run remembers in `calls`. After `silence` seconds it is said what is waited for.
    """
    for name, model in models.items():
        if not isinstance(model, OpenAIModel):
            yield f"model {name}: {model.plugin_name()}, asks no endpoint"
            continue
        brief = model.model_copy(update={"retry": _brief(model.retry)})
        for url in model.urls:
            async with brief.endpoint(url, World(guards=Guards())) as endpoint:
                yield f"model {name}: {endpoint.name}"
                async for line in _told(endpoint, model, silence):
                    yield f"  {line}"
                if calls is not None and _kept(endpoint.shown, calls):
                    yield "  the run in this task's folder remembered it otherwise; it goes on as found here"


def _kept(shown: Shown, calls: CallStore) -> bool:
    """Put what was found in the place of what a run remembers, if there is any; say whether that is something else."""
    known, found = calls.recall(shown.memory), shown.lasting()
    if known is None:
        return False
    before = Traits.model_validate_json(known)
    calls.remember(shown.memory, found.model_dump_json())
    return bool(changes(before, found) or changes(found, before))


def _brief(retry: RetryPolicy) -> RetryPolicy:
    """Return how long is waited while somebody looks on."""
    return retry.model_copy(
        update={
            "attempts": min(2, retry.attempts),
            "timeout": min(60.0, retry.timeout),
            "max_wait": min(5.0, retry.max_wait),
            "dead_after": min(20.0, retry.dead_after),
            "refused_after": min(20.0, retry.refused_after),
        }
    )


async def _told(endpoint: Endpoint, model: OpenAIModel, silence: float) -> AsyncIterator[str]:
    shape = asyncio.create_task(_shape(endpoint))
    async for line in _waited(shape, endpoint, "the first reply", silence):
        yield line
    replies = shape.result()
    first = f"; {replies[0].seconds:.1f} s for the first reply" if replies[0].seconds is not None else ""
    yield f"answers; {await _listed(endpoint)}{first}"
    yield _shape_line(endpoint, replies)
    for work, what in ((_tools(endpoint, model), "a tool call"), (_seed(endpoint), "replies with seeds")):
        task = asyncio.create_task(work)
        async for line in _waited(task, endpoint, what, silence):
            yield line
        yield task.result()
    yield _usage(replies[-1])
    for setting in endpoint.traits.refused:
        yield f"does not take {setting!r}; it is left out"


async def _waited(task: asyncio.Task[Any], endpoint: Endpoint, what: str, silence: float) -> AsyncIterator[str]:
    """Wait for a piece of work; say what is waited for if it takes long."""
    try:
        done, _ = await asyncio.wait([task], timeout=silence)
        if not done:
            policy, outcomes = endpoint.guard.policy, endpoint.guard.gate.outcomes
            seen = ", ".join(f"{count} × {kind}" for kind, count in outcomes.items() if kind != "ok")
            most = f"up to {policy.timeout * policy.attempts:.0f} s for one that is not answered"
            yield f"waiting for {what}: {f'so far {seen}' if seen else most}"
            await asyncio.wait([task])
    finally:
        task.cancel()


async def _listed(endpoint: Endpoint) -> str:
    try:
        names = await endpoint.door.models()
    except (Busy, ModelClosed, TimeoutError):
        names = []
    if not names:
        return "lists no models"
    return (
        "lists the model" if endpoint.config.model in names else f"does not list the model, but {', '.join(names[:5])}"
    )


async def _shape(endpoint: Endpoint) -> list[Sent]:
    """Ask for a small shape until one way of asking works, or none is left.

    A reply that is cut off, empty or refused tells nothing of the way it was asked for.
    """
    words = 'The town library opens at nine. Where, and at what hour? Reply with a JSON object: {"place": "…", "opens_at": 0}'
    replies: list[Sent] = []
    while len(replies) < _SHAPES_ASKED and sum(bool(one.answer.short) for one in replies) < _SHORT_ONES:
        request = Request(({"role": "user", "content": words},), Hours, seed=len(replies))
        replies.append(sent := await _sent(endpoint, request))
        if sent.answer.short:
            continue
        try:
            read(sent.answer.text, Hours, mend=sent.traits.rung in ("json_object", "text"))
        except BadReply:
            endpoint.shown.shaped(sent.traits, good=False)
        else:
            endpoint.shown.shaped(sent.traits, good=True)
            break
    return replies


def _shape_line(endpoint: Endpoint, replies: Sequence[Sent]) -> str:
    short = [one.answer.short for one in replies if one.answer.short]
    if endpoint.traits.proven:
        return _SHAPES[endpoint.traits.rung]
    return (
        f"JSON: {_UNTOLD}; what came was {short[0]}"
        if short
        else "JSON: no reply had the shape asked for; try another model"
    )


async def _tools(endpoint: Endpoint, model: OpenAIModel) -> str:
    if model.tool_mode == "schema":
        return "tools: not asked for (tool_mode: schema)"
    if await endpoint.takes_tools((_SEARCH,)):
        return "tools: makes tool calls"
    if endpoint.traits.tools == "ignored":
        return _NO_TOOLS
    way = "a run asks for searches as JSON (tool_mode: native or schema settles it)"
    return f"tools: {_UNTOLD} ({endpoint.undecided}); {way}"


async def _seed(endpoint: Endpoint) -> str:
    """Ask the same twice, and once with another seed."""
    messages = ({"role": "user", "content": "Write one sentence about any animal."},)
    answers = [
        (await _sent(endpoint, Request(messages, None, Sampling(temperature=1.0), seed))).answer for seed in (7, 7, 8)
    ]
    first, second, other = (answer.text for answer in answers)
    if short := [answer.short for answer in answers if answer.short]:
        return f"seed: {_UNTOLD}; what came was {short[0]}"
    if first != second:
        return "seed: not honoured; a new run will not repeat the rows of this one (a resumed one does: calls are kept)"
    return (
        "seed: honoured"
        if other != first
        else "seed: the same reply for every seed; rows will be much alike at one prompt"
    )


async def _sent(endpoint: Endpoint, request: Request) -> Sent:
    """Ask; with more room if the reply was cut off, as those of models that think are."""
    try:
        sent = await endpoint.tried(request, LITTLE)
    except ModelError as error:
        raise ModelClosed(f"{error}; the endpoint does not answer a request of a few words") from error
    if sent.answer.finish != "length":
        return sent
    try:
        return await endpoint.tried(request, AMPLE)
    except ModelError:  # it has gone on for longer than somebody looks on: what came before stands
        return sent


def _usage(sent: Sent) -> str:
    if not sent.answer.usage.prompt_tokens:
        return "usage: not reported; tokens and cost are not known, and max_tokens and max_cost cannot be kept"
    return "usage: reported" + (", cached tokens too" if sent.answer.cached_tokens else "")
