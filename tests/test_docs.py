"""Everything that the documentation shows is executed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from search.base import Scheduler, Searcher
from tests.support import ROOT, run_script, simulated, small_sweep
from trainables.base import Policy, Workload

README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
ASK_AND_TELL = (ROOT / "docs" / "ask_and_tell.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def python_environment(**more: str) -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"} | more


@pytest.mark.ray
def test_the_readmes_commands_run_as_printed(tmp_path: Path) -> None:
    setup, session = blocks(README, "sh")
    assert [line.split("#")[0].strip() for line in setup.strip().splitlines()] == ["make demo", "make test"]
    for name in ("experiments",):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    done = subprocess.run(
        ["sh", "-exc", session], cwd=tmp_path, capture_output=True, text=True, timeout=280, env=python_environment()
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert "nothing left to do" not in done.stdout
    assert "Continuing quickstart-smoke" in done.stderr
    assert "equal the record" in done.stdout
    assert (tmp_path / "record.csv").stat().st_size > 1000


TRAIN = """
import sys
rate = float(sys.argv[1].removeprefix("--lr="))
for epoch in range(1, 21):
    print(f"epoch {epoch}: valid_loss={(1 - rate) ** epoch} epoch={epoch}")
"""


def test_the_readmes_python_runs_as_printed(tmp_path: Path) -> None:
    sweep, *others = blocks(README, "python")
    assert len(sweep.strip().splitlines()) <= 10
    (tmp_path / "train.py").write_text(TRAIN)
    for number, code in enumerate((sweep, *others)):
        script = tmp_path / f"block{number}.py"
        script.write_text(code)
        done = run_script(script, *(["--simulate"] if "launch(" in code else []), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_the_python_of_ask_and_tell_runs_as_printed(tmp_path: Path) -> None:
    *alone, _ = blocks(ASK_AND_TELL, "python")
    for number, code in enumerate(alone):
        script = tmp_path / f"block{number}.py"
        script.write_text(code)
        done = run_script(script, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.slow  # test_outside trains such a tuner
@pytest.mark.ray
def test_the_plain_tuner_of_ask_and_tell_runs_as_printed(tmp_path: Path) -> None:
    script = tmp_path / "tuner.py"
    script.write_text(blocks(ASK_AND_TELL, "python")[-1])
    done = run_script(script, cwd=tmp_path, timeout=200, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "4 trials" in done.stdout


def test_the_makefile_has_what_the_readme_and_ci_call() -> None:
    for target in ("demo", "test", "check", "test-all"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_links_and_paths_in_the_documentation_exist() -> None:
    for text in (README, CONTRIBUTING, ASK_AND_TELL):
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            if not link.startswith("http"):
                assert (ROOT / link).exists(), link
        for path in re.findall(r"`((?:experiments|tests|docs|orchestrator)/[\w/]+\.\w+)`", text):
            assert (ROOT / path).exists(), path


def example(kind: type) -> Any:
    """The class that CONTRIBUTING shows for a contract."""
    for number, code in enumerate(blocks(CONTRIBUTING, "python")):
        module = types.ModuleType(f"contributed{number}")
        sys.modules[module.__name__] = module  # dataclasses look their module up
        exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and issubclass(value, kind):
                return value
    raise AssertionError(f"CONTRIBUTING shows no {kind.__name__}")


def test_each_example_is_short_and_shows_its_file() -> None:
    examples = blocks(CONTRIBUTING, "python")
    assert [code.splitlines()[0].strip("# ").split("/")[-2] for code in examples] == [
        "searchers",
        "schedulers",
        "policies",
        "workloads",
        "experiments",
    ]
    for code in examples:
        lines = [line for line in code.splitlines() if line.strip()]
        assert len(lines) <= 30, code


def test_the_examples_work_in_a_sweep(tmp_path: Path) -> None:
    searcher, scheduler, policy = example(Searcher)(), example(Scheduler)(step=2, loss=0.5), example(Policy)()
    driver = simulated(
        tmp_path / "a", small_sweep(searcher=searcher, scheduler=scheduler, policy=policy, num_samples=12)
    )
    assert {trial.first_origin for trial in driver.history} == {"initial", "model"}
    assert {trial.status.value for trial in driver.history} == {"completed", "stopped"}
    from search.space import Space, loguniform

    workload = example(Workload)()
    line = small_sweep(workload=workload, space=Space({"learning_rate": loguniform(0.01, 0.5)}), num_samples=3)
    best = simulated(tmp_path / "b", line).best
    assert best is not None
    assert best.losses[-1] < best.losses[0]


def test_the_example_experiment_runs(tmp_path: Path) -> None:
    script = tmp_path / "bowl.py"
    script.write_text(blocks(CONTRIBUTING, "python")[-1])
    done = run_script(script, "--simulate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bowl-sobol: finished" in done.stdout
