"""`init`: make a folder with a task, a corpus, personas and seed conversations to start from."""

import argparse
import shlex
from pathlib import Path

from dgt_rag.errors import Exit, TaskError

TEMPLATES = Path(__file__).parent.parent / "templates"
FILES = ("task.yaml", "documents.jsonl", "seed_examples.jsonl", "personas.jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of this verb."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the folder to make; nothing in it is overwritten")


def main(args: argparse.Namespace) -> int:
    """Copy the files and say what to type next."""
    folder: Path = args.folder
    for name in FILES:
        if (folder / name).exists():
            raise TaskError(f"{folder / name}: is there already and is not overwritten; name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (folder / name).write_bytes((TEMPLATES / name).read_bytes())
    except OSError as error:
        raise TaskError(f"{folder}: cannot be written ({error.strerror}); name another folder") from error
    print(f"{folder}: {', '.join(FILES)}")
    print(f"next: dgt-rag {shlex.quote(str(folder / 'task.yaml'))}")
    return Exit.MADE
