"""What the shipped plugins are called and are for, read from their source: to import them all takes longer than `list` may.

A test holds that this says the same as the classes of `catalog.SHIPPED`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_PACKAGE = Path(__file__).parent
_KINDS = {"llm": "models", "formats": "formatters"}
"""The kind of the plugins in a folder, where it is not the folder's own name."""


@dataclass(frozen=True)
class Outline:
    """One plugin in a list."""

    kind: str
    name: str
    aliases: tuple[str, ...]
    first_line: str


def shipped() -> Iterator[Outline]:
    """Return what stands in the catalog's `SHIPPED`, in its order."""
    tree = ast.parse((_PACKAGE / "catalog.py").read_bytes())
    homes = {
        alias.name: node.module or "" for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    classes: dict[str, dict[str, ast.ClassDef]] = {}
    for name in _names(tree):
        home = homes[name]
        if home not in classes:
            classes[home] = _classes(home)
        yield _outline(name, home, classes[home])


def _names(tree: ast.Module) -> list[str]:
    value = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign) and _target(node) == "SHIPPED")
    return [item.id for item in getattr(value, "elts", ()) if isinstance(item, ast.Name)]


def _classes(home: str) -> dict[str, ast.ClassDef]:
    path = _PACKAGE.joinpath(*home.split(".")[1:]).with_suffix(".py")
    return {node.name: node for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.ClassDef)}


def _outline(name: str, home: str, classes: dict[str, ast.ClassDef]) -> Outline:
    kind = home.split(".")[1]
    kind = _KINDS.get(kind, kind)
    key = "name" if kind == "stages" else "type"
    first_line = (ast.get_docstring(classes[name]) or "").partition("\n")[0]
    return Outline(kind, _value(name, key, classes, ""), _value(name, "aliases", classes, ()), first_line)


def _value(name: str, field: str, classes: dict[str, ast.ClassDef], default: T) -> T:
    """Return what a class says of a field, or the bases of it that stand in the same file."""
    found = classes.get(name)
    if found is None:
        return default
    for node in found.body:
        if isinstance(node, ast.AnnAssign) and _target(node) == field and node.value is not None:
            value: T = ast.literal_eval(node.value)
            return value
    bases = [base.id for base in found.bases if isinstance(base, ast.Name)]
    return next((value for base in bases if (value := _value(base, field, classes, default)) != default), default)


def _target(node: ast.AnnAssign) -> str:
    return node.target.id if isinstance(node.target, ast.Name) else ""
