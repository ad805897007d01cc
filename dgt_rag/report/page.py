"""`report.html`: what a person looks at after a run. One file, no network; a few megabytes however large the run is.

Everything that a corpus or a model said goes into the page as JSON and from there into text nodes; only the page's own
script may run, by its digest.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from dgt_rag.records import ConversationDataPoint
from dgt_rag.report.excerpts import Excerpts, cut, to_json
from dgt_rag.report.figures import Figures

_HOLE = re.compile(r"@@(\w+)@@")
_WEB = Path(__file__).with_name("web")
_SCRIPTS = ("draw.js", "conversation.js", "browse.js", "figures.js", "calls.js", "frame.js")
"""In the order they run in, as one script."""
_LONGEST_TASK = 60_000
"""Characters of the task that are shown."""


class Page:
    """The report of one run, fed one conversation at a time."""

    def __init__(self, task_name: str) -> None:
        self.task_name = task_name
        self.figures = Figures()
        self.excerpts = Excerpts()

    def add(self, talk: ConversationDataPoint) -> None:
        """Take in a finished conversation, kept or dropped."""
        if talk.status == "kept":
            self.figures.add(talk)
        self.excerpts.add(talk)

    def html(self, facts: Mapping[str, Any], task_text: str) -> str:
        """Return the page for the facts of `run.json` and the text of `task.yaml`."""
        style, script = _part("page.css"), "\n".join(map(_part, _SCRIPTS))
        values = {
            "policy": f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'",
            "title": escape(self.task_name),
            "headline": escape(headline(facts)),
            "style": style,
            "script": script,
            "data": self._data(facts, task_text),
        }
        return _HOLE.sub(lambda hole: values[hole[1]], _part("page.html"))

    def _data(self, facts: Mapping[str, Any], task_text: str) -> str:
        parts = {
            "task_name": to_json(self.task_name),
            "facts": to_json(dict(facts)),
            "figures": to_json(self.figures.as_dict()),
            "task": to_json(cut(task_text, _LONGEST_TASK), longest=None),
            "documents": _list(document.as_json() for document in self.excerpts.documents.values()),
            "kept": _list(self.excerpts.taken["kept"]),
            "dropped": _list(self.excerpts.taken["dropped"]),
        }
        return "{" + ",\n".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


def headline(facts: Mapping[str, Any]) -> str:
    """Return the one line that says how the run ended."""
    figures = facts["figures"]
    dropped = sum(figures["dropped"].values())
    return f"{facts['status']}: kept {figures['kept']:,} of {figures['asked']:,} asked for, {dropped:,} dropped"


def _part(name: str) -> str:
    return (_WEB / name).read_text(encoding="utf-8")


def _list(items: Iterable[str]) -> str:
    return "[" + ",\n".join(items) + "]"


def _digest(text: str) -> str:
    """Return a text's digest as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
