"""The page of a run: what it says, what its figures show, the formats, and how it is served."""

from __future__ import annotations

import io
import json
import math
import re
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from orchestrator import Result
from orchestrator.console.own_commands import by_name, orchestrator_line
from orchestrator.console.typed_command import recorded_line
from orchestrator.driving.time_spent import OUT_OF_TIME, SPENT
from orchestrator.errors import BadInput
from orchestrator.page.analysis.influence import influences_in
from orchestrator.page.charts import Axis, Chart, Images, Parallel, Section, Series, Surface, Table
from orchestrator.page.compared.groups import Group, compare
from orchestrator.page.document import Document, answer_lines, document
from orchestrator.page.files import FORMATS, write
from orchestrator.page.html import html, state
from orchestrator.page.markdown import markdown
from orchestrator.page.page import page
from orchestrator.page.palette import DARK, LIGHT, palettes
from orchestrator.page.plotly_charts import drawn
from orchestrator.page.recorded import Recorded
from orchestrator.page.sections import ORDER, Maker, makers
from orchestrator.page.sections.progress import FEWEST, band_of, race_of
from orchestrator.page.thin import MOST_LINES, MOST_POINTS, MOST_ROWS, thinned
from orchestrator.page.watch import PAUSE, Gone, Newest, Server
from orchestrator.reading.export import best_as_yaml
from orchestrator.reading.out_of_time import out_of_time_words
from orchestrator.reading.printed_summary import print_summary
from orchestrator.reading.runs import look
from orchestrator.reading.summary import glance, summary
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import STATE
from search.records import BASELINE, FINALIST, Status, start
from search.space import Space, uniform
from search.task import Task
from tests.pages import BASE, add_trial, climbing, made_up
from tests.records_on_disk import sweep_over, trained, written
from tests.support import orchestrator, small_sweep
from trainables.workloads.script import Script


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    """A finished run with a baseline, failures and confirmed finalists; tests only read it."""
    ledger = made_up(tmp_path_factory.mktemp("runs") / "made", trials=24, finalists=3)
    yield ledger
    ledger.close()


def only(*names: str) -> list[tuple[str, Maker]]:
    """Some parts of the page."""
    return [(name, maker) for name, maker in makers() if name in names]


def part(name: str, facts: Recorded) -> Section:
    (found,) = page(facts, strict=True, parts=only(name))
    return found


def answers(ledger: Ledger) -> dict[str, str]:
    return dict(answer_lines(document(ledger, strict=True, parts=only("answer"))))


def chart(section: Section, title: str) -> Chart:
    (found,) = [figure for figure in section.figures if figure.title == title]
    assert isinstance(found, Chart)
    return found


def series(of: Chart, name: str) -> Series:
    (found,) = [each for each in of.series if each.name.startswith(name)]
    return found


# The page


def test_every_section_has_its_place_in_the_order_of_the_page(run: Ledger) -> None:
    names = [name for name, _ in makers()]
    assert names == [name for name in ORDER if name in names]
    sections = page(Recorded.of(run), strict=True)
    assert [section.key for section in sections][:1] == ["answer"]
    assert {"answer", "progress"} <= {section.key for section in sections}


def test_a_section_that_fails_costs_only_itself_and_says_why(run: Ledger) -> None:
    def broken(run: Recorded) -> Section | None:
        raise ZeroDivisionError("division by zero")

    def empty(run: Recorded) -> Section | None:
        return Section("empty", "Empty", ["One sentence."], [Table("nothing", ("a",), [])])

    parts = [("task_cost", broken), ("nothing", lambda run: None), ("empty", empty)]
    first, second = page(Recorded.of(run), parts=parts)
    assert (first.key, first.title) == ("task_cost", "Task cost")
    assert first.sentences == ["This part could not be made: ZeroDivisionError: division by zero"]
    assert (second.key, list(second.figures)) == ("empty", [])
    with pytest.raises(ZeroDivisionError):
        page(Recorded.of(run), strict=True, parts=parts)


# The answer


def test_the_answer_of_a_confirmed_run(run: Ledger) -> None:
    told = answers(run)
    assert list(told) == [
        "What won", "By how much", "On what evidence", "What mattered", "What it cost", "What next",
    ]  # fmt: skip
    facts = Recorded.of(run)
    assert facts.best is not None
    assert facts.baseline is not None
    assert told["What won"].startswith(
        f"Trial {facts.best.number}: loss {facts.best.loss:.4g} (mean of 3 fresh seeds). batch"
    )
    assert f": better by {facts.baseline.loss - facts.best.loss:.4g}" in told["By how much"]
    assert told["On what evidence"].startswith("Confirmed on 3 fresh seeds: ")
    assert "Noise between seeds: 0.01 " in told["On what evidence"]
    assert "more than the noise between seeds explains" in told["On what evidence"]
    assert told["What it cost"].startswith("23.0 full trainings: ")
    assert "27 trials: 19 trained to the end, 4 stopped early and 4 failed." in told["What it cost"]
    assert told["What next"] == f"Use it: orchestrator export {run.folder.parent.name}/{run.folder.name}"


def test_the_parameter_that_matters_most_is_on_the_first_screen(run: Ledger) -> None:
    told = answers(run)["What mattered"]
    proved = [(each, bar) for each in influences_in(Recorded.of(run)) for bar in each.bars[:1] if bar.shows]
    stage, first = proved[-1]
    assert told.startswith(f"Most of all {first.name}: {stage.stage.where}, it accounts for ")
    assert told.endswith(" trials; see Parameters.")


def test_a_page_that_is_shared_has_no_paths_of_this_machine(
    run: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times a report had the path of the environment in which it was made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    text = markdown(document(run), "figures")[0]
    assert "orchestrator export" in text
    for path in (sys.prefix, str(run.folder), str(tmp_path)):
        assert path not in text
    assert orchestrator_line("list").split()[0] != "orchestrator", "in a terminal it must be found"


def test_the_command_that_continues_is_without_paths_on_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    typed = {"command": ["/home/me/project/tune.py", "--budget", "3"], "code": {"folder": "/home/me/elsewhere"}}
    with by_name():
        assert recorded_line(typed) == "python tune.py --budget 3"
    assert "/home/me" in recorded_line(typed)


def test_repetitions_that_are_copies_confirm_nothing(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "copies", trials=24)
    best = min(Recorded.of(ledger).full, key=lambda trial: trial.loss)
    with ledger.transaction():
        for number in (24, 25):
            add_trial(ledger, number, best.config, 4, FINALIST)
    told, console = answers(ledger), Console(file=io.StringIO(), width=400)
    print_summary(ledger, console)
    copied, listed, exported = Recorded.of(ledger), glance(ledger)["best"], best_as_yaml(ledger)
    ledger.close()
    found = compare([Group("a", (copied,)), Group("b", (copied,))])
    assert found.groups[0].confirmed == []
    assert "Not confirmed: copies, copies; the repetitions are copies of earlier runs." in found.warnings
    assert not any("fresh" in warning for warning in found.warnings)
    assert (listed["trial"], listed["confirmed"]) == (best.number, [])
    assert "# Not confirmed: the repetitions are copies" in exported
    assert "fresh" not in told["What won"] + console.file.getvalue().split("finalists")[0] + exported
    assert Result(tmp_path / "copies").confirmed == []
    assert told["On what evidence"] == "Not confirmed: the repetitions are copies of earlier runs."
    assert "TRIAL_SEED" in told["What next"]
    assert told["What next"].startswith("The repetitions are copies: the result does not depend on the seed.")
    assert "Not confirmed: the repetitions are copies" in console.file.getvalue()
    assert "on fresh seeds too" not in console.file.getvalue()
    seen = orchestrator("show", str(tmp_path / "copies"), cwd=tmp_path).stdout
    assert seen.count("TRIAL_SEED") == 1, "what to do is said once, under Health"
    assert "Not confirmed: the repetitions are copies of earlier runs; see Health." in seen


def test_equal_results_of_one_step_measure_no_noise(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "equal", trials=24, steps=1)
    best = min(Recorded.of(ledger).full, key=lambda trial: trial.loss)
    with ledger.transaction():
        for number in (24, 25):
            add_trial(ledger, number, best.config, 1, FINALIST)
    told = answers(ledger)["On what evidence"]
    ledger.close()
    assert told.startswith("Not confirmed: 2 fresh seeds gave equal values: ")
    assert told.endswith("too coarse to measure the noise.")


def test_the_next_step_after_the_time_budget_is_more_time(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "run", trials=3, time_budget="5m")
    with ledger.transaction():
        add_trial(ledger, 3, BASE | {"momentum": 0.1}, 4, outcome=None)
        ledger.add_event(SPENT, "310")
        ledger.add_event(OUT_OF_TIME, "the time budget is used up")
    words = "The time budget of 5m is used up; 1 trial is unfinished. To continue: python train.py --time-budget 10m"
    told, short, whole = answers(ledger), glance(ledger), summary(ledger)
    ledger.close()
    assert told["What next"] == out_of_time_words(short["out_of_time"]) == words
    assert told["What won"].startswith("So far trial ")
    states = [short["state"], whole["state"], Result(tmp_path / "run").state, look(tmp_path / "run").state]
    assert states == ["out of time"] * 4
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_event(STATE, "finished")  # by the next driver, which did not run out of time
    assert glance(ledger)["out_of_time"] is None
    assert answers(ledger)["What next"].startswith("Search longer. ")
    ledger.close()


def test_a_maximised_metric_keeps_its_sign(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "max", trials=8, mode="max")
    told, facts = answers(ledger), Recorded.of(ledger)
    ledger.close()
    assert facts.best is not None
    assert f": loss {-facts.best.loss:.4g}." in told["What won"]
    assert "better by" in told["By how much"]
    assert told["On what evidence"].startswith("Not confirmed. It is the best of ")
    assert told["What next"].startswith("Confirm the best on fresh seeds")


def test_the_time_of_training_is_the_same_on_the_page_and_in_show(tmp_path: Path) -> None:
    """Two trials whose first reports took 40 s longer than the 2 s of later ones."""
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_sweep(small_sweep(baseline=BASE), "", [])
        for trial in range(2):
            ledger.add_suggestion(trial, start(BASE | {"momentum": trial / 4}), seed=0)
            for step, took in enumerate((42.0, 2.0, 2.0, 2.0), start=1):
                ledger.add_report(trial, step, 1 / step, took, {"loss": 1 / step})
            ledger.add_ending(trial, Status.COMPLETED, 4, "")
    told, out = answers(ledger)["What it cost"], io.StringIO()
    print_summary(ledger, Console(file=out, width=200))
    ledger.close()
    assert told.startswith("2.0 full trainings: 96 s of training (80 s of it before first reports); the sweep took ")
    assert "2.0 full trainings, 96 s of training (80 s of it before first reports)\n" in out.getvalue()


def test_the_last_part_is_a_folded_table_of_all_trials_the_best_first(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "run", trials=14)
    whole = document(ledger)
    ledger.close()
    assert whole.sections[-1].key == "trials"
    (table,) = whole.sections[-1].figures
    assert isinstance(table, Table)
    assert len(table.rows) == 14
    assert list(table.columns) == [
        "trial",
        "batch_size",
        "learning_rate",
        "momentum",
        "loss",
        "step",
        "seconds",
        "status",
        "origin",
    ]
    finished = [float(row[4]) for row in table.rows if row[7] == "completed"]
    assert finished == sorted(finished)
    assert [row[7] for row in table.rows[: len(finished)]] == ["completed"] * len(finished)
    assert any(row[7].startswith("failed: out of memory in batch") for row in table.rows)
    assert "<details><summary>All trials, the best first</summary>" in html(whole)


@pytest.mark.parametrize(("state", "words"), [("running", "running"), ("interrupted", "to resume")])
def test_the_page_calls_a_trial_without_an_end_as_show_does(state: str, words: str, tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "run", trials=4, state=state)
    with ledger.transaction():
        add_trial(ledger, 4, BASE, 4, outcome=None)
    facts, told = Recorded.of(ledger), answers(ledger)["What it cost"]
    ledger.close()
    assert facts.state == state
    assert f" and 1 {words}." in told
    assert f"{words} (1)" in [each.name for each in chart(part("progress", facts), "Learning curves").series]
    (table,) = part("trials", facts).figures
    assert isinstance(table, Table)
    assert [row[7] for row in table.rows if row[0] == "4"] == [words]


def test_with_few_trials_the_next_step_is_more_of_them(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "few", trials=2, mode="max")
    told = answers(ledger)["What next"]
    ledger.close()
    assert told.startswith("Search longer. ")
    assert told.endswith("Raise num_samples or budget and run the same command again.")


def test_what_puts_the_gain_in_doubt_is_on_the_first_screen(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "run", trials=14, failed=False, workload=scripted(tmp_path, "0.5"))
    assert "In doubt" not in answers(ledger)["By how much"]
    with ledger.transaction():
        ledger.add_sweep(small_sweep(workload=scripted(tmp_path, "0.4"), baseline=BASE), "train.py was edited", [])
        ledger.add_event(STATE, "finished")
    assert "In doubt" not in answers(ledger)["By how much"], "no trial has trained with the new code"
    with ledger.transaction():
        ledger.add_suggestion(14, start(BASE | {"momentum": 0.5}), seed=14)
        ledger.add_ending(14, Status.FAILED, 0, "RuntimeError: boom")
        ledger.add_event(STATE, "finished")
    told = answers(ledger)
    ledger.close()
    assert told["By how much"].endswith(" In doubt: train.py was edited while the sweep was under way.")
    assert told["What next"].startswith(
        "train.py was edited while the sweep was under way. If the edit changes results,"
    )
    assert " After that: Confirm the best on fresh seeds" in told["What next"]


def scripted(folder: Path, value: str) -> Script:
    """A training of another code for each value."""
    (folder / "train.py").write_text(f"print('epoch 1: loss={value}')")
    return Script(f"python {folder / 'train.py'}", metric="loss", mode="min", horizon=4)


def test_where_many_trials_fail_the_next_step_is_to_find_out_why(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_sweep(small_sweep(baseline=BASE), "", [])
        for trial in range(12):
            outcome = Status.FAILED if trial in (3, 5, 6, 10, 11) else Status.COMPLETED
            add_trial(
                ledger, trial, BASE | {"momentum": trial / 20}, 4, "random" if trial else BASELINE, outcome=outcome
            )
        ledger.add_event(STATE, "finished")
    told = answers(ledger)["What next"]
    ledger.close()
    assert told.startswith("Find out why 5 of 12 trials failed: orchestrator logs ")
    assert "--retry-failed" in told


def test_an_axis_of_a_band_around_one_value_shows_the_band() -> None:
    constant = Series("median", [1.0, 2.0], [0.8, 0.8])
    band = Series("range", [1.0, 2.0], [0.8, 0.8], kind="band", low=[0.79, 0.79], high=[0.82, 0.81])
    assert "range" in drawn(Chart("one", "x", "y", [constant]))["layout"]["yaxis"]
    assert "range" not in drawn(Chart("both", "x", "y", [constant, band]))["layout"]["yaxis"]


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path / "run")
    assert answer_lines(document(ledger)) == [
        ("", "Nothing is recorded yet: the sweep has not started its first trial.")
    ]
    with ledger.transaction():
        ledger.add_sweep(small_sweep(baseline=BASE), "", [])
    assert answers(ledger)["What won"] == "Nothing yet: no trial has begun."
    with ledger.transaction():
        add_trial(ledger, 0, BASE, 4, BASELINE, outcome=None)
    told = answers(ledger)
    assert told["What won"].startswith("So far trial 0: loss ")
    assert " at step 2 of 4. " in told["What won"]
    assert told["By how much"].startswith("Unknown: no other configuration has been trained to the end")
    assert told["On what evidence"] == "None yet: no full training is completed."
    assert told["What next"] == "Wait: the sweep is running (1 trial under way)."
    with ledger.transaction():
        ledger.add_ending(0, Status.STOPPED, 1, "too slow", "")
        ledger.add_search_end("enough")
    assert answers(ledger)["What next"] == "Wait a moment: the search is over, and the sweep is finishing."
    with ledger.transaction():
        ledger.add_event("state", "interrupted")
    assert answers(ledger)["What next"].startswith("Continue: the sweep was interrupted")
    ledger.close()


@pytest.mark.parametrize(
    ("noises", "words"),
    [
        ((-0.1, 0.0, 0.1), "noise could explain it"),
        (
            (-0.005, 0.005),
            "2.5 times its standard error (0.00866): not enough with so few repetitions, it would have to be 13 times",
        ),
    ],
)
def test_a_lead_is_judged_by_the_noise_and_by_how_well_it_is_known(
    noises: tuple[float, ...], words: str, tmp_path: Path
) -> None:
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_sweep(small_sweep(baseline=BASE), "", [])
        add_trial(ledger, 0, BASE, 4, BASELINE)
        add_trial(ledger, 1, BASE | {"learning_rate": 0.09}, 4)
        for number, noise in enumerate(noises, start=2):
            add_trial(ledger, number, BASE | {"learning_rate": 0.09}, 4, FINALIST, noise=noise)
    told = answers(ledger)["On what evidence"]
    ledger.close()
    assert f"Noise between seeds: {0.1 if len(noises) == 3 else 0.007071} (standard deviation)." in told
    assert words in told


def test_the_page_and_show_tell_one_gain_on_fresh_seeds_without_exponents(tmp_path: Path) -> None:
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_sweep(small_sweep(mode="max", baseline=BASE), "", [])
        for number, (momentum, value, origin) in enumerate([
            (0.0, 0.34, BASELINE), (0.5, 0.97, "random"), (0.0, 0.35, FINALIST), (0.5, 0.96, FINALIST), (0.5, 0.961, FINALIST),
        ]):  # fmt: skip
            ledger.add_suggestion(number, start(BASE | {"momentum": momentum}, origin=origin), seed=number)
            ledger.add_report(number, 1, value, 1.0, {"loss": value})
            ledger.add_ending(number, Status.COMPLETED, 1, "")
    told, out = answers(ledger), io.StringIO()
    print_summary(ledger, Console(file=out, width=100))
    ledger.close()
    assert told["By how much"] == "0.9605 against the baseline's 0.35: better by 0.6105 (174 % higher)."
    assert re.search(r"is \d+ times its standard error", told["On what evidence"])
    assert re.search(
        r"against the baseline, more than the noise between seeds explains +better by 0\.6105", out.getvalue()
    )


@pytest.mark.parametrize(("mode", "fresh", "by", "evidence"), [
    ("min", 0.2, "0.2 against the baseline's 1: better by 0.8 (80 % lower).", "times its standard error"),
    ("max", 0.2, "0.2 against the baseline's 1: worse by 0.8 (80 % lower).", "it does not beat the baseline"),
    ("min", 1.5, "1.5 against the baseline's 1: worse by 0.5 (50 % higher).", "it does not beat the baseline"),
    ("max", 1.5, "1.5 against the baseline's 1: better by 0.5 (50 % higher).", "times its standard error"),
])  # fmt: skip
def test_words_and_signs_agree_whether_the_metric_should_be_high_or_low(
    mode: str, fresh: float, by: str, evidence: str, tmp_path: Path
) -> None:
    first = 0.5 if mode == "min" else 2.0  # looked better than the baseline when it was found
    ledger = Ledger.write(tmp_path / "run")
    with ledger.transaction():
        ledger.add_sweep(small_sweep(mode=mode, baseline=BASE), "", [])
        for number, (momentum, value, origin) in enumerate([
            (0.0, 1.0, BASELINE), (0.5, first, "random"), (0.5, fresh - 0.01, FINALIST), (0.5, fresh + 0.01, FINALIST),
        ]):  # fmt: skip
            ledger.add_suggestion(number, start(BASE | {"momentum": momentum}, origin=origin), seed=number)
            ledger.add_report(number, 1, value, 1.0, {"loss": value})
            ledger.add_ending(number, Status.COMPLETED, 1, "")
    told = answers(ledger)
    ledger.close()
    assert told["By how much"] == by
    assert evidence in told["On what evidence"]


# Progress


def test_the_incumbent_is_the_best_completed_full_training_at_its_cost(run: Ledger) -> None:
    facts = Recorded.of(run)
    race = race_of(facts)
    assert race.total == pytest.approx(facts.history.spent)
    assert race.costs[:2] == pytest.approx([1.0, 2.0])
    assert race.costs == sorted(race.costs)
    assert race.trials == [trial.number for trial in facts.full]
    assert race.incumbents == [min(race.losses[: place + 1]) for place in range(len(race.losses))]
    progress = part("progress", facts)
    shown = series(chart(progress, "Best full training against cost"), "best so far")
    assert shown.y[-1] == min(race.losses)
    assert shown.x[-1] == pytest.approx(race.total)


def test_the_band_is_what_drawing_from_the_random_trials_gives(run: Ledger) -> None:
    facts = Recorded.of(run)
    band = band_of(facts)
    assert band is not None
    drawn_at_random = [trial for trial in facts.history if trial.first_origin == "random"]
    assert (band.pool, band.cut) == (23, 8)
    assert len(drawn_at_random) == 23
    worst = max(loss for trial in facts.full for loss in trial.losses) + 1
    losses = np.array([t.loss if t.status is Status.COMPLETED else worst for t in drawn_at_random])
    rng = np.random.default_rng(0)
    for draws in (1, 5, 20):
        bests = losses[rng.integers(0, 23, size=(20_000, draws))].min(axis=1)
        for share, told in zip((0.1, 0.5, 0.9), (band.low, band.median, band.high), strict=True):
            value = told[draws - 1]
            below = np.mean(bests < (worst if value is None else value))
            up_to = np.mean(bests <= (worst if value is None else value))
            assert below - 0.02 <= share <= up_to + 0.02


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("stop", "is_drawn"), [(1, False), (19, True)])
def test_random_search_is_compared_only_at_a_cost_at_which_its_band_is_drawn(
    stop: int, is_drawn: bool, mode: Any, tmp_path: Path
) -> None:
    """8 of 80 random trials are trained to the end: the band begins at a cost of 22 full trainings."""
    losses = np.linspace(0.1, 0.9, 80)[:, None] + np.zeros(20)
    stops = {number: stop for number in range(80) if number % 10}
    configs = [{"x": float(x)} for x in np.linspace(0.0, 1.0, 80)]
    sweep = sweep_over(Space({"x": uniform(0, 1)}), horizon=20, mode=mode)
    found = part("progress", written(tmp_path, sweep, trained(configs, losses, stop_at=stops)))
    band = next(each for each in chart(found, "Best full training against cost").series if each.kind == "band")
    assert band.x[[None in ends for ends in zip(band.low, band.high, strict=True)].index(False)] == 22
    told = found.sentences[1]
    if is_drawn:
        between = re.search(
            r"random search would have reached about (\S+) \(80 % of the time between (\S+) and (\S+)\)", told
        )
        assert between is not None
        middle, low, high = map(float, between.groups())
        assert low <= middle <= high
    else:
        assert told.startswith("The band of random search begins at a cost of 22 full trainings.")


def test_there_is_no_band_without_enough_random_trainings(tmp_path: Path) -> None:
    few = made_up(tmp_path / "few", trials=FEWEST)
    chosen = made_up(tmp_path / "chosen", trials=24, origin="model")
    for ledger in (few, chosen):
        facts = Recorded.of(ledger)
        assert band_of(facts) is None
        progress = part("progress", facts)
        assert any(
            f"takes at least {FEWEST} completed full trainings with random" in sentence
            for sentence in progress.sentences
        )
        kinds = [each.kind for each in chart(progress, "Best full training against cost").series]
        assert "band" not in kinds
        ledger.close()


def test_all_learning_curves_are_there_by_outcome(run: Ledger) -> None:
    progress = part("progress", Recorded.of(run))
    curves = chart(progress, "Learning curves")
    names = [each.name for each in curves.series]
    assert names == ["stopped early (4)", "failed (4)", "completed (17)", "baseline (trial 0)", names[-1]]
    assert names[-1].startswith("best (trial ")
    completed = series(curves, "completed")
    assert len(completed.x) == 17 * 4 + 16  # with a gap between two curves
    assert len(completed.x) == len(completed.y) == len(completed.hover)


def test_curves_that_are_not_drawn_are_counted(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "many", trials=450, steps=1, failed=False)
    progress = part("progress", Recorded.of(ledger))
    ledger.close()
    curves = chart(progress, "Learning curves")
    drawn_curves = sum(1 + each.y.count(None) for each in curves.series)
    assert f"{450 - drawn_curves} of 450 curves are not drawn" in curves.note
    assert 100 < drawn_curves < 450


def test_a_curve_of_one_report_is_a_point(tmp_path: Path) -> None:
    ledger = made_up(tmp_path / "run", trials=8)  # trial 2 ends after two steps
    with ledger.transaction():
        ledger.add_suggestion(8, start(BASE | {"momentum": 0.7}), seed=8)
        ledger.add_report(8, 1, 1.5, 1.0, {"loss": 1.5})
        ledger.add_ending(8, Status.STOPPED, 1, "")
    curves = chart(part("progress", Recorded.of(ledger)), "Learning curves")
    ledger.close()
    line, point = [each for each in curves.series if each.name == "stopped early (2)"]
    assert (line.kind, len(line.x), line.shown_in_legend) == ("line", 2, True)
    assert (point.kind, list(point.x), list(point.y), point.shown_in_legend) == ("points", [1], [1.5], False)


@pytest.mark.parametrize("tasks", [Task.epochs(0.25, 0.5, 1.0), Task.data(0.25, 1.0)], ids=["on the way", "apart"])
def test_the_cost_by_task_adds_up(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    ledger = climbing(tmp_path / "run", tasks)
    facts = Recorded.of(ledger)
    section = part("tasks_cost", facts)
    ledger.close()
    over_time = chart(section, "Cost by task over time")
    for task in facts.accounts["tasks"]:
        assert task["spent"] > 0
        assert series(over_time, task["task"]).y[-1] == pytest.approx(task["spent"], abs=1e-3)
    ends = [each.y[-1] for each in over_time.series]
    assert sum(end for end in ends if isinstance(end, float)) == pytest.approx(facts.history.spent, abs=1e-3)
    assert section.sentences[0].startswith(f"Of the cost of {facts.history.spent:.1f} full trainings")


def test_runs_without_tasks_show_no_cost_by_task(run: Ledger) -> None:
    assert page(Recorded.of(run), strict=True, parts=only("tasks_cost")) == []


# Figures


def test_long_figures_are_thinned_and_say_so() -> None:
    many = list(range(3 * MOST_POINTS))
    points = Chart("t", "x", "y", [Series("s", many, many, "points", hover=[str(each) for each in many])])
    thin = thinned(points)
    assert isinstance(thin, Chart)
    assert len(thin.series[0].x) == len(thin.series[0].hover) == MOST_POINTS
    assert (thin.series[0].x[0], thin.series[0].x[-1]) == (many[0], many[-1])
    assert thin.note == f"{2 * MOST_POINTS:,} of {3 * MOST_POINTS:,} points are not drawn."
    parallel = Parallel("t", [Axis("a", many)], [float(each) for each in many], "loss")
    lines = thinned(parallel)
    assert isinstance(lines, Parallel)
    assert len(lines.axes[0].values) == len(lines.color) == MOST_LINES
    table = thinned(Table("t", ("a",), [["1"]] * (MOST_ROWS + 1)))
    assert table.note == f"1 of {MOST_ROWS + 1} rows are not shown."
    short = Table("t", ("a",), [["1"]], note="As it is.")
    assert thinned(short) == short


def test_plotly_gets_gaps_bands_and_errors() -> None:
    figure = Chart(
        "t", "x", "y",
        [
            Series("line", [1, 2, 3], [0.1, math.nan, math.inf], "step"),
            Series("band", [1, 2, 3], [None, 2.0, 3.0], "band", "random", [None, 1.0, 2.0], [None, 3.0, 4.0]),
            Series("bars", [0.3, 0.2], ["a", "b"], "hbars", "task:small", [0.1, 0.1], [0.5, 0.4]),
        ],
        y_log=True, y_range=(0.1, 10.0),
    )  # fmt: skip
    found = drawn(figure)
    line, low, high, bars = found["data"]
    assert line["y"] == [0.1, None, None]
    assert line["line"]["shape"] == "hv"
    assert (low["y"], high["y"], high["fill"]) == ([1.0, 2.0], [3.0, 4.0], "tonexty")
    assert (bars["orientation"], bars["marker"]["color"]) == ("h", "role:task:small")
    assert bars["error_x"]["array"] == pytest.approx([0.2, 0.2])
    assert found["layout"]["yaxis"]["range"] == [-1.0, 1.0]


def test_parallel_axes_show_values_and_not_exponents() -> None:
    axes = [Axis("lr", [0.001, 0.1, None], log=True), Axis("optimizer", ["sgd", "adam", "sgd"])]
    (trace,) = drawn(Parallel("t", axes, [1.0, 2.0, 3.0], "loss"))["data"]
    rate, optimizer = trace["dimensions"]
    assert rate["values"] == [-3.0, -1.0, pytest.approx(-3.3)]  # without a value it passes below the axis
    assert rate["ticktext"] == ["none", "0.001", "0.1"]  # a few values are written themselves, many as powers of ten
    rates = [10 ** (-3 + place / 5) for place in range(11)]
    (many,) = drawn(Parallel("t", [Axis("lr", rates, log=True)], rates, "loss"))["data"]
    assert many["dimensions"][0]["ticktext"] == ["0.001", "0.01", "0.1"]
    assert rate["range"][0] < -3.3
    assert (optimizer["values"], optimizer["ticktext"]) == ([1, 0, 1], ["adam", "sgd"])


def test_ticks_that_would_lie_on_each_other_are_left_out() -> None:
    axis = Axis("lr", [0.001, 0.16, 0.161, 0.162, 1.0], log=True)
    (trace,) = drawn(Parallel("t", [axis], [1.0, 2.0, 3.0, 4.0, 5.0], "loss"))["data"]
    assert trace["dimensions"][0]["ticktext"] == ["0.001", "0.16", "1"]
    assert len(trace["dimensions"][0]["values"]) == 5


@pytest.mark.parametrize("value", [0.006, -3.0, 0.0])
def test_a_single_value_stands_on_an_axis_around_it(value: float) -> None:
    point = Chart("t", "x", "y", [Series("p", [2.0], [value], "points")])
    low, high = drawn(point)["layout"]["yaxis"]["range"]
    assert low < value < high
    assert high - low < abs(value) or not value
    low, high = drawn(replace(point, x_log=True))["layout"]["xaxis"]["range"]
    assert 10**low < 2 < 10**high < 4
    assert drawn(replace(point, x_log=True))["layout"]["xaxis"]["ticktext"] == ["2"]
    assert (
        "range"
        not in drawn(replace(point, series=[Series("p", [-2.0], [1.0], "points")], x_log=True))["layout"]["xaxis"]
    )
    bars = replace(point, series=[Series("b", [2.0], ["a"], "hbars")])
    assert "range" not in drawn(bars)["layout"]["xaxis"]  # bars begin at 0
    one = Parallel("t", [Axis("lr", [0.1])], [value], "loss")
    assert not drawn(one)["data"][0]["line"]["showscale"]
    assert drawn(replace(one, color=[value, value + 1]))["data"][0]["line"]["showscale"]


def test_parallel_coordinates_whose_names_need_room_take_the_whole_width() -> None:
    def of(*names: str) -> str:
        figure = Parallel("t", [Axis(name, [1, 2]) for name in names], [1.0, 2.0], "loss")
        return html(Document("t", "", (Section("s", "S", [], [figure], 2),), Path("run"), 0, "now"))

    assert "<figure class=wide>" not in of("lr", "opt", "mom", "loss")
    assert "<figure class=wide>" in of("learning_rate", "optimizer", "momentum", "validation_loss, full trainings")


def test_a_task_has_one_colour_on_the_whole_page() -> None:
    def one(*roles: str) -> Section:
        return Section("s", "S", [], [Chart("t", "x", "y", [Series(role, [1], [1], role=role) for role in roles])])

    light, dark = palettes([one("task:full", "best"), one("task:small", "task:full")])
    assert light["task:full"] != light["task:small"]
    assert dark["task:full"] != light["task:full"]
    assert light["best"] == LIGHT["best"]
    assert set(LIGHT) == set(DARK)


def test_colours_stand_out_from_the_page() -> None:
    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for colors in (LIGHT, DARK):
        behind = luminance(colors["page"])
        for name in set(colors) - {"page", "grid"}:
            light, dark = sorted((luminance(colors[name]), behind), reverse=True)
            least = 4.5 if name in ("ink", "soft", "best", "baseline", "good", "bad") else 2.4
            assert (light + 0.05) / (dark + 0.05) >= least, name


# Formats


def test_the_page_needs_nothing_else_and_escapes_what_people_wrote(run: Ledger) -> None:
    nasty = "</script><b onload=x>&"
    section = Section(
        "s", nasty, [nasty], [Table(nasty, (nasty,), [[nasty]]), Chart(nasty, "x", "y", [Series(nasty, [1], [2])])]
    )
    made = document(run, strict=True, parts=only("answer", "progress"))
    text = html(replace(made, title=nasty, sections=(*made.sections, section)))
    outside = re.sub(r"<script>/\*\*.*?</script>", "", text, flags=re.DOTALL)  # without plotly's code
    assert len(outside) < len(text) - 1_000_000
    assert "<b onload" not in re.sub(r"<script.*?</script>", "", outside, flags=re.DOTALL)
    assert re.findall(r"(?:src|href)\s*=\s*[\"'](?!#)[^\"']*", outside) == []
    assert "default-src 'none'" in outside
    embedded = re.search(r'<script id="state" type="application/json">(.*?)</script>', text, flags=re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1])["sections"][-1]["figures"]["s-1"]["data"][0]["name"] == nasty


def test_numbers_of_numpy_can_be_shown(run: Ledger) -> None:
    figure = Chart("t", "x", "y", [Series("s", [np.int64(1)], [np.float64(0.5)])])  # type: ignore[list-item]
    made = Document("t", "", (Section("s", "S", [], [figure]),), run.folder, 1, "")
    assert '"y":[0.5]' in html(made)


def test_every_format_is_written_to_the_run(run: Ledger) -> None:
    made = document(run, strict=True, parts=only("answer", "progress"))
    starts = {"html": b"<!doctype html>", "md": b"# made", "png": b"\x89PNG", "pdf": b"%PDF"}
    for form in FORMATS:
        path = write(made, form, None)
        assert path == run.folder / "report" / f"report.{form}"
        assert path.read_bytes().startswith(starts[form])
    shown = re.findall(r"!\[.*\]\((.*\.png)\)", (run.folder / "report" / "report.md").read_text())
    assert len(shown) == 2
    assert all((run.folder / "report" / name).read_bytes().startswith(b"\x89PNG") for name in shown)


def test_the_format_and_the_place_are_checked(run: Ledger, tmp_path: Path) -> None:
    made = Document("t", "", (), run.folder, 1, "")
    with pytest.raises(BadInput, match="--format doc: must be one of html, md, png, pdf"):
        write(made, "doc", None)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"--output .*file/report\.html: cannot be written"):
        write(made, "html", tmp_path / "file" / "report.html")


def test_markdown_shows_signs_as_they_stand_and_draws_every_kind_of_figure(run: Ledger) -> None:
    grid = [0.1, 1.0, 10.0]
    figures = (
        Surface("surface", "x", "y", "z", grid, grid, [[1, 2, 3], [2, 3, 4], [3, 4, None]], Series("p", grid, grid, "points"), x_log=True),
        Parallel("parallel", [Axis("lr", [0.1, 0.01], log=True), Axis("o", ["a", None])], [1.0, 2.0], "loss"),
        Chart("bars", "x", "y", [Series("s", [0.5], ["a_b"], "hbars", low=[0.4], high=[0.7])]),
        Images("images", [(b"\x89PNG", "a cat"), (None, "a | sentence")]),
    )  # fmt: skip
    made = Document("t", "", (Section("s", "S", ["5 * a_b"], figures),), run.folder, 1, "")
    text, pictures = markdown(made, "r")
    assert "5 \\* a\\_b" in text
    assert "- a \\| sentence" in text
    assert set(pictures) == {"r-s-0.png", "r-s-1.png", "r-s-2.png", "r-s-3-0.png"}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())


# The live page


@contextmanager
def served(newest: Newest, said: list[str]) -> Iterator[Server]:
    with Server(newest, 0, said.append) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            newest.close()


def get(server: Server, path: str, host: str | None = None) -> tuple[int, str]:
    headers = {} if host is None else {"Host": host}
    try:
        with urllib.request.urlopen(urllib.request.Request(server.address + path, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_page_is_made_again_only_when_the_record_has_grown(tmp_path: Path) -> None:
    ledger, clock = made_up(tmp_path / "run", trials=4, state=""), Clock()
    newest = Newest(tmp_path / "run", clock)
    first = newest.document()
    clock.seconds = 100
    assert newest.document() is first
    with ledger.transaction():
        add_trial(ledger, 4, BASE, 4)
    second = newest.document()
    assert (second.last, newest.made) == (ledger.last, 2)
    with ledger.transaction():
        add_trial(ledger, 5, BASE, 4)
    assert newest.document() is second  # too early
    clock.seconds += PAUSE
    clock.seconds += 1000  # however long the making took on this machine
    assert newest.document().last == ledger.last
    newest.close()
    ledger.close()


def test_a_browser_gets_the_page_and_then_only_news(tmp_path: Path) -> None:
    ledger, clock, said = made_up(tmp_path / "run", trials=4, state=""), Clock(), list[str]()
    with served(Newest(tmp_path / "run", clock), said) as server:
        status, text = get(server, "")
        assert (status, '<script src="plotly.js">' in text) == (200, True)
        assert get(server, "plotly.js")[1].startswith("/**")
        status, text = get(server, "state")
        known = json.loads(text)
        query = f"state?last={known['last']}&made={known['made'].replace(' ', '%20')}"
        assert get(server, query) == (204, "")
        with ledger.transaction():
            add_trial(ledger, 4, BASE, 4)
        clock.seconds = 1000
        status, text = get(server, query)
        assert (status, json.loads(text)["last"]) == (200, ledger.last)
        assert get(server, "elsewhere")[0] == 404
    assert said == []
    ledger.close()


def test_only_this_machine_is_answered_under_its_own_name(tmp_path: Path) -> None:
    made_up(tmp_path / "run", trials=2).close()
    with served(Newest(tmp_path / "run"), []) as server:
        assert server.server_address[0] == "127.0.0.1"
        port = server.server_address[1]
        assert get(server, "", f"localhost:{port}")[0] == 200
        for foreign in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil.example", ""):
            assert get(server, "state", foreign)[0] == 403


def test_a_run_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    made_up(tmp_path / "run", trials=2).close()
    said: list[str] = []
    with served(Newest(tmp_path / "run"), said) as server:
        assert get(server, "")[0] == 200
        (tmp_path / "run").rename(tmp_path / "elsewhere")
        for _ in range(2):
            status, text = get(server, "state")
            assert (status, "is not there any more" in json.loads(text)["problem"]) == (200, True)
        status, text = get(server, "")
        assert (status, text.count('<section id="answer">')) == (200, 1)
        assert re.search(r'<p id="news" role="status">[^<]* is not there any more', text)
        (tmp_path / "elsewhere").rename(tmp_path / "run")
        assert '<p id="news" role="status" hidden></p>' in get(server, "")[1]
        assert "sections" in json.loads(get(server, "state")[1])
    assert len(said) == 1


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    newest = Newest(tmp_path)
    with Server(newest, 0, print) as server:
        port = server.server_address[1]
        with pytest.raises(BadInput, match=f"--port {port}: another program uses it; try --port {port + 1}"):
            Server(newest, port, print)
    with pytest.raises(Gone, match="is not there any more"):
        newest.document()


def test_the_state_holds_all_that_changes(run: Ledger) -> None:
    made: dict[str, Any] = state(document(run, strict=True, parts=only("answer", "progress")))
    for section in made["sections"]:
        assert sorted(section["figures"]) == sorted(re.findall(r'data-figure="([^"]+)"', section["html"]))
