"""Options of Optuna, Ray Tune and others, and what to write here: for messages about what `Sweep` does not take."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.errors import did_you_mean

OTHER_NAMES = {  # names of our fields in other libraries
    "study_name": "name",
    "func": "workload",
    "config": "space",
    "max_failures": "retries",
    "n_trials": "num_samples",
    "max_trials": "num_samples",
    "num_trials": "num_samples",
    "n_jobs": "max_concurrent",
    "n_workers": "max_concurrent",
    "max_concurrent_trials": "max_concurrent",
    "timeout": "time_budget",
    "target_value": "target",
    "time_budget_s": "time_budget",
    "param_space": "space",
    "search_space": "space",
    "config_space": "space",
    "search_alg": "searcher",
    "sampler": "searcher",
    "pruner": "scheduler",
    "objective": "minimize",
    "random_seed": "seed",
    "random_state": "seed",
    "resources_per_trial": "resources",
    "enqueue_trial": "points_to_evaluate",
    "warm_start": "transfer",
    "fidelities": "tasks",
    "observation_budget": "budget",
    "total_cost": "budget",
    "max_cost": "budget",
    "cost_budget": "budget",
    "price": "prices",
    "price_table": "prices",
    "initial_points": "points_to_evaluate",
    "trainable": "workload",
    "train": "workload",
    "function": "workload",
    "command": "workload",
    "horizon": "steps",
    "epochs": "steps",
    "max_t": "steps",
    "minimise": "minimize",
    "maximise": "maximize",
}
_ONE = "Write minimize=… or maximize=… with the name of the metric, such as minimize='valid_loss'."
_FOLDER = "The sweep keeps its run in the folder runs/NAME: --runs, or run(sweep, runs=…), names another place."
_LOUDNESS = "run(sweep, quiet=True) runs it without its progress."
_CONTINUES = "The same call continues a run that has begun."
_ASHA = "It is a setting of the scheduler: scheduler=Asha({name}=…)."
_FAILURES = "Write allow_failed=…, the number of failed trials that a successful sweep may have."
_CONFIGS = "Write its settings as options of Sweep, such as num_samples=…, and of run, such as runs=…."
ELSEWHERE = {  # what no single field of ours does
    "direction": _ONE,
    "goal": _ONE,
    "directions": f"A sweep tunes one metric. {_ONE}",
    "catch": _FAILURES,
    "fail_fast": _FAILURES,
    "storage": _FOLDER,
    "storage_path": _FOLDER,
    "local_dir": _FOLDER,
    "load_if_exists": _CONTINUES,
    "resume": _CONTINUES,
    "verbose": _LOUDNESS,
    "show_progress_bar": _LOUDNESS,
    "stop": "Write steps=… for the length of a training, or target=… for a metric that is good enough.",
    "callbacks": "A sweep has none: run(sweep).trials is a table of what its trials reported.",
    "grace_period": _ASHA.format(name="grace_period"),
    "reduction_factor": _ASHA.format(name="reduction_factor"),
    "tune_config": _CONFIGS,
    "run_config": _CONFIGS,
}
_SEED = "The Sweep has the seed: Sweep(seed=…)."
_METRIC = "The Sweep names the metric: Sweep(minimize=…) or Sweep(maximize=…)."
OF_THE_SWEEP = {  # settings that searchers and schedulers of other libraries have
    "seed": _SEED,
    "random_state": _SEED,
    "random_state_seed": _SEED,
    "metric": _METRIC,
    "mode": _METRIC,
    "time_attr": "Schedulers count the steps that a training reports; leave it out.",
    "max_concurrent": "The Sweep has it: Sweep(max_concurrent=…).",
    "points_to_evaluate": "The Sweep has them: Sweep(points_to_evaluate=…).",
}


def hint(name: str, known: Collection[str]) -> str:
    """What to write in place of an unknown option, as the end of a message."""
    if name in ELSEWHERE:
        return f" {ELSEWHERE[name]}"
    return f" Did you mean {OTHER_NAMES[name]!r}?" if name in OTHER_NAMES else did_you_mean(name, known)
