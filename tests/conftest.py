"""What several test files share as fixtures."""

import signal
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from building import task_values

from dgt_rag.cli import run_command

Said = tuple[int, str, str]


def pytest_configure() -> None:
    """Hear signals that whoever started the tests in the background, or under nohup, had ignored: runs honour that."""
    for one, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(one) == signal.SIG_IGN:
            signal.signal(one, handler)


@pytest.fixture
def told(tmp_path, capsys) -> Callable[..., Said]:
    """Runs a task over the small corpus with some changes; returns the exit code and what was printed, paths shortened."""

    def run(values: Mapping[str, Any] | None = None, *words: str, live: bool = False, **changes: Any) -> Said:
        path = tmp_path / "task.yaml"
        whole = values if values is not None else task_values(tmp_path, live, num_outputs=2, **changes)
        path.write_text(yaml.safe_dump(whole, allow_unicode=True), encoding="utf-8")
        code = run_command([str(path), "--show", "0", *words])
        out, err = capsys.readouterr()
        return code, out, err.replace(f"{tmp_path}/", "")

    return run
