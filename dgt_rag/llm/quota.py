"""What an endpoint says beforehand of its limits, in the headers of a reply: no call need be refused to learn of them."""

import re
from collections.abc import Mapping

_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|d|h|m|s)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def rest(headers: Mapping[str, str], tokens: int) -> float:
    """Return the seconds until there is room for another call of so many tokens (`x-ratelimit-…`); 0 if there is."""
    return max(_rest(headers, "requests", 1), _rest(headers, "tokens", tokens))


def _rest(headers: Mapping[str, str], kind: str, need: int) -> float:
    left = _number(headers.get(f"x-ratelimit-remaining-{kind}"))
    full = span(headers.get(f"x-ratelimit-reset-{kind}") or "")
    if left is None or left >= need:
        return 0.0
    whole = _number(headers.get(f"x-ratelimit-limit-{kind}"))
    # `reset` is when all is there again; what one call needs is there sooner
    return full * min(1.0, (need - left) / (whole - left)) if whole and whole > left else full


def span(text: str) -> float:
    """Return the seconds of a span as `6m0s`, `120ms` or `1.5`; 0 if it is none."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _SPAN.findall(text)
    return sum(float(count) * _SECONDS[unit] for count, unit in parts) if "".join(map("".join, parts)) == text else 0.0


def _number(text: str | None) -> float | None:
    return float(text) if text and re.fullmatch(r"\d+(\.\d+)?", text) else None
