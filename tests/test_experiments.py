"""Every experiment runs at its smallest size, and is listed here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support import ROOT, run_script

EXPERIMENTS = [
    "bert.py",
    "language_model.py",
    "large_batch.py",
    "policies.py",
    "quickstart.py",
    "transfer.py",
]
WITH_GAUSSIAN_PROCESS = ("policies.py", "transfer.py")
needs_botorch = pytest.mark.skipif(find_spec("botorch") is None, reason="Python 3.10 has no botorch")


def experiments(slow: Sequence[str] = ()) -> pytest.MarkDecorator:
    marks = {name: [needs_botorch] * (name in WITH_GAUSSIAN_PROCESS) for name in EXPERIMENTS}
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[*marks[name], *[pytest.mark.slow] * (name in slow)]) for name in EXPERIMENTS]
    )


@pytest.mark.slow
@experiments()
def test_an_experiment_runs_at_its_smallest_size_and_again(name: str, tmp_path: Path) -> None:
    for words in ("It works. Now without --smoke", "Continuing"):
        done = run_script(ROOT / "experiments" / name, "--smoke", "--simulate", cwd=tmp_path, timeout=300)
        assert done.returncode == 0, done.stderr
        assert words in done.stdout + done.stderr


@experiments(slow=["language_model.py", "large_batch.py", "policies.py", "quickstart.py", "transfer.py"])
def test_an_experiment_says_what_it_would_do(name: str, tmp_path: Path) -> None:
    done = run_script(ROOT / "experiments" / name, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Nothing was started." in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_every_experiment_is_listed() -> None:
    assert sorted(path.name for path in (ROOT / "experiments").glob("*.py")) == sorted(EXPERIMENTS)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_the_quickstart_is_better_than_the_baseline_on_the_test_part(tmp_path: Path) -> None:
    import json

    from tests.support import orchestrator

    gains = []
    for seed in ("0", "1", "2"):
        done = run_script(
            ROOT / "experiments" / "quickstart.py", "--seed", seed, "--name", f"s{seed}", cwd=tmp_path, timeout=600
        )
        assert done.returncode == 0, done.stderr
        facts = json.loads(orchestrator("show", f"s{seed}", "--json", cwd=tmp_path).stdout)
        gains.append(facts["best"]["test"]["accuracy"] - facts["baseline"]["test"]["accuracy"])
    assert min(gains) > 0, gains
    assert sum(gains) / 3 > 0.015, gains


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_make_demo_works_in_a_fresh_copy(tmp_path: Path) -> None:
    import subprocess

    copy = tmp_path / "copy"
    ignore = shutil.ignore_patterns(".venv", "runs", ".git", "__pycache__", "*.egg-info", ".*_cache")
    shutil.copytree(ROOT, copy, ignore=ignore)
    done = subprocess.run(["make", "demo"], cwd=copy, capture_output=True, text=True, timeout=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "quickstart: finished" in done.stdout
