"""The fleet: families of problems for the race, split once and for all into choosing and reporting.

Settings and defaults of a search are chosen on the families (or the tasks) that are for choosing; a result is
reported on the others, of which nothing may be tuned. The split was fixed before the search was changed:

    choosing    LCBench without the five below, four tables of TaskSet, both sets of opda, our recorded resnet and
                mlp; late, noisy, useless, wide, conditional, schedule, short, needle
    reporting   five data sets of LCBench, three tables of TaskSet, our recorded lstm and bert;
                flat, diverging, misleading, costly, long, rising, few

Public data are read from a folder that has lcbench_surrogate, taskset_rnn and opda; LCBench needs the harness that
can read its surrogate as well. A family whose data are not there is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import families
from curves import Problem, schedules, surrogates, tables
from recorded_curves import recorded

Split = Literal["choosing", "reporting"]
REPORTED = {f"lcbench_{name}" for name in (167152, 3945, 167200, 189906, 168330)}


class Missing(Exception):
    """The data of a family are not there; says what to do."""


@dataclass(frozen=True)
class Sources:
    """Where data that are not part of the project lie."""

    data: Path | None = None
    harness: Path | None = None

    def folder(self, name: str) -> Path:
        if self.data is None:
            raise Missing(f"give the folder that has {name} with --data")
        if not (self.data / name).is_dir():
            raise Missing(f"{self.data} has no folder {name}")
        return self.data / name


@dataclass(frozen=True)
class Family:
    """Problems that are hard in the same way."""

    problems: Callable[[Sources], Sequence[Problem]]
    split: Split
    budget: float = 1.0  # share of the race's budget


def _lcbench(reported: bool) -> Callable[[Sources], list[Problem]]:
    def problems(sources: Sources) -> list[Problem]:
        if sources.harness is None:
            raise Missing("give the harness that reads its surrogate with --harness")
        found = surrogates(sources.harness, sources.folder("lcbench_surrogate"))
        return [problem for problem in found if (problem.name in REPORTED) == reported]

    return problems


def _taskset(part: slice) -> Callable[[Sources], list[Problem]]:
    return lambda sources: list(tables(sources.folder("taskset_rnn"))[part])


def _opda(sources: Sources) -> list[Problem]:
    return list(schedules(sources.folder("opda")))


def _recorded(name: str) -> Callable[[Sources], list[Problem]]:
    def problems(sources: Sources) -> list[Problem]:
        found: list[Problem] = [table for table in recorded() if table.name == name]
        if not found:
            raise Missing(f"there is no recorded table {name}")
        return found

    return problems


def _analytic(split: Split, *names: str, budget: float = 1.0) -> dict[str, Family]:
    return {name: Family(lambda _, name=name: list(families.family(name)), split, budget) for name in names}


FAMILIES: dict[str, Family] = {
    "lcbench-choosing": Family(_lcbench(reported=False), "choosing"),
    "taskset-choosing": Family(_taskset(slice(4)), "choosing"),
    "opda": Family(_opda, "choosing"),
    "resnet": Family(_recorded("resnet"), "choosing"),
    "mlp": Family(_recorded("mlp"), "choosing"),
    **_analytic("choosing", "late", "noisy", "useless", "wide", "conditional", "schedule", "short", "needle"),
    "lcbench": Family(_lcbench(reported=True), "reporting"),
    "taskset-reporting": Family(_taskset(slice(4, None)), "reporting"),
    "lstm": Family(_recorded("lstm"), "reporting"),
    "bert": Family(_recorded("bert"), "reporting"),
    **_analytic("reporting", "flat", "diverging", "misleading", "costly", "rising", "few"),
    **_analytic("reporting", "long", budget=0.4),  # 50 full trainings would be 9,000 trials
}


def names_of(part: str) -> list[str]:
    """The families for "choosing" or "reporting", or "all"."""
    return [name for name, family in FAMILIES.items() if part in ("all", family.split)]


def load(names: Sequence[str], sources: Sources) -> tuple[dict[str, list[Problem]], dict[str, str]]:
    """The problems of each family; and why a family is missing, for those that are."""
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = list(FAMILIES[name].problems(sources))
        except Missing as why:
            missing[name] = str(why)
    return found, missing
