"""A sweep that takes over results of a study or a table, or of a run with other parameters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas
import pytest

from orchestrator import (
    AskAndTell,
    BadInput,
    Goal,
    History,
    MultitaskSearch,
    Random,
    ResumeRefused,
    Space,
    Sweep,
    choice,
    loguniform,
    run,
    uniform,
    when,
)
from orchestrator.reading.audit import audit
from orchestrator.reading.beginning import taught
from orchestrator.record.ledger import Ledger
from search.history import incumbent, lessons
from tests.support import interrupted_after, recorded, simulated

SPACE = Space({"alpha": loguniform(1e-5, 1.0), "eta": uniform(0.0, 1.0)})


def train(config: Any) -> Any:
    for step in (1, 2):
        yield {"loss": abs(np.log10(config["alpha"]) + 3) + config["eta"] + config.get("decay", 0.0) + 1 / step}


def accurate(config: Any) -> Any:
    yield {"accuracy": 1.0}


def elsewhere(space: Space = SPACE, count: int = 12) -> History:
    rng = np.random.default_rng(0)
    configs = [space.sample(rng) for _ in range(count)]
    return History.of(space, [(config, abs(np.log10(config["alpha"]) + 3) + config["eta"]) for config in configs])


def sweep_of(space: Space = SPACE, **settings: Any) -> Sweep:
    return Sweep("new", train, space, minimize="loss", steps=2, **({"searcher": Random(), "num_samples": 5} | settings))


def differences(sweep: Sweep, folder: Path) -> Any:
    ledger = Ledger.read(folder)
    try:
        return audit(sweep, ledger).differences
    finally:
        ledger.close()


LEARNS = MultitaskSearch(n_initial=4, finalists=0, cost_power=0, full=0)


@pytest.mark.slow
def test_a_history_teaches_a_sweep_what_it_teaches_a_loop_of_ones_own(tmp_path: Path) -> None:
    sweep = sweep_of(searcher=LEARNS, transfer=[elsewhere()], num_samples=6)
    history = simulated(tmp_path / "run", sweep, workers=1).history
    best = incumbent(elsewhere())
    assert best is not None
    assert history.trials[0].config == best.config
    assert {trial.first_origin for trial in history.trials[4:]} != {"initial"}, "none was left to the model"
    tuning = AskAndTell(SPACE, LEARNS, sweep.scheduler, horizon=2, limit=6, earlier=[elsewhere()])
    while (trial := tuning.ask()) is not None:
        done = history.trials[trial.number]
        for step in tuning.steps(trial):
            if not tuning.tell(trial, step, done.losses[step - 1]):
                break
    assert [trial.config for trial in tuning.history] == [trial.config for trial in history]


@pytest.mark.slow
def test_a_resume_decides_as_without_the_interruption_and_the_record_holds_the_results(tmp_path: Path) -> None:
    """At each start the script makes the history anew."""
    whole = simulated(tmp_path / "whole", sweep_of(searcher=LEARNS, transfer=[elsewhere()], num_samples=7), workers=1)
    begun = sweep_of(searcher=LEARNS, transfer=elsewhere(), num_samples=7)
    interrupted_after(tmp_path / "parts", begun, answers=9, workers=1)
    again = sweep_of(searcher=LEARNS, transfer=[elsewhere()], num_samples=7)
    parts = simulated(tmp_path / "parts", again, workers=1)
    assert "Changed" not in parts.found
    assert [trial.config for trial in parts.history] == [trial.config for trial in whole.history]
    assert differences(again, tmp_path / "parts") == ()
    (note,) = [json.loads(row["text"]) for row in recorded(tmp_path / "parts", "event") if row["kind"] == "transfer"]
    assert [(each["config"], each["losses"]) for each in note["results"]] == [(t.config, t.losses) for t in elsewhere()]


def test_a_table_that_has_grown_is_told_and_used_anew(tmp_path: Path) -> None:
    simulated(tmp_path / "run", sweep_of(transfer=[elsewhere(count=3)], num_samples=1))
    driver = simulated(tmp_path / "run", sweep_of(transfer=[elsewhere(count=9)], num_samples=2))
    assert "transfer: ['History of 3 results (" in driver.found
    assert "→ ['History of 9 results (" in driver.found
    assert len(driver.history.earlier[0].trials) == 9


def test_a_study_a_table_and_values_to_be_maximised(tmp_path: Path) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    study.optimize(
        lambda trial: -abs(trial.suggest_float("alpha", 1e-5, 1.0) - 0.1) - trial.suggest_float("eta", 0, 1), 8
    )
    goal = Goal("accuracy", "max")
    old = History.of(SPACE, [(trial.params, trial.value) for trial in study.trials], goal=goal)
    rows = pandas.DataFrame({"alpha": [0.1, 0.01], "eta": [0.5, 0.2], "accuracy": [0.7, 0.9]}).to_dict("records")
    table = History.of(
        SPACE, [({"alpha": row["alpha"], "eta": row["eta"]}, row["accuracy"]) for row in rows], goal=goal
    )
    sweep = Sweep("max", accurate, SPACE, maximize="accuracy", steps=1, searcher=Random(),
                  transfer=[table, old], num_samples=4)  # fmt: skip
    first = simulated(tmp_path / "run", sweep, workers=1).history.trials
    assert first[0].config == {"alpha": 0.01, "eta": 0.2}
    assert study.best_params in [trial.config for trial in first]
    with pytest.raises(BadInput, match=r"is not a run; .* make a history: transfer=\[History.of"):
        replace(sweep, transfer=[study])


WRONG: dict[str, tuple[Any, str]] = {
    "a table": (pandas.DataFrame({"alpha": [1.0]}), r"make a history: transfer=\[History.of"),
    "a number": (3, r"Sweep\(transfer=3\): write the names or folders of earlier runs"),
    "other parameters": ([History.of(Space({"alpha": 0.1}), [({}, 1.0)])], "has no parameter 'eta', .* add its value to each configuration"),
    "the other direction": ([History.of(SPACE, [({"alpha": 0.1, "eta": 0.1}, 1.0)], goal=Goal("loss", "max"))],
                            r"of which higher is better.*goal=Goal\('loss', 'min'\)"),
    "a statement that is none": ({"old": "l2"}, r"'l2' must be the values that parameters had in it, such as transfer=\{'old': \{'alpha': …\}\}"),
    "a misspelt statement": ({"old": {"alpa": 1.0}}, "this sweep has no parameter 'alpa'. Did you mean 'alpha'"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_taken_over_is_refused_with_what_to_write(case: str) -> None:
    given, told = WRONG[case]
    with pytest.raises(BadInput, match=told):
        sweep_of(transfer=given)


def test_a_file_that_is_no_run_is_refused_with_what_to_make_of_it(tmp_path: Path) -> None:
    for place in ("old.db", "sqlite:///old.db", "old.csv"):
        with pytest.raises(BadInput, match=r"make a history: docs/ask_and_tell\.md#results-from-elsewhere"):
            simulated(tmp_path / "run", sweep_of(transfer=[place]))


WIDER = {**SPACE.parameters, "penalty": choice(["l1", "l2"])}


def test_of_a_parameter_that_an_earlier_run_had_not_the_value_is_stated(tmp_path: Path) -> None:
    old = simulated(tmp_path / "old", sweep_of()).history
    with pytest.raises(BadInput, match=r"'old' has no parameter 'penalty', .* transfer=\{'old': \{'penalty': …\}\}"):
        simulated(tmp_path / "new", sweep_of(Space(WIDER), transfer="old"))
    sweep = sweep_of(Space(WIDER), transfer={"old": {"penalty": "l2"}})
    driver = simulated(tmp_path / "new", sweep)
    assert [dict(trial.config) for trial in driver.history.earlier[0]] == [{**t.config, "penalty": "l2"} for t in old]
    assert [trial.losses for trial in driver.history.earlier[0]] == [trial.losses for trial in old]
    best = incumbent(old)
    assert best is not None
    assert driver.history.trials[0].config == {**best.config, "penalty": "l2"}
    assert differences(sweep, tmp_path / "new") == ()
    assert sweep.describe()["transfer"] == {"old": {"penalty": "l2"}}
    other = simulated(tmp_path / "new", replace(sweep, transfer={"old": {"penalty": "l1"}}, num_samples=6))
    assert "transfer.old.penalty: l2 → l1" in other.found
    with pytest.raises(BadInput, match="its record has the values of 'eta'; leave out the one that you state"):
        simulated(tmp_path / "third", replace(sweep, transfer={"old": {"penalty": "l2", "eta": 0.1}}))


def test_a_stated_value_holds_where_its_parameter_is_active(tmp_path: Path) -> None:
    parameters = {**SPACE.parameters, "kind": choice(["a", "b"])}
    simulated(tmp_path / "old", sweep_of(Space(parameters), num_samples=9))
    space = Space({**parameters, "decay": when(uniform(0.0, 1.0), kind="a")})
    earlier = simulated(tmp_path / "new", sweep_of(space, transfer={"old": {"decay": 0.5}})).history.earlier[0]
    assert {(trial.config["kind"], trial.config.get("decay")) for trial in earlier} == {("a", 0.5), ("b", None)}
    assert len(lessons(earlier, space)) == 9


def test_where_the_present_space_fixes_what_was_searched_it_is_said_how_to_use_the_results(tmp_path: Path) -> None:
    fixed = Space({**SPACE.parameters, "alpha": 1e-4})
    simulated(tmp_path / "old", sweep_of())
    with pytest.raises(ResumeRefused) as refused:
        simulated(tmp_path / "old", sweep_of(fixed))
    assert "(for example {'alpha': " in str(refused.value)
    assert "it is always 0.0001). Use another --name with transfer=('old',) and a range of 'alpha' that holds" in str(
        refused.value
    )
    assert "points_to_evaluate=[…] for the best of them" in str(refused.value)
    with pytest.raises(ResumeRefused, match=r"another --name with transfer=\{'old': \{'penalty': …\}\}"):
        simulated(tmp_path / "old", sweep_of(Space(WIDER)))
    with pytest.raises(ResumeRefused, match=r"another --name with transfer=\{'old': \{'depth': …\}\}"):
        simulated(tmp_path / "old", sweep_of(Space({**SPACE.parameters, "depth": 3})))
    (text,) = taught(simulated(tmp_path / "new", sweep_of(fixed, transfer="old")))
    assert text.startswith("Warning: old teaches nothing: no full training of it has a result in the present space.")
    assert "give 'alpha' a range that holds the old values, and a prior" in text
    assert "points_to_evaluate" in text
    known = elsewhere().trials[3].config["alpha"]
    driver = simulated(
        tmp_path / "newer", sweep_of(Space({**SPACE.parameters, "alpha": known}), transfer=[elsewhere()])
    )
    assert taught(driver)[0].startswith("The best 1 configuration of History of 12 results (")


def test_the_plan_names_a_history(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sweep = sweep_of(transfer=[elsewhere()])
    run(sweep, tmp_path / "run", simulate=True)
    assert "configurations of History of 12 results (" in " ".join(capfd.readouterr().err.split())
