"""Everything that the documentation shows is executed."""

from __future__ import annotations

import doctest
import inspect
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from orchestrator.commands import app
from orchestrator.errors import OrchestratorError
from tests.contributed import CONTRIBUTING, blocks, example
from tests.support import ROOT, recorded, run_script, simulated, small_sweep
from trainables import Date

README = (ROOT / "README.md").read_text()
ASK_AND_TELL = (ROOT / "docs" / "ask_and_tell.md").read_text()


def python_environment(**more: str) -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "NO_COLOR": "1"} | more


def every(kind: type) -> set[type]:
    """The class and all that inherit from it."""
    return {kind}.union(*map(every, kind.__subclasses__()))


DOCS = sorted((ROOT / "docs").glob("*.md"))


def shell(commands: str, folder: Path, **more: str) -> str:
    """Run what the documentation shows, line by line, in `folder`; answers what a person would see."""
    done = subprocess.run(
        ["sh", "-exc", commands],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=280,
        env=python_environment(**more),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def output(command: str, folder: Path) -> str:
    """What a command prints, whether it succeeds or not."""
    done = subprocess.run(command.split(), cwd=folder, capture_output=True, text=True, env=python_environment())
    return done.stdout


def named(code: str) -> str:
    """The file that a block of code is: its first line says so."""
    return code.splitlines()[0].strip("# ")


@pytest.mark.ray
@pytest.mark.slow
def test_the_quickstart_runs_as_printed(tmp_path: Path) -> None:
    (session,) = blocks((ROOT / "docs" / "workloads.md").read_text(), "sh")
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
    seen = shell(session, tmp_path)
    assert "Continuing quickstart-smoke" in seen
    assert "equal the record" in seen
    assert (tmp_path / "record.csv").stat().st_size > 1000


@pytest.mark.ray
@pytest.mark.slow
def test_your_own_function_is_killed_and_goes_on_as_the_readme_shows(tmp_path: Path) -> None:
    code, *_ = blocks(README, "python")
    (scene,) = blocks(README, "console")
    (tmp_path / named(code)).write_text(code)
    (start, status, kill, again) = re.findall(r"^\$ (.*)$", scene, re.MULTILINE)
    assert (start, kill) == (f"{again} &", "kill -9 %1")
    first = subprocess.Popen(again.split(), cwd=tmp_path, env=python_environment(), stderr=subprocess.DEVNULL)
    try:
        while "completed" not in output(status, tmp_path):
            assert first.poll() is None
    finally:
        first.kill()
    assert first.wait() == -signal.SIGKILL
    seen = shell(again, tmp_path)
    shown = scene.split(f"$ {again}\n")[1]
    for text in (shown, seen):
        assert re.search(r"^Continuing mine: \d+ trials?, \d+ reports? on record: ", text, re.M), text
        assert re.search(r"^Best configuration \(trial \d+, step 20, completed\)\n  lr: 0\.\d+$", text, re.M), text


@pytest.mark.slow
@pytest.mark.ray
def test_your_script_in_five_minutes_runs_as_printed_in_an_empty_folder(tmp_path: Path) -> None:
    for code in blocks(README, "python")[1:]:
        (tmp_path / named(code)).write_text(code)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.py", "tune.py"]
    seen = shell(blocks(README, "sh")[1], tmp_path)
    assert "script: finished" in seen
    assert "python train.py --lr=" in seen  # export: the command that trains it again


def test_the_space_of_how_to_choose_is_one(tmp_path: Path) -> None:
    code, _ = blocks((ROOT / "docs" / "choose.md").read_text(), "python")
    script = tmp_path / "space.py"
    script.write_text(code + "\nprint(space.conditions, space.size)\n")
    done = run_script(script, cwd=tmp_path)
    assert "optimizer" in done.stdout, done.stderr


@pytest.mark.slow
def test_the_population_of_how_to_choose_runs_as_printed(tmp_path: Path) -> None:
    _, code = blocks((ROOT / "docs" / "choose.md").read_text(), "python")
    script = tmp_path / "tune.py"
    script.write_text(code)
    done = run_script(script, "--simulate", cwd=tmp_path)
    assert "population: finished" in done.stdout, done.stderr
    assert any(row["kind"] == "fork" for row in recorded(tmp_path / "runs" / "population", "suggestion"))


def test_the_readme_is_short_and_asks_for_few_lines() -> None:
    assert len(README.splitlines()) <= 120
    own, train, tune = (
        [line for line in code.splitlines() if line.strip() and not line.startswith("#")]
        for code in blocks(README, "python")
    )
    assert len(own) <= 8
    assert sum("report" in line for line in train) == 2  # an import and a call
    assert len(tune) <= 8
    setup = blocks(README, "sh")[0]
    assert [line.split("#")[0].strip() for line in setup.strip().splitlines()] == ["make demo", "make test"]


def test_the_command_line_has_every_command_and_every_option() -> None:
    page = (ROOT / "docs" / "command_line.md").read_text()
    own, ours, codes = page.split("\n## ")[1:]
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"`orchestrator {name}" in ours
        for option in command.params:
            is_argument = option.param_type_name == "argument"
            assert is_argument or option.opts[0] in ours, (name, option.opts)
    help_of_a_sweep = run_script(ROOT / "experiments" / "quickstart.py", "--help", cwd=ROOT).stdout
    assert set(re.findall(r"--[a-z-]+", help_of_a_sweep)) == set(re.findall(r"^\| `(--[a-z-]+)", own, re.MULTILINE))
    for error in every(OrchestratorError):
        code = getattr(error, "exit_code", None)
        assert code is None or re.search(rf"^\| (\d+, )?{code}\b", codes, re.MULTILINE), error


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


def test_cards_become_tables() -> None:
    cards = runpy.run_path(str(ROOT / "docs" / "cards.py"))
    tests = doctest.DocTestFinder().find(cards["as_markdown"], globs=cards)
    assert [doctest.DocTestRunner().run(test) for test in tests] == [(0, 1)]


@pytest.mark.slow
def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=python_environment(NO_MKDOCS_2_WARNING="1"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    searchers = (tmp_path / "site" / "api" / "searchers.html").read_text()
    assert "MultitaskSearch" in searchers
    assert "<td><strong>Use when</strong></td>" in searchers  # a card is a table


def test_the_makefile_has_what_the_readme_and_ci_call() -> None:
    for target in ("demo", "test", "check", "test-all", "docs"):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_links_and_paths_in_the_documentation_exist() -> None:
    results = sorted((ROOT / "experiments" / "results").glob("*.md"))
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS, *results):
        text = page.read_text()
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), (page.name, link)
        for path in re.findall(r"`((?:experiments|tests|docs|orchestrator)/[\w/]+\.\w+)`", text):
            assert (ROOT / path).exists(), path


def test_date_is_never_named_without_the_sentence_of_its_card() -> None:
    card = (
        'our own controller on top of LEGW and the noise scale; not the algorithm of the paper "DATE", which gives none'
    )
    experiments = ROOT / "experiments"
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *DOCS]
    naming = [
        path
        for path in (*pages, *experiments.rglob("*.md"), *experiments.rglob("*.py"))
        if re.search(r"\bDate\b", path.read_text())
    ]
    assert len(naming) > 4
    for path in (*naming, Path(inspect.getfile(Date))):
        assert card.lower() in " ".join(path.read_text().split()).lower(), path


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
        assert (">>> " in code) == ("experiments/" not in lines[0]), "what scripts import has an example"


@pytest.mark.slow
def test_the_examples_pass_the_checks_of_style_and_types(tmp_path: Path) -> None:
    for code in blocks(CONTRIBUTING, "python"):
        (tmp_path / Path(code.splitlines()[0].strip("# ")).name).write_text(code.partition("\n")[2])
    for tool in ("ruff format --check", "ruff check", "mypy --cache-dir=/dev/null"):
        settings = f"--config{'-file' if 'mypy' in tool else ''}={ROOT / 'pyproject.toml'}"
        files = map(str, sorted(tmp_path.iterdir()))
        done = subprocess.run(
            [sys.executable, "-m", *tool.split(), settings, *files], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_work_in_a_sweep(tmp_path: Path) -> None:
    searcher, scheduler, policy = example("Nearby")(), example("Threshold")(step=2, loss=0.3), example("Halving")()
    driver = simulated(
        tmp_path / "a", small_sweep(searcher=searcher, scheduler=scheduler, policy=policy, num_samples=12)
    )
    assert {trial.first_origin for trial in driver.history} == {"initial", "model"}
    assert {trial.status.value for trial in driver.history} == {"completed", "stopped"}
    from search.space import Space, loguniform

    workload = example("Line")()
    line = small_sweep(workload=workload, space=Space({"learning_rate": loguniform(0.01, 0.5)}), num_samples=3)
    best = simulated(tmp_path / "b", line).best
    assert best is not None
    assert best.losses[-1] < best.losses[0]


@pytest.mark.slow
def test_the_example_experiment_runs(tmp_path: Path) -> None:
    script = tmp_path / "bowl.py"
    script.write_text(blocks(CONTRIBUTING, "python")[-1])
    done = run_script(script, "--simulate", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "bowl-sobol: finished" in done.stdout
