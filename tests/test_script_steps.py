"""The step in a line that a script prints: the usual words of it, and lines that are not counted as they may name it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from search.work import Ended, Progress
from tests.scripting import assigned, curve, script, texts, trained, truth
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.reading import Refused, TrainsOn


@pytest.mark.parametrize("more", [{}, {"step": "env"}])
@pytest.mark.parametrize(
    "form",
    [
        "[env {n:5}/30000] distance={d}",
        "env={n}/30000 distance={d}",
        "epoch {e} env {n} distance={d}",
    ],
)
def test_steps_of_an_environment_are_the_steps(form: str, more: dict[str, str], tmp_path: Path) -> None:
    text = f"for e in range(1, 7): print({form!r}.format(e=e, n=5000 * e, d=1 / e), flush=True)\n"
    items = trained(script(tmp_path, text, horizon=30000, **more), assigned(tmp_path, until=30000))
    assert list(curve(items)) == [5000, 10000, 15000, 20000, 25000, 30000]


@pytest.mark.parametrize(
    "form", ["step {n} env 9 distance={d}", "[it 9] env {n} distance={d}", "batch 9 seen={n}/99 distance={d}"]
)
def test_of_several_words_the_one_that_counts_steps_is_taken(form: str, tmp_path: Path) -> None:
    text = f"for n in range(1, 4): print({form!r}.format(n=n, d=1 / n), flush=True)\n"
    items = trained(script(tmp_path, text, horizon=99), assigned(tmp_path, until=99))
    assert curve(items) == truth(1, 2, 3)


TWO_COUNTS = "for n in range(1, {end}): print(f'epoch: {{n}}.0 step: {{{pace} * n}} distance={{1 / n}}', flush=True)\n"


@pytest.mark.parametrize("file", [None, "log.jsonl"])
def test_a_horizon_that_may_be_of_two_counts_of_a_line_is_refused(file: str | None, tmp_path: Path) -> None:
    """The first of them, the epoch, would be taken, and the training seem to be 33 times as long as it is."""
    rows = (
        "import json, os\nfor n in range(1, 6): print(json.dumps({'epoch': float(n), 'step': 33 * n, 'distance': 1 / n}), "
        "file=open(os.environ['TRIAL_FOLDER'] + '/log.jsonl', 'a'), flush=True)\n"
    )
    text = TWO_COUNTS.format(end=6, pace=33) if file is None else rows
    told = r"epoch 2 and step 66, and 165 may be the last epoch or the last step: write Script\(step='epoch'\) or Script\(step='step'\)"
    with pytest.raises(Refused, match=told):
        trained(script(tmp_path, text, horizon=165, file=file), assigned(tmp_path, until=165))
    named = script(tmp_path, text, horizon=165, file=file, step="step")
    assert list(curve(trained(named, assigned(tmp_path / "named", until=165)))) == [33, 66, 99, 132, 165]


@pytest.mark.parametrize(
    ("pace", "horizon"),
    [
        (1200, 20),
        (1200, 2000),
        (8, 100),
        (30, 100),
    ],  # beyond the horizon, soon beyond it, not much finer, no part of it
)
def test_two_counts_of_which_one_is_meant_are_not_refused(pace: int, horizon: int, tmp_path: Path) -> None:
    items = trained(
        script(tmp_path, TWO_COUNTS.format(end=4, pace=pace), horizon=horizon), assigned(tmp_path, until=horizon)
    )
    assert list(curve(items)) == [1, 2, 3]
    assert not texts(items)


def test_a_training_that_ends_at_the_horizon_by_another_count_is_told(tmp_path: Path) -> None:
    items = trained(script(tmp_path, TWO_COUNTS.format(end=6, pace=8), horizon=40), assigned(tmp_path, until=40))
    (told,) = texts(items)
    assert "ended at epoch 5 and step 40, and the horizon is 40" in told
    assert "write Script(step='step')" in told


@pytest.mark.parametrize("form", ["epoch {n}: distance={d}", "epoch {n}/5: distance={d}"])
@pytest.mark.parametrize("horizon", [3, 5, 6])
def test_the_horizon_that_is_advised_for_a_count_from_0_sees_every_report(
    horizon: int, form: str, tmp_path: Path
) -> None:
    """The last line is of epoch 5, and a horizon of 5 would lose it without a word."""
    text = f"for n in range(6): print({form!r}.format(n=n, d=round(1 / (n + 1), 4)), flush=True)\n"
    run = script(tmp_path, text, horizon=horizon).run(None, assigned(tmp_path, until=horizon))
    items = [item for item in run if item is not None]
    told = [*texts(items), *run.told_at_end]
    assert curve(items) == truth(*range(1, horizon + 1))
    words = f"at epoch {horizon}, beyond Script(horizon={horizon}); the horizon must be the script's last epoch + 1, as"
    assert len([text for text in told if words in text]) == (horizon < 6)
    total = [text for text in told if "counts to 5" in text]
    assert len(total) == ("/5" in form and horizon < 5)
    assert not total or "(the horizon) to 5, or to 6 if it ends at 5/5" in total[0]
    assert len(told) == (horizon < 6) + len(total)


def test_a_count_from_0_that_is_at_the_horizon_when_the_training_ends_is_told(tmp_path: Path) -> None:
    text = "for n in range(5): print(f'epoch {n} step {8 * n + 7} distance={1 / (n + 1)}', flush=True)\n"
    (told,) = texts(trained(script(tmp_path, text, horizon=40), assigned(tmp_path, until=40)))
    assert "ended at epoch 4 and step 39, and the horizon is 40: write Script(step='step')" in told


def test_of_a_long_training_the_finest_count_is_taken(tmp_path: Path) -> None:
    text = "for n in range(1, 4): print(f'epoch {n} step {5000 * n} distance={1 / n}', flush=True)\n"
    items = trained(script(tmp_path, text, horizon=20000), assigned(tmp_path, until=20000))
    assert list(curve(items)) == [5000, 10000, 15000]


def test_a_step_may_be_recorded_as_a_metric_too(tmp_path: Path) -> None:
    text = "for n in range(1, 4): print(f'epoch {n} timesteps={100 * n} distance={1 / n}', flush=True)\n"
    items = trained(script(tmp_path, text, horizon=9, metrics=("timesteps",)), assigned(tmp_path, until=9))
    assert [item.metrics["timesteps"] for item in items if item.kind == "report"] == [100, 200, 300]


ROUNDS_UP = """
import os
file = open(os.environ["TRIAL_FOLDER"] + "/progress.csv", "w")
print("step,distance", file=file)
for n in range(2048, 5000 + 2048, 2048):
    print(f"step {n}: distance={1 / n:.6f}", flush=True)
    print(f"{n},{1 / n:.6f}", file=file, flush=True)
open(os.environ["TRIAL_FOLDER"] + "/model.pt", "w").write("whole")
"""


@pytest.mark.parametrize("file", [None, "progress.csv"])
def test_a_training_that_rounds_its_end_up_has_its_last_value_within_the_horizon(
    file: str | None, tmp_path: Path
) -> None:
    """It failed after the whole training, in every trial."""
    items = trained(script(tmp_path, ROUNDS_UP, horizon=5000, file=file), assigned(tmp_path, until=5000))
    assert list(curve(items)) == [2048, 4096]
    ended = items[-1]
    assert isinstance(ended, Ended)
    assert ended.step == 4096
    assert "went from step 4096 to 6144, past the horizon (5000), and the value there does not count" in ended.advice
    assert "such as 6144, or let the script end at 5000" in ended.advice
    assert (tmp_path / "trial" / "checkpoints" / "script" / "model.pt").exists(), "it may save its model"


def test_a_training_that_was_killed_beyond_the_horizon_is_over(tmp_path: Path) -> None:
    """Its output is read before the script would start again."""
    folder = tmp_path / "trial" / "checkpoints" / "script" / ".reports"
    folder.mkdir(parents=True)
    (folder / "stdout.txt").write_text("".join(f"step {n}: distance={1 / n}\n" for n in (2048, 4096, 6144)))
    items = trained(script(tmp_path, "raise SystemExit('started')", horizon=5000), assigned(tmp_path, until=5000))
    assert list(curve(items)) == [2048, 4096]
    assert isinstance(items[-1], Ended)


def test_a_first_value_far_beyond_the_horizon_still_fails(tmp_path: Path) -> None:
    text = "for n in (0, 1000, 2000): print(f'step {n}: distance={1 / (n + 1)}', flush=True)\n"
    with pytest.raises(TrainsOn, match=r"at step 1000, beyond Script\(horizon=100\)"):
        trained(script(tmp_path, text, horizon=100), assigned(tmp_path, until=100))


@pytest.mark.parametrize(
    ("lines", "horizon", "words"),
    [
        (["t=50 distance=1"], 100000, r"step 1 of 100000. If 't' is the step, write Script\(step='t'\)"),
        (["timesteps=100000 distance=1"], 100000, "If 'timesteps' is the step"),  # a setting, or the last one
        (
            ["distance=1"],
            100000,
            r"step 1 of 100000. Print the step in each line \(step=300\), or write Script\(pattern=…\)\.$",
        ),
        (["t=10 distance=1", "t=19 distance=1", "t=29 distance=1"], 100, "step 3 of 100. If 't' is the step"),
        (["t=10 distance=1", "t=20 distance=1"], 100, "step 2 of 100. If 't' is the step"),
        (
            ["Up. 200 : distance : 3", "Up. 400 : distance : 2"],
            1000,
            r"If 'Up.' is the step, write Script\(step='Up.'\)",
        ),
        (
            ["<10> distance: 3", "<20> distance: 2"],
            100,
            r"If the number behind '<' is the step, write Script\(pattern=…\)",
        ),
        (["#10 distance: 3", "#20 distance: 2"], 100, "If the number behind '#' is the step"),
        (["(10) distance: 3", "(20) distance: 2"], 100, r"If the number behind '\(' is the step"),
    ],
)
def test_lines_are_not_counted_where_they_may_name_their_step(
    lines: list[str], horizon: int, words: str, tmp_path: Path
) -> None:
    workload = script(tmp_path, f"for line in {lines!r}: print(line, flush=True)\n", horizon=horizon)
    with pytest.raises(Refused, match=words):
        trained(workload, assigned(tmp_path, until=horizon))


@pytest.mark.parametrize(
    ("form", "total", "words"),
    [
        (
            "epoch {n}/10 distance={d}",
            10,
            "the script counts to 10 (epoch 1/10), the sweep trains 6: a schedule over 10 is",
        ),
        ("[{n}/10] distance={d}", 10, "the script counts to 10 ([1/10]), the sweep trains 6"),
        ("Epoch {n}/10\ndistance={d}", 10, "the script counts to 10 (epoch 1/10), the sweep trains 6"),
        (
            "epoch {n} of 4: distance={d}",
            4,
            "the script counts to 4 (epoch 1/4), the sweep trains 6: its trials end at 4.",
        ),
        ("epoch {n}/6 [10/10] distance={d}", 6, ""),
        ("epoch {m}/5 distance={d}", 6, ""),  # 0/5 … 5/5
    ],
)
def test_another_last_step_of_the_script_is_told_once_in_a_sweep(
    form: str, total: int, words: str, tmp_path: Path
) -> None:
    text = f"for n in range(1, {total + 1}): print({form!r}.format(n=n, m=n - 1, d=1 / n), flush=True)\n"
    told = [
        texts(
            trained(
                script(tmp_path, text), replace(assigned(tmp_path), folder=tmp_path / "trials" / trial / "checkpoints")
            )
        )
        for trial in ("0", "1")
    ]
    assert [len([text for text in each if "counts to" in text]) for each in told] == [int(bool(words)), 0]
    assert told[0][0].startswith(words) if words else True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("totals", "words"),
    [
        pytest.param({"total": 200}, "the script counts to 200 (its progress bar: ", marks=pytest.mark.slow),
        pytest.param({"total": 100}, "", marks=pytest.mark.slow),
        pytest.param({"total": 100, "inner": 37}, "", marks=pytest.mark.slow),
        ({"total": 200, "inner": 37}, "the script counts to 200 (its progress bar: "),
    ],
)
def test_the_total_of_the_progress_bar_that_counts_the_steps_is_told(
    totals: dict[str, int], words: str, tmp_path: Path
) -> None:
    text = f"""
import sys, time
totals = {totals}
for n in range(1, totals["total"] + 1):
    for done in range(totals.get("inner", 0) + 1):
        if "inner" in totals and done % 9 == 0:
            sys.stderr.write(f"\\r{{done}}/{{totals['inner']}} [00:00<00:01, 99.9it/s]")
    sys.stderr.write(f"\\r{{n / 2:3.0f}}%|###   | {{n}}/{{totals['total']}} [00:01<00:01, 99.9it/s, loss=0.5]")
    sys.stderr.flush()
    if n % 10 == 0:
        time.sleep(0.2)
        print(f"step {{n}} distance={{1 / n:.4f}}", flush=True)
        time.sleep(0.2)
"""
    found = [
        text
        for text in texts(trained(script(tmp_path, text, horizon=100), assigned(tmp_path, until=100)))
        if "counts to" in text
    ]
    assert len(found) == bool(words)
    assert not words or found[0].startswith(words)


def test_a_script_that_counts_to_where_its_trial_rests_is_not_told(tmp_path: Path) -> None:
    text = "import os\nend = int(os.environ['TRIAL_STEPS'])\nfor n in range(1, end + 1): print(f'epoch {n}/{end} distance={1 / n:.4f}')\n"
    assert texts(trained(script(tmp_path, text), assigned(tmp_path, until=3))) == []


@pytest.mark.parametrize(
    "form", ["n={n}", "length={length}", "time={time}", "batch_size=64", "seen={far}", "took={n}0s"]
)
def test_lines_that_name_no_step_are_counted(form: str, tmp_path: Path) -> None:
    text = f"for n in range(1, 7): print({form!r}.format(n=n, length=n * n + 5, time=10 * n, far=99 * n), f'distance={{1 / n:.4f}}')\n"
    assert curve(trained(script(tmp_path, text, horizon=90), assigned(tmp_path, until=90))) == truth(*range(1, 7))


# The phases of a script.


def printed(folder: Path, *lines: str, horizon: int = 100, trial: str = "0") -> list[Progress]:
    workload = script(folder, f"for line in {lines!r}: print(line, flush=True)\n", horizon=horizon)
    place = folder / "trials" / trial / "checkpoints"
    return trained(workload, replace(assigned(folder, until=horizon), folder=place))


def lines(form: str, *steps: int) -> list[str]:
    return [form.format(n=n, d=f"{1 / n if n else 9:.4f}") for n in steps]


TRAINING = lines("| step {n} | distance {d}", *range(10, 101, 10))


@pytest.mark.parametrize(
    "form",
    [
        "lr_finder step {n}: lr 1e-5 distance 74.0",
        "[LR finder] {n}/50 distance 74.0",
        "INFO LR range test, step {n}: distance=74.0",
        "finding lr: step {n} distance=74.0",
        "Sanity check epoch {n}: distance=74.0",
        "Learning rate finder: distance 74.0",
    ],
)
def test_what_comes_before_the_training_is_no_step_of_it_which_is_told_once(form: str, tmp_path: Path) -> None:
    for trial, times in (("0", 1), ("1", 0)):
        items = printed(tmp_path, *lines(form, *range(50)), *TRAINING, trial=trial)
        assert curve(items) == truth(*range(10, 101, 10))
        assert len([text for text in texts(items) if "skipped, because it is about a" in text]) == times


def test_a_script_that_prints_its_metric_only_before_the_training_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed, match="'distance' appears only in lines about a search for a learning rate"):
        printed(tmp_path, *lines("lr_finder step {n}: distance {d}", 1, 2, 3))


def test_a_phase_that_counts_anew_is_named_with_what_to_do(tmp_path: Path) -> None:
    words = r"went back from step 30 to 10 in '\| step 10.*starts counting again after 'warm-up step 30.*by another name in the phase"
    with pytest.raises(Refused, match=words):
        printed(tmp_path, *lines("warm-up step {n} distance={d}", 10, 20, 30), *TRAINING)
    with pytest.raises(Refused, match="print each step once, in order"):
        printed(tmp_path, *TRAINING[1:3], *TRAINING, trial="1")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (lines("scan step {n} distance={d}", *range(9)), TRAINING, True),
        (lines("frozen step {n} distance={d}", 1, 2, 3, 4), lines("step {n} distance={d}", 5, 6, 7, 8), False),
        (lines("step {n} distance={d}", 1, 2, 3, 4), lines("step {n} distance={d}", 10, 20, 30, 40), False),
        (lines("new best! step {n} distance={d}", 1, 2, 4, 5), lines("step {n} distance={d}", 6, 7, 9, 10), False),
    ],
)
def test_lines_that_may_be_of_two_phases_are_told(
    first: list[str], second: list[str], told: bool, tmp_path: Path
) -> None:
    found = [text for text in texts(printed(tmp_path, *first, *second)) if "count as steps of one training" in text]
    assert len(found) == told
    assert not told or ("from 'scan step 8 " in found[0] and "to '| step 10 |" in found[0])


def test_two_counts_that_both_go_on_with_the_metric_are_refused(tmp_path: Path) -> None:
    """Those of a training and of its evaluation; a closing line with another count comes once."""
    text = "for n in range(1, 5): print(f'distance = {1 / n:.4f}, step = {n}\\nglobal_step = {n}, distance = 7', flush=True)\n"
    with pytest.raises(
        Refused, match="first lines count step, 'global_step = 2, distance = 7' counts global_step 2, such as"
    ):
        trained(script(tmp_path, text), assigned(tmp_path))
    once = (
        text.replace("\\nglobal_step = {n}, distance = 7", "")
        + "print('best distance 0.2 at iteration 3: distance = 0.2')\n"
    )
    assert curve(trained(script(tmp_path, once), assigned(tmp_path / "once"))) == truth(1, 2, 3, 4)


@pytest.mark.parametrize(("every", "is_told"), [(80, True), (100, False)])
def test_values_at_uneven_distances_below_headings_are_told(every: int, is_told: bool, tmp_path: Path) -> None:
    text = (
        "for n in range(10, 1001, 10):\n    if n % 50 == 0: print(f'Step {n}/1000; acc: 5', flush=True)\n"
        f"    if n % {every} == 0: print(f'distance: {{1 / n}}', flush=True)\n"
    )
    told = texts(trained(script(tmp_path, text, horizon=1000), assigned(tmp_path, until=1000)))
    assert [text[:58] for text in told] == ["'distance' came at the steps 50, 150, 200, 300, at uneven "] * is_told


def test_a_row_that_has_a_whole_count_beside_a_part_of_an_epoch_names_it(tmp_path: Path) -> None:
    text = "print({'distance': 0.5, 'epoch': 0.5, 'current_steps': 10, 'total_steps': 30})\n"
    with pytest.raises(Refused, match=r"is not a whole step; .* write Script\(step='current_steps'\)"):
        trained(script(tmp_path, text, horizon=30), assigned(tmp_path, until=30))
