"""`list`: every plugin by kind, with its first line."""

import argparse
import sys
from pathlib import Path

from dgt_rag.errors import Exit
from dgt_rag.outline import Outline, shipped

_FOOT = "`dgt-rag explain NAME` tells the keys of one, with a sample."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument(
        "kind", nargs="?", help="stages, engines, samplers, models, embedders, formatters, …; all if not given"
    )
    parser.add_argument("--version", action="store_true", help="print the version and no more")


def main(args: argparse.Namespace) -> int:
    """Print the plugins, or the version."""
    if args.version:
        from importlib.metadata import version

        print(f"dgt-rag {version('dgt-rag')}")
        return Exit.MADE
    found = [*shipped(), *_installed()]
    kinds = list(dict.fromkeys(one.kind for one in found))
    if args.kind is not None and args.kind not in kinds:
        from dgt_rag.errors import TaskError
        from dgt_rag.plugins import unknown

        raise TaskError(unknown("kind of plugins", args.kind, kinds))
    for kind in kinds if args.kind is None else [args.kind]:
        print("\n".join(_lines(kind, [one for one in found if one.kind == kind])))
    print(_FOOT)
    return Exit.MADE


def _lines(kind: str, plugins: list[Outline]) -> list[str]:
    width = max(len(plugin.name) for plugin in plugins)
    lines = [kind]
    for plugin in sorted(plugins, key=lambda plugin: plugin.name):
        also = f" (also {', '.join(plugin.aliases)})" if plugin.aliases else ""
        lines.append(f"  {plugin.name:<{width}}  {plugin.first_line}{also}")
    return [*lines, ""]


def _installed() -> list[Outline]:
    """Return the plugins of other packages; what it costs to import them is spent only if there are any."""
    if not _any_installed():
        return []
    from dgt_rag.catalog import installed, plugins

    # refuses a guest that takes a name of ours
    plugins()
    return [
        Outline(guest.kind, guest.plugin_name(), guest.aliases, f"{guest.first_line()} [{guest.__module__}]")
        for guest in installed()
    ]


def _any_installed() -> bool:
    """Say whether a package has entry points of ours; `importlib.metadata` takes far longer to say it."""
    folders = (Path(folder or ".") for folder in sys.path)
    files = (file for folder in folders for file in folder.glob("*.*-info/entry_points.txt"))
    return any("[dgt_rag." in file.read_text(encoding="utf-8") for file in files)
