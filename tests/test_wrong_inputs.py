"""Wrong inputs, as people make them: one sentence that names value, place and remedy, the right exit code, no traceback.

Each is a script with one mistake, run as `python tune.py`: most of them within this process, through the same hook and the
same exit as the interpreter's own. BEFORE are told before anything starts and leave nothing behind; LATER can only be known
from a training.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import orchestrator, run_script

HEAD = """
from functools import partial
import numpy as np
from orchestrator import (  # not all there is: lightning takes seconds
    Asha, AutoLrs, BayesSearch, choice, CmaEs, FromFunction, launch, loguniform, Median, MultitaskSearch, parameters,
    Pb2, PopulationBasedTraining, pow2, Quadratic, randint, Random, report, run, LrSchedule, Script, Space, Sweep,
    Task, Tpe, uniform, when,
)

def train(config, state):
    for step in range(1, 4):
        yield {"loss": config["lr"] / step}

def of(train, **changes):
    return FromFunction(train, **(dict(metric="loss", mode="min", horizon=3) | changes))

LR = {"lr": loguniform(1e-4, 1)}
BOWL = {"learning_rate": loguniform(1e-3, 0.3), "batch_size": pow2(4, 32)}

def plain(**changes):
    fields = dict(name="a", workload=of(train), space=Space(LR), searcher=Random(), num_samples=3)
    return Sweep(**(fields | changes))

def bowl(**changes):
    return plain(**(dict(workload=Quadratic(horizon=2), space=Space(BOWL)) | changes))
"""


class Wrong(NamedTuple):
    code: str  # the last line of the script, unless it begins with "def"
    words: tuple[str, ...]  # of the message, all of them
    flags: tuple[str, ...] = ("--simulate",)
    exit_code: int = 2
    names_line: bool = True  # False: the mistake is in no line of the script


BEFORE = {
    # A space that cannot be.
    "ends swapped": Wrong('Space({"lr": loguniform(1, 1e-4)})', ('Float("lr", low=1.0, high=0.0001', "try low=0.0001, high=1.0")),
    "a bound as text": Wrong('Space({"lr": loguniform("1e-4", 1)})', ("low must be a number, not the text '1e-4'", "without quotes")),
    "a bound of 0 on a log scale": Wrong('Space({"lr": loguniform(0, 1)})', ("low must be > 0 on a log scale", "try low=1e-5")),
    "a bound that is a tensor": Wrong('import torch; Space({"lr": loguniform(torch.tensor(1e-4), 1)})', ("low must be a number, not tensor",)),
    "an endless bound": Wrong('Space({"lr": uniform(0, float("inf"))})', ("high must be finite, not inf",)),
    "fractions for whole numbers": Wrong('Space({"n": randint(1.5, 5)})', ("low must be a whole number, not 1.5", "uniform(...)")),
    "no power of two": Wrong('Space({"b": pow2(10, 100)})', ("low=10 is not a power of two", "try low=8 or low=16")),
    "one value twice": Wrong('Space({"b": randint(3, 3)})', ("low must be < high", "write just 3")),
    "a list for a choice": Wrong('Space({"opt": ["sgd", "adam"]})', ("is not one plain value", "choice([...])")),
    "a tuple for a range": Wrong('Space({"lr": (1e-4, 1)})', ("is not one plain value",)),
    "a set of options": Wrong('Space({"opt": choice({"sgd", "adam"})})', ("must be a list, in an order that stays", "choice(['a', 'b'])")),
    "functions as options": Wrong('Space({"act": choice([max, min])})', ("option 0", "a name that the workload looks up")),
    "arrays as options": Wrong('Space({"w": choice([np.zeros(2)])})', ("option 0", "not one plain value")),
    "an option twice": Wrong('Space({"opt": choice(["a", "a"])})', ("'a' is listed twice",)),
    "no options": Wrong('Space({"opt": choice([])})', ("there is no option to choose",)),
    "a nested space": Wrong('Space({"model": {"width": randint(1, 8)}})', ("is a nested space", "model.width")),
    "an empty space": Wrong("Space({})", ("there is nothing to search",)),
    "no space": Wrong("Space()", ("Space(): missing a required argument: 'parameters'; write Space({",)),
    "a bound left out": Wrong("loguniform(1e-4)", ("loguniform(0.0001): missing a required argument: 'high'", "write loguniform(low, high)")),
    "a parameter without name": Wrong('Space({"": uniform(0, 1)})', ("the name '' must be non-empty text",)),
    "a condition on nothing": Wrong('Space({"opt": choice(["a", "b"]), "m": when(uniform(0, 1), op="a")})', ('no parameter "op"', 'did you mean "opt"?')),
    "a condition on no option": Wrong('Space({"opt": choice(["sgd", "adam"]), "m": when(uniform(0, 1), opt="sdg")})', ("cannot be 'sdg'", "did you mean 'sgd'?")),
    "a prior outside": Wrong('Space({"lr": loguniform(1e-4, 1).prior(3)})', ("centre of a prior must be a number from 0.0001 to 1.0, not 3",)),
    "a constraint that nothing meets": Wrong('Space(LR, {"never": lambda c: False})', ('"never" failed 1000',)),
    "a constraint on what may be absent": Wrong('Space({"opt": choice(["a", "b"]), "m": when(uniform(0, 1), opt="a")}, {"small": lambda c: c["m"] < 2})', ('the constraint "small" failed', 'write c.get("m")')),
    "a constraint that rarely asks for what is absent": Wrong('Space({"opt": choice(["a", "b"]), "m": when(uniform(0, 1), opt="a"), "n": randint(0, 10_000)}, {"small": lambda c: c["n"] or c["m"] < 2})', ("'n': 0}", '"m" is not active there')),
    "a constraint on a misspelt name": Wrong('Space(LR, {"small": lambda c: c["rl"] < 2})', ('there is no parameter "rl"; did you mean "lr"?',)),
    "a method of the user's own workload that fails": Wrong("class Mine(FromFunction):\n    def check(self): return {}['data']\nplain(workload=Mine(train, metric='loss', mode='min', horizon=3))", ("check() failed: KeyError: 'data' (", "return {}['data']")),
    # Parts of a sweep.
    "a dict for a space": Wrong("plain(space=LR)", ("write Space({…}) around the dict",)),
    "a searcher's class": Wrong("plain(searcher=Tpe)", ("that is the class; write Tpe()",)),
    "a searcher's name": Wrong('plain(searcher="tpe")', ("searcher='tpe'", "write searcher=Tpe()")),
    "a name of no searcher": Wrong('plain(searcher="hyperopt")', ("searcher='hyperopt'", "write one of BayesSearch()", "Tpe()")),
    "a scheduler's name": Wrong('plain(scheduler="ASHA")', ("scheduler='ASHA'", "write scheduler=Asha()")),
    "a searcher for a scheduler": Wrong("plain(scheduler=Random())", ("scheduler=Random()", "must be a Scheduler", "Asha()")),
    "a workload's class": Wrong("bowl(workload=Quadratic)", ("that is the class; write Quadratic()",)),
    "a function for a workload": Wrong("plain(workload=train)", ("add minimize=",)),
    "a setting of another tool": Wrong("plain(n_trials=3)", ("no option 'n_trials'", "Did you mean 'num_samples'?")),
    "a misspelt setting": Wrong("plain(max_concurent=3)", ("'max_concurent'", "Did you mean 'max_concurrent'?")),
    "a setting of another scheduler": Wrong("plain(scheduler=Asha(eta=3))", ("Asha() got an unexpected keyword argument 'eta'", "reduction_factor")),
    "a setting out of range": Wrong("plain(scheduler=Asha(grace_period=0))", ("grace_period=0", "1 or more")),
    "a sweep without a space": Wrong('Sweep("a", of(train))', ("Sweep() missing 1 required positional argument: 'space'",)),
    "a sweep by position": Wrong('Sweep("a", of(train), Space(LR), Random())', ("Sweep() takes 4 positional arguments",)),
    "a searcher that cannot search this": Wrong('plain(searcher=CmaEs(), space=Space({"lr": choice([1, 2])}))', ("searcher=CmaEs(", "lr")),
    "a scheduler beside MultitaskSearch": Wrong("plain(searcher=MultitaskSearch(), scheduler=Asha(), tasks=Task.epochs(0.5, 1.0))", ("MultitaskSearch decides by itself how long each trial trains", "leave out scheduler")),
    "a scheduler beside a population": Wrong("plain(searcher=PopulationBasedTraining(), scheduler=Median())", ("PopulationBasedTraining decides by itself", "leave out scheduler")),
    "a metric with a sign": Wrong('Sweep("a", train, Space(LR), maximize="-loss", steps=3)', ("Sweep(maximize='-loss'): the sign is no part", "write minimize='loss'")),
    "a class for Ray Tune": Wrong("from ray.tune import Trainable\nclass Theirs(Trainable): pass\nSweep('a', Theirs, Space(LR), minimize='loss', steps=3)", ("Sweep(workload=Theirs)", "a Trainable of Ray", "yield metrics, state")),
    "a population without states": Wrong("def only(config):\n    yield {'loss': 1.0}\nSweep('a', only, Space(LR), minimize='loss', steps=3, searcher=PopulationBasedTraining())", ("and only (", "takes no state to go on from", "def train(config, state)")),
    "a policy for a function": Wrong('plain(policy=LrSchedule("cosine"))', ("FromFunction sets its own learning rate and batch size", "leave out policy")),
    "a policy for a script": Wrong('plain(workload=Script("python train.py", metric="loss", mode="min", horizon=3), policy=AutoLrs(low=1e-3, high=0.3))', ("Script sets its own learning rate and batch size", "leave out policy")),
    "a policy that is none": Wrong("bowl(policy=3)", ("policy=3", "must be a Policy")),
    "a workload without its parameter": Wrong('bowl(space=Space({"learning_rate": uniform(0.1, 1)}))', ("reads the parameter 'batch_size'", "add it to the space")),
    "a parameter that nothing reads": Wrong('bowl(space=Space(BOWL | {"wieght_decay": uniform(0, 1), "momentun": uniform(0, 0.9)}))', ("nothing reads the parameter 'momentun'", "Did you mean 'momentum'?"), names_line=False),
    "a choice that nothing reads": Wrong('bowl(space=Space(BOWL | {"optimizer": choice(["sgd", "lars"])}))', ("nothing reads the parameter 'optimizer'", "Quadratic"), names_line=False),
    # Metric, mode, horizon, function.
    "a mode in full": Wrong('plain(mode="maximize")', ("Sweep(mode='maximize')", "Did you mean 'max'?")),
    "a workload's mode in full": Wrong('plain(workload=of(train, mode="minimise"))', ("FromFunction(mode='minimise')", "Did you mean 'min'?")),
    "a mode that is none": Wrong('plain(mode="best")', ("Sweep(mode='best'): must be 'min' or 'max'",)),
    "a misspelt metric": Wrong('plain(metric="los")', ("metric='los'", "Did you mean 'loss'?")),
    "a horizon of nothing": Wrong("plain(workload=of(train, horizon=0))", ("FromFunction(horizon=0)", "1 or more", "try horizon=1")),
    "a horizon as text": Wrong('plain(workload=of(train, horizon="10"))', ("horizon='10'", "try horizon=10")),
    "a horizon that is true": Wrong("plain(workload=of(train, horizon=True))", ("horizon=True", "whole number of steps")),
    "half a step": Wrong("plain(workload=of(train, horizon=1.5))", ("horizon=1.5", "try horizon=1")),
    "a function of three arguments": Wrong(
        "def train(config, state, data): yield {'loss': 1.0}\nplain(workload=of(train))",
        ("train", "(config, state, data)"),
    ),
    "a function of none": Wrong(
        "def train(): yield {'loss': 1.0}\nplain(workload=of(train))", ("train", "()", "def train(config")
    ),
    "no function": Wrong("plain(workload=of(3))", ("FromFunction(train=3)",)),
    "a partial over what has no name": Wrong("def with_data(config, state, data): yield {'loss': 1.0}\nplain(workload=of(partial(with_data, data=object())))", ("known only by its address in memory", "__repr__")),
    # Numbers.
    "half a sample": Wrong("plain(num_samples=1.5)", ("num_samples=1.5", "whole number, 1 or more")),
    "samples as text": Wrong('plain(num_samples="10")', ("num_samples='10'",)),
    "a negative seed": Wrong("plain(seed=-1)", ("seed=-1",)),
    "a time without unit": Wrong('plain(time_budget="six hours")', ("time_budget='six hours'", "'6h'")),
    "a budget of less than a training": Wrong("plain(budget=0.4)", ("budget=0.4", "nothing could be completed", "budget=1 or more")),
    "a budget that finalists use up": Wrong("plain(budget=3, finalists=3)", ("3 finalists × 1 confirmations take 3 full trainings", "raise the budget to 13, which leaves 10 to search with")),
    "a target that is no number": Wrong('plain(target="low")', ("target='low'", "finite number")),
    "a target beyond all": Wrong("plain(target=9.0, diverged_beyond=5.0)", ("target=9.0", "diverged_beyond=5.0")),
    "resources by another name": Wrong('plain(resources={"gpus": 1})', ("no resource 'gpus'", "Did you mean 'gpu'?")),
    "half a word of memory": Wrong('plain(resources={"memory": "lots"})', ("memory='lots'", "'4GiB'")),
    "a GPU where there is none": Wrong('import os; os.environ["CUDA_VISIBLE_DEVICES"] = ""; plain(resources={"cpu": 1, "gpu": 1})', ("asks for gpu=1, and this machine has 0", "Leave out gpu", "--address"), ("--dry-run",), names_line=False),
    "more processors than there are": Wrong('plain(resources={"cpu": 10_000})', ("asks for cpu=10000, and this machine has", "Ask for less"), (), names_line=False),
    "more memory than there is": Wrong('plain(resources={"memory": "900000GiB"})', ("asks for memory='900000GiB'", "GiB"), (), names_line=False),
    "more workers than processors": Wrong("plain(workers=4)", ("workers=4", "give it cpu=4 or more")),
    # Points, tasks, names.
    "a point outside": Wrong('plain(points_to_evaluate=[{"lr": 3}])', ("{'lr': 3} is not in the space", "a number from 0.0001 to 1.0")),
    "a point with a misspelt parameter": Wrong('plain(points_to_evaluate=[{"rl": 0.1}])', ('no parameter "rl"', 'did you mean "lr"?')),
    "a baseline without a parameter": Wrong('bowl(baseline={"learning_rate": 0.1})', ("of the space is missing; give it a value",)),
    "a task of more than all": Wrong('plain(tasks=[Task("big", 1.5)])', ("cost=1.5", "at most 1")),
    "no full task": Wrong("bowl(tasks=Task.data(0.1, 0.5))", ("exactly one task must cost 1", "add Task('full', 1.0)")),
    "a task of an unknown field": Wrong('bowl(tasks=[Task.changed("s", 0.1, data_shar=0.1), *Task.epochs(1.0)])', ("no field 'data_shar'", "Did you mean 'data_share'?")),
    "a name with a slash": Wrong('plain(name="a/b")', ("name='a/b'", "use letters, digits")),
    "transfer from nothing": Wrong('plain(searcher=MultitaskSearch(), transfer=("old",))', ("no run 'old'", "ledger.db"), ("--dry-run",), names_line=False),
    "transfer from nothing, started": Wrong('plain(searcher=MultitaskSearch(), transfer=("old",))', ("no run 'old'",), names_line=False),
    # Scripts.
    "no command": Wrong('Script("", metric="loss", mode="min", horizon=3)', ("Script(command='')", "'python train.py'")),
    "a script that is not there": Wrong('plain(workload=Script("python trian.py", metric="loss", mode="min", horizon=3))', ("there is no file 'trian.py'",), names_line=False),
    "a program that is not there": Wrong('plain(workload=Script("pyhton train.py", metric="loss", mode="min", horizon=3))', ("'pyhton'",), names_line=False),
    # Calling.
    "a sweep that is none": Wrong("3", ("3 is not a Sweep", "pass Sweep(...)"), names_line=False),
    "a function without return": Wrong("def sweep(): plain()\nsweep", ("sweep() returned nothing", "return a Sweep"), names_line=False),
    "a function that is wrong itself": Wrong("def sweep(): return {}['x']\nsweep", ("sweep() failed: KeyError: 'x'",)),
    "a function with a wrong sweep": Wrong('def sweep(): return plain(mode="maximum")\nsweep', ("mode='maximum'", "Did you mean 'max'?")),
    "an unknown flag": Wrong("plain()", ("--num-sample", "--num-samples"), ("--num-sample", "3"), names_line=False),
    "a flag's value": Wrong("plain()", ("--num-samples", "'many'"), ("--num-samples", "many"), names_line=False),
    "no samples by flag": Wrong("plain()", ("num_samples=0",), ("--num-samples", "0"), names_line=False),
    "a time by flag": Wrong("plain()", ("time_budget='soon'", "'6h'"), ("--time-budget", "soon"), names_line=False),
    "a name by flag": Wrong("plain()", ("name='../up'",), ("--name", "../up"), names_line=False),
}  # fmt: skip

LATER = {
    "a function that yields nothing": Wrong("def train(config, state): yield from ()\nplain(workload=of(train))", ("no trial gave the metric 'loss'", "ended before its first report"), exit_code=4),
    "a function that raises": Wrong("def train(config, state): yield {'loss': config['rate']}\nplain(workload=of(train))", ("no trial gave the metric 'loss'", "KeyError: 'rate'"), exit_code=4),
    "another name of the metric": Wrong("def train(config, state): yield {'los': 1.0}\nplain(workload=of(train))", ("'loss'", "los"), exit_code=4),
    "a metric that is a list": Wrong("def train(config, state): yield {'loss': [1.0]}\nplain(workload=of(train))", ("loss",), exit_code=4),
    "nothing but NaN": Wrong("def train(config, state): yield {'loss': float('nan')}\nplain(workload=of(train))", ("no trial gave a finite 'loss'", "loss = nan at step 1"), exit_code=4),
    "only cheap trainings": Wrong(
        "from search.contract import Searcher\nfrom search.records import start\nclass Cheap(Searcher):\n"
        "    def suggest(self, history): return start({'learning_rate': 0.1, 'batch_size': 8}, task='0.1 of the data') if history.room else None\n"
        "bowl(searcher=Cheap(), tasks=Task.data(0.1, 1.0), num_samples=1, baseline=None)",
        ("no full training has reported 'loss'", "--num-samples"),
        exit_code=4,
    ),
    "one failure too many": Wrong("from pathlib import Path\ndef train(config, state):\n    yield {'loss': 1.0}\n    if Path('one').exists(): raise RuntimeError('broken')\n    Path('one').touch(); yield {'loss': 1.0}; yield {'loss': 1.0}\nplain(workload=of(train), max_concurrent=1)", ("2 of 3 trials failed, more than Sweep(allow_failed=0) allows", "broken"), exit_code=3),
}  # fmt: skip


def written(folder: Path, wrong: Wrong) -> Path:
    script = folder / "tune.py"
    *before, last = wrong.code.split("\n")
    script.write_text(HEAD + "".join(f"{line}\n" for line in before) + _launched(last) + "\n")
    return script


def _launched(line: str) -> str:
    """README's form, launch(Sweep(...)); what is imported on the line stays before it."""
    first, _, rest = line.rpartition("; ") if line.startswith("import ") else ("", "", line)
    return f"{first + '; ' if first else ''}launch({rest})"


def as_a_script(
    script: Path, flags: tuple[str, ...], patch: pytest.MonkeyPatch, out: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    """What `python tune.py flags` answers, in this process: its exit code, and all that it printed."""
    patch.chdir(script.parent)
    patch.setattr(sys, "argv", [str(script), *flags])
    patch.setenv("COLUMNS", "300")
    try:
        try:
            runpy.run_path(str(script), run_name="__main__")
        except Exception as error:  # where the interpreter would call the hook
            sys.excepthook(type(error), error, error.__traceback__)
            code = 1
        else:
            code = 0
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    said = out.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("case", BEFORE)
def test_a_wrong_input_is_told_before_anything_starts(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = BEFORE[case]
    script = written(tmp_path, wrong)
    code, said = as_a_script(script, wrong.flags, monkeypatch, capfd)
    assert [words for words in wrong.words if words not in said] == [], said
    assert code == wrong.exit_code, said
    assert "Traceback" not in said
    if "error: " in said:
        assert len(said.strip().splitlines()) == 1, said
    if wrong.names_line:
        assert f"{script}, line" in said
    assert {path.name for path in tmp_path.iterdir()} == {"tune.py"}


@pytest.mark.parametrize("case", LATER)
def test_a_wrong_training_is_told_with_its_reason(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = LATER[case]
    code, said = as_a_script(written(tmp_path, wrong), wrong.flags, monkeypatch, capfd)
    assert [words for words in wrong.words if words not in said.splitlines()[-1]] == [], said
    assert code == wrong.exit_code, said
    assert "More trials" not in said or wrong.exit_code == 3
    assert not (tmp_path / "orchestrator-fault.log").exists()


@pytest.mark.parametrize(
    "case",
    [
        "ends swapped",
        "an unknown flag",
        *[
            pytest.param(case, marks=pytest.mark.slow)
            for case in (
                "a setting of another scheduler",
                "a GPU where there is none",
                "a function that is wrong itself",
            )
        ],
    ],
)
def test_a_process_of_its_own_answers_the_same(case: str, tmp_path: Path) -> None:
    wrong = BEFORE[case]
    done = run_script(written(tmp_path, wrong), *wrong.flags, cwd=tmp_path)
    assert done.returncode == wrong.exit_code
    assert [words for words in wrong.words if words not in done.stderr] == []
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"tune.py"}


def test_a_mistake_is_told_the_same_by_python_m_and_without_launch(tmp_path: Path) -> None:
    package = tmp_path / "tuning"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tune.py").write_text(HEAD + 'launch(plain(mode="maximize"))\n')
    done = run_script("-m", "tuning.tune", cwd=tmp_path)
    assert done.returncode == 2
    assert "Did you mean 'max'?" in done.stderr
    assert f"{package}/tune.py, line " in done.stderr
    (tmp_path / "program.py").write_text(HEAD + "run(plain(num_samples=0))\n")
    done = run_script("program.py", cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: Sweep(num_samples=0): must be a whole number, 1 or more.")
    assert f"({tmp_path}/program.py, line " in done.stderr


def test_an_error_of_the_users_own_code_in_a_running_sweep_is_no_fault_of_ours(tmp_path: Path) -> None:
    (tmp_path / "tune.py").write_text(
        HEAD + "class Mine(Asha):\n    def judge(self, trial, history):\n        return {}['loss']\n"
        "sweep = plain(scheduler=Mine())\nimport sys\n"
        "run(sweep, simulate=True) if 'run' in sys.argv else launch(sweep)\n"
    )
    for flags in (["--simulate"], ["run"]):
        done = run_script("tune.py", *flags, cwd=tmp_path)
        assert done.returncode == 2
        told = done.stderr.splitlines()[-1]
        assert told.startswith("error: judge() failed: KeyError: 'loss' (")
        assert ": return {}['loss'])" in told
        assert not (tmp_path / "orchestrator-fault.log").exists()


def test_an_error_of_the_users_own_code_keeps_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "tune.py").write_text(HEAD + "launch(plain(num_samples=int('x')))\n")
    done = run_script("tune.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "invalid literal for int()" in done.stderr


@pytest.mark.parametrize("name", ["search", "trainables"])
def test_a_file_of_the_users_that_is_called_like_a_package_of_ours_hides_nothing(name: str, tmp_path: Path) -> None:
    script = tmp_path / f"{name}.py"
    script.write_text(HEAD + "launch(bowl())\n")
    done = run_script(script, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    other = tmp_path / "other.py"
    other.write_text(f"import {name}0 as {name}\nimport sys\nsys.modules[{name!r}] = {name}\n" + HEAD)
    (tmp_path / f"{name}0.py").touch()
    done = run_script(other, cwd=tmp_path)
    assert f"{name}0.py hides the package {name!r} of the tuning orchestrator" in done.stderr
    (tmp_path / "train.py").write_text(f"from orchestrator import report\nimport {name}\nprint({name}.__file__)\n")
    script.write_text("X = 3\n")
    assert run_script("train.py", cwd=tmp_path).stdout.strip() == str(script)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "nothing"], "no run 'nothing': no ledger.db in"),
        (["export", "nothing"], "no run 'nothing'"),
        (["replay", "nothing", "0"], "no run 'nothing'"),
        (["status", "~/nothing"], "no run '~/nothing'"),
        (["export", "nothing", "--trial", "3"], "--trial 3: can only be used with --schedule"),
        (["export", "nothing", "--csv", "--jsonl"], "choose one of --jsonl, --csv"),
    ],
)
def test_the_commands_refuse_in_one_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = orchestrator(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
