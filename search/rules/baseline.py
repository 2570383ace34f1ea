"""Which trial is the baseline: that of the configuration which the sweep names now, whatever it named before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from search.history import History, Trial
from search.records import BASELINE, FINALIST, Config, Status
from search.task import FULL

if TYPE_CHECKING:
    from search.rules.conduct import Rules

MASK = "***"  # in a text that comes from a record: a secret


def baseline_of(history: History, rules: Rules) -> Trial | None:
    """The trial of the present baseline; None if it is not trained yet, or if there is none."""
    return None if rules.baseline is None else baseline_trial(history, rules.baseline)


def awaits_baseline(history: History, rules: Rules) -> bool:
    """Whether the baseline is still to start."""
    return rules.baseline is not None and baseline_of(history, rules) is None


def baseline_trial(history: History, config: Config) -> Trial | None:
    """The trial of the baseline of this configuration; None if it is not trained yet.

    A completed full training of the same configuration will do, whoever proposed it.
    """
    started = (trial for trial in history.trials if trial.first_origin == BASELINE)
    found = next((trial for trial in started if _is_same(trial.config, config)), None)
    return found or next((t for t in history.trials if _is_whole(t) and _is_same(t.config, config)), None)


def _is_whole(trial: Trial) -> bool:
    """Whether it is a completed full training from scratch, no repetition."""
    is_own = trial.first_origin != FINALIST and not trial.began
    return is_own and trial.task == FULL and trial.status is Status.COMPLETED


def _is_same(recorded: Config, config: Config) -> bool:
    """Whether the values are equal; a masked secret equals every text."""
    return recorded.keys() == config.keys() and all(
        value == config[name] or (isinstance(value, str) and MASK in value and isinstance(config[name], str))
        for name, value in recorded.items()
    )
