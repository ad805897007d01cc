"""The door to Jinja2: prompts from templates, in an order that lets an endpoint reuse what it has read before.

A request is: the system message (rules, the same for a whole task), then what only grows (documents, examples, the
conversation), then this ask's instruction. Every template may be replaced by one of the same name in the task's folder
`prompts:`. Text of documents and models is filled in as a value; it is never a template itself.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    StrictUndefined,
    Template,
    TemplateError,
    TemplateNotFound,
    nodes,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from dgt_rag.errors import TaskError
from dgt_rag.llm.base import Ask
from dgt_rag.prompts.told import Run, said_in
from dgt_rag.records import AssistantStep, ConversationDataPoint, Step, ToolCallStep, ToolResultStep, UserStep

Message = dict[str, Any]
"""One message of a chat request, in OpenAI's form."""

SHIPPED = Path(__file__).parent
_FIXED = ("documents", "examples", "instructions", "searching", "offered")
"""What a system template may use: what is the same for all asks of a conversation."""


def _environment(loader: BaseLoader | None = None, ours: bool = False) -> Environment:
    kind = Environment if ours else ImmutableSandboxedEnvironment
    # prompts are plain text for a model, never a page: nothing is escaped; a run's prompts stay as they were at its start
    made = kind(loader=loader, undefined=StrictUndefined, auto_reload=False, trim_blocks=True, lstrip_blocks=True)
    made.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": True}
    # the filter of that name that Jinja2 brings escapes for HTML
    made.globals["beginning"] = _beginning
    made.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return made


@lru_cache(maxsize=64)
def template(text: str) -> Template:
    """Return a template given as text by the user, sandboxed, with undefined names as errors."""
    try:
        return _environment().from_string(text)
    except TemplateError as error:
        raise TaskError(f"not a template: {error}") from error


def fill(text: str, values: Mapping[str, Any]) -> str:
    """Fill a template given as text by the user."""
    try:
        return template(text).render(values)
    except TemplateError as error:
        raise TaskError(f"template {text!r}: {error}") from error


class Prompts:
    """The templates of one task."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._systems: dict[tuple[Any, ...], tuple[str, Any]] = {}

    @cached_property
    def _environment(self) -> Environment:
        # the sandbox, which looks at every name that is used, is for templates that are not ours
        if not self.folder:
            return _environment(FileSystemLoader(SHIPPED), ours=True)
        return _environment(ChoiceLoader([FileSystemLoader(folder) for folder in (self.folder, SHIPPED)]))

    def check(self) -> None:
        """Read every template; refuse the first that is wrong, and a file that replaces none of ours."""
        ours = {path.name for path in SHIPPED.glob("*.j2")}
        for path in sorted(self.folder.glob("*.j2")) if self.folder else []:
            if path.name not in ours:
                raise TaskError(f"{path}: replaces no prompt of ours; there are: {', '.join(sorted(ours))}")
            self._template(path.name)

    @cached_property
    def told(self) -> frozenset[Run]:
        """What the templates say themselves, whatever they are filled with; a template of the task's in place of ours."""
        return said_in(piece for path in SHIPPED.glob("*.j2") for piece in self._own_words(path.name))

    def _own_words(self, name: str) -> Iterator[str]:
        self._template(name)  # tells what is wrong with one that cannot be read
        loader = self._environment.loader
        assert loader is not None
        source = loader.get_source(self._environment, name)[0]
        for node in self._environment.parse(source).find_all((nodes.TemplateData, nodes.Const)):
            if isinstance(node, nodes.TemplateData):
                yield node.data
            elif isinstance(node, nodes.Const) and isinstance(node.value, str):
                yield node.value

    def messages(self, ask: Ask) -> list[Message]:
        """Return the chat messages of a request."""
        values = {"talk": ask.talk, "native": ask.native, "searching": False, **ask.values}
        numbered = reversed(list(enumerate(ask.values["documents"], start=1)))
        values["numbers"] = {(document.doc_id, document.body): number for number, document in numbered}
        values["repeated"] = _repeated(ask.talk.steps)
        values["documents_above"] = ask.system == "system"
        system = {"role": "system", "content": self._system(ask, values)}
        tail = self.render(f"{ask.purpose}.j2", values).strip()
        if not ask.native:
            return [system, {"role": "user", "content": f"{self.render('frame.j2', values)}\n\n{tail}"}]
        history = self._history(ask.talk.steps, values)
        return [system, *history, *([{"role": "user", "content": tail}] if tail else [])]

    def _system(self, ask: Ask, values: Mapping[str, Any]) -> str:
        """Return the system message; it sees only what stays the same, and is made once for a conversation."""
        fixed = {name: values[name] for name in _FIXED if name in values}
        documents = fixed["documents"] if ask.system == "system" else ()
        key = (
            ask.system,
            fixed["instructions"],
            *((tool.name, tool.description) for tool in fixed.get("offered", ())),
            *((document.doc_id, document.title, document.body) for document in documents),
            *(id(seed) for seed in fixed["examples"]),
        )
        if key not in self._systems:
            # more than are in the air need not be remembered
            if len(self._systems) >= 1024:
                self._systems.clear()
            # the examples stand beside the text, so that no other object gets the id of one while it counts
            self._systems[key] = (self.render(f"{ask.system}.j2", {**fixed, "documents": documents}), fixed["examples"])
        return self._systems[key][0]

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Fill a template."""
        try:
            return self._template(name).render(values).strip()
        except (
            TemplateError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise TaskError(f"prompt {name}: {error}") from error

    def _template(self, name: str) -> Template:
        try:
            return self._environment.get_template(name)
        except TemplateNotFound as error:
            raise TaskError(f"prompt {name}: there is no such template") from error
        except TemplateError as error:
            line = getattr(error, "lineno", 0)
            raise TaskError(f"{self.folder or SHIPPED}/{name}:{line}: {error}") from error
        except UnicodeDecodeError as error:
            raise TaskError(f"{self.folder or SHIPPED}/{name}: not UTF-8 text ({error.reason})") from error

    def _history(self, steps: tuple[Step, ...], values: Mapping[str, Any]) -> list[Message]:
        """Return the conversation as chat messages, calls made at once in one message."""
        out: list[Message] = []
        for step in steps:
            match step:
                case UserStep():
                    out.append({"role": "user", "content": step.content})
                case AssistantStep():
                    out.append({"role": "assistant", "content": step.content})
                case ToolCallStep():
                    _add_call(out, step)
                case ToolResultStep():
                    text = self.render("tool_result.j2", {**values, "step": step})
                    out.append({"role": "tool", "tool_call_id": step.content.call_id, "content": text})
                case _:
                    pass
        return out


def _beginning(talk: ConversationDataPoint) -> tuple[Step, ...]:
    """Return the first two turns of an example: enough for tone and form, and read again with every call."""
    answers = [place for place, step in enumerate(talk.steps) if isinstance(step, AssistantStep)]
    return talk.steps[: answers[min(1, len(answers) - 1)] + 1] if answers else ()


def _repeated(steps: tuple[Step, ...]) -> frozenset[tuple[str, int]]:
    """Return which hits (call and rank) were shown by an earlier search; their text need not be read twice."""
    seen: set[tuple[str, str]] = set()
    again: set[tuple[str, int]] = set()
    for step in steps:
        if isinstance(step, ToolResultStep):
            for hit in step.content.result or ():
                if (hit.doc_id, hit.body) in seen:
                    again.add((step.content.call_id, hit.rank))
                seen.add((hit.doc_id, hit.body))
    return frozenset(again)


def _add_call(out: list[Message], step: ToolCallStep) -> None:
    call = step.content
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    entry = {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
    if not out or "tool_calls" not in out[-1]:
        out.append({"role": "assistant", "content": "", "tool_calls": []})
    out[-1]["tool_calls"].append(entry)
