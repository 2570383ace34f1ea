"""An error that Python ignored, in a `__del__` or at exit, is never the reason of a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import NoMetric, Space, Sweep, run, uniform
from orchestrator.failures import last_traceback, last_words
from search.wording import without_ignored
from trainables.scripts.errors import error_line

RAISED = 'Traceback (most recent call last):\n  File "train.py", line 8, in train\n    raise ValueError("bad")\nValueError: bad\n'
IGNORED = (
    "Exception ignored in: <function R.__del__ at 0x7f>\nTraceback (most recent call last):\n"
    '  File "train.py", line 4, in __del__\n    self.handle.close()\n    ^^^^^^^^^^^\n'
    "AttributeError: 'R' object has no attribute 'handle'\n"
)


@pytest.mark.parametrize(
    "ignored", [IGNORED, IGNORED * 2, IGNORED.replace("in:", "while calling deallocator"), IGNORED.rstrip("\n")]
)
def test_the_reason_is_the_error_before_it(ignored: str) -> None:
    assert last_words(RAISED + ignored) == "ValueError: bad"
    assert last_traceback(RAISED + ignored) == RAISED.rstrip("\n")
    assert error_line(RAISED + ignored, "") == "ValueError: bad"


def test_an_output_of_nothing_else_keeps_it() -> None:
    assert without_ignored(IGNORED) == IGNORED
    assert last_words(IGNORED).startswith("AttributeError")


class Held:
    def __del__(self) -> None:
        raise AttributeError("has no handle")


def fails(config: Any) -> None:
    held = Held()
    assert held
    raise ValueError("the true reason")


def test_a_functions_own_error_is_its_reason(tmp_path: Path) -> None:
    sweep = Sweep("held", fails, Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=1, num_samples=1)
    with pytest.raises(NoMetric, match="ValueError: the true reason"):
        run(sweep, tmp_path / "run", simulate=True, quiet=True)
