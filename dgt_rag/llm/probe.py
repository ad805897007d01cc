"""What the endpoints of a task's models can do, found out with a few short calls each, and what to change if not."""

import time
from collections.abc import AsyncIterator, Mapping

from pydantic import BaseModel, Field

from dgt_rag.errors import Busy, ModelClosed, ModelError
from dgt_rag.guard import Guards
from dgt_rag.llm.base import Model, Sampling
from dgt_rag.llm.endpoint import Endpoint, Sent
from dgt_rag.llm.openai import OpenAIModel
from dgt_rag.llm.replies import BadReply, read
from dgt_rag.llm.wire import Request
from dgt_rag.records import ToolSpec
from dgt_rag.world import World

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


async def probe(models: Mapping[str, Model]) -> AsyncIterator[str]:
    """Tell, line by line, what the endpoints of models can do; raises `ModelClosed` for one that does not answer."""
    for name, model in models.items():
        if not isinstance(model, OpenAIModel):
            yield f"model {name}: {model.plugin_name()}, asks no endpoint"
            continue
        for url in model.urls:
            async with model.endpoint(url, World(guards=Guards())) as endpoint:
                yield f"model {name}: {endpoint.name}"
                async for line in _told(endpoint, model):
                    yield f"  {line}"


async def _told(endpoint: Endpoint, model: OpenAIModel) -> AsyncIterator[str]:
    start = time.monotonic()
    sent = await _shape(endpoint)
    yield f"answers; {await _listed(endpoint)}; {time.monotonic() - start:.1f} s for the first reply"
    yield (
        _SHAPES[endpoint.traits.rung]
        if endpoint.traits.proven
        else "JSON: no reply had the shape asked for; try another model"
    )
    if model.tool_mode == "schema":
        yield "tools: not asked for (tool_mode: schema)"
    else:
        yield "tools: makes tool calls" if await endpoint.takes_tools((_SEARCH,)) else _NO_TOOLS
    yield await _seed(endpoint)
    if sent is not None:
        yield _usage(sent)
    for setting in endpoint.traits.refused:
        yield f"does not take {setting!r}; it is left out"


async def _listed(endpoint: Endpoint) -> str:
    try:
        names = await endpoint.door.models()
    except (Busy, TimeoutError):
        names = []
    if not names:
        return "lists no models"
    return (
        "lists the model" if endpoint.config.model in names else f"does not list the model, but {', '.join(names[:5])}"
    )


async def _shape(endpoint: Endpoint) -> Sent | None:
    """Ask for a small shape until one way of asking works, or none is left."""
    words = 'The town library opens at nine. Where, and at what hour? Reply with a JSON object: {"place": "…", "opens_at": 0}'
    sent = None
    for seed in range(10):
        request = Request(({"role": "user", "content": words},), Hours, Sampling(max_tokens=512), seed)
        try:
            sent = await endpoint.send(request)
            read(sent.answer.text, Hours, mend=endpoint.traits.rung in ("json_object", "text"))
        except BadReply:
            endpoint.shaped(sent, good=False) if sent else None
        except ModelError as error:
            raise ModelClosed(f"{error}; the endpoint does not answer a request of a few words") from error
        else:
            endpoint.shaped(sent, good=True)
            break
    return sent


async def _seed(endpoint: Endpoint) -> str:
    words = "Write one sentence about any animal."
    request = Request(({"role": "user", "content": words},), None, Sampling(temperature=1.0, max_tokens=60), 7)
    first, second, other = [
        (await endpoint.send(ask)).answer.text
        for ask in (request, request, Request(request.messages, None, request.sampling, 8))
    ]
    if first != second:
        return "seed: not honoured; a new run will not repeat the rows of this one (a resumed one does: calls are kept)"
    return (
        "seed: honoured"
        if other != first
        else "seed: the same reply for every seed; rows will be much alike at one prompt"
    )


def _usage(sent: Sent) -> str:
    if not sent.answer.usage.prompt_tokens:
        return "usage: not reported; tokens and cost will not be known"
    return "usage: reported" + (", cached tokens too" if sent.answer.cached_tokens else "")
