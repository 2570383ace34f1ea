"""run(sweep), for notebooks and programs: it returns what was found, raises our errors, and leaves the program alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    BadInput,
    FromFunction,
    Interrupted,
    NoMetric,
    Random,
    Result,
    ResumeRefused,
    RunToEnd,
    Space,
    Sweep,
    TrialsFailed,
    launch,
    run,
    uniform,
)
from orchestrator.record.schema import STATE
from tests.support import orchestrator, recorded, run_script, small_sweep


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and a command line that must not be read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    return tmp_path


def told(train: Any, **changes: Any) -> Sweep:
    """A sweep over a training function of three steps."""
    fields = {
        "name": "told",
        "space": Space({"x": uniform(0, 1)}),
        "searcher": Random(),
        "scheduler": RunToEnd(),
        "num_samples": 3,
    }
    return Sweep(workload=FromFunction(train, metric="loss", mode="min", horizon=3), **(fields | changes))


def both(config: Any, state: Any) -> Iterator[Any]:
    for step in range(1, 4):
        yield {"loss": config["x"] / step, "norm": 2.0 * step}


def test_a_result_has_the_curves_of_all_metrics(place: Path) -> None:
    curves = run(told(both), simulate=True).curves
    assert list(curves.columns) == ["trial", "step", "seconds", "loss", "norm"]
    assert list(zip(curves["trial"], curves["step"], strict=True)) == [(t, s) for t in range(3) for s in (1, 2, 3)]
    assert list(curves["norm"]) == [2.0, 4.0, 6.0] * 3
    assert len(curves.pivot(index="step", columns="trial", values="loss").columns) == 3


def test_the_table_has_the_other_metrics_and_what_a_finalist_repeats(place: Path) -> None:
    """A table for a paper needed a merge of curves, and a comparison of floats."""
    result = run(told(both, finalists=1, confirmations=2), simulate=True)
    last = result.curves.groupby("trial").last()
    assert list(result.trials["metric.norm"]) == list(last["norm"]) == [6.0] * 5
    assert list(result.trials.columns)[1:3] == ["value", "metric.norm"]
    assert "metric.loss" not in result.trials
    fresh = result.trials[result.trials["origin"] == "finalist"]
    assert list(fresh["repeats"]) == [result.trial] * 2
    assert result.trials["repeats"].count() == 2
    assert result.trials["seed"].nunique() == 5
    assert result.value == result.trials.groupby("repeats")["value"].mean()[result.trial]


def falling(config: Any, state: Any) -> Iterator[Any]:
    for step in range(1, 4):
        yield {"loss": config["x"] / step}


def test_it_returns_the_best_configuration_and_all_trials(place: Path) -> None:
    result = run(told(falling), simulate=True)
    assert result.state == "finished"
    values = [row["value"] for row in recorded(place / "runs" / "told", "report") if row["step"] == 3]
    assert result.value == min(values)
    assert result.config == {"x": pytest.approx(3 * min(values))}
    trials = result.trials
    assert list(trials.columns) == [
        "config.x", "value", "status", "step", "reason", "seconds", "task", "origin", "repeats", "seed",
    ]  # fmt: skip
    assert trials.loc[result.trial, "value"] == result.value
    assert set(trials["status"]) == {"completed"}
    assert set(trials["step"]) == {3}
    assert result.ledger == place / "runs" / "told" / "ledger.db"
    assert result.trial_folder is not None
    assert result.trial_folder.is_dir()
    assert "Best configuration" in result.report()
    assert repr(result).startswith("Result(told: finished, 3 trials, loss=")
    assert "<table" in result._repr_html_()
    assert Result(place / "runs" / "told").trials.equals(trials)


def test_the_same_call_continues_and_more_trials_are_an_argument(place: Path) -> None:
    first = run(told(falling), simulate=True)
    assert run(told(falling), simulate=True).trials.equals(first.trials)
    assert "continued" not in Result(first.folder).report(), "that call found nothing to do"
    more = run(told(falling), simulate=True, num_samples=5)
    assert "; the run was continued once" in more.report()
    assert len(more.trials) == 5
    assert more.trials.iloc[:3].equals(first.trials)
    with pytest.raises(BadInput, match=r"no option 'n_trials'. Did you mean 'num_samples'"):
        run(told(falling), simulate=True, n_trials=5)


def test_it_prints_progress_on_stderr_and_no_command_line(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(told(falling), simulate=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "best so far: trial" in err
    assert "num-samples" not in err
    run(told(falling), simulate=True, name="quiet", quiet=True)
    assert capfd.readouterr() == ("", "")


def test_it_works_under_a_running_loop_and_in_a_thread(place: Path) -> None:
    async def inside() -> Result:
        return run(told(falling), simulate=True, name="loop")

    assert asyncio.run(inside()).state == "finished"
    found: list[Result] = []
    thread = threading.Thread(target=lambda: found.append(run(told(falling), simulate=True, name="thread")))
    thread.start()
    thread.join()
    assert [result.state for result in found] == ["finished"]


def test_two_threads_take_turns_and_a_sweep_within_a_training_is_refused(place: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def waits(config: Any, state: Any) -> Iterator[Any]:
        begun.set()
        assert go_on.wait(60)
        yield from falling(config, state)

    found: dict[str, Result] = {}

    def drive(name: str, train: Any) -> None:
        found[name] = run(told(train, num_samples=1), simulate=True, name=name)

    first = threading.Thread(target=drive, args=("first", waits))
    first.start()
    assert begun.wait(60)
    second = threading.Thread(target=drive, args=("second", falling))
    second.start()
    go_on.set()
    first.join()
    second.join()
    assert {name: result.state for name, result in found.items()} == {"first": "finished", "second": "finished"}

    def nested(config: Any, state: Any) -> Iterator[Any]:
        run(told(falling), simulate=True, name="inner")
        yield {"loss": 0.0}

    with pytest.raises(NoMetric, match=r"was called from a training of the sweep 'outer'"):
        run(told(nested, num_samples=1), simulate=True, name="outer")


def test_its_errors_are_ours_and_carry_what_there_is(place: Path) -> None:
    def fails(config: Any, state: Any) -> Iterator[Any]:
        if (place / "first").exists():
            raise RuntimeError("only once")
        (place / "first").touch()
        yield from falling(config, state)

    with pytest.raises(TrialsFailed, match=r"2 of 3 trials failed, more than .*allow_failed=0.*only once") as caught:
        run(told(fails), simulate=True, max_concurrent=1)
    assert caught.value.result is not None
    assert caught.value.result.state == "failed"
    assert set(caught.value.result.trials["status"]) == {"completed", "failed"}
    assert caught.value.result.value is not None
    assert caught.value._render_traceback_() == [f"TrialsFailed: {caught.value}"]


def test_a_sweep_with_a_result_in_which_few_trials_failed_is_finished_and_says_how_many(place: Path) -> None:
    def fails(config: Any, state: Any) -> Iterator[Any]:
        if not (place / "once").exists():
            (place / "once").touch()
            raise RuntimeError("no room for this one")
        yield from falling(config, state)

    with pytest.raises(TrialsFailed) as caught:
        run(told(fails), simulate=True, max_concurrent=1)
    assert str(caught.value).startswith(
        "1 of 3 trials failed, more than Sweep(allow_failed=0) allows; the others gave a result (error.result). "
        "trial 0: RuntimeError: no room for this one. Once the cause is repaired, run(sweep, retry_failed=True)"
    )
    assert caught.value.result is not None
    assert caught.value.result.state == "finished"
    said = orchestrator("status", "told", cwd=place)
    assert said.stdout.startswith("told: finished; 2 completed, 1 failed; best loss")
    listed = orchestrator("list", cwd=place)
    assert listed.stdout.splitlines()[1].split()[:4] == ["told", "finished", "3", "1"]


def test_a_training_that_only_gives_nan_has_no_result(place: Path) -> None:
    def hopeless(config: Any, state: Any) -> Iterator[Any]:
        yield {"loss": float("nan")}

    with pytest.raises(
        NoMetric, match=r"no trial gave a finite 'loss': the first 3 trials diverged .*loss = nan at step 1"
    ) as caught:
        run(told(hopeless), simulate=True)
    assert caught.value.exit_code == 4
    assert caught.value.result is not None
    assert caught.value.result.value is None


def test_an_interrupt_saves_and_the_next_call_goes_on(place: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)

    def interrupted(config: Any, state: Any) -> Iterator[Any]:
        for step in range(state or 0, 3):
            if step == 1 and not (place / "once").exists():
                (place / "once").touch()
                os.kill(os.getpid(), signal.SIGINT)
            yield {"loss": config["x"]}, step + 1

    with pytest.raises(Interrupted, match=r"interrupted after a clean save. To go on, call run") as caught:
        run(told(interrupted), simulate=True, max_concurrent=1)
    assert caught.value.result is not None
    assert caught.value.result.state == "interrupted"
    assert signal.getsignal(signal.SIGINT) is handler
    assert run(told(interrupted), simulate=True, max_concurrent=1).state == "finished"
    assert [row["step"] for row in recorded(place / "runs" / "told", "report") if row["trial"] == 0] == [1, 2, 3]


def test_the_file_pause_stops_a_sweep_in_a_thread_which_no_signal_reaches(place: Path) -> None:
    def paused(config: Any, state: Any) -> Iterator[Any]:
        for step in range(state or 0, 3):
            if step == 1 and not (place / "once").exists():
                (place / "once").touch()
                (place / "runs" / "told" / "pause").touch()
            yield {"loss": config["x"]}, step + 1

    async def in_a_thread() -> None:
        await asyncio.to_thread(run, told(paused), simulate=True, max_concurrent=1)

    with pytest.raises(Interrupted, match="interrupted after a clean save"):
        asyncio.run(in_a_thread())
    assert Result("told").state == "interrupted"
    assert run(told(paused), simulate=True, max_concurrent=1).state == "finished"
    assert [row["step"] for row in recorded(place / "runs" / "told", "report") if row["trial"] == 0] == [1, 2, 3]


def test_a_refused_resume_leaves_the_state_as_it_was(place: Path) -> None:
    run(told(falling), simulate=True)
    before = {table: recorded(place / "runs" / "told", table) for table in ("lease", "sweep", "event")}
    other = told(falling)
    object.__setattr__(other.workload, "metric", "error")
    object.__setattr__(other.workload, "metrics", ("error",))
    with pytest.raises(ResumeRefused, match=r"started with .* now"):
        run(other, simulate=True)
    assert {table: recorded(place / "runs" / "told", table) for table in before} == before
    assert Result("runs/told").state == "finished"


def test_where_nothing_was_reported_the_next_call_starts_afresh(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(config: Any, state: Any) -> Iterator[Any]:
        raise RuntimeError("no data")
        yield

    def mended(config: Any, state: Any) -> Iterator[Any]:
        for step in range(3):
            yield {"error": config["rate"] + step}

    with pytest.raises(NoMetric, match=r"no data"):
        run(told(broken), simulate=True)
    workload = FromFunction(mended, metric="error", mode="max", horizon=3)
    mended_sweep = Sweep(
        name="told", workload=workload, space=Space({"rate": uniform(0, 1)}), searcher=Random(), scheduler=RunToEnd(), num_samples=3,
    )  # fmt: skip
    result = run(mended_sweep, simulate=True)
    assert result.state == "finished"
    assert list(result.trials["status"]) == ["completed"] * 3
    said = capfd.readouterr().err
    assert "Starting afresh: nothing had been reported before, 3 trials had failed. Changed: " in said
    assert "metric: loss → error" in said
    old = Result(place / "runs" / "told" / "earlier" / "1")
    assert list(old.trials["status"]) == ["failed"] * 3
    assert [row["text"] for row in recorded(place / "runs" / "told", "event") if row["kind"] == STATE] == ["finished"]


def test_launch_in_a_notebooks_kernel_names_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    kernel = types.ModuleType("IPython")
    kernel.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setattr(sys, "argv", ["/x/ipykernel_launcher.py", "-f", "kernel.json"])
    with pytest.raises(BadInput, match=r"a notebook has none: write result = run\(sweep\)"):
        launch(small_sweep())


PROGRAM = """
import ray
from orchestrator import FromFunction, Random, Space, Sweep, run, uniform

def train(config, state):
    for step in range(1, 3):
        yield {"loss": config["x"] / step}

sweep = Sweep(
    name="program", workload=FromFunction(train, metric="loss", mode="min", horizon=2), space=Space({"x": uniform(0, 1)}),
    searcher=Random(), num_samples=2,
)
if __name__ == "__main__":
    assert run(sweep).state == "finished"
    assert not ray.is_initialized(), "ours was left running"
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    assert run(sweep, num_samples=3).state == "finished"
    assert ray.is_initialized(), "the caller's own Ray was taken down"
    assert ray.get(ray.remote(lambda: 3).remote()) == 3
    print("done")
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_program_runs_sweeps_with_a_ray_of_ours_and_with_one_of_its_own(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = run_script(script, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "done"


def test_a_notebook_shows_a_run_with_and_without_a_result_and_escapes_what_it_holds(place: Path) -> None:
    def leaves(config: Any, state: Any) -> Iterator[Any]:
        yield {"loss": float("nan")}

    space = Space({"x": uniform(0, 1), "kind": "<b>bold</b>"})
    with pytest.raises(NoMetric) as caught:
        run(told(leaves, space=space), simulate=True)
    nothing = caught.value.result
    assert nothing is not None
    assert (nothing.config, nothing.value, nothing.checkpoint, nothing.trial_folder) == (None, None, None, None)
    assert "no result" in repr(nothing)
    assert "no result yet" in nothing._repr_html_()
    result = run(told(falling, space=space), simulate=True, name="shown")
    shown = result._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt;" in shown
    assert "<b>bold" not in shown
    assert shown.count("<tr>") > 3
    assert result.checkpoint is None or result.checkpoint.exists()


def test_a_training_that_calls_exit_does_not_end_the_program(place: Path) -> None:
    def exits(config: Any, state: Any) -> Iterator[Any]:
        yield {"loss": 1.0}
        sys.exit(3)

    with pytest.raises((NoMetric, TrialsFailed)):
        run(told(exits, num_samples=1), simulate=True)


def test_a_command_line_is_not_read_and_a_short_sweep_is_enough(place: Path) -> None:
    result = run(Sweep("short", falling, Space({"x": uniform(0, 1)}), minimize="loss", steps=3), simulate=True)
    assert result.ledger.is_file()
    assert len(result.trials) == 16
    assert set(result.trials["status"]) <= {"completed", "stopped"}


def test_the_callers_random_numbers_stay_as_they_were(tmp_path: Path) -> None:
    """Libraries that a sweep loads draw from them; in a new process, where they are loaded first."""
    program = tmp_path / "program.py"
    program.write_text(
        "import random\n"
        "from orchestrator import Space, Sweep, run, uniform\n"
        "def train(config, state):\n"
        "    random.seed(1)\n"
        "    yield {'loss': config['x'] + random.random()}\n"
        "random.seed(5)\n"
        "before = random.getstate()\n"
        "sweep = Sweep('kept', train, Space({'x': uniform(0, 1)}), minimize='loss', steps=1, num_samples=2)\n"
        "for _ in range(2):\n"
        "    run(sweep, simulate=True, quiet=True)\n"
        "    assert random.getstate() == before\n"
    )
    subprocess.run([sys.executable, str(program)], cwd=tmp_path, check=True)
