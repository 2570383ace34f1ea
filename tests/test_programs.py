"""A program that calls run(sweep): its trials are trained again, and audited, without running it."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from orchestrator.console.typed_command import recorded_line
from orchestrator.errors import BadInput, NotTheSame
from orchestrator.main import run
from orchestrator.reading.program import import_sweep
from tests.failing import sweep_of
from tests.support import ROOT, orchestrator, recorded, run_script, simulated, small_sweep

HEAD = """
from functools import cache
from orchestrator import Random, RunToEnd, Space, Sweep, report, run, uniform

@cache
def data():
    return 2.0

def train(config):
    for step in range(1, 4):
        if not report(step, loss=data() * config["x"] / step):
            break

def tuned():
    return Sweep("own", train, Space({"x": uniform(0, 1)}), minimize="loss", steps=3, searcher=Random(),
                 scheduler=RunToEnd(), num_samples=2)
"""
COUNTED = "    open('started', 'a').write('x')\n"
PROGRAMS = {
    "at its top": f"{HEAD}\nsweep = tuned()\nif __name__ == '__main__':\n{COUNTED}    run(sweep, simulate=True)\n",
    "as it is imported": f"{HEAD}\nrun(tuned(), simulate=True, seed=3)\nif True:\n{COUNTED}",
}
FLAGS = """
import argparse, sys
parser = argparse.ArgumentParser()
parser.add_argument("--scale", type=float, required=True)
parser.add_argument("--hub-token")
"""
LAUNCHED = f"{HEAD}{FLAGS}\nown, sys.argv[1:] = parser.parse_known_args()\nsweep = tuned()\n"
LAUNCHED += "if __name__ == '__main__':\n    from orchestrator import launch\n    launch(sweep.changed(diverged_beyond=own.scale))\n"
PARSED = f"{HEAD}{FLAGS}\nown = parser.parse_args()\nsweep = tuned().changed(diverged_beyond=own.scale)\n"
PARSED += "if __name__ == '__main__':\n    run(sweep, simulate=True)\n"
HIDDEN = f"{HEAD}\nif __name__ == '__main__':\n{COUNTED}    run(tuned(), simulate=True)\n"


def started(place: Path) -> int:
    return len((place / "started").read_text())


def ran(program: str, place: Path) -> Path:
    (place / "own.py").write_text(program)
    done = run_script("own.py", cwd=place, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert started(place) == 1
    return place / "runs" / "own"


@pytest.mark.parametrize("where", ["at its top", pytest.param("as it is imported", marks=pytest.mark.slow)])
def test_a_program_hands_over_its_sweep_and_does_not_run(where: str, tmp_path: Path) -> None:
    folder = ran(PROGRAMS[where], tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    again = orchestrator("replay", str(folder), "1", cwd=elsewhere)
    assert again.returncode == 0, again.stderr
    assert "trial 1: all 3 steps equal the record" in again.stdout
    audited = orchestrator("audit", str(folder), cwd=elsewhere)
    assert audited.returncode == 0, audited.stderr
    assert "all as recorded" in audited.stdout
    assert started(tmp_path) == 1
    assert len(recorded(folder, "sweep")) == 1  # nor has a trial's process run it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "ours"),
    [
        pytest.param(LAUNCHED, ["--simulate"], id="launch"),
        pytest.param(PARSED, [], id="run", marks=pytest.mark.slow),
    ],
)
def test_the_command_keeps_the_flags_that_are_the_scripts_own(program: str, ours: list[str], tmp_path: Path) -> None:
    """They were lost: the script takes them out of sys.argv before it calls launch(sweep)."""
    (tmp_path / "own.py").write_text(program)
    own = ["--scale", "9", "--hub-token", "abcdefgh"]
    done = run_script("own.py", *ours, *own, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    line = " ".join(["python own.py", *ours, "--scale 9 --hub-token"])
    if ours:
        assert f"{line} abcdefgh --num-samples 4" in done.stdout
    (record,) = recorded(tmp_path / "runs" / "own", "sweep")
    assert recorded_line(record) == f"cd {tmp_path} && {line} '***'"
    assert "abcdefgh" not in str(record)
    audited = orchestrator("audit", "own", cwd=tmp_path)
    if ours:
        assert "holds a secret" in audited.stderr
    else:
        assert "all as recorded" in audited.stdout, audited.stderr


@pytest.mark.slow
def test_an_edited_program_is_trained_as_it_is_now_and_its_decisions_are_not_audited(tmp_path: Path) -> None:
    folder = ran(PROGRAMS["at its top"], tmp_path)
    (tmp_path / "own.py").write_text(PROGRAMS["at its top"].replace("/ step)", "/ step**2)"))
    again = orchestrator("replay", str(folder), "0", cwd=tmp_path)
    assert again.returncode == NotTheSame.exit_code
    assert "2 of 3 steps differ from the record, the first at step 2" in again.stderr
    audited = orchestrator("audit", str(folder), cwd=tmp_path)
    assert audited.returncode == 2
    assert "differs from the one that made this run (" in audited.stderr
    assert "train() was edited" in audited.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (HIDDEN, "an import of it gives no such sweep"),
        pytest.param(
            HIDDEN.replace("def train", "import absent\ndef train"),
            "cannot be imported (ModuleNotFoundError: ",
            marks=pytest.mark.slow,
        ),
        pytest.param("", "an import of it gives no such sweep", marks=pytest.mark.slow),
        pytest.param(None, "is not there", marks=pytest.mark.slow),
    ],
)
def test_where_no_sweep_is_to_be_had_the_refusal_says_why_and_what_to_do(
    edit: str | None, why: str, tmp_path: Path
) -> None:
    folder = ran(HIDDEN, tmp_path)
    if edit is None:
        (tmp_path / "own.py").unlink()
    else:
        (tmp_path / "own.py").write_text(edit)
    refused = orchestrator("replay", str(folder), "0", cwd=tmp_path)
    assert refused.returncode == 2
    assert why in refused.stderr
    assert f"ends in launch(sweep), and run it with --name own --runs {folder.parent} --replay 0" in refused.stderr
    assert f"or call Result('{folder}').replay(sweep, 0) where the sweep is." in refused.stderr


def test_the_advised_flags_can_be_pasted_where_a_folder_has_a_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my runs" / "small"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "gone.py")])
    simulated(folder, small_sweep(num_samples=1))
    with pytest.raises(BadInput, match="made this run") as refused:
        import_sweep(folder, ["--audit"])
    flags = re.search(r"run it with (.*)\.$", str(refused.value))
    assert flags is not None
    assert shlex.split(flags[1]) == ["--name", "small", "--runs", str(folder.parent), "--audit"]


def test_a_result_replays_a_trial_where_the_sweep_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def train(config: dict[str, float], state: int | None) -> object:
        for step in range(state or 0, 3):
            yield {"loss": config["x"] / (step + 1)}, step + 1

    def other(config: dict[str, float], state: int | None) -> object:
        yield {"loss": config["x"] + 1}, 1

    sweep = sweep_of(train, num_samples=2)
    result = run(sweep, tmp_path / "own", simulate=True, quiet=True)
    result.replay(sweep)
    assert f"trial {result.trial}: all 3 steps equal the record" in capsys.readouterr().out
    with pytest.raises(NotTheSame):
        result.replay(sweep_of(other, num_samples=2), 1)
