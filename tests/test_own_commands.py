"""The commands that we print can be pasted, whether or not the user's PATH leads to this environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.console.own_commands import orchestrator_line, python_words
from orchestrator.console.typed_command import recorded_line
from tests.support import ROOT, run_script

HERE = Path(sys.executable).parent
ELSEWHERE = "/usr/bin:/bin"
SHELL = {"PATH": ELSEWHERE, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "HOME": os.environ.get("HOME", "/")}


def pasted(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", line], cwd=folder, env=SHELL, capture_output=True, text=True, timeout=120)


@pytest.fixture
def other_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", ELSEWHERE)


def test_a_path_that_leads_here_gives_the_short_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{HERE}:{ELSEWHERE}")
    assert python_words() == ["python"]
    assert orchestrator_line("report", "runs/a b") == "orchestrator report 'runs/a b'"


def test_a_link_to_this_environments_command_keeps_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orchestrator").symlink_to(HERE / "orchestrator")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert orchestrator_line("list") == "orchestrator list"


def test_another_environment_on_the_path_is_not_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both pythons are links to the same file, and only one has the packages."""
    (tmp_path / "python").symlink_to(Path(sys.executable).resolve())
    (tmp_path / "orchestrator").write_text("#!/bin/sh\n")
    (tmp_path / "orchestrator").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # the project's own environment may be below the folder where the tests run
    assert python_words() == [str(Path(sys.executable).absolute())]
    assert orchestrator_line("list") == f"{HERE.absolute() / 'orchestrator'} list"


@pytest.mark.usefixtures("other_path")
def test_an_environment_below_the_folder_has_its_short_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE.parent.parent)
    assert python_words() == [str(Path(sys.executable).relative_to(Path.cwd()))]


@pytest.mark.usefixtures("other_path")
def test_the_printed_lines_run_where_no_environment_is_active(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tune.py").write_text("import orchestrator, sys\nprint(orchestrator.__name__, sys.argv[1:])\n")
    record = {"command": [str(tmp_path / "tune.py"), "--budget", "3"], "code": {"folder": str(tmp_path)}}
    done = pasted(recorded_line(record, "--budget", "6"), ROOT)
    assert done.stdout == "orchestrator ['--budget', '6']\n", done.stderr
    monkeypatch.chdir(tmp_path)
    done = pasted(orchestrator_line("list"), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_lines_of_a_sweep_run_where_no_environment_is_active(tmp_path: Path) -> None:
    script = ROOT / "tests" / "sweeps" / "steady.py"
    done = run_script(script, "--simulate", "--runs", str(tmp_path), cwd=tmp_path, PATH=ELSEWHERE, PYTHONPATH=str(ROOT))
    lines = {line[:13].strip(): line[13:] for line in done.stdout.splitlines()}
    for line in (lines["Report"], lines["More trials"]):
        done = pasted(f"{line} --help", tmp_path)
        assert done.returncode == 0, done.stderr
