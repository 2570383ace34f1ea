"""Where a script begins to count, if it does not measure at once: at 0 or at 1."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search.work import Assignment, Ended, Notice, Progress
from tests.scripting import assigned, curve, killed_after, script, texts, trained, truth

pytestmark = pytest.mark.usefixtures("reports_find_this_checkout")

TELLS = {
    "one printed line": 'print(f"epoch {n}: train_loss=3" + (f" distance={d}" if measures else ""), flush=True)',
    "two printed lines": 'print(f"epoch {n}: train_loss=3"); measures and print(f"epoch {n}: distance={d}", flush=True)',
    "headings": 'print(f"Epoch {n}/5"); measures and print(f"distance: {d}", flush=True)',
    "a bar of batches": 'print(f"Epoch {n}: 100%|###| 9/9 [00:01<00:00, 9it/s]"); measures and print(f"epoch {n}: distance={d}", flush=True)',
    "a CSV with NA": 'write(f"{n},3,{d if measures else chr(78) + chr(65)}", "epoch,train_loss,distance")',
    "a CSV with an empty cell": 'write(f"{n},3,{d if measures else str()}", "epoch,train_loss,distance")',
    "a CSV with a word of its own": 'write(f"{n},3,{d if measures else str()}", "pass,train_loss,distance")',
    "JSON with null": 'write(json.dumps({"epoch": n, "distance": d if measures else None}))',
    "JSON without the key": 'write(json.dumps({"epoch": n, "train_loss": 3} | ({"distance": d} if measures else {})))',
    "JSON in two rows": 'write(json.dumps({"epoch": n, "train_loss": 3})); measures and write(json.dumps({"epoch": n, "distance": d}))',
    "TensorBoard": 'writer.add_scalar("train_loss", 3, n); measures and writer.add_scalar("distance", d, n)',
}
FRAME = """
import json, os, pathlib, time
folder = pathlib.Path(os.environ["TRIAL_FOLDER"])
place, every = folder / "mine.json", int(os.environ.get("EVERY", 2))
done = json.loads(place.read_text()) if place.exists() else 0
{begins}
def write(row, header=""):
    with open(folder / "rows.txt", "a") as file:
        print(*[header] * (header != "" and file.tell() == 0), row, sep="\\n" if header and file.tell() == 0 else "", file=file)
for epoch in range(done + 1, 7):
    n, d, measures = epoch - 1, round(1 / epoch, 4), epoch % every == 0
    {tells}
    place.with_suffix(".tmp").write_text(json.dumps(epoch))
    place.with_suffix(".tmp").replace(place)
    time.sleep({seconds})
"""
BOARD = "from tensorboardX import SummaryWriter; writer = SummaryWriter(os.environ['TRIAL_FOLDER'])"


def text_of(tells: str, seconds: float = 0.0) -> str:
    return FRAME.format(tells=TELLS.get(tells, tells), begins=BOARD * (tells == "TensorBoard"), seconds=seconds)


def fields(tells: str) -> dict[str, Any]:
    if tells == "TensorBoard" and importlib.util.find_spec("tensorboardX") is None:
        pytest.skip("tensorboardX is not installed: pip install tensorboardX")
    more = {"file": "rows.txt"} if "write(" in TELLS[tells] else {}
    return {**more, "step": "pass"} if "own" in tells else more


@pytest.mark.parametrize("tells", TELLS)
def test_a_script_that_counts_from_0_and_does_not_measure_there_is_recorded_at_the_true_steps(
    tells: str, tmp_path: Path
) -> None:
    """The 0 stood in a line without the metric, so its first value, at 1, was recorded at step 1, and so on."""
    items = trained(script(tmp_path, text_of(tells), **fields(tells)), assigned(tmp_path))
    assert curve(items) == truth(2, 4, 6)
    assert not [text for text in texts(items) if "count from" in text or "counts from" in text]


@pytest.mark.slow
@pytest.mark.parametrize("tells", ["two printed lines", "a CSV with NA", "JSON without the key", "TensorBoard"])
def test_it_is_so_after_an_interruption_too(tells: str, tmp_path: Path) -> None:
    text, more = text_of(tells, seconds=0.2), fields(tells)
    first = killed_after(tmp_path, text, 2, **more)
    assert first | curve(trained(script(tmp_path, text, **more), assigned(tmp_path, recorded=2))) == truth(2, 4, 6)


def test_what_was_read_before_the_first_value_is_known_after_an_interruption(tmp_path: Path) -> None:
    place = tmp_path / "trial" / "checkpoints" / "script" / ".reports"
    place.mkdir(parents=True)
    (place / "stdout.txt").write_text("epoch 0: train_loss=3\n")
    items = trained(script(tmp_path, "print('epoch 1: train_loss=2 distance=0.5')"), assigned(tmp_path))
    assert curve(items) == {2: 0.5}


@pytest.mark.parametrize(
    "lines",
    [
        ["epoch 1: train_loss=3", "epoch 2: distance=0.5", "epoch 3: train_loss=3", "epoch 4: distance=0.25"],
        ["resuming at epoch 0", "epoch 2: distance=0.5", "epoch 4: distance=0.25"],
        ["lr_finder epoch 0: train_loss=3", "epoch 2: distance=0.5", "epoch 4: distance=0.25"],
        ["{'epoch': 0.0, 'loss': 3}", "{'epoch': 0.5, 'loss': 3}", "{'epoch': 2.0, 'distance': 0.5}", "{'epoch': 4.0, 'distance': 0.25}"],
        ["args: {'epoch': 0, 'lr': 3}", "epoch 2: distance=0.5", "epoch 4: distance=0.25"],
        ["epoch 1 step 0: train_loss=3", "epoch 2: distance=0.5", "epoch 4: distance=0.25"],
        [*(f"epoch {n}: train_loss=3" for n in range(9)), "epoch 2: distance=0.5", "epoch 4: distance=0.25"],  # batches
        ["best epoch 0", "epoch 2: distance=0.5", "epoch 4: distance=0.25"],
    ],
)  # fmt: skip
def test_a_0_that_counts_something_else_shifts_nothing(lines: list[str], tmp_path: Path) -> None:
    items = trained(script(tmp_path, f"for line in {lines!r}: print(line, flush=True)\n"), assigned(tmp_path))
    assert curve(items) == truth(2, 4)
    assert texts(items) == []


@pytest.mark.parametrize("line", ["epoch 0: accuracy=0.1", "step 0: lr=0.1", "[0] model built", "epoch=0 of 6 done"])
def test_a_line_of_0_whose_like_does_not_come_again_is_no_step(line: str, tmp_path: Path) -> None:
    begin = "[{n}]" if line[0] == "[" else f"{line.split()[0].rstrip('=0')} {{n}}:"
    text = f"print({line!r})\nfor n in range(1, 7): print(f'{begin} distance={{1 / n:.4f}}', flush=True)\n"
    run = script(tmp_path, text).run(None, assigned(tmp_path))
    items = [item for item in run if item is not None]
    assert curve(items) == truth(*range(1, 7))
    assert [*texts(items), *run.told_at_end] == []


# Lines at 1, 3, 5 alone may be those of either count.

ODD = "for n in range({first}, {end}, {pace}): print(f'epoch {{n}}: distance={{1 / n:.4f}}', flush=True)\n"


def in_sweep(folder: Path, number: int, text: str) -> list[Progress]:
    place = folder / "trials" / str(number) / "checkpoints"
    return trained(script(folder, text), Assignment(number, {}, 7, until=6, folder=place))


def test_another_trial_that_has_shown_a_0_tells_how_this_one_counts(tmp_path: Path) -> None:
    text = "for n in range({first}, 6, {pace}): print(f'epoch {{n}}: distance={{1 / (n + 1):.4f}}', flush=True)\n"
    assert curve(in_sweep(tmp_path, 0, text.format(first=0, pace=1))) == truth(*range(1, 7))
    items = in_sweep(tmp_path, 1, text.format(first=1, pace=2))
    assert curve(items) == truth(2, 4, 6)
    assert texts(items) == []


def test_a_count_that_may_begin_at_0_is_told_and_no_shorter_horizon_is_advised_alone(tmp_path: Path) -> None:
    items = in_sweep(tmp_path, 0, ODD.format(first=1, end=6, pace=2))
    assert curve(items) == truth(1, 3, 5)
    (told,) = texts(items)
    assert told.startswith(
        "its first values are at epoch 1 and 3: if it counts from 0, each value is recorded one step too low."
    )
    assert told.endswith("Let it print the epoch in each epoch, also without 'distance' (epoch=0), or count from 1")
    end = items[-1]
    assert isinstance(end, Ended)
    assert end.advice.startswith(
        "If it counts from 0, the horizon is right, and each value is recorded one step too low: let it print the epoch"
    )
    assert end.advice.endswith("the horizon is too long: try horizon=5.")
    later = in_sweep(tmp_path, 1, ODD.format(first=1, end=6, pace=2))
    assert (texts(later), later[-1].kind) == ([], "ended")


def test_trials_that_were_taken_to_count_differently_are_told(tmp_path: Path) -> None:
    in_sweep(tmp_path, 0, ODD.format(first=1, end=6, pace=2))
    told = texts(in_sweep(tmp_path, 1, "for n in range(6): print(f'epoch {n}: distance=3', flush=True)\n"))
    assert told == [
        "it counts its epochs from 0, and other trials were taken to count from 1, so one step means two lengths of a training. Let the "
        "script tell the epoch in each epoch, also without 'distance' (epoch=0), or count from 1, and start the sweep under a new name"
    ]


@pytest.mark.parametrize(("first", "pace"), [(1, 1), (2, 2), (2, 3), (5, 1)])
def test_a_doubt_has_its_reason(first: int, pace: int, tmp_path: Path) -> None:
    """At 2 and 5 the count may begin at 0, in steps of three; after 5 alone, of a horizon of 6, too."""
    items = in_sweep(tmp_path, 0, ODD.format(first=first, end=6, pace=pace))
    assert bool([item for item in items if isinstance(item, Notice)]) == ((first, pace) == (2, 3))
    end = items[-1]
    assert isinstance(end, Ended)
    assert end.advice.startswith("If it counts from 0") == ((first, pace) in ((2, 3), (5, 1)))


def test_a_report_at_1_and_3_is_told_to_count_from_1(tmp_path: Path) -> None:
    text = "from orchestrator import report\nfor n in (1, 3, 5): report(n, distance=1 / n)\n"
    (told,) = texts(in_sweep(tmp_path, 0, text))
    assert told.endswith("Let it count from 1: report(step + 1, …)")


def test_a_trial_that_had_told_nothing_goes_by_one_that_is_in_no_doubt(tmp_path: Path) -> None:
    in_sweep(tmp_path, 0, ODD.format(first=1, end=6, pace=2))
    place = replace(assigned(tmp_path), folder=tmp_path / "trials" / "1" / "checkpoints").folder / "script"
    (place / ".reports").mkdir(parents=True)
    (place / ".reports" / "memory.json").write_text('{"started": 1}')
    (place / "mine.pt").write_text("3")
    told = texts(in_sweep(tmp_path, 1, "print('epoch 5: distance=0.2')"))
    assert [text for text in told if "the script starts over" in text]
