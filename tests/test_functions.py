"""Functions of the configuration as trainings."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from ray import cloudpickle as ray_cloudpickle

from orchestrator import reporting
from orchestrator.errors import BadInput
from orchestrator.sweep import Sweep
from search.space import Space, loguniform, uniform
from search.work import Assignment
from tests.piecing import compare_with_a_killed_one, section
from tests.support import ROOT, recorded, simulated, small_sweep
from trainables.carry_out import carry_out, measured_on_test
from trainables.workloads.callable import FromFunction


def yields(config: Any, state: Any) -> Any:
    yield {"loss": config["x"]}, state


def starts_over(config: Any) -> Any:
    yield {"loss": config["x"]}


def reporting_function(config: Any) -> None:
    reporting.report(1, loss=config["x"])


class Called:
    """An object that is called."""

    def __init__(self, base: float = 0.0) -> None:
        self.base = base

    def __call__(self, config: Any) -> None:
        reporting.report(1, loss=config["x"] + self.base)

    def method(self, config: Any) -> None:
        self(config)


TAKEN = [
    yields, starts_over, reporting_function, Called(), Called().method, lambda config: None,
    partial(reporting_function), partial(lambda config, data: None, data=3), lambda config, data=3: None, lambda *all: None,
]  # fmt: skip


@pytest.mark.parametrize("train", TAKEN)
def test_any_callable_of_the_configuration_is_taken(train: Any) -> None:
    assert FromFunction(train, metric="loss", mode="min", horizon=1).metrics == ("loss",)


def needs_more(config: Any, state: Any, data: Any) -> Any:
    yield data


REFUSED = [
    ("train.py", "must be a function of the configuration"),
    (lambda: None, r"takes \(\); it must take the configuration"),
    (lambda config, state: None, r"takes \(config, state\) and yields nothing; yield the metrics"),
    (lambda config, data: None, r"nothing provides 'data'; bind it: functools.partial\(train, data=…\)"),
    (needs_more, "needs_more.*nothing provides 'data'"),
    (lambda config, *, data: None, "nothing provides 'data'"),
]


@pytest.mark.parametrize(("train", "words"), REFUSED)
def test_a_function_that_no_worker_could_call_is_refused_when_it_is_named(train: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FromFunction(train, metric="loss", mode="min", horizon=1)


def by_name(x: Any, y: Any = 0.1, epochs: int = 5) -> None: ...


def by_both_names(x: Any, y: Any) -> None: ...


def by_three_names(x: Any, y: Any, epochs: Any) -> Iterator[Any]:
    yield {"loss": x * y * epochs}


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (by_name, r"gets the whole configuration there, not 'x'; write lambda config: train\(\*\*config\)\."),
        (by_both_names, r"If it is a parameter of the space, write lambda config: train\(\*\*config\)\."),
        (by_three_names, r"give the sweep def by_name\(config\): yield from train\(\*\*config\)\."),
        (partial(by_three_names, epochs=3), r"not 'x'; give the sweep def by_name\(config\): yield from"),
    ],
)
def test_a_function_of_the_parameters_is_refused_with_the_function_of_the_configuration(train: Any, words: str) -> None:
    space = Space({"x": uniform(0, 1), "y": uniform(0, 1)})
    with pytest.raises(BadInput, match=words):
        Sweep("named", train, space, minimize="loss", steps=5)
    Sweep("named", lambda config: train(**config), space, minimize="loss", steps=5)


@pytest.fixture
def assignment(tmp_path: Path) -> Callable[..., Assignment]:
    def made(until: int = 3, recorded: int = 0) -> Assignment:
        return Assignment(
            0, {"x": 2.0}, 7, until=until, folder=tmp_path / "trial" / "checkpoints", recorded=recorded,
        )  # fmt: skip

    return made


def told(train: Any, assignment: Assignment, **fields: Any) -> dict[int, float]:
    """The curve of one assignment."""
    assignment.folder.mkdir(parents=True, exist_ok=True)
    workload = FromFunction(train, metric="loss", mode="min", horizon=3, **fields)
    return {
        item.step: item.metrics["loss"]
        for item in carry_out(workload, None, assignment)
        if item is not None and item.kind == "report"
    }


def test_a_function_may_speak_of_torchs_switches() -> None:
    def train(config: Any) -> None:
        torch.backends.cudnn.benchmark = torch.backends.mkldnn.enabled

    FromFunction(train, metric="loss", mode="min", horizon=1)
    for pickler in (cloudpickle, ray_cloudpickle):
        assert callable(pickle.loads(pickler.dumps(train)))


@pytest.mark.slow
def test_closures_lambdas_partials_methods_and_objects_run_in_a_process_of_their_own(assignment: Any) -> None:
    here = os.getpid()

    def closure(config: Any) -> None:
        assert os.getpid() != here
        reporting.report(1, loss=config["x"] + 1)

    for train, loss in [
        (closure, 3.0),
        (partial(lambda config, data: (reporting.report(1, loss=data), None)[1], data=4), 4.0),
        (Called(2.0).method, 4.0),
    ]:
        shutil.rmtree(assignment().folder, ignore_errors=True)
        assert told(train, assignment(until=1)) == {1: loss}


@pytest.mark.slow
def test_a_function_of_a_script_that_was_started_runs_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    """Of `__main__`, and with a module beside the script."""
    tune, *_ = section("A function")
    tune = tune.replace("import json\n", "import json\nimport lines\n").replace("(3 - x)", "(lines.TARGET - x)")
    compare_with_a_killed_one(tmp_path, {"tune.py": tune, "lines.py": "TARGET = 3\n"}, "pushed", kill_after=8)


@pytest.mark.slow
def test_a_model_of_another_library_goes_on_from_its_bytes_after_a_kill(tmp_path: Path) -> None:
    code = section("A function")[2].replace("steps=5,", "steps=5, checkpoint_seconds=0,")
    compare_with_a_killed_one(tmp_path, {"tune.py": code}, "sklearn", kill_after=8)


def remembers(config: Any) -> None:
    """Counts on from the file that it reported, and shows in its loss from where."""
    checkpoint = reporting.resumed_from()
    first = int(checkpoint.read_text()) if checkpoint else 0
    for step in range(first + 1, 4):
        path = Path(os.environ["TRIAL_FOLDER"], f"{step}.txt")
        path.write_text(str(step))
        if not reporting.report(step, loss=step + first / 10, checkpoint=path):
            break


def test_a_function_goes_on_from_the_checkpoint_that_it_reported(assignment: Any) -> None:
    assert told(remembers, assignment(until=2)) == {1: 1.0, 2: 2.0}
    assert told(remembers, assignment(until=3, recorded=2)) == {3: 3.2}
    workload = FromFunction(
        remembers,
        metric="loss",
        mode="min",
        horizon=3,
        test_with=lambda config, path: {"said": float(path.read_text())},
    )
    assert measured_on_test(workload, assignment(until=3, recorded=3)) == {"said": 3.0}


def keeps(config: Any, state: Any) -> Iterator[Any]:
    """Notes in its own folder what it finds in its environment."""
    for step in range(state or 0, 3):
        with open(Path(os.environ["TRIAL_FOLDER"], "seen.txt"), "a") as file:
            file.write(f"{step} {os.environ['TRIAL_SEED']} {os.environ['TRIAL_STEPS']} {os.environ.get('OWN')}\n")
        os.environ["OWN"] = str(config["lr"])
        yield {"loss": 1.0}, step + 1


def test_a_generator_finds_its_own_folder_and_seed_as_a_function_does(tmp_path: Path) -> None:
    """They run in turns in one process."""
    before = dict(os.environ)
    space = Space({"lr": loguniform(1e-3, 1.0)})
    sweep = small_sweep(workload=FromFunction(keeps, metric="loss", mode="min", horizon=3), space=space, num_samples=2)
    driver = simulated(tmp_path / "own", sweep, workers=2)
    assert os.environ == before
    for trial, row in zip(driver.history, recorded(tmp_path / "own", "suggestion"), strict=True):
        (seen,) = (tmp_path / "own" / "trials" / f"{trial.number:05d}").rglob("seen.txt")
        own = [None, trial.config["lr"], trial.config["lr"]]
        assert seen.read_text() == "".join(f"{step} {row['seed']} 3 {own[step]}\n" for step in range(3))


def breaks(config: Any) -> None:
    raise ValueError("the data of 2019 is missing")


def leaves(config: Any) -> None:
    sys.exit("no such tokenizer")


def logs(config: Any) -> None:
    """As a logger does."""
    with open(Path(os.environ["TRIAL_FOLDER"], ".reports", "logged.jsonl"), "a") as file:
        file.write('{"val_loss": 0.5}\n')


def returns(config: Any) -> str:
    return "trained well"


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (breaks, "ValueError: the data of 2019 is missing"),
        pytest.param(leaves, "no such tokenizer", marks=pytest.mark.slow),
        pytest.param(
            logs, r"never called report\(\) with 'loss'; it logged val_loss: return a number", marks=pytest.mark.slow
        ),
        pytest.param(
            returns,
            r"the function returned 'trained well' \(str\) and never called report\(\) with 'loss': return a number",
            marks=pytest.mark.slow,
        ),
        pytest.param(lambda config: starts_over(config), "make it a generator function itself", marks=pytest.mark.slow),
    ],
)
def test_what_goes_wrong_in_a_function_is_the_reason_of_the_failure(train: Any, words: str, assignment: Any) -> None:
    with pytest.raises(RuntimeError, match=words):
        told(train, assignment())
    if train is breaks:
        assert "in breaks" in (assignment().folder.parent / "log.txt").read_text()


@pytest.mark.parametrize(
    "result",
    [0.25, {"loss": 0.25, "accuracy": 0.5, "name": "b"}, pytest.param(torch.tensor(0.25), marks=pytest.mark.slow)],
)
def test_a_function_may_return_its_result(result: Any, assignment: Any) -> None:
    assert told(lambda config: result, assignment()) == {3: 0.25}


@pytest.mark.parametrize(
    ("result", "words"),
    [
        pytest.param(True, r"True \(bool\)", marks=pytest.mark.slow),
        pytest.param("0.5", r"'0.5' \(str\)", marks=pytest.mark.slow),
        pytest.param((0.25, 0.5), r"\(0.25, 0.5\) \(tuple\)", marks=pytest.mark.slow),
        ({"loss": "0.5", "accuracy": 0.5}, r"\{'loss': '0.5'.*\(dict\)"),
        (
            None,
            r"None and never called report\(\) with 'loss': return a number or a dict of metrics with 'loss', or call report\(step, loss=…\)",
        ),
    ],
)
def test_what_is_no_result_is_named_in_the_failure(result: Any, words: str, assignment: Any) -> None:
    with pytest.raises(RuntimeError, match=f"the function returned.*{words}"):
        told(lambda config: result, assignment())


def test_a_function_that_only_logs_needs_no_report(assignment: Any) -> None:
    def train(config: Any) -> None:
        from tensorboardX import SummaryWriter

        writer = SummaryWriter(os.environ["TRIAL_FOLDER"])
        for epoch in range(3):
            writer.add_scalar("loss", 1 / (epoch + 1), epoch)

    assert told(train, assignment()) == {1: 1.0, 2: 0.5, 3: 1 / 3}


def test_a_result_after_reports_is_not_one_more(assignment: Any) -> None:
    def train(config: Any) -> float:
        for step in (1, 2, 3):
            reporting.report(step, loss=1 / step)
        return 9.0

    assert told(train, assignment()) == {1: 1.0, 2: 0.5, 3: 1 / 3}


def test_a_generator_of_the_configuration_alone_may_not_yield_a_state(assignment: Any) -> None:
    def train(config: Any) -> Any:
        yield {"loss": 1.0}, {"x": 1}

    with pytest.raises(ValueError, match="takes none to resume from"):
        told(train, assignment())


CACHED = """
import functools, pickle, sys
import cloudpickle, ray
import orchestrator.tune.engine, trainables.execution.call

@functools.lru_cache(maxsize=7)
def data(n):
    return n if n < 2 else data(n - 1) + data(n - 2)

def train(config):
    return data(10)

print([pickler.dumps(train).hex() for pickler in (cloudpickle, ray.cloudpickle)])
"""
THERE = "import functools, json, pickle, sys; print([pickle.loads(bytes.fromhex(text))({}) for text in json.load(sys.stdin)])"


def test_a_scripts_cached_function_works_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CACHED)
    here = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    there = subprocess.run(
        [sys.executable, "-c", THERE], input=here.stdout.replace("'", '"'), check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert there.stdout == "[55, 55]\n"
