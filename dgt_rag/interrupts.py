"""What Ctrl-C does to a program that starts, and to one that works.

While packages load, an exception raised by a signal handler is lost or turned into another one: extension
modules and callbacks of the import machinery stand in its way. Nothing is open then, so the program just leaves.
"""

import os
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from dgt_rag.errors import Exit

Result = TypeVar("Result")


def leave_when_interrupted() -> None:
    """From here until work begins, let Ctrl-C end the process at once; one that is ignored, as `&` has it, stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def run_to_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what the work returns; on Ctrl-C it is cancelled, so that it closes what it has open.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    import asyncio  # loading it takes a tenth of a second, in which a Ctrl-C would be a traceback

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return asyncio.run(work)


def _leave(*_: object) -> NoReturn:
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(Exit.INTERRUPTED)
