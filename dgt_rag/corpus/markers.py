"""Control tokens of chat templates in plain text, such as `<|im_start|>`, `[INST]` or `</s>`.

A tokenizer takes them for what they say wherever they stand: a scraped page could end a turn of the row it is quoted in, or
of the prompt it is shown in. Broken up by a space they are text like any other.
"""

import re

from dgt_rag.records import Document

_TOKENS = (
    # Qwen, Llama 3, Phi, Granite, Command R, gpt-oss and most others; DeepSeek with wide bars
    r"<{gap}[|\uff5c][^\s<>|\uff5c]{{1,40}}[|\uff5c]>"
    r"|<{gap}(?:/?s|pad|unk|bos|eos|mask|sop|eop)>"
    r"|<{gap}/?(?:think|tool_call|tool_response)>"
    r"|<{gap}(?:start|end)_of_(?:turn|image)>"
    r"|<{gap}(?:BOS|EOS|PAD|UNK|CLS|SEP|MASK)_TOKEN>"
    r"|<{gap}</?SYS>>"
    r"|\[{gap}/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|CALL_ID|ARGS|THINK)\]"
    r"|\[{gap}(?:gMASK|\|[a-z]{{1,20}}\|)\]"
)
_WHOLE = re.compile(_TOKENS.format(gap=""))
_EITHER = re.compile(_TOKENS.format(gap=" ?"))


def marker_in(text: str) -> str | None:
    """Return the first control token in a text; None if there is none."""
    found = _WHOLE.search(text)
    return found[0] if found else None


def had_marker(text: str) -> str | None:
    """Return the first control token in a text, whole or broken up, as it stands; None if there is none."""
    found = _EITHER.search(text)
    return found[0] if found else None


def broken_up(text: str) -> str:
    """Return a text with a space in every control token, after its first character."""
    return _WHOLE.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def marked(document: Document) -> str | None:
    """Return the first control token in what a model or a row shows of a document; None if there is none."""
    return marker_in(document.title) or marker_in(document.body)


def without_markers(document: Document) -> Document:
    """Return a document with its control tokens broken up; itself if there are none."""
    if not marked(document):
        return document
    return document.model_copy(update={"title": broken_up(document.title), "body": broken_up(document.body)})
