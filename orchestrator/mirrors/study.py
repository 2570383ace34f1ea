"""A run's ledger as a storage of Optuna that can only be read, for optuna-dashboard.

The ledger's own SQL views serve `optuna.load_study` as they are. A dashboard asks for all trials every few seconds, so
here each look reads only the records that are new. It opens the ledger for that moment only.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution, CategoricalDistribution, json_to_distribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from orchestrator.errors import StorageError
from orchestrator.reading.summary import description, glance
from orchestrator.record.encoding import goal_of, number
from orchestrator.record.ledger import Ledger
from search.records import Status

STUDY = 1  # the only study's id
METRIC_NAMES = "study:metric_names"  # Optuna's key for the names of a study's objectives
STATES = {Status.COMPLETED.value: TrialState.COMPLETE, Status.STOPPED.value: TrialState.PRUNED}


@dataclass
class _Seen:
    """A trial's records so far."""

    row: dict[str, Any]  # its first suggestion
    ending: dict[str, Any] | None = None
    values: dict[int, float] = field(default_factory=dict)  # step → the metric

    def frozen(self, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
        config, is_full = self.row["config"], self.row["task"] == "full"
        state, value = TrialState.RUNNING, None
        if self.ending is not None:
            state = STATES.get(self.ending["status"], TrialState.FAIL)
            if state is TrialState.COMPLETE and not (is_full and self.values):  # a cheaper task gives no full result
                state = TrialState.PRUNED
            value = self.values[max(self.values)] if self.values and state is not TrialState.FAIL else None
        known = {name: kind for name, kind in distributions.items() if name in config and _holds(kind, config[name])}
        about = {name: self.row[name] for name in ("origin", "task", "seed", "parent", "parent_step")}
        about |= {"reason": self.ending["reason"] if self.ending else None}
        return FrozenTrial(
            self.row["trial"], state, value, _time(self.row["time"]), self.ending and _time(self.ending["time"]),
            {name: config[name] for name in known}, known,
            {name: content for name, content in about.items() if content not in (None, "")}, {}, dict(self.values),
            trial_id=self.row["trial"] + 1,
        )  # fmt: skip


class LedgerStudy(BaseStorage):  # type: ignore[misc]
    """The run in `folder`. Its best trial is that of `orchestrator show`; every change is refused with StorageError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._turn = threading.RLock()  # the dashboard asks from several threads
        self._last = 0  # the last record read
        self._seen: dict[int, _Seen] = {}
        self._trials: dict[int, FrozenTrial] = {}
        self._parameters: Any = None
        with self._turn:
            self._look()

    # Reading.

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        with self._turn:
            self._look()
            found = [self._trials[trial] for trial in sorted(self._trials)]
        found = [trial for trial in found if states is None or trial.state in states]
        return copy.deepcopy(found) if deepcopy else found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        with self._turn:
            self._look()
            return self._trials[trial_id - 1]

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        with self._turn:
            self._look()
            best = self._best
        if best is None or self._trials[best].state is not TrialState.COMPLETE:
            return super().get_best_trial(study_id)
        return self._trials[best]

    def get_all_studies(self) -> list[FrozenStudy]:
        directions = self.get_study_directions(STUDY)
        return [
            FrozenStudy(self._folder.name, None, {}, self.get_study_system_attrs(STUDY), STUDY, directions=directions)
        ]

    def get_study_id_from_name(self, study_name: str) -> int:
        return STUDY

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._folder.name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return [StudyDirection.MAXIMIZE if self._goal.mode == "max" else StudyDirection.MINIMIZE]

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return {}

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return {METRIC_NAMES: [self._goal.metric]}

    def _look(self) -> None:
        """Read what is new."""
        ledger = Ledger.read(self._folder, check=False)
        try:
            last = ledger.last
            if last == self._last:
                return
            new = {"since": self._last, "last": last}
            between = "WHERE seq > :since AND seq <= :last ORDER BY seq"
            changed = set()
            for row in ledger.rows("suggestion", between, **new):
                self._seen.setdefault(row["trial"], _Seen(row)).ending = None  # a resumed trial runs again
                changed.add(row["trial"])
            for trial, step, value, kind in ledger.query(
                f"SELECT trial, step, value, kind FROM report {between}", **new
            ):
                self._seen[trial].values[step] = number(value, kind)
                changed.add(trial)
            for row in ledger.rows("ending", between, **new):
                resumed = ledger.query(
                    "SELECT 1 FROM suggestion WHERE trial = :trial AND seq > :seq AND seq <= :last LIMIT 1",
                    trial=row["trial"], seq=row["seq"], last=last,
                )  # fmt: skip
                self._seen[row["trial"]].ending = None if resumed else row
                changed.add(row["trial"])
            self._goal = goal_of(description(ledger))
            best = glance(ledger)["best"]
            self._best = None if best is None else best["trial"]
            parameters = ledger.sweep()["parameters"]
            if parameters != self._parameters:
                changed = set(self._seen)
            distributions = {each["name"]: json_to_distribution(each["distribution"]) for each in parameters}
            for trial in changed:
                self._trials[trial] = self._seen[trial].frozen(distributions)
            self._last, self._parameters = last, parameters
        finally:
            ledger.close()

    # Writing: not here.

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        self._refuse()

    def delete_study(self, study_id: int) -> None:
        self._refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._refuse()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._refuse()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._refuse()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise StorageError(f"{self._folder}: the ledger is written by its driver alone.")


def _holds(distribution: BaseDistribution, value: Any) -> bool:
    """Whether a recorded value is one of the space in force: a space may be narrowed when a sweep is continued."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return not isinstance(value, (str, type(None))) and distribution.low <= value <= distribution.high


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f")
