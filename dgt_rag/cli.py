"""The command line: parse, call, print. What a verb does is in `commands/`, imported when the verb is used."""

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from dgt_rag.errors import EXIT_CODES, DgtError, Exit, TaskError

VERBS = {
    "run": "make conversations (the verb that is meant if none is given)",
    "check": "say whether a task file is right; with --online, whether its models and engines answer",
    "estimate": "tell calls, tokens, time and cost of a whole run from a small pilot",
    "search": "show what the assistant would see for a query",
    "eval-retrieval": "measure engines on queries with judgements: nDCG@10, Recall@5, MRR",
    "index": "load a corpus into an engine's index",
    "list": "list every plugin with its first line",
    "explain": "tell a plugin's keys, defaults and help, with a sample",
    "schema": "print the JSON Schema of a task file, for editors",
    "init": "make a folder with a task, a corpus and seed conversations to start from",
}
_SAVING_NOTHING = VERBS.keys() - {"run", "index", "estimate"}
_DESCRIPTION = "Training conversations in which an assistant answers from retrieved text, made from your own documents."


class _Parser(argparse.ArgumentParser):
    """One that refuses in one line, as everything here does."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line, with the flag that may be meant."""
        from dgt_rag.plugins import unknown

        wrong = re.match(r"unrecognized arguments: .*?(--[\w-]+)", message)
        flags = dict.fromkeys(re.findall(r"--[a-z-]+", self.format_help()))
        raise TaskError(f"{self.prog}: {unknown('flag', wrong[1], flags) if wrong else message}")


def run_command(words: Sequence[str]) -> int:
    """Run one command line; return its exit code. A refusal is printed on standard error, never a traceback."""
    try:
        return _run(*_verb(words), bool({"-h", "--help"} & set(words)))
    except DgtError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # whoever read our output has read enough
        sys.stderr.close()
        return Exit.MADE
    except KeyboardInterrupt:
        saved = "; what is finished is saved, and the same command goes on from here"
        print(f"interrupted{saved if set(words[:1]).isdisjoint(_SAVING_NOTHING) else ''}", file=sys.stderr)
        return Exit.INTERRUPTED
    except OSError as error:
        # nothing of ours is left to do about a full disk below the terminal, or a present folder that is gone
        print(f"{error.filename or 'output'}: {error.strerror or error}", file=sys.stderr)
        return Exit.YOURS


def _run(verb: str, rest: list[str], help_wanted: bool) -> int:
    if not verb:
        _overview().print_help()
        return Exit.MADE if help_wanted else Exit.YOURS
    command = importlib.import_module(f"dgt_rag.commands.{verb.replace('-', '_')}")
    parser = _Parser(prog=f"dgt-rag {verb}", description=f"{VERBS[verb][0].upper()}{VERBS[verb][1:]}.")
    command.add_arguments(parser)
    code: int = command.main(parser.parse_intermixed_args(rest))
    return code


def _verb(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the verb and its words; `run` if the first word is no verb."""
    if words and words[0] in VERBS:
        return words[0], list(words[1:])
    if not words or words[0] in {"-h", "--help"}:
        return "", []
    if words[0] == "--version":
        return "list", ["--version"]
    if words[0].replace("-", "").replace("_", "").isalpha() and not words[0].startswith("-"):
        _refuse_unknown_verb(words[0])
    return "run", list(words)


def _refuse_unknown_verb(word: str) -> None:
    """Refuse a bare word that names no file; what has a suffix or a folder is a file in any case."""
    if not Path(word).exists():
        from dgt_rag.plugins import unknown

        raise TaskError(f"{word}: no such file, and {unknown('verb', word, VERBS)}")


def _overview() -> argparse.ArgumentParser:
    verbs = "\n".join(f"  {verb:<15} {what}" for verb, what in VERBS.items())
    codes = "\n".join(f"  {code:<5} {what}" for code, what in EXIT_CODES.items())
    usage = "dgt-rag [VERB] TASK.yaml [TASK2.yaml …] [key=value …] [flags]"
    return argparse.ArgumentParser(
        prog="dgt-rag",
        usage=usage,
        description=f"{_DESCRIPTION}\n\nverbs:\n{verbs}\n\n`dgt-rag VERB --help` tells a verb's flags.\n\nexit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
