"""The search without any engine: ask, train, tell."""

from __future__ import annotations

from search.searchers.optuna import Tpe
from search.space import Space, loguniform, randint
from search.trial import End, History, Report, Status


def test_ten_lines_of_ask_and_tell_find_a_good_configuration() -> None:
    history = History(Space({"lr": loguniform(1e-4, 1), "layers": randint(1, 5)}), horizon=3, seed=0)
    for _ in range(40):
        suggestion = Tpe().suggest(history)
        assert suggestion is not None
        trial = history.append(suggestion)
        for step in range(1, history.horizon + 1):
            loss = abs(trial.config["lr"] - 0.01) + abs(trial.config["layers"] - 3) + 1 / step
            history.append(Report(trial.number, step, loss))
        history.append(End(trial.number, Status.COMPLETED))
    best = min(history, key=lambda trial: trial.loss)
    assert best.config["layers"] == 3
    assert best.config["lr"] < 0.05
