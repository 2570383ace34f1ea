"""Runs as things one keeps: list, tags and notes, rename, remove, share. Kills leave the old state or the new one."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from orchestrator import Result, Space, choice, launch, run
from orchestrator.commands import app
from orchestrator.errors import BadInput, RunInUse, StorageError
from orchestrator.reading.audit import audit
from orchestrator.reading.dry_run import print_plan
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.keeping import remove, rename
from orchestrator.reading.runs import glances, look
from orchestrator.reading.share import share
from orchestrator.record import remarks
from orchestrator.record.ledger import FILE, Ledger
from orchestrator.record.opening import lock_run
from orchestrator.record.remarks import Remarks, add_note, add_tags, moved_to
from orchestrator.record.schema import STATE
from orchestrator.record.storage import find_run
from search.records import BASELINE, FINALIST, start
from tests import eventful
from tests.pages import BASE, add_trial, made_up
from tests.support import ROOT, recorded, sequence, simulated, small_sweep
from tests.told import Told, tell
from trainables.workloads.callable import FromFunction
from trainables.workloads.quadratic import Quadratic
from trainables.workloads.script import Script

NOBODY = 65534
LOOKING = ("list", "status old", "show old", "logs new 1", "tag new +good", "show new", "export new")
SECRET = "hf_0123456789abcdef"


def command(*arguments: str, answer: str = "", width: int = 120) -> tuple[int, str]:
    """The `orchestrator` command in this process: its exit code, and what it prints."""
    done = CliRunner().invoke(app, list(arguments), input=answer, env={"COLUMNS": str(width)})
    return done.exit_code, done.output


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two finished runs, `old` before `new`."""
    folder = tmp_path_factory.mktemp("two") / "runs"
    for name in ("old", "new"):
        simulated(folder / name, small_sweep(name=name, num_samples=2))
        ledger = Ledger.write(folder / name)
        with ledger.transaction():
            ledger.add_event(STATE, "finished")
        ledger.close()
    return folder


@pytest.fixture
def runs(two: Path, tmp_path: Path) -> Path:
    """A copy of them for one test."""
    return Path(shutil.copytree(two, tmp_path / "runs"))


# List


def test_runs_are_listed_with_the_newest_first(runs: Path) -> None:
    add_tags(runs / "old", ["good", "crop"])
    add_note(runs / "old", "after fixing the crop")
    code, text = command("list", "--runs", str(runs))
    lines = text.splitlines()
    assert (code, [line.split()[0] for line in lines]) == (0, ["run", "new", "old", "old:"])
    assert lines[0].split() == ["run", "state", "trials", "failed", "metric", "best", "cost", "last", "size", "tags"]
    assert "finished" in lines[1]
    assert lines[2].endswith("good crop")
    assert lines[3] == "old: after fixing the crop"
    code, text = command("list", "--runs", str(runs), "--json")
    new, old = json.loads(text)
    assert (old["name"], old["tags"], old["note"]) == ("old", ["good", "crop"], "after fixing the crop")
    assert new["trials"] == {"completed": 2}
    assert datetime.fromisoformat(new["began"]) <= datetime.fromisoformat(new["last"]) < datetime.now(timezone.utc)
    files = [path for path in (runs / "new").rglob("*") if path.is_file()]
    assert look(runs / "new").bytes == sum(path.stat().st_size for path in files)
    assert json.loads(command("list", "--runs", str(runs), "--tag", "good", "--json")[1])[0]["name"] == "old"
    assert command("list", "--runs", str(runs), "--tag", "bad")[1].strip() == f"no runs in {runs} with the tag bad"


def test_a_list_counts_diverged_trials_apart_as_show_does(runs: Path) -> None:
    eventful.whole(runs / "eventful")
    lines = command("list", "--runs", str(runs), width=200)[1].splitlines()
    names = lines[0].split()
    assert names[2:5] == ["trials", "failed", "diverged"]
    assert "eventful: diverged 1 ×: loss is nan; and 2 other causes" in lines
    row = next(line.split() for line in lines if line.startswith("eventful"))
    counts = json.loads(command("show", "eventful", "--runs", str(runs), "--json")[1])["trials"]
    assert [int(row[names.index(name)]) for name in ("failed", "diverged")] == [counts["failed"], counts["diverged"]]


def test_a_folder_that_is_not_there_is_no_empty_list(tmp_path: Path) -> None:
    for more in ((), ("--json",)):
        code, text = command("list", "--runs", str(tmp_path / "rnus"), *more)
        assert (code, "rnus: there is no such folder" in text) == (2, True)


def test_the_status_as_json_is_an_entry_of_the_list(runs: Path) -> None:
    eventful.whole(runs / "eventful")
    command("list", "--runs", str(runs))  # SQLite's own files beside each ledger are there from now on
    listed = json.loads(command("list", "--runs", str(runs), "--json")[1])
    for each in listed:
        code, text = command("status", each["name"], "--runs", str(runs), "--json")
        assert (code, json.loads(text)) == (0, each)
    assert {failure["status"] for each in listed for failure in each["failures"]} == {"failed", "diverged"}


@pytest.mark.parametrize(
    ("word", "hint"), [("retry", "with --retry-failed"), ("resume", "run the command that started the sweep again")]
)
def test_a_word_that_is_no_command_gets_a_hint(word: str, hint: str) -> None:
    code, text = command(word, "mine", width=300)
    assert (code, f"No such command '{word}'" in text, hint in " ".join(text.split())) == (2, True, True)


@pytest.mark.parametrize("width", [200, 80, 40, 20])
def test_a_list_fits_the_screen(runs: Path, width: int) -> None:
    lines = command("list", "--runs", str(runs), width=width)[1].splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["run", "new", "old"]
    assert max(map(len, lines)) <= width
    left_out = " ".join(" ".join(lines[3:]).split())
    assert bool(left_out) == (width < 80)
    if left_out:
        columns = int(re.search(r"No room for .*size, tags: COLUMNS=(\d+) before", left_out)[1])  # type: ignore[index]
        assert "No room" not in command("list", "--runs", str(runs), width=columns)[1]
        assert "No room" in command("list", "--runs", str(runs), width=columns - 1)[1]


def with_gain(folder: Path, best: float, *fresh: float, **changes: Any) -> None:
    base = {"learning_rate": 0.1, "momentum": 0.0, "batch_size": 8}
    good = base | {"momentum": 0.5}
    trials = [Told(base, [1.0], origin=BASELINE), Told(good, [best])]
    trials += [Told(good, [loss], origin=FINALIST) for loss in fresh]
    tell(folder, trials, small_sweep(name=folder.name, workload=Quadratic(horizon=1), baseline=base, **changes))


def test_a_list_shows_the_gain_over_the_baseline_and_its_doubt(tmp_path: Path) -> None:
    with_gain(tmp_path / "sure", 0.4, 0.5, 0.501, 0.499, 0.5)
    with_gain(tmp_path / "new", 0.4)
    with_gain(tmp_path / "worse", 2.0, 2.0)
    code, text = command("list", "--runs", str(tmp_path))
    rows = {line.split()[0]: line for line in text.splitlines()}
    assert (code, " gain " in rows["run"]) == (0, True)
    assert re.search(r" 0\.5 +4 ", rows["sure"])
    assert re.search(r" 0\.6 \?  ", rows["new"])
    assert rows["?"].startswith("? a gain that is not confirmed on fresh seeds")
    facts = {each["name"]: each for each in json.loads(command("list", "--runs", str(tmp_path), "--json")[1])}
    assert (facts["new"]["baseline"], facts["new"]["gain"]) == (1.0, pytest.approx(0.6))
    assert facts["new"]["certainty"] == "not confirmed on fresh seeds"
    assert facts["sure"]["certainty"] == "more than the noise between seeds explains"
    assert facts["worse"]["gain"] is None, "the baseline is the best"


def test_a_list_of_different_metrics_names_them_beside_their_values(tmp_path: Path) -> None:
    """Accuracies and losses stood in one column without a name."""
    with_gain(tmp_path / "loss", 0.4)
    assert "metric" not in command("list", "--runs", str(tmp_path), width=60)[1].splitlines()[0]
    space = Space({"learning_rate": choice([0.1, 0.2])})
    training = FromFunction(_accurate, metric="accuracy", mode="max", horizon=1)
    other = small_sweep(name="accuracy", space=space, workload=training)
    tell(tmp_path / "accuracy", [Told({"learning_rate": 0.1}, [0.4])], other)
    assert "metric" in command("list", "--runs", str(tmp_path), width=60)[1].splitlines()[0]


def _accurate(config: Mapping[str, Any], state: Any) -> Iterator[Mapping[str, float]]:
    yield {"accuracy": config["learning_rate"]}


def test_a_list_in_a_pipe_has_all_columns(runs: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "orchestrator", "list", "--runs", str(runs)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    header = done.stdout.splitlines()[0].split()
    assert header == ["run", "state", "trials", "failed", "metric", "best", "cost", "last", "size", "tags"]


def test_a_run_that_cannot_be_read_does_not_hide_the_others(runs: Path) -> None:
    (runs / "old" / FILE).write_bytes(b"no ledger at all" * 100)
    found = glances(runs)
    assert [(each.folder.name, each.state) for each in found] == [("new", "finished"), ("old", "unreadable")]
    code, text = command("list", "--runs", str(runs))
    assert code == 0
    assert "old: " in text
    assert command("rm", "old", "--runs", str(runs), "--yes")[0] == 0  # it can be removed all the same


@contextmanager
def without_rights() -> Iterator[None]:
    """Within this block, root is nobody; whoever is not root stays so."""
    was = os.getuid()
    if was == 0:
        os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        if was == 0:
            os.setresuid(0, 0, 0)


def test_what_one_may_not_read_is_named_with_the_remedy_and_the_rest_is_shown(two: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="runs-") as public:  # nobody may look into pytest's folders
        runs = Path(shutil.copytree(two, Path(public) / "runs"))
        Path(public).chmod(0o755)
        private, checkpoints = runs / "old", runs / "new" / "trials" / "00001" / "checkpoints"
        (runs / "new").chmod(0o755)
        (runs / "new" / "trials" / "00001" / "log.txt").touch(0o000)
        for path in (private, checkpoints):
            path.chmod(0o000)
        with without_rights():
            found = {doing: command(*doing.split(), "--runs", str(runs)) for doing in LOOKING}
        for path in (private, checkpoints):
            path.chmod(0o700)
    refused = r"ledger\.db: you may not read it\. Ask its owner for a report .*chmod -R g\+rX"
    assert re.search(rf"old *unreadable.*\nold: .*{refused}", found["list"][1], re.DOTALL)
    assert [code for code, _ in found.values()] == [0, 7, 7, 7, 7, 0, 0]
    assert re.search(rf"error: \S*old/{refused}", found["status old"][1])
    assert re.search(r"error: \S*log\.txt: you may not", found["logs new 1"][1])
    remark = r"remarks\.jsonl: cannot be written: Permission denied\. Get write permission"
    assert re.search(remark, found["tag new +good"][1])
    assert "Best configuration" in found["show new"][1]
    assert "config:" in found["export new"][1]
    assert re.search(r"Checkpoint   none: that of step \d+ may not be read \(trials/", found["show new"][1])
    assert "checkpoint:" not in found["export new"][1]


# Tags and notes


def test_the_latest_remark_counts_and_none_is_lost(tmp_path: Path) -> None:
    folder = eventful.whole(tmp_path / "run")
    add_tags(folder, ["good", "crop"])
    add_tags(folder, ["good"], ["crop"])
    add_note(folder, "first")
    add_note(folder, "second")
    assert (Remarks.of(folder).tags, Remarks.of(folder).note) == (("good",), "second")
    assert len((folder / remarks.FILE).read_text().splitlines()) == 4
    add_note(folder, "")
    assert Remarks.of(folder).note == ""


def test_a_remark_is_made_on_a_run_that_is_being_driven(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path / "run")
    eventful.begin(ledger)
    last = ledger.last
    assert command("tag", "run", "+good", "-bad", "--note", "so far so good", "--runs", str(tmp_path)) == (
        0, "run: good; so far so good\n",
    )  # fmt: skip
    eventful.go_on(ledger)
    ledger.close()
    Ledger.read(tmp_path / "run").close()  # the chain is whole
    assert recorded(tmp_path / "run", "suggestion")[6]["seq"] == last + 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["good"], "write +good to add it"), (["+two words"], "letters, digits"), (["+"], "letters, digits")],
)
def test_what_is_no_tag_is_refused(tmp_path: Path, words: list[str], hint: str) -> None:
    eventful.whole(tmp_path / "run")
    code, text = command("tag", "run", *words, "--runs", str(tmp_path))
    assert (code, hint in text) == (2, True)
    assert Remarks.of(tmp_path / "run") == Remarks()


def test_secrets_are_masked_in_remarks(tmp_path: Path) -> None:
    folder = eventful.whole(tmp_path / "run")
    add_note(folder, f"with --token={SECRET}")
    add_tags(folder, [SECRET])
    assert SECRET not in (folder / remarks.FILE).read_text()


def test_a_line_that_a_kill_has_cut_costs_itself_alone(tmp_path: Path) -> None:
    folder = eventful.whole(tmp_path / "run")
    add_tags(folder, ["good"])
    with (folder / remarks.FILE).open("a") as file:
        file.write('{"time": "2026-01-01", "no')
    add_note(folder, "whole")
    assert (Remarks.of(folder).tags, Remarks.of(folder).note) == (("good",), "whole")


def test_remarks_are_not_written_through_a_link(tmp_path: Path) -> None:
    folder = eventful.whole(tmp_path / "run")
    (tmp_path / "other").write_text("")
    (folder / remarks.FILE).symlink_to(tmp_path / "other")
    assert command("tag", "run", "+good", "--runs", str(tmp_path))[0] == 7
    assert (tmp_path / "other").read_text() == ""


def test_run_takes_a_note_and_tags_and_the_same_call_does_not_undo_later_ones(tmp_path: Path) -> None:
    def call() -> Result:
        return run(small_sweep(num_samples=2), runs=tmp_path, simulate=True, quiet=True, note="crop", tags=["a", "b"])

    call()
    folder = tmp_path / "small"
    assert (Remarks.of(folder).note, Remarks.of(folder).tags) == ("crop", ("a", "b"))
    before = sequence(folder)
    add_note(folder, "better")
    add_tags(folder, [], ["a"])
    call()
    assert (Remarks.of(folder).note, Remarks.of(folder).tags) == ("better", ("b",))
    assert sequence(folder) == before
    with pytest.raises(BadInput, match="tag 'not this'"):
        run(small_sweep(name="other"), runs=tmp_path, simulate=True, tags=["not this"])
    assert not (tmp_path / "other").exists()


def test_the_second_of_two_starts_in_the_same_second_is_told_that_the_run_is_in_use(tmp_path: Path) -> None:
    """It was told that the ledger is still being created, with the exit code of a broken disk."""
    folder = tmp_path / "small"
    folder.mkdir()
    lock = lock_run(folder)
    (folder / FILE).touch()  # as SQLite makes it, before its tables
    with pytest.raises(RunInUse, match="in use by another driver"):
        run(small_sweep(), runs=tmp_path, simulate=True, quiet=True)
    lock.release()
    with pytest.raises(StorageError, match="still being created"):
        run(small_sweep(), runs=tmp_path, simulate=True, quiet=True)


# Rename


def test_a_renamed_run_is_continued_under_its_new_name(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rename(runs / "old", "better")
    more = small_sweep(name="better", num_samples=4)
    run(more, runs=runs, simulate=True, quiet=True)
    assert len(recorded(runs / "better", "suggestion")) == 4
    assert "name: old → better" in recorded(runs / "better", "sweep")[-1]["change"]
    assert reading(runs / "better", lambda ledger: audit(more, ledger)).differences == ()
    capsys.readouterr()
    print_plan(small_sweep(name="old", num_samples=1), runs / "old")
    assert "was renamed to better; a start makes a new run. To continue that one, use --name better." in (
        " ".join(capsys.readouterr().out.split())
    )
    run(small_sweep(name="old", num_samples=1), runs=runs, simulate=True)  # the old name: a new run, with a word
    said = capsys.readouterr().err
    assert f"{runs / 'old'} was renamed to better; this is a new run." in said
    assert "--name better" in said
    run(small_sweep(name="old", num_samples=1), runs=runs, simulate=True)
    assert "was renamed" not in capsys.readouterr().err


def test_a_run_renamed_twice_is_found_by_its_first_name(runs: Path) -> None:
    rename(rename(runs / "old", "second"), "third")
    assert moved_to(runs / "old") == runs / "third"
    assert moved_to(runs / "nothing") is None


@pytest.mark.parametrize(
    ("name", "error"),
    [("new", "exists already"), ("../x", "use letters"), ("a/b", "use letters"), (".x", "use letters")],
)
def test_a_name_that_is_taken_or_none_is_refused(runs: Path, name: str, error: str) -> None:
    with pytest.raises(BadInput, match=error):
        rename(runs / "old", name)
    assert Remarks.of(runs / "old") == Remarks()
    assert sorted(path.name for path in runs.iterdir()) == ["new", "old"]


# Remove


def test_rm_asks_and_removes_all_that_it_names(runs: Path) -> None:
    code, text = command("rm", "old", "new", "--runs", str(runs), answer="n\n")
    assert code == 1
    assert f"{runs / 'old'}: finished, 2 trials, " in text
    assert "Remove these 2 runs for good?" in text
    assert sorted(path.name for path in runs.iterdir()) == ["new", "old"]
    assert command("rm", "old", str(runs / "new"), "--runs", str(runs), answer="y\n")[0] == 0
    assert list(runs.iterdir()) == []


def test_rm_without_a_terminal_names_the_flag_that_does_not_ask(runs: Path) -> None:
    code, text = command("rm", "old", "--runs", str(runs))
    assert (code, "add --yes to do it without a question" in text) == (2, True)
    assert (runs / "old").is_dir()


def test_a_running_run_is_neither_removed_nor_renamed(runs: Path) -> None:
    ledger = Ledger.write(runs / "old")
    for words in (("rm", "--yes", "new", "old"), ("rename", "old", "other")):
        code, text = command(*words, "--runs", str(runs))
        assert (code, "a driver works on it" in text) == (5, True)
    ledger.close()
    assert sorted(path.name for path in runs.iterdir()) == ["new", "old"]  # not the one beside it, either


def test_a_run_that_another_machine_drives_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "node7")
        ledger = Ledger.write(tmp_path / "far")
        eventful.begin(ledger)
        ledger.close()
    with pytest.raises(RunInUse, match="a driver on node7 works on it, last heard 20"):
        remove(tmp_path / "far")


def test_links_are_neither_followed_nor_removed(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").write_text("data")
    (runs / "old" / "data").symlink_to(elsewhere)
    (runs / "link").symlink_to(runs / "new")
    for words in (("rm", "--yes", "link"), ("rm", "--yes", str(runs / "link")), ("rename", "link", "other")):
        code, text = command(*words, "--runs", str(runs))
        assert (code, "is a link to" in text) == (2, True)
    remove(runs / "old")
    assert (elsewhere / "precious").read_text() == "data"
    assert (runs / "new" / FILE).exists()


@pytest.mark.parametrize("what", ["nothing", "folder", "other database"])
def test_what_is_no_run_is_not_removed(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "thing"
    if what != "nothing":
        folder.mkdir()
    if what == "other database":
        with contextlib.closing(sqlite3.connect(folder / FILE)) as connection:
            connection.execute("CREATE TABLE t (x)")
    code, text = command("rm", "--yes", str(folder), "--runs", str(tmp_path))
    assert code == (7 if what == "other database" else 2), text
    assert folder.exists() == (what != "nothing")


KILLED = """
import os, signal, sys
from pathlib import Path
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.keeping import remove, rename
left = int(sys.argv[3])
def count(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir", "open") and "old" in str(arguments[0]):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
folder = Path(sys.argv[2])
remove(folder) if sys.argv[1] == "rm" else rename(folder, "renamed")
"""


@pytest.mark.parametrize("doing", ["rm", "rename"])
def test_a_kill_leaves_the_old_state_or_the_new_one(runs: Path, doing: str) -> None:
    """Killed before each of its steps on the disk in turn, until it gets through."""
    kept = runs.parent / f"{runs.name}-kept"
    shutil.copytree(runs / "old", kept)
    before, killed, codes = sequence(kept), 0, []
    while not codes or codes[-1] == -signal.SIGKILL:
        for path in (runs / "old", runs / "renamed"):
            shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(kept, runs / "old")
        codes.append(_forked(KILLED, doing, str(runs / "old"), str(killed)))
        killed += 1 if killed < 8 else 16
        listed = {each.folder.name: each.state for each in glances(runs)}
        assert listed.pop("new") == "finished"
        names = set(listed)
        assert names in ({"old"}, {"renamed"} if doing == "rename" else set()), names
        for name in names:
            assert sequence(runs / name) == before
            assert moved_to(runs / "old") == (runs / "renamed" if name == "renamed" else None)
    assert codes[-1] == 0
    assert len(codes) > 4
    assert {path.name for path in runs.iterdir()} == ({"new", "renamed"} if doing == "rename" else {"new"})


def _forked(code: str, *arguments: str) -> int:
    """Run Python code in a fork of this process; returns its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        sys.argv[1:] = list(arguments)
        try:
            exec(compile(code, "killed", "exec"), {})
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Share


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints, and with a secret among its parameters."""
    folder = tmp_path_factory.mktemp("trained") / "mine"
    space = Space({**small_sweep().space.parameters, "api_key": choice([SECRET])})
    simulated(folder, small_sweep(name="mine", num_samples=2, space=space))
    add_note(folder, "for you")
    return folder


def reading(folder: Path, act: Callable[[Ledger], Any]) -> Any:
    ledger = Ledger.read(folder)
    try:
        return act(ledger)
    finally:
        ledger.close()


def test_a_shared_folder_holds_record_report_and_best_checkpoint_and_can_be_read(trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text = command("export", str(trained), "--share", "--output", str(out))
    assert code == 0, text
    result, mine = Result(out), Result(trained)
    assert (result.config, result.value, result.trial) == (mine.config, mine.value, mine.trial)
    assert mine.checkpoint is not None
    place = mine.checkpoint.relative_to(trained)
    assert result.checkpoint == out / place
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    report = {name for name in found if name.startswith("report")}
    assert report
    assert found - report == {FILE, remarks.FILE} | {str(place / path.name) for path in mine.checkpoint.iterdir()}
    assert sequence(out) == sequence(trained)
    assert Remarks.of(out).note == "for you"
    assert not any(SECRET.encode() in path.read_bytes() for path in out.rglob("*") if path.is_file())
    code, text = command("export", str(trained), "--share", "--output", str(out))
    assert (code, "exists already" in text) == (2, True)


def test_a_trial_without_an_end_waits_for_its_resume_unless_the_run_is_running(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "run", trials=2, state="")
    with ledger.transaction():
        add_trial(ledger, 2, BASE, 4, outcome=None)
        ledger.add_lost(2, 2, "killed")
    text = command("status", str(tmp_path / "run"))[1]
    assert "; 1 running, 2 completed;" in text
    assert "  lost: trial 2 lost its worker at step 2: killed\n" in text  # no retry: the last loss ends a trial
    with ledger.transaction():
        ledger.add_event(STATE, "interrupted")
    ledger.close()
    for name in ("status", "show"):
        code, text = command(name, str(tmp_path / "run"))
        assert (code, "1 to resume, 2 completed" in text, "1 running" in text) == (0, True, False)


def test_a_checkpoint_with_a_secret_or_a_link_stays_at_home(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(trained, folder)
    best = Result(folder).checkpoint
    assert best is not None
    (best / "latest").symlink_to(trained)
    shared = reading(folder, lambda ledger: share(ledger, tmp_path / "a", {}))
    assert shared.left_out == [f"{best / 'latest'}: a link"]
    (best / "args.json").write_text(json.dumps({"login": SECRET}))
    shared = reading(folder, lambda ledger: share(ledger, tmp_path / "b", {}))
    assert shared.left_out == [
        f"the checkpoint of trial {Result(folder).trial}: {best / 'args.json'} seems to hold a secret"
    ]
    assert shared.files == [FILE, remarks.FILE]
    (best / "args.json").write_text('{"api_key": "abc"}')  # no secret by its look: its name is one on record
    shared = reading(folder, lambda ledger: share(ledger, tmp_path / "c", {}))
    assert shared.files == [FILE, remarks.FILE]


def test_the_folder_of_a_script_is_shared_and_exported_as_its_checkpoint(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        script = Script("python train.py", metric="loss", mode="min", horizon=1)
        ledger.add_sweep(small_sweep(workload=script, metric="loss", mode="min", baseline=None), "", [])
        ledger.add_suggestion(0, start(BASE), seed=0)
        ledger.add_report(0, 1, 0.5, 1.0, {"loss": 0.5})
    ledger.close()
    own = tmp_path / "run" / "trials" / "00000" / "checkpoints" / "script"
    (own / ".reports").mkdir(parents=True)
    (own / ".reports" / "stdout.txt").write_text(SECRET)
    assert "checkpoint:" not in reading(tmp_path / "run", best_as_yaml)
    shared = reading(tmp_path / "run", lambda ledger: share(ledger, tmp_path / "none", {}))
    assert shared.left_out == ["a checkpoint: trial 0, the best, has none"]
    (own / "last.pt").write_bytes(b"weights")
    assert f"checkpoint: {own}" in reading(tmp_path / "run", best_as_yaml)
    shared = reading(tmp_path / "run", lambda ledger: share(ledger, tmp_path / "out", {}))
    assert (shared.files, shared.left_out) == ([FILE, "trials/00000/checkpoints/script/last.pt"], [])
    for place, copy in (
        (own / "last.pt", own.relative_to(tmp_path / "run") / "last.pt"),
        (tmp_path / "else.pt", "checkpoint/else.pt"),
    ):
        place.write_bytes(b"weights")
        (own / ".reports" / "reports.jsonl").write_text(json.dumps({"step": 1, "checkpoint": str(place)}))
        out = tmp_path / f"out-{place.stem}"
        reading(tmp_path / "run", lambda ledger, out=out: share(ledger, out, {}))
        found = re.search(r"checkpoint: (.*)", reading(out, best_as_yaml))
        assert found
        assert Path(found[1]).resolve() == out / copy


def test_a_run_without_a_result_is_shared_without_a_checkpoint(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_sweep(small_sweep(), "", [])
    ledger.close()
    shared = reading(tmp_path / "run", lambda each: share(each, tmp_path / "out", {"report.txt": b"none"}))
    assert (shared.files, shared.left_out) == ([FILE, "report.txt"], ["a checkpoint: no trial has reported yet"])


def test_find_run_takes_names_and_paths(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    assert find_run("old", Path()) == find_run("./old/", Path("/nowhere")) == runs / "old"
    assert Result("old").folder == Result(runs / "old", runs="/nowhere").folder == runs / "old"
    assert Result("old", runs=runs).state == "finished"
    places = f"no {FILE} in {runs / 'runs' / 'odd'}, nor in {runs / 'odd'}"
    for find in (lambda: find_run("odd", "runs"), lambda: Result("odd")):
        with pytest.raises(BadInput, match=f"^no run 'odd': {re.escape(places)}\\.$"):
            find()
    with pytest.raises(BadInput, match="Did you mean 'old'"):
        find_run("odd", runs)


def test_launch_notes_what_note_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["tune.py", "--simulate", "--runs", str(tmp_path), "--note", "after fixing the crop"]
    )
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))  # launch replaces them for good
    for name in ("small", "another"):  # a program may launch several
        launch(small_sweep(name=name, num_samples=1))
    assert Remarks.of(tmp_path / "another").note == "after fixing the crop"
    assert Remarks.of(tmp_path / "small").note == "after fixing the crop"


def test_whole_numbers_that_some_trials_lack_stay_whole(tmp_path: Path) -> None:
    configs = [{"x": 0.5, "depth": 3, "fast": True}, {"x": 1.5}, {"x": 1.0, "depth": 2**40, "fast": False}]
    result = Result(tell(tmp_path / "run", [Told(config, [0.5]) for config in configs]))
    found = result.trials
    assert [str(found[f"config.{name}"].dtype) for name in configs[0]] == ["float64", "Int64", "boolean"]
    assert found["config.depth"].dropna().tolist() == [3, 2**40]
    assert [result.config_of(number) for number in range(3)] == configs
    assert type(result.config_of(0)["depth"]) is int
    with pytest.raises(BadInput, match=r"config_of\(9\): there is no such trial; see result\.trials\.index"):
        result.config_of(9)
