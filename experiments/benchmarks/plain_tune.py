"""Plain Ray Tune on a trivial trial, as the reference for our own overhead. It uses none of our code.

Run   python experiments/benchmarks/plain_tune.py --form class --trials 500 --steps 1
Prints one JSON line. A trial draws x uniformly and reports the loss x² `steps` times; no checkpoints.

Forms     function: the defaults; a function trainable, every setting left alone.
          class: at its best; reuse_actors, no checkpoints, no output, and the environment of BEST.
Figures   start_to_first_result_s: from the start of the process; imports and ray.init are included.
          trials_per_s: finished trials after the first one; null unless trials > slots.
          reports_per_s: reports after the first; use one long trial a slot to measure a report's cost.
          driver_cpu_ms_per_report: process time of the driver, from building the Tuner to the end of fit().
          fit_s: Tuner.fit() as a whole; it includes a late first trial, which trials_per_s hides.
          resume_s: Tuner.restore(...).fit() of the finished experiment in a new process, until it returns:
          the lowest cost of a resume; nothing is left to run. resume_from_start_s: with imports and Ray.

Settings tried with the class form (Ray 2.60, 2 slots on 2 shared cores, trials of 1 step). Other work on the
machine moved trials/s by a factor of two between equal runs; the driver's time per report hardly moved.

                                                trials  trials/s              driver ms  fit s
    reuse, verbose, BEST; all else default         100  71 72 133             10-11      4-7
    the same                                       500  49 53 53 55 79 82     9-10       7-15
                                                        84 94 119
    the same                                      1000  70 107                8.5-9      13-18
    TUNE_GLOBAL_CHECKPOINT_S=auto                  500  76 108 117 117        9-10       7-11
    TUNE_MAX_PENDING_TRIALS_PG=1                   500  61                    9.5        10
    the same, max_concurrent_trials=2              500  67                    8.9        10
    TUNE_MAX_PENDING_TRIALS_PG=2                   500  63 64                 9.6        10
    TUNE_MAX_PENDING_TRIALS_PG=4, 50, 1000         500  64, 46, 107-111       9-10       10, 15, 9
    max_concurrent_trials=2, 4                     100  75, 72                9-10       3.3
    checkpoint_at_end=False (chosen)               100  178 (machine busy)    9          4.4
    loggers left on                                500  33                    17         21
    reuse_actors=False                              20  0.6                   39         36
    function form, for comparison                   10  1.2                   150        10

Actor reuse matters most, then the loggers. The effect of the limits on pending trials is not larger than the
spread: with many pending (the default) some work is done before the first trial ends, which trials_per_s
does not see and fit_s does. Result buffering showed nothing (641 and 665 reports/s side by side). Much of the
driver's time is a placement group and look-ups of the trainable in Ray's key-value store, for each trial.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune

BEST = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}


def main() -> None:
    arguments = _parse()
    if arguments.worker:
        figures = _fit(arguments) if arguments.worker == "fit" else _resume(arguments)
        Path(arguments.store, f"{arguments.worker}.json").write_text(json.dumps(figures))
        return
    with tempfile.TemporaryDirectory(prefix="plain_tune_") as store:
        figures = _in_new_process(arguments, "fit", store) | _in_new_process(arguments, "resume", store)
    given = {name: getattr(arguments, name) for name in ("form", "trials", "steps", "slots")}
    print(json.dumps(given | figures))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One measurement of plain Ray Tune, printed as one JSON line.")
    parser.add_argument("--form", choices=("function", "class"), required=True)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--slots", type=int, default=2)
    for internal in ("--worker", "--store", "--born"):
        parser.add_argument(internal, help=argparse.SUPPRESS)
    return parser.parse_args()


def _in_new_process(arguments: argparse.Namespace, worker: str, store: str) -> dict[str, Any]:
    """Ray reads its settings when it is imported, and only a new process shows what a start costs."""
    settings = BEST if arguments.form == "class" else {}
    given = [f"--{name}={getattr(arguments, name)}" for name in ("form", "trials", "steps", "slots")]
    born = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, *given, f"--worker={worker}", f"--store={store}", f"--born={born}"],
        env=settings | os.environ,  # what the caller exports wins: so other settings can be tried
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(f"{worker} ended with exit status {done.returncode}:\n{done.stderr[-4000:]}")
    return json.loads(Path(store, f"{worker}.json").read_text())


class Parabola(tune.Trainable):
    """The class form. It counts its own steps, for a reused actor is handed from trial to trial."""

    def setup(self, config: dict[str, Any]) -> None:
        self.taken = 0

    def step(self) -> dict[str, Any]:
        self.taken += 1
        return {"loss": self.config["x"] ** 2, "done": self.taken >= self.config["steps"]}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.taken = 0
        return True


def parabola(config: dict[str, Any]) -> None:
    for _ in range(config["steps"]):
        tune.report({"loss": config["x"] ** 2})


class Clock(tune.Callback):
    """When each report and each finished trial reached the driver."""

    def __init__(self) -> None:
        self.reports: list[float] = []
        self.ends: list[float] = []

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        self.reports.append(time.monotonic())

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.ends.append(time.monotonic())


def _fit(arguments: argparse.Namespace) -> dict[str, Any]:
    _start_ray(arguments)
    clock = Clock()
    begin, cpu_begin = time.monotonic(), time.process_time()
    results = _tuner(arguments, clock).fit()
    seconds, cpu_seconds = time.monotonic() - begin, time.process_time() - cpu_begin
    expected = arguments.trials * arguments.steps
    if results.errors or len(clock.ends) != arguments.trials or len(clock.reports) != expected:
        sys.exit(f"{len(clock.ends)} trials ended, {len(clock.reports)} reports, errors: {results.errors[:1]}")
    return {
        "start_to_first_result_s": round(clock.reports[0] - float(arguments.born), 2),
        "trials_per_s": _rate(clock.ends) if arguments.trials > arguments.slots else None,
        "reports_per_s": _rate(clock.reports),
        "driver_cpu_ms_per_report": round(1000 * cpu_seconds / expected, 2),
        "fit_s": round(seconds, 2),
    }


def _resume(arguments: argparse.Namespace) -> dict[str, Any]:
    _start_ray(arguments)
    begin = time.monotonic()
    folder = str(Path(arguments.store, "plain"))
    results = tune.Tuner.restore(folder, trainable=_trainable(arguments)).fit()
    end = time.monotonic()
    if len(results) != arguments.trials:
        sys.exit(f"{len(results)} of {arguments.trials} trials came back")
    return {
        "resume_s": round(end - begin, 2),
        "resume_from_start_s": round(end - float(arguments.born), 2),
    }


def _start_ray(arguments: argparse.Namespace) -> None:
    ray.init(num_cpus=arguments.slots, object_store_memory=200e6, include_dashboard=False)


def _trainable(arguments: argparse.Namespace) -> Any:
    return Parabola if arguments.form == "class" else parabola


def _tuner(arguments: argparse.Namespace, clock: Clock) -> tune.Tuner:
    at_best = arguments.form == "class"
    # Tune's default for a class is a checkpoint at the end of each trial.
    unsaved = tune.CheckpointConfig(checkpoint_at_end=False)
    quiet: dict[str, Any] = {"verbose": 0, "checkpoint_config": unsaved} if at_best else {}
    return tune.Tuner(
        _trainable(arguments),
        param_space={"x": tune.uniform(-1.0, 1.0), "steps": arguments.steps},
        tune_config=tune.TuneConfig(num_samples=arguments.trials, **({"reuse_actors": True} if at_best else {})),
        run_config=tune.RunConfig(name="plain", storage_path=arguments.store, callbacks=[clock], **quiet),
    )


def _rate(times: list[float]) -> float | None:
    return round((len(times) - 1) / (times[-1] - times[0]), 1) if len(times) > 1 else None


if __name__ == "__main__":
    main()
