"""A trial that begins with what an earlier trial of its process has changed is told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch

from orchestrator import Space, Sweep, report, run, uniform
from orchestrator.page.health.inherited import inherited
from orchestrator.page.recorded import Recorded
from orchestrator.record.ledger import Ledger
from orchestrator.worker.inherited import LARGEST, Inherited
from tests.support import recorded
from trainables.workloads.callable import FromFunction

CONF: dict[str, Any] = {"momentum": 0.0}
CACHE: dict[str, Any] = {}
HISTORY: list[int] = []
LOADED: Any = None
BEST: float | None = None
COUNT = 0
ARRAY = np.zeros(3)
WEIGHTS = torch.zeros(3)
MODEL = torch.nn.Linear(2, 1)
FROZEN = torch.nn.Linear(2, 1)


class Settings:
    width = 8


OWN = Settings()


def trains(model: torch.nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()


def changes_much(config: Any, state: Any) -> Iterator[Any]:
    global LOADED, COUNT, BEST
    CONF["momentum"] = 0.85
    CACHE["data"] = object()
    HISTORY.append(1)
    LOADED = LOADED or [1.0, 2.0]
    COUNT += 1
    BEST = 0.5
    ARRAY[0] += 1
    WEIGHTS.add_(1)
    trains(MODEL)
    with torch.no_grad():
        FROZEN(torch.ones(1, 2))
    Settings.width = 9
    OWN.width = 10
    yield {"loss": config["x"]}, 1


def closes_over() -> Callable[..., Any]:
    seen: list[float] = []

    def train(config: Any, state: Any) -> Iterator[Any]:
        seen.append(config["x"])
        yield {"loss": config["x"]}, 1

    return train


def changes_nothing(config: Any, state: Any) -> Iterator[Any]:
    FROZEN(torch.ones(1, 2))
    yield {"loss": config["x"] + CONF["momentum"] + len(HISTORY)}, 1


def reports(config: Any) -> None:
    HISTORY.append(1)
    report(1, loss=config["x"])


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"CONF": {"momentum": 0.0}, "CACHE": {}, "HISTORY": [], "LOADED": None, "BEST": None, "COUNT": 0}
    for name, value in values.items():
        monkeypatch.setitem(globals(), name, value)
    monkeypatch.setattr(Settings, "width", 8)
    monkeypatch.setattr(OWN, "width", 8)


def told(train: Any) -> list[str]:
    """What the second trial of a process is told, and that the third hears nothing again."""
    process = Inherited(FromFunction(train, metric="loss", mode="min", horizon=1))
    assert process.notices({"x": 0.5}) == []
    for _ in train({"x": 0.5}, None) if train is not reports else ():
        pass
    found = [notice.text for notice in process.notices({"x": 0.5})]
    assert process.notices({"x": 0.5}) == []
    return found


def test_what_a_trial_changes_is_told_and_caches_are_not() -> None:
    names = {text.split(" with ")[1].split(" as ")[0]: text for text in told(changes_much)}
    assert sorted(names) == sorted(
        ["CONF", "HISTORY", "COUNT", "BEST", "ARRAY", "WEIGHTS", "MODEL", "Settings.width", "OWN.width"]
    )
    assert "an earlier trial had left it, `{'momentum': 0.85}`: make it inside the training" in names["CONF"]
    assert "had left it: make it" in names["MODEL"]


def test_a_variable_of_the_function_around_it_is_told() -> None:
    (text,) = told(closes_over())
    assert "it began with seen as an earlier trial had left it, `[0.5]`" in text


def updates(config: Any, state: Any) -> Iterator[Any]:
    CONF.update(config)
    OWN.width = config["width"]
    yield {"loss": 1.0}, 1


def test_a_parameter_that_each_trial_sets_anew_is_told_only_to_a_trial_that_has_none() -> None:
    process = Inherited(FromFunction(updates, metric="loss", mode="min", horizon=1))
    list(updates({"width": 9, "momentum": 0.9}, None))
    assert process.notices({"width": 10, "momentum": 0.7}) == []
    (notice,) = process.notices({"width": 10})
    assert "it began with CONF" in notice.text


def test_nothing_is_told_of_a_trial_that_changes_nothing_or_has_its_own_process() -> None:
    assert told(changes_nothing) == []
    assert told(reports) == []


def test_a_function_that_was_sent_is_followed_into_its_own_globals() -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        LENGTHS.append(1)  # type: ignore[name-defined]  # noqa: F821
        yield {"loss": config["x"]}, 1

    made = {"__name__": "__main__", "LENGTHS": []}
    sent = cloudpickle.loads(cloudpickle.dumps(type(train)(train.__code__, made)))
    (text,) = told(sent)
    assert "LENGTHS" in text
    assert made["LENGTHS"] == []


def test_a_large_container_is_not_compared_and_one_that_grows_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "HISTORY", [0] * LARGEST)

    def grows(config: Any, state: Any) -> Iterator[Any]:
        HISTORY.append(1)
        CONF["all"] = [0] * 2 * LARGEST
        yield {"loss": config["x"]}, 1

    (text,) = told(grows)
    assert "CONF" in text


def test_a_simulated_sweep_tells_each_once_and_health_names_them(tmp_path: Path) -> None:
    def train(config: Any, state: Any) -> Iterator[Any]:
        CONF.update(y=config["x"])
        HISTORY.append(1)
        yield {"loss": config["x"]}, 1

    sweep = Sweep("leaks", train, Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=1, num_samples=4)
    run(sweep, tmp_path / "run", simulate=True, quiet=True)
    notices = [row["text"] for row in recorded(tmp_path / "run", "event") if "had left it" in row["text"]]
    assert [text.partition(" as ")[0] for text in notices] == [
        "trial 1: it began with CONF", "trial 1: it began with HISTORY",
    ]  # fmt: skip
    ledger = Ledger.read(tmp_path / "run")
    (finding,) = inherited(Recorded.of(ledger))
    ledger.close()
    assert finding.sentence == "Trials began with CONF and HISTORY as earlier trials had left them."
