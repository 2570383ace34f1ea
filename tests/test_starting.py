"""Starting a sweep from its script: dry runs, smoke, exit codes, mistakes."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    FromFunction,
    Quadratic,
    Random,
    ResumeRefused,
    Script,
    Space,
    Sweep,
    choice,
    uniform,
    when,
)
from orchestrator.definition.identity import as_before, identity
from orchestrator.definition.sources import sources_of
from orchestrator.smoke import smallest
from tests.stepping import SCRIPT, steady
from tests.support import ROOT, recorded, simulated, small_sweep
from tests.warm import orchestrator, run_script
from trainables import Averaged, Policy, RateRace, Warmup

pytestmark = [pytest.mark.usefixtures("warm_parent"), pytest.mark.xdist_group("commands")]


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    done = steady(tmp_path, "--dry-run", "--num-samples", "3")
    assert done.returncode == 0
    assert "3 configurations of Quadratic" in done.stdout
    assert "at most 3 full trainings of 6 steps (18 steps)" in done.stdout
    assert done.stdout.count("learning_rate=") == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_the_dry_runs_configurations_are_the_ones_that_run_in_their_order(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.reading.dry_run import first_trials, print_plan
    from search.searchers.optuna import Tpe

    workload = Quadratic(horizon=4, declared_cost=1.0)  # has a baseline, which comes first
    point = {"learning_rate": 0.01, "momentum": 0.5, "batch_size": 8}
    sweep = small_sweep(
        workload=workload, baseline="workload", points_to_evaluate=[point], searcher=Tpe(),
        max_concurrent=workers, num_samples=9, resources={"cpu": 0.1},
    )  # fmt: skip
    planned = [(dict(trial.config), until) for trial, until in first_trials(sweep, tmp_path / "small")[0]]
    print_plan(sweep, tmp_path / "small")
    assert not any(tmp_path.iterdir())
    simulated(tmp_path / "small", sweep, workers=workers)
    begun = recorded(tmp_path / "small", "suggestion")[:5]
    assert planned == [(row["config"], 4) for row in begun]
    assert [row["origin"] for row in begun][:2] == ["baseline", "point"]
    plan = capsys.readouterr().out
    places = [plan.index(f"learning_rate={row['config']['learning_rate']:.4g}, ") for row in begun]
    assert places == sorted(places)
    assert "(baseline)" in plan


def test_a_dry_run_shows_the_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.reading.dry_run import print_plan

    asked: list[Mapping[str, Any]] = []

    def chosen(config: Mapping[str, Any]) -> Policy[Any] | None:
        asked.append(config)
        return RateRace() if config["learning_rate"] < 0.05 else None

    def plan(**given: Any) -> str:
        print_plan(small_sweep(**given), tmp_path / "a")
        return capsys.readouterr().out

    assert "\n  policy     Averaged(policy=Warmup(epochs=2.0))\n" in plan(policy=Averaged(Warmup(2.0)))
    chooses = small_sweep(policy=chosen, scheduler=None)
    assert asked == chooses.examples, "once for each"
    assert re.search(
        r"\n  policy     \S+chosen \(test_starting.py:\d+\), which returns RateRace\n",
        plan(policy=chosen, scheduler=None),
    )
    assert "policy" not in plan()


def test_a_dry_run_shows_conditions_and_what_constraints_leave(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from orchestrator.reading.dry_run import print_plan

    space = Space(
        {
            "optimizer": choice(["sgd", "nesterov", "adam"]),
            "momentum": when(uniform(0, 0.9), optimizer=["sgd", "nesterov"]),
            "rate": uniform(0, 1),
        },
        {"small": lambda config: config["rate"] < 0.5},
    )
    workload = FromFunction(_halving, metric="loss", mode="min", horizon=1)
    print_plan(Sweep(name="a", workload=workload, space=space, searcher=Random(), num_samples=1), tmp_path / "a")
    plan = capsys.readouterr().out
    assert "only if optimizer is 'sgd' or 'nesterov'" in plan
    share = float(re.search(r"(0\.\d+) of the space meets 'small'", plan)[1])  # type: ignore[index]
    assert abs(share - 0.5) < 0.05
    assert "at most 1 full training of 1 step\n" in plan


def _halving(config: Any, state: Any) -> Any:
    for step in range(1, 21):
        yield {"loss": config["rate"] / step}


def test_a_time_budget_that_ended_the_run_names_the_command_with_more_time(tmp_path: Path) -> None:
    printed = steady(tmp_path, "--time-budget=0.02s").stdout
    assert "steady: out of time\n" in printed
    more = re.search(r"^Time +The time budget of 0.02s is used up.* To continue: (.*)$", printed, re.MULTILINE)
    assert more is not None
    assert re.search(r"--simulate --time-budget \d\S*s$", more[1])
    assert "--time-budget=0.02s" not in more[1]
    status = orchestrator("status", "steady", cwd=tmp_path).stdout
    assert status.startswith("steady: out of time; ")
    assert more[1] in status


def test_smoke_is_a_run_of_its_own_and_takes_seconds(tmp_path: Path) -> None:
    done = steady(tmp_path, "--smoke")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["steady-smoke"]
    first, last = done.stdout.strip().splitlines()
    assert first == f"steady-smoke: 4 trials, {reports_in(tmp_path)} reports of loss, in {tmp_path}/runs/steady-smoke"
    assert re.fullmatch(r"It works\. Now without --smoke: \S+ \S*steady\.py --simulate", last)


def reports_in(folder: Path) -> int:
    return len(recorded(folder / "runs" / "steady-smoke", "report"))


def test_a_smoke_test_with_a_failure_shows_the_summary(tmp_path: Path) -> None:
    done = steady(tmp_path, "--smoke", TROUBLE="0:raise")
    assert "It works" not in done.stdout
    assert "Trials " in done.stdout


def test_smoke_trains_the_baseline_where_there_is_one() -> None:
    workload = FromFunction(_halving, metric="loss", mode="min", horizon=20)
    sweep = Sweep("own", workload, Space({"rate": uniform(0, 1)}), baseline={"rate": 0.25}, num_samples=9)
    small = smallest(sweep)
    assert (small.limit, small.baseline_config, small.points_to_evaluate) == (1, None, ({"rate": 0.25},))
    assert smallest(sweep.changed(baseline=None)).points_to_evaluate == ()


OWN = """
from orchestrator import FromFunction, MultitaskSearch, Script, Space, Sweep, Task, launch, uniform

def train(config, state):
    for step in range(1, 21):
        yield {"loss": config["rate"] / step}

WORKLOADS = {
    "function": FromFunction(train, metric="loss", mode="min", horizon=20),
    "script": Script("python train.py", metric="loss", mode="min", horizon=20),
}
if __name__ == "__main__":
    import os
    launch(Sweep(
        name="own", workload=WORKLOADS[os.environ["KIND"]], space=Space({"rate": uniform(0, 1)}), searcher=MultitaskSearch(),
        tasks=Task.epochs(0.1, 1.0), num_samples=30, target=0.001,
    ))
"""
TWENTY_EPOCHS = """
import sys
rate = float(sys.argv[1].removeprefix("--rate="))
for epoch in range(1, 21):
    print(f"epoch={epoch} loss={rate / epoch}", flush=True)
"""


@pytest.mark.parametrize("kind", ["function", "script"])
def test_smoke_of_a_training_of_ones_own_is_one_trial_of_two_steps(kind: str, tmp_path: Path) -> None:
    (tmp_path / "tune.py").write_text(OWN)
    (tmp_path / "train.py").write_text(TWENTY_EPOCHS)
    done = run_script("tune.py", "--simulate", "--smoke", cwd=tmp_path, KIND=kind, PATH=_path())
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["own-smoke"]
    reports = recorded(tmp_path / "runs" / "own-smoke", "report")
    assert [(row["trial"], row["step"]) for row in reports] == [(0, 1), (0, 2)]


def _path() -> str:
    """With the Python of these tests first, so that `python` is found."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


MODULE = """
from orchestrator import Quadratic, Random, Space, Sweep, launch, loguniform
from .spaces import BATCHES

def sweep():
    space = Space({"learning_rate": loguniform(1e-3, 0.3), "batch_size": BATCHES})
    return Sweep(name="module", workload=Quadratic(horizon=2), space=space, searcher=Random(), num_samples=2, baseline=None)

if __name__ == "__main__":
    launch(sweep)
"""


@pytest.mark.slow
def test_a_module_of_a_package_is_run_again_as_one(tmp_path: Path) -> None:
    package = tmp_path / "a package" / "tuning"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "spaces.py").write_text("from orchestrator import pow2\nBATCHES = pow2(4, 32)\n")
    (package / "tune.py").write_text(MODULE)
    runs = tmp_path / "runs of mine"
    done = run_script("-m", "tuning.tune", "--simulate", "--runs", str(runs), cwd=package.parent, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    line = re.search(r"More trials  (.*)", done.stdout)[1]  # type: ignore[index]
    assert shlex.split(line)[1:3] == ["-m", "tuning.tune"]
    more = subprocess.run(["sh", "-c", line], cwd=package.parent, capture_output=True, text=True, env=os.environ | {"PATH": _path(), "PYTHONPATH": str(ROOT)})  # fmt: skip
    assert more.returncode == 0, more.stderr
    assert {row["trial"] for row in recorded(runs / "module", "suggestion")} == {0, 1, 2, 3}
    exported = orchestrator("export", str(runs / "module"), cwd=tmp_path).stdout
    from ruamel.yaml import YAML

    for name in ("train_again", "train_on"):  # from another folder, with a blank in the path
        words = shlex.split(YAML(typ="safe").load(exported)[name])[1:]
        again = orchestrator(*words, cwd=tmp_path)
        assert again.returncode == 0, again.stderr


def test_a_tilde_in_runs_is_the_home_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    done = steady(tmp_path, "--runs=~/runs", "--num-samples=2", HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert (home / "runs" / "steady" / "ledger.db").exists()
    assert not (tmp_path / "~").exists()
    more = re.search(r"More trials  (.*)", done.stdout)[1]  # type: ignore[index]
    assert more.count("--num-samples") == 1
    assert more.endswith("--num-samples 4")


def test_runs_beside_the_working_folder_are_named_without_dots(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere" / "project"
    project.mkdir()
    elsewhere.mkdir(parents=True)
    (project / "link").symlink_to(elsewhere)
    for runs, whole in (("../runs", tmp_path / "runs"), ("link/../runs", tmp_path / "elsewhere" / "runs")):
        done = steady(project, f"--runs={runs}", "--num-samples=2")
        assert done.returncode == 0, done.stderr
        assert (whole / "steady" / "ledger.db").exists()
        assert f"orchestrator report {whole}/steady" in done.stdout
        shown = orchestrator("show", "steady", "--runs", runs, cwd=project)
        assert f"{whole}/steady/trials/" in shown.stdout
        assert "/../" not in done.stdout.replace(f"--runs={runs}", "") + shown.stdout  # the command is as it was typed


def test_a_mended_command_line_goes_on_and_another_script_does_not(tmp_path: Path) -> None:
    def tuned(command: str) -> Sweep:
        workload = Script(command, metric="loss", mode="min", horizon=20)
        return Sweep(
            name="own", workload=workload, space=Space({"rate": uniform(0, 1)}), searcher=Random(), num_samples=1
        )

    train, moved, other = tmp_path / "train.py", tmp_path / "moved" / "train.py", tmp_path / "other" / "train.py"
    for path, text in ((train, TWENTY_EPOCHS), (moved, TWENTY_EPOCHS), (other, TWENTY_EPOCHS + "differs = 1")):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    first = simulated(tmp_path / "run", tuned(f"{sys.executable} {train}"))
    assert len(first.history.trials) == 1
    for command in (f"python {train}", f"python3.11 {moved}", f"python3 {moved}"):
        assert len(simulated(tmp_path / "run", tuned(command)).history.trials) == 1
    with pytest.raises(ResumeRefused, match="which is another script: its content differs"):
        simulated(tmp_path / "run", tuned(f"python {other}"))
    with pytest.raises(ResumeRefused, match="started with workload"):
        simulated(tmp_path / "run", tuned(f"python {train} --fast"))
    train.write_text(TWENTY_EPOCHS + "edited = 1")
    moved.write_text(TWENTY_EPOCHS + "edited = 1")
    assert "train.py was edited" in simulated(tmp_path / "run", tuned(f"python {moved}")).found
    moved.write_text(f'"""Trains."""  # slowly\n{moved.read_text()}')
    assert "edited" not in simulated(tmp_path / "run", tuned(f"python {moved}")).found
    moved.write_text(f"{moved.read_text()}print(__doc__)")
    simulated(tmp_path / "run", tuned(f"python {moved}"))
    moved.write_text(moved.read_text().replace("Trains", "Usage: train.py [--rate 0.2]"))
    assert "train.py was edited" in simulated(tmp_path / "run", tuned(f"python {moved}")).found


def test_what_was_edited_is_said_with_its_path_from_the_script(tmp_path: Path) -> None:
    files = {
        "main.py": "import data\nfrom net import blocks\n" + TWENTY_EPOCHS,
        "data.py": "import math, absent\n",
        "net/__init__.py": "from . import heads\n",
        "net/blocks.py": "from .heads import HEAD\nimport data\n",
        "net/heads.py": "HEAD = 1\n",
        "other.py": "unused = 1\n",
        "base.json": '{"rate": 1}',
        "run.sh": 'exec python main.py "$@"\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    def names(command: str, **settings: Any) -> set[str]:
        return set(sources_of(Script(command, metric="loss", mode="min", horizon=20, **settings)))

    with contextlib.chdir(tmp_path):
        modules = {"data.py", "net/__init__.py", "net/blocks.py", "net/heads.py"}
        assert names("python main.py") == {"main.py"} | modules
        assert names("bash run.sh") == {"run.sh", "main.py"} | modules
        assert names("python -m net.blocks") == {"blocks.py", "heads.py", "data.py"}
        assert names("python main.py {config}", config="base.json") == {"main.py", "base.json"} | modules
        for word in ("--config base.json", "--config=base.json", "base=base.json"):
            assert names(f"python main.py {word} rate={{rate}}") == {"main.py", "base.json"} | modules
        before = sources_of(Script("python main.py", metric="loss", mode="min", horizon=20))
        (tmp_path / "net" / "heads.py").write_text("HEAD = 2\n")
        after = sources_of(Script("python main.py", metric="loss", mode="min", horizon=20))
        assert [name for name in before if before[name] != after[name]] == ["net/heads.py"]


@pytest.mark.parametrize("init", [True, False])
def test_of_a_package_what_it_imports_by_its_full_name_is_watched(tmp_path: Path, init: bool) -> None:
    (tmp_path / "fraud").mkdir()
    (tmp_path / "fraud" / "train.py").write_text("from fraud.data import load\nimport common\nimport orchestrator\n")
    (tmp_path / "fraud" / "data.py").write_text("from . import rows\n")
    (tmp_path / "fraud" / "rows.py").write_text("ROWS = 1\n")
    (tmp_path / "common.py").write_text("SEED = 1\n")
    if init:
        (tmp_path / "fraud" / "__init__.py").write_text("")
    with contextlib.chdir(tmp_path):
        found = sources_of(Script("python -m fraud.train", metric="loss", mode="min", horizon=20))
    assert set(found) - {"__init__.py"} == {"train.py", "data.py", "rows.py", "common.py"}


@pytest.mark.slow
def test_an_edited_function_is_said(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("WIDTH = 1\n")
    (tmp_path / "tune.py").write_text("import helper\n" + OWN)
    first = run_script("tune.py", "--simulate", "--num-samples", "1", cwd=tmp_path, KIND="function")
    assert first.returncode == 0, first.stderr
    (tmp_path / "helper.py").write_text("WIDTH = 2\n")
    (tmp_path / "tune.py").write_text("import helper\n" + OWN.replace("/ step}", "/ step + 1}"))
    planned = run_script("tune.py", "--simulate", "--num-samples", "2", "--dry-run", cwd=tmp_path, KIND="function")
    assert "changed    num_samples: 1 → 2, helper.py was edited, train() was edited\n" in planned.stdout
    again = run_script("tune.py", "--simulate", "--num-samples", "2", cwd=tmp_path, KIND="function")
    assert "Changed: num_samples: 1 → 2, helper.py was edited, train() was edited." in again.stdout + again.stderr


POLICY = """
from dataclasses import dataclass
from orchestrator import Quadratic, Random, Space, Sweep, launch, uniform
from trainables.contract import Policy
from trainables.values import NOTHING

@dataclass(frozen=True)
class Mine(Policy):
    first: int = 1

    def start(self, signals):
        return 0, NOTHING

    def act(self, state, signals):
        return state, NOTHING

space = Space({"learning_rate": uniform(0, 0.1), "momentum": 0.0, "batch_size": 16})
launch(Sweep("mine", Quadratic(horizon=2), space, policy=Mine(), searcher=Random(), num_samples=3))
"""


class Net:
    """Used by a function of this module."""

    def width(self) -> int:
        return _two()


def _two() -> int:
    return 2


def uses_net(config: Any, state: Any) -> Any:
    yield {"loss": Net().width() + config["rate"]}


class Called:
    def __call__(self, config: Any, state: Any) -> Any:
        yield {"loss": Net().width() + config["rate"]}


def test_an_object_a_partial_and_a_method_are_watched_by_what_they_run() -> None:
    for train in (Called(), partial(uses_net), Called().__call__, partial(Called())):
        found = sources_of(FromFunction(train, metric="loss", mode="min", horizon=1))
        assert {"Net", "_two"} <= set(found), train


class Own(Quadratic):
    train = "a setting of the user's"

    def width(self) -> int:
        return _two()


def test_of_a_workload_its_class_is_watched_whatever_its_settings_are_called() -> None:
    assert {"Own()", "_two"} <= set(sources_of(Own()))


def test_the_classes_and_functions_that_a_function_uses_are_watched_too() -> None:
    found = sources_of(FromFunction(uses_net, metric="loss", mode="min", horizon=1))
    assert {"uses_net()", "Net", "_two"} <= set(found)


def test_a_class_that_was_typed_at_a_prompt_is_watched_by_what_was_compiled_of_it() -> None:
    def typed(factor: int) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "__typed__"}
        text = f"class Net:\n    def width(self):\n        return {factor}\n\ndef train(config, state):\n    yield {{'loss': Net().width()}}"
        exec(compile(text, "<cell>", "exec"), names)
        return {
            name: each["sha256"] for name, each in sources_of(FromFunction(names["train"], "loss", "min", 1)).items()
        }

    first, same, other = typed(1), typed(1), typed(2)
    assert first.keys() == {"train()", "Net"}
    assert first == same
    assert [name for name in first if first[name] != other[name]] == ["Net"]


def test_a_setting_that_a_release_adds_at_its_default_is_no_other_training(tmp_path: Path) -> None:
    (tmp_path / "tune.py").write_text(POLICY)
    assert run_script("tune.py", "--simulate", "--num-samples", "1", cwd=tmp_path).returncode == 0
    for added in ("    second: float = 0.5", "    second: float = 0.5\n    third: tuple = ()"):
        (tmp_path / "tune.py").write_text(POLICY.replace("    first: int = 1", f"    first: int = 1\n{added}"))
        again = run_script("tune.py", "--simulate", cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "policy:" not in again.stderr
    (tmp_path / "tune.py").write_text(POLICY.replace("policy=Mine()", "policy=Mine(2)"))
    assert "started with policy.first = 1" in run_script("tune.py", "--simulate", cwd=tmp_path).stderr
    nested = Warmup(1.0, then=RateRace())
    assert as_before(nested, identity(nested).replace(", lanes=()", "")) == identity(nested).replace(", lanes=()", "")
    changed = Warmup(1.0, then=RateRace(lanes=("momentum",)))
    assert "lanes=('momentum',)" in as_before(changed, identity(nested).replace(", lanes=()", ""))


@pytest.mark.slow
def test_trained_on_beyond_what_the_training_has_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIND", "function")
    (tmp_path / "tune.py").write_text(OWN)
    assert run_script("tune.py", "--simulate", "--num-samples", "1", cwd=tmp_path).returncode in (0, 4)
    again = orchestrator("replay", "own", "0", "--go-on", "40", cwd=tmp_path)
    assert "Traceback" not in again.stderr
    assert again.returncode != 1, again.stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num-samples", "0"], "num_samples=0"),
        (["--num-samples", "many"], "--num-samples"),
        (["--num-sample", "3"], "--num-samples"),
        (["--time-budget", "soon"], "time_budget='soon'"),
        (["--name", "../up"], "name='../up'"),
        (["--max-concurrent", "-1"], "max_concurrent=-1"),
        (["--zebra"], "--zebra"),
    ],
)
def test_bad_flags_exit_with_2_and_start_nothing(tmp_path: Path, flags: list[str], words: str) -> None:
    done = steady(tmp_path, *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_the_script_is_told_with_its_line(tmp_path: Path) -> None:
    script = tmp_path / "wrong.py"
    script.write_text(SCRIPT.read_text().replace("loguniform(1e-3, 0.3)", "loguniform(0, 0.3)"))
    done = run_script(script, "--simulate", cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert "learning_rate" in done.stderr
    assert "low must be > 0" in done.stderr
    assert "wrong.py, line" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        ("1:raise", 3, "1 of 4 trials failed, more than Sweep(allow_failed=0)"),
        ("1:typo", 3, "reported no 'loss'"),
        ("1:nan", 0, "1 diverged"),
    ],
)
def test_exit_codes_say_how_it_went(tmp_path: Path, trouble: str, code: int, words: str) -> None:
    done = steady(tmp_path, "--num-samples", "4", TROUBLE=trouble)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr


def test_a_sweep_in_which_no_trial_gives_the_metric_exits_with_4(tmp_path: Path) -> None:
    script = tmp_path / "no_metric.py"
    script.write_text(
        SCRIPT.read_text()
        .replace("workload = Troubled", "workload = Silent")
        .replace("\n\ndef sweep", NO_METRIC + "\n\ndef sweep", 1)
    )
    done = run_script(script, "--simulate", cwd=tmp_path, PYTHONPATH=str(ROOT), TROUBLE="0:x", SLEEP="0")
    assert done.returncode == 4, done.stderr
    assert "no trial gave the metric 'loss'" in done.stderr
    assert "Did you mean 'loses'?" in done.stderr


NO_METRIC = """

class Silent(Troubled):
    def run(self, policy, assignment, should_pause=None):
        from search.work import Reported

        return iter([Reported(step=1, metrics={"loses": 1.0})])
"""
