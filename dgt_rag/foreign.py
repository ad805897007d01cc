"""Lines that DiGiT wrote, under our names: roles such as `rag/scenario`, documents as `{id, text, metadata}`."""

from collections.abc import Mapping
from typing import Any

_CONVERSATION_ONLY = {"branch_point", "outcome_reward", "outcome_reward_breakdown"}
_STEP_ONLY = {"scores", "metadata", "scenario_family_id", "reasoning", "namespace"}


def role_of(step: Any) -> str:
    """Return the role of a step, a record or a mapping, under our name."""
    role = step.get("role") if isinstance(step, Mapping) else getattr(step, "role", None)
    return str(role).removeprefix("rag/")


def document_of(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a document's fields; `{id, text, metadata: {id, title, text, domain, …}}` is read as ours."""
    if "doc_id" in data or not {"id", "text"} <= data.keys():
        return data
    metadata = {key: value for key, value in (data.get("metadata") or {}).items() if key not in {"id", "text"}}
    names = {name: str(metadata.pop(name, None) or "") for name in ("title", "domain")}
    return {"doc_id": str(data["id"]), "body": data["text"], **names, "metadata": metadata}


def conversation_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a conversation's fields without what only such lines carry, its steps under our names of roles."""
    steps = data.get("steps")
    out = {key: value for key, value in data.items() if key not in _CONVERSATION_ONLY}
    if isinstance(steps, list | tuple):
        out["steps"] = tuple(_step_of(step) if isinstance(step, Mapping) else step for step in steps)
    return out


def _step_of(step: Mapping[str, Any]) -> dict[str, Any]:
    role = role_of(step)
    keeps = {"reasoning"} if role in {"flow_controller", "assistant"} else set()
    out = {key: value for key, value in step.items() if key not in _STEP_ONLY - keeps}
    out["role"] = role
    if role == "flow_controller" and out.get("reasoning") is None:
        out.pop("reasoning", None)
    if role == "tool_call" and isinstance(out.get("content"), Mapping):
        out["content"] = {key: value for key, value in out["content"].items() if key != "namespace"}
    return out
