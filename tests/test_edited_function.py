"""A run continued after its function was edited, or with another function."""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from orchestrator import BadInput, Result, ResumeRefused, Space, Sweep, run, uniform
from orchestrator.errors import NotTheSame
from orchestrator.page.health.edited import edited as found_edits
from orchestrator.page.recorded import Recorded
from orchestrator.reading.codes import codes_of
from orchestrator.reading.trial_table import costed_rows
from orchestrator.record.ledger import Ledger

WITH_STATE = "def train(config, state):\n    yield {{'loss': config['x'] + {offset}}}, 1\n"


def sweep_of(train: Callable[..., Any]) -> Sweep:
    return Sweep("edited", train, Space({"x": uniform(0.0, 1.0)}), minimize="loss", steps=1, num_samples=2)


def written(text: str) -> Any:
    """The function `train` of a cell, which no file has."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(text, cell)
    return cell["train"]


def continued(train: Callable[..., Any], folder: Path, capfd: pytest.CaptureFixture[str], **changes: Any) -> str:
    run(sweep_of(train), folder, simulate=True, **changes)
    return " ".join(capfd.readouterr().err.split())


def test_a_finished_sweep_says_that_its_result_is_of_earlier_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = written(WITH_STATE.format(offset=0)), written(WITH_STATE.format(offset=100))
    assert "Nothing was left" not in continued(first, tmp_path / "mine", capfd)
    told = continued(first, tmp_path / "mine", capfd)
    assert "Nothing was left to do." in told
    assert "earlier" not in told
    for _ in range(2):  # the second time the code is no longer new, and the result is still of the first
        told = continued(second, tmp_path / "mine", capfd)
        assert "The result is of the code before train() was edited; another name starts a new sweep" in told
        assert "run(sweep, name='mine-2')" in told
    assert "Nothing was left" not in continued(second, tmp_path / "mine", capfd, num_samples=3)
    told = continued(second, tmp_path / "mine", capfd, num_samples=3)
    assert "before train() was edited" in told, "the best trial is of the first code"
    assert "was edited" not in continued(first, tmp_path / "mine", capfd, num_samples=3).split("Nothing was left")[1]
    assert Result(tmp_path / "mine").trials["code"].tolist() == [1, 1, 2]


def test_each_edit_is_told_with_its_values_and_the_trials_of_each_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for count, scale in ((3, 1), (5, 20), (6, 3), (7, 1)):
        continued(functools.partial(scaled, scale), tmp_path / "mine", capfd, num_samples=count)
        assert ("code" in Result(tmp_path / "mine").trials) == (count > 3)
    ledger = Ledger.read(tmp_path / "mine")
    (finding,) = found_edits(Recorded.of(ledger))
    best = Result(tmp_path / "mine")
    rows = costed_rows(ledger)
    ledger.close()
    assert [row["code"] for row in rows] == best.trials["code"].tolist() == [1, 1, 1, 2, 2, 3, 1]
    assert finding.sentence == "scale of scaled() was edited while the sweep was under way."
    assert finding.evidence.startswith(
        "scale of scaled(): 1 → 20 → 3 → 1. Code 1 trained 4 trials, code 2 trained 2 trials, code 3 trained 1 trial; "
        f"the best is of code {best.trials['code'][best.trial]}; the present code is code 1;"
    )


def test_a_code_is_compared_with_the_one_before_it_not_with_that_of_an_older_release() -> None:
    """The older one did not note the name."""
    files = [{}, {"k": {"sha256": "1", "text": "1"}}, {"k": {"sha256": "2", "text": "2"}}]
    sweeps = [{"seq": 10 * at, "description": {"files": each}} for at, each in enumerate(files)]
    rows = [{"seq": 10 * at + 1, "trial": at} for at in range(3)]
    reports = [{"seq": row["seq"] + 1, "trial": row["trial"]} for row in rows]
    codes = codes_of(sweeps, [], reports, rows)
    assert codes.trials == {0: [1], 1: [1], 2: [2]}
    assert codes.edits() == {"k": "k: 1 → 2"}


def test_a_replay_that_differs_names_the_edits(tmp_path: Path) -> None:
    result = run(sweep_of(functools.partial(scaled, 1.0)), tmp_path / "mine", simulate=True, quiet=True)
    with pytest.raises(NotTheSame, match=r"Edited since: scale of scaled\(\): 1.0 → 2.0\."):
        result.replay(sweep_of(functools.partial(scaled, 2.0)))


def train(config: Any) -> Iterator[Any]:
    yield {"loss": config["x"]}


def other(config: Any) -> Iterator[Any]:
    yield {"loss": config["x"]}


CASES = [
    (train, other, r"this run was made by train\(\), and this is other\(\). Give this sweep another name"),
    (train, lambda config: 1.0, "made by train.., and this is a <lambda>"),
    (train, functools.partial(other), r"and this is partial\(other\(\)\)"),
]


@pytest.mark.parametrize(("first", "second", "told"), CASES)
def test_another_function_is_named(first: Any, second: Any, told: str, tmp_path: Path) -> None:
    run(sweep_of(first), tmp_path / "run", simulate=True, quiet=True)
    with pytest.raises(ResumeRefused, match=told):
        run(sweep_of(second), tmp_path / "run", simulate=True, quiet=True)


def scaled(scale: Any, config: Any) -> Iterator[Any]:
    yield {"loss": scale * config["x"]}


def module_of(folder: Path, train: str) -> Callable[..., Any]:
    """The function that a script of this folder makes."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    text = f"train = {train}\n"
    (folder / "tune.py").write_text(text)
    linecache.checkcache()
    exec(compile(text, str(folder / "tune.py"), "exec"), cell)
    return cast("Callable[..., Any]", cell["train"])


def test_an_edited_lambda_continues(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    texts = ["lambda config: {'loss': config['x']}", "lambda config: {'loss': 2 * config['x']}"]
    continued(module_of(tmp_path, texts[0]), tmp_path / "mine", capfd)
    told = continued(module_of(tmp_path, texts[1]), tmp_path / "mine", capfd, num_samples=3)
    assert "Changed: num_samples: 2 → 3, <lambda>() was edited." in told


def test_another_argument_of_a_partial_continues(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    continued(functools.partial(scaled, 1.0), tmp_path / "mine", capfd)
    told = continued(functools.partial(scaled, 2.0), tmp_path / "mine", capfd, num_samples=3)
    assert "Changed: num_samples: 2 → 3, scale of scaled(): 1.0 → 2.0." in told


def test_a_notebooks_function_continues_as_a_script_also_after_an_edit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    continued(written(WITH_STATE.format(offset=0)), tmp_path / "mine", capfd)
    text = WITH_STATE.format(offset=100)
    (tmp_path / "tune.py").write_text(text)
    script: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, str(tmp_path / "tune.py"), "exec"), script)
    assert "train() was edited" in continued(script["train"], tmp_path / "mine", capfd, num_samples=3)


async def waits(config: Any) -> float:
    return 1.0


async def waits_and_yields(config: Any) -> Any:
    yield 1.0


class Waiting:
    async def __call__(self, config: Any) -> float:
        return 1.0


@pytest.mark.parametrize("function", [waits, waits_and_yields, Waiting(), functools.partial(waits)])
def test_an_async_function_is_refused(function: Any) -> None:
    with pytest.raises(BadInput, match="is async, and nothing awaits it; write def"):
        sweep_of(function)
