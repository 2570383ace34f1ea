"""Mirrors: what each tool reads of a run to which everything has happened. A tool that is not installed is skipped."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadInput, StorageError
from orchestrator.mirrors.contract import Mirror
from orchestrator.mirrors.feed import mirror_run
from orchestrator.mirrors.targets import TARGETS, target
from orchestrator.reading.summary import summary
from orchestrator.record.ledger import Ledger
from orchestrator.record.resume_check import set_aside
from tests import eventful, mirrored
from tests.mirrored import Seen
from tests.support import ROOT, small_sweep

Read = Callable[[Path, str], dict[int, Seen]]
BIGGEST = 1.7976931348623157e308  # MLflow's infinity


@pytest.fixture(
    params=[
        "tensorboard",
        pytest.param("mlflow", marks=pytest.mark.slow),  # makes its tables anew: seconds
        "wandb",
        "trackio",
    ],
    scope="module",
)
def tool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of a tool, the folder of its mirrors, and the function that reads them."""
    name = request.param
    if importlib.util.find_spec(name) is None:  # Trackio must not be imported before its folder is named
        pytest.skip(f"{name} is not installed: pip install {name}")
    return name, tmp_path_factory.mktemp(name), getattr(mirrored, name)


def begun(folder: Path) -> Ledger:
    ledger = Ledger.write(folder)
    eventful.begin(ledger)
    return ledger


def expected(name: str) -> dict[int, list[tuple[int, float]]]:
    def shown(value: float) -> float:
        if name != "mlflow":
            return value
        return BIGGEST if value == math.inf else value

    return {trial: [(step, shown(value)) for step, value in points.items()] for trial, points in eventful.STEPS.items()}


def check(name: str, found: dict[int, Seen]) -> None:
    """The mirror holds the finished run: nothing more, nothing twice."""
    assert {trial: str(seen.steps) for trial, seen in found.items()} == {
        trial: str(points)
        for trial, points in expected(name).items()  # as text: NaN is unlike itself
    }
    assert {trial for trial, seen in found.items() if seen.status == "failed"} == set(eventful.FAILED)
    assert {seen.status for seen in found.values()} == {"failed", "done"}
    assert {trial: seen.test for trial, seen in found.items() if seen.test is not None} == {6: 0.43}
    for trial, seen in found.items():
        text = json.dumps(seen.config)
        assert ("momentum" in seen.config) == (trial in (0, 2, 4, 6)), trial  # a conditional parameter
        assert float(seen.config["learning_rate"]) == (0.1 if "momentum" in seen.config else 0.01)
        assert eventful.TOKEN not in text


@pytest.mark.filterwarnings("ignore")  # of the tools
def test_a_mirror_holds_what_the_record_holds(tool: Any, tmp_path: Path) -> None:
    name, output, read = tool
    folder = eventful.whole(tmp_path / "at-once")
    feed = mirror_run(folder, target(name, output))
    assert feed.sent == set(range(8))
    check(name, read(output, "at-once"))
    assert not any(eventful.TOKEN.encode() in path.read_bytes() for path in output.rglob("*") if path.is_file())


@pytest.mark.filterwarnings("ignore")
def test_a_mirror_follows_a_run_and_doubles_nothing(tool: Any, tmp_path: Path) -> None:
    name, output, read = tool
    ledger = begun(tmp_path / "followed")
    mirror_run(ledger.folder, target(name, output))
    eventful.go_on(ledger)
    mirror_run(ledger.folder, target(name, output))
    found = read(output, "followed")
    assert [trial for trial, seen in found.items() if seen.status == "running"] == [7]
    assert found[5].status == "failed"  # resumed in between
    assert mirror_run(ledger.folder, target(name, output)).sent <= {7}
    eventful.finish(ledger)
    ledger.close()
    again = mirror_run(ledger.folder, target(name, output))
    assert again.sent == {7}
    check(name, read(output, "followed"))
    assert mirror_run(ledger.folder, target(name, output)).sent == set()


@pytest.mark.filterwarnings("ignore")
def test_a_kill_between_the_tools_disk_and_the_position_doubles_nothing(tool: Any, tmp_path: Path) -> None:
    name, output, read = tool
    ledger = begun(tmp_path / "killed")
    mirror_run(ledger.folder, target(name, output))
    (position,) = [path for path in output.glob(".mirrored-*.json") if '"killed"' in path.read_text()]
    old = position.read_bytes()
    eventful.go_on(ledger)
    mirror_run(ledger.folder, target(name, output))
    position.write_bytes(old)  # everything since is sent once more
    mirror_run(ledger.folder, target(name, output))
    eventful.finish(ledger)
    ledger.close()
    position.unlink()  # everything is
    mirror_run(ledger.folder, target(name, output))
    check(name, read(output, "killed"))


def test_a_mirror_goes_on_after_the_run_was_renamed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    ledger = begun(tmp_path / "before")
    mirror_run(ledger.folder, target("tensorboard", tmp_path / "out"))
    ledger.close()
    after = (tmp_path / "before").rename(tmp_path / "after")
    ledger = Ledger.write(after)
    eventful.go_on(ledger)
    eventful.finish(ledger)
    ledger.close()
    mirror_run(after, target("tensorboard", tmp_path / "out"))
    check("tensorboard", mirrored.tensorboard(tmp_path / "out", "before"))
    shutil.rmtree(after)
    other = begun(tmp_path / "before")  # another run of that name gets another place
    other.close()
    mirror_run(other.folder, target("tensorboard", tmp_path / "out"))
    check("tensorboard", mirrored.tensorboard(tmp_path / "out", "before"))
    assert len([path for path in (tmp_path / "out").iterdir() if path.is_dir()]) == 2


def test_a_half_written_record_of_tensorboard_is_written_again(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder, output = eventful.whole(tmp_path / "cut"), tmp_path / "out"
    mirror_run(folder, target("tensorboard", output))
    for path in output.rglob("events*"):
        os.truncate(path, path.stat().st_size - 11)
    for path in output.glob(".mirrored-*.json"):
        path.unlink()
    mirror_run(folder, target("tensorboard", output))
    check("tensorboard", mirrored.tensorboard(output, "cut"))


def test_the_mirror_of_records_that_are_lost_is_not_continued(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder, output = eventful.whole(tmp_path / "run"), tmp_path / "out"
    mirror_run(folder, target("tensorboard", output))
    (position,) = output.glob(".mirrored-*.json")
    data = json.loads(position.read_text())
    position.write_text(json.dumps(data | {"hash": "another"}))
    with pytest.raises(BadInput, match="does not hold any more"):
        mirror_run(folder, target("tensorboard", output))


def test_one_mirror_of_a_run_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    ledger, mirror = begun(tmp_path / "run"), target("tensorboard", tmp_path / "out")

    def meanwhile() -> bool:
        with pytest.raises(BadInput, match="another `orchestrator mirror`"):
            mirror_run(ledger.folder, target("tensorboard", tmp_path / "out"))
        return False

    assert mirror_run(ledger.folder, mirror, wait=meanwhile).sent == set(range(6))
    ledger.close()


def test_a_run_that_begins_afresh_is_not_taken_for_the_mirrored_one(tmp_path: Path) -> None:
    """While we follow it: a record that taught nothing is set aside, and its mirror with it."""
    pytest.importorskip("tensorboard")
    ledger = begun(tmp_path / "run")

    def meanwhile() -> bool:
        ledger.close()
        set_aside(tmp_path / "run")
        begun(tmp_path / "run").close()
        return True

    with pytest.raises(BadInput, match="begun afresh"):
        mirror_run(ledger.folder, target("tensorboard", tmp_path / "run" / "mirrors"), wait=meanwhile)
    mirror_run(tmp_path / "run", target("tensorboard", tmp_path / "run" / "mirrors"))
    assert set(mirrored.tensorboard(tmp_path / "run" / "mirrors", "run")) == set(range(6))


def cli(*arguments: str, cwd: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments], cwd=cwd, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_follow_goes_on_where_a_kill_left_it(tmp_path: Path) -> None:
    """The driver is this process. The first follower is killed at work; the second ends by itself with the run."""
    pytest.importorskip("tensorboard")
    ledger = begun(tmp_path / "runs" / "live")
    output = ledger.folder / "mirrors" / "tensorboard"
    follow = ("mirror", "live", "--to", "tensorboard", "--follow")
    first = cli(*follow, cwd=tmp_path)
    while not list(output.glob(".mirrored-*.json")):
        with contextlib.suppress(subprocess.TimeoutExpired):
            raise AssertionError(first.wait(timeout=0.05))
    first.kill()
    first.communicate()
    eventful.go_on(ledger)
    eventful.finish(ledger)
    ledger.close()
    second = cli(*follow, cwd=tmp_path)
    out, err = second.communicate()
    assert second.returncode == 0, err
    assert f"tensorboard --logdir {output}" in out
    check("tensorboard", mirrored.tensorboard(output, "live"))


def test_the_writer_never_waits_for_a_mirror(tmp_path: Path) -> None:
    """A tool that stands still in the middle of a trial: the driver writes on, and the mirror shows one moment."""
    ledger = begun(tmp_path / "run")
    seen: list[int] = []

    class Slow(Mirror):
        def start(self, run: Any) -> None:
            pass

        def begin(self, trial: Any) -> None:
            if not seen:
                eventful.go_on(ledger)
                ledger.copy()
            seen.append(trial.number)

        def log(self, trial: Any, steps: Any) -> None:
            pass

        def end(self, trial: Any) -> None:
            pass

        def finish(self, run: Any) -> None:
            pass

        def shown_by(self) -> str:
            return ""

    mirror_run(ledger.folder, Slow(tmp_path, ""))
    assert seen == [0, 1, 2, 3, 4, 5]
    ledger.close()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_a_tool_that_is_not_there_is_named_with_its_remedy(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(name) is not None:
        pytest.skip(f"{name} is installed")
    with pytest.raises(BadInput, match=f"pip install .*{name}"):
        target(name, tmp_path)


def test_wrong_targets_and_projects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Did you mean 'mlflow'"):
        target("mlfow", tmp_path)
    pytest.importorskip("tensorboard")
    with pytest.raises(BadInput, match="no projects"):
        target("tensorboard", tmp_path, "mine")


# optuna-dashboard


def get(address: str) -> Any:
    with urllib.request.urlopen(address) as answer:
        return json.loads(answer.read())


@pytest.mark.filterwarnings("ignore")  # of what the dashboard imports
def test_the_dashboard_shows_what_show_shows_and_writes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    from orchestrator.mirrors.dashboard import served

    ledger = begun(tmp_path / "live")
    with served(ledger.folder, 0) as address:
        page, study = address.partition("/dashboard")[0], address.replace("/dashboard", "/api")
        eventful.go_on(ledger)  # the driver writes while the dashboard is open
        records = ledger.last
        detail, facts = get(study), summary(ledger)
        states = [trial["state"] for trial in detail["trials"]]
        assert states == ["Complete", "Pruned", "Fail", "Fail", "Complete", "Fail", "Complete", "Running"]
        assert len(states) == sum(facts["trials"].values())
        assert (detail["best_trials"][0]["number"], detail["best_trials"][0]["values"]) == (
            facts["best"]["trial"], [facts["best"]["value"]],
        )  # fmt: skip
        assert (detail["directions"], detail["objective_names"]) == (["maximize"], ["loss"])
        assert [point["value"] for point in detail["trials"][2]["intermediate_values"]] == [0.2, "inf", "nan"]
        assert eventful.TOKEN not in json.dumps(detail)
        for method, place in (("PUT", f"{study}/note"), ("DELETE", study), ("POST", f"{page}/api/studies")):
            request = urllib.request.Request(place, b'{"body": "x", "version": 1}', method=method)
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(request)
        with pytest.raises(BadInput, match="--port"), served(ledger.folder, int(page.rpartition(":")[2])):
            pass
        eventful.finish(ledger)
        assert ledger.last == records + 5  # the last trial and the state: nobody else has written
    ledger.close()


@pytest.mark.slow
def test_the_dashboard_is_one_command_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    eventful.whole(tmp_path / "runs" / "done")
    process = cli("dashboard", "done", "--port", "0", cwd=tmp_path)
    assert process.stdout is not None
    address = re.search(r"http://127\.0\.0\.1:\S+", process.stdout.readline())
    assert address is not None
    assert len(get(address[0].replace("/dashboard", "/api"))["trials"]) == 8
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 0, err


def test_the_study_follows_the_record_and_refuses_changes(tmp_path: Path) -> None:
    from optuna.trial import TrialState

    from orchestrator.mirrors.study import STUDY, LedgerStudy

    ledger = begun(tmp_path / "run")
    study = LedgerStudy(ledger.folder)
    assert study.get_trial(6).state is TrialState.PRUNED
    with ledger.transaction():
        eventful.add(ledger, 5, eventful.Suggestion("resume", eventful.ADAM, 5))
    assert study.get_trial(6).state is TrialState.RUNNING
    whole = LedgerStudy(ledger.folder)
    assert repr(study.get_all_trials(STUDY)) == repr(whole.get_all_trials(STUDY))  # NaN is unlike itself
    with ledger.transaction():  # the space is narrowed: sgd is no choice any more
        space = eventful.Space({**eventful.SPACE.parameters, "optimizer": eventful.choice(["adam", None])})
        ledger.add_sweep(small_sweep(name="run", mode="max", space=space), "space", [])
    assert "optimizer" not in study.get_trial(1).params
    assert study.get_trial(2).params["optimizer"] == "adam"
    with pytest.raises(StorageError, match="its driver alone"):
        study.set_study_system_attr(STUDY, "note", "x")
    ledger.close()
