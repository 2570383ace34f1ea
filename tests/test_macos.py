"""What macOS lacks of Linux is not needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.worker import limits
from orchestrator.worker.leftovers import children


def test_child_processes_are_found_where_python_has_no_waitid(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        monkeypatch.delattr(os, "waitid")
        try:
            assert child.pid in children()
        finally:
            child.kill()
    assert child.pid not in children()


def test_memory_has_a_limit_only_where_the_system_counts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = limits.data_limit(2**30)
    assert limit is not None
    assert limit > 2**30
    assert limits.data_limit(None) is None
    monkeypatch.setattr(limits, "STATUS", tmp_path / "absent")
    assert limits.data_limit(2**30) is None


@pytest.mark.slow
def test_every_name_of_the_standard_library_is_there_on_macos() -> None:
    found = subprocess.run([sys.executable, "-m", "mypy", "--platform", "darwin"], capture_output=True, text=True)
    assert not found.returncode, found.stdout
