"""Train the best configurations again on fresh seeds, and let those runs determine the winner.

Use when   losses are noisy: the best of many scores is also the luckiest, so it promises too much.
Costs      `confirmations` full trainings for each finalist.
Settings   count: configurations; confirmations: runs of each.
Not for    deterministic objectives, and trainings that ignore their seed: the runs give the same result.
Differs    the mean covers only the fresh runs: the first run was selected for its score, so its luck would
           decide again. A fresh run that diverges counts as infinitely bad; one that failed does not count.

A finalist is a configuration, identified by its best completed trial. Forked trials cannot be finalists, because no
configuration alone repeats them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from search.history import History, Trial, incumbent, key_of
from search.records import BASELINE, FINALIST, Status, Suggestion, resume, start
from search.task import FULL

REPEATS = "repeats trial "  # how the evidence of a repetition begins; the number of the trial follows
CERTAIN = 3  # different numbers that a run has in common with an earlier one: fewer may be chance


@dataclass(frozen=True)
class Finalist:
    """A configuration to train again, or one that has been."""

    trial: Trial  # its best trial so far
    runs: tuple[Trial, ...]  # its runs on fresh seeds, of any status

    @property
    def ended(self) -> tuple[Trial, ...]:
        """The fresh runs that have ended with a result."""
        return tuple(run for run in self.runs if run.status in (Status.COMPLETED, Status.DIVERGED))

    @property
    def losses(self) -> tuple[float, ...]:
        """The losses of the fresh runs that have ended."""
        return tuple(run.loss if run.status is Status.COMPLETED else math.inf for run in self.ended)

    @property
    def mean(self) -> float:
        """The mean of `losses`; NaN before the first."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan

    @property
    def is_copied(self) -> bool:
        """Whether the fresh runs are copies of the first run or of one another: at most one of them is new."""
        known = [self.trial, *self.ended]
        copies = sum(any(_is_copy(run, other) for other in known[: known.index(run)]) for run in self.ended)
        return copies > 0 and copies >= len(self.ended) - 1

    @property
    def odd(self) -> tuple[Trial, int] | None:
        """Of runs that are copies, the first that none of the others equals, and the step from which it differs."""
        known = [self.trial, *self.ended]
        alone = [run for run in known if not any(_is_copy(run, other) for other in known if other is not run)]
        if not self.is_copied or not alone:
            return None
        like = next(run for run in known if run not in alone)
        both = zip(alone[0].steps, alone[0].losses, like.losses, strict=False)
        return alone[0], next((step for step, mine, theirs in both if mine != theirs), alone[0].step)


def finalists(history: History, count: int) -> list[Finalist]:
    """The best `count` configurations by their completed full trainings, the best first; fewer if there are fewer."""
    runs, best = _runs(history), _best(history, len(history)).items()
    return [Finalist(trial, tuple(runs.get(key, ()))) for key, trial in islice(best, count)]


def confirmed(history: History) -> list[Finalist]:
    """All configurations that have trained again, in order of their first score, best first."""
    runs = _runs(history)
    best = _best(history, len(history)) if runs else {}
    return [Finalist(trial, tuple(runs[key])) for key, trial in best.items() if key in runs]


def confirm(history: History, count: int, confirmations: int, *, also_copies: bool = False) -> Suggestion | None:
    """The next thing to run once the search is over, or None: nothing now (or nothing ever again).

    If the search has completed only the baseline, its best resting trials are first trained to the end. Once all fresh
    runs so far are copies, further ones are left out, because the seed has no effect; `also_copies`: they are not, as in
    runs of earlier releases. Needs a history with all reports.
    """
    running = history.having(Status.RUNNING)
    if not count or any(trial.suggestion.origin != FINALIST for trial in running):
        return None
    if (resting := _to_complete(history, count)) is not None:
        return resume(resting, origin=FINALIST, evidence=f"among the best {count} when the search was over")
    if any(trial.first_origin != FINALIST for trial in running):
        return None  # these must end before the best are known
    if not also_copies and repeats_for_certain(history):
        return None
    chosen = finalists(history, count)
    for run in range(confirmations):
        for finalist in chosen:
            if len(finalist.runs) <= run:
                return start(finalist.trial.config, origin=FINALIST, evidence=f"{REPEATS}{finalist.trial.number}")
    return None


def depends_on_seed(history: History) -> bool | None:
    """Whether another seed gives another result, as far as finalists show it; None before the first has trained again.

    False: all their fresh runs are exact copies, so they confirm nothing. Needs a history with all reports.
    """
    again = [finalist for finalist in confirmed(history) if finalist.losses]
    return not all(finalist.is_copied for finalist in again) if again else None


def repeats_for_certain(history: History) -> bool:
    """Whether all fresh runs so far are copies, and one of them has so many numbers that it is no chance."""
    if not any(trial.first_origin == FINALIST for trial in history.trials) or depends_on_seed(history) is not False:
        return False
    runs = [run for finalist in confirmed(history) for run in finalist.runs if run.status is Status.COMPLETED]
    return any(len({*run.losses, *run.metrics.values()}) >= CERTAIN for run in runs)


def independent(history: History) -> list[Finalist]:
    """Like `confirmed`; nothing if all fresh runs are copies. Needs all reports of these configurations."""
    return [] if depends_on_seed(history) is False else confirmed(history)


def winner(history: History) -> Trial | None:
    """The incumbent; if it has trained again as a finalist, the finalist with the lowest mean over its fresh runs.

    Copies are no fresh runs. Needs all reports of these configurations.
    """
    best, found = incumbent(history), independent(history)
    candidates = [finalist for finalist in found if math.isfinite(finalist.mean)]
    if not candidates or all(finalist.trial is not best for finalist in found):
        return best  # an incumbent that is no finalist came later, so the finalists are out of date
    return min(candidates, key=lambda finalist: (finalist.mean, finalist.trial.number)).trial


def score(history: History, trial: Trial) -> float:
    """The loss that stands for a trial's configuration: its mean over fresh runs where there is one, else its own.

    Copies are no fresh runs. Needs all reports of these configurations.
    """
    mean = next((each.mean for each in independent(history) if each.trial is trial), math.nan)
    return mean if math.isfinite(mean) else trial.loss


@lru_cache(maxsize=4)
def _best(history: History, length: int) -> dict[str, Trial]:
    """Configuration → its best full training from scratch, best first, of a history of this length.

    It takes a while with thousands of trials, and one drawing of the display needs it five times.
    """
    completed = [
        trial
        for trial in history.having(Status.COMPLETED)
        if trial.task == FULL and trial.first_origin != FINALIST and not trial.began
    ]
    best: dict[str, Trial] = {}
    for trial in sorted(completed, key=lambda trial: (trial.loss, trial.number)):
        best.setdefault(key_of(trial.config), trial)
    return best


def _runs(history: History) -> dict[str, list[Trial]]:
    """Configuration → its runs on fresh seeds."""
    runs: dict[str, list[Trial]] = {}
    for trial in history.trials:
        if trial.first_origin == FINALIST:
            runs.setdefault(key_of(trial.config), []).append(trial)
    return runs


def _to_complete(history: History, count: int) -> Trial | None:
    """The next resting trial to train to the horizon, if the search has completed nothing of its own."""
    own = [trial for trial in history.trials if trial.task == FULL and trial.first_origin not in (BASELINE, FINALIST)]
    chosen = sum(trial.suggestion.origin == FINALIST for trial in own)
    completed = any(trial.status is Status.COMPLETED and trial.suggestion.origin != FINALIST for trial in own)
    if completed or chosen >= count:
        return None
    resting = [t for t in own if t.status is Status.STOPPED and math.isfinite(t.loss) and not t.began]
    return min(resting, key=lambda trial: (-trial.step, trial.loss, trial.number), default=None)


def _is_copy(run: Trial, other: Trial) -> bool:
    """Whether both have the same numbers at every step. One number alone, or the same at every step, may be chance."""
    if (run.status, run.steps, run.losses) != (other.status, other.steps, other.losses):
        return False
    return len(set(run.losses)) > 1 or (run.metrics == other.metrics and len(set(run.metrics.values())) > 1)
