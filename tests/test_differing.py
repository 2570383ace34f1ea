"""What a resume says has changed: the parts that differ, not two long texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.definition.differing import differing
from orchestrator.definition.identity import identity
from orchestrator.errors import ResumeRefused
from orchestrator.record.resume_check import make_ready
from tests.scripting import LINE, STARTS_OVER, script
from tests.support import simulated, small_sweep
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.script import Script

LONG = "python train.py --data /data/images --workers 4 --epochs 20 --amp --seed {seed} --momentum "


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("loss", "loss", []),
        (3, 5, [("it", "3", "5")]),
        ("Random()", "Grid(resolution=3)", [("it", "Random()", "Grid(resolution=3)")]),
        ("Tpe(a=1, b='x, y=2', c=[1, 2])", "Tpe(a=1, b='x, y=3', c=[1, 2])", [("it.b", "'x, y=2'", "'x, y=3'")]),
        ("A(inner=B(x=1, y=2), z=3)", "A(inner=B(x=1, y=4), z=5)", [("it.inner.y", "2", "4"), ("it.z", "3", "5")]),
        ("A(x=1)", "A(x=1, y='it\\'s, so')", [("it.y", "not set", "'it\\'s, so'")]),
        ("partial(f(), 1)", "partial(f(), 2)", [("it.2", "1", "2")]),
        ({"lr": "Float(low=0, high=1)", "n": 1}, {"lr": "Float(low=0, high=2)", "n": 1}, [("it.lr.high", "1", "2")]),
        (None, {"H100": 2}, [("it", "None", "{'H100': 2}")]),
        (
            LONG + "0.9",
            LONG + "0.5 --nesterov",
            [("it", "…{seed} --momentum 0.9", "…{seed} --momentum 0.5 --nesterov")],
        ),
    ],
)
def test_only_what_differs_is_told(before: object, after: object, expected: list[tuple[str, str, str]]) -> None:
    assert list(differing("it", before, after)) == expected


def test_two_scripts_differ_in_the_field_that_was_changed(tmp_path: Path) -> None:
    one, other = (Script("python t.py", metric="loss", mode="min", horizon=horizon) for horizon in (10, 20))
    assert list(differing("workload", identity(one), identity(other))) == [("workload.horizon", "10", "20")]


def test_a_refused_resume_names_the_field(tmp_path: Path) -> None:
    simulated(tmp_path, small_sweep(num_samples=1))
    with pytest.raises(ResumeRefused, match=r": started with workload\.horizon = 4, now 6\. The old results"):
        simulated(tmp_path, small_sweep(num_samples=1, workload=Quadratic(horizon=6)))


def test_a_start_afresh_shows_the_end_of_a_long_command_if_the_change_is_there(tmp_path: Path) -> None:
    broken = script(tmp_path, "raise SystemExit(3)" + STARTS_OVER.replace("{line}", LINE), flag="--{name}={value}")
    words = " --data=/data/images --workers=4 --momentum="
    for value in ("0.9", "0.5"):
        workload = Script(
            broken.command + words + value, metric="distance", mode="min", horizon=6, flag="--{name}={value}"
        )
        said = make_ready(small_sweep(workload=workload, num_samples=1), tmp_path / "run")
        simulated(tmp_path / "run", small_sweep(workload=workload, num_samples=1))
    assert "Changed: workload.command: …" in said
    assert "--momentum=0.9' → …" in said
    assert "--momentum=0.5'. That record" in said
