"""docs/own_script.md, followed from an empty folder."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from search.records import Status
from tests.support import ROOT, recorded

pytestmark = [pytest.mark.xdist_group("own_script"), pytest.mark.slow]  # one process follows the page, not each
PAGE = (ROOT / "docs" / "own_script.md").read_text()
BLOCKS = re.findall(r"```(python|sh)\n(.*?)```", PAGE, re.DOTALL)

HAS_HYDRA = importlib.util.find_spec("hydra") is not None


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which everything on the page was done, in its order."""
    folder = tmp_path_factory.mktemp("own_script")
    programs = folder.parent / "bin"
    programs.mkdir()
    command = programs / "orchestrator"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m orchestrator "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "NO_COLOR": "1",
        "ORCHESTRATOR_CACHE": str(folder.parent / "cache"),
    }  # fmt: skip
    subprocess.run(["cc", "-O2", "-o", folder / "train", ROOT / "tests" / "train.c", "-lm"], check=True)
    for language, text in BLOCKS:
        if language != "sh":
            (folder / text.splitlines()[0].lstrip("# ")).write_text(text)
            continue
        if "hydra" in text and not HAS_HYDRA:
            continue
        done = subprocess.run(
            ["sh", "-exc", text], cwd=folder, capture_output=True, text=True, timeout=200, env=environment
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "mine", "logging", "reporting", "csv", "compiled",
        pytest.param("hydra", marks=pytest.mark.skipif(not HAS_HYDRA, reason="hydra is not installed: pip install hydra-core")),
    ],
)  # fmt: skip
def test_the_pages_sweeps_end_with_completed_trials_and_whole_curves(name: str, followed: Path) -> None:
    folder = followed / "runs" / name
    endings = recorded(folder, "ending")
    assert {row["status"] for row in endings} <= {Status.COMPLETED.value, Status.STOPPED.value}
    assert sum(row["status"] == Status.COMPLETED.value for row in endings) >= 1
    for ending in endings:
        steps = [row["step"] for row in recorded(folder, "report") if row["trial"] == ending["trial"]]
        assert steps == list(range(1, len(steps) + 1))


def test_a_script_alone_leaves_no_trace_of_the_protocol(followed: Path) -> None:
    assert (followed / "epoch-20.json").exists()
    assert not (followed / ".reports").exists()


def test_the_log_and_the_trials_folder_are_where_the_page_says(followed: Path) -> None:
    trial = followed / "runs" / "mine" / "trials" / "00003"
    first, second = (trial / "log.txt").read_text().splitlines()[:2]
    assert re.fullmatch(r"\$ TRIAL_SEED=\d+ python train.py --learning-rate=\S+( --nesterov)?", first)
    assert second.startswith("epoch 1: valid_loss=")
    assert list((followed / "runs" / "reporting" / "trials").glob("*/checkpoints/script/epoch-1.json"))


def test_the_sentences_that_the_page_explains_are_ours() -> None:
    ours = "".join(
        (ROOT / "trainables" / name).read_text()
        for name in (
            "scripts/command_flags.py",
            "scripts/option_values.py",
            "scripts/step_count.py",
            "scripts/run.py",
            "scripts/shell_scripts.py",
            "scripts/starting_over.py",
            "scripts/missing_metric.py",
            "workloads/script.py",
        )
    )
    ours = re.sub(r'"\s*f?"', "", re.sub(r"\{[^{}]*\}", "|", ours))
    table = PAGE.split("## When it does not work")[1]
    for sentence in re.findall(r"^\| `(.+?)` \|", table, re.M):
        for part in re.findall(r"[A-Za-z ]{12,}", re.sub(r"'[^']*'|--[\w-]+|\w*_\w*|\d+(?:\.\d+)?", "|", sentence)):
            assert " ".join(part.split()[:4]) in ours, part
