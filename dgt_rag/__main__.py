"""`python -m dgt_rag TASK.yaml`."""

import io
import signal
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    try:
        from dgt_rag.interrupts import leave_when_interrupted

        leave_when_interrupted()
        from dgt_rag.cli import run_command
        from dgt_rag.errors import Exit

        if isinstance(sys.stdout, io.TextIOWrapper):
            # a terminal that knows no more than ASCII shows escapes
            sys.stdout.reconfigure(errors="backslashreplace")
        code = run_command(sys.argv[1:])
        if code == Exit.INTERRUPTED:
            # all is saved; one more Ctrl-C must not break the way out
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
