"""What around a printed number makes it another number, part of another value, or no step: read exactly or not at all."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.scripting import assigned, curve, script, texts, trained
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.printed import read
from trainables.scripts.reader import Reader
from trainables.scripts.reading import Refused


@pytest.mark.parametrize(
    "printed",
    ["15 668.55", "1 234 567", "15'668,55", "15_668.55", "1,567", "1,567 (3,2 s)", "0,858", "1.567,5", "1.5 × 10⁻³", "1.5 x 10^-3",
     "1.5 * 1e-3", "1.5 e-3", "10⁻³", "10^-3", "2.087 k", "2.087k", "1.2 M", "1.2 million", "0.61 to 0.52", "5 of 10", "5 out of 10",
     "1 / 2", "0.4–0.6", "0.61 -> 0.52", "0.52 0.61", "147   98   %", "~0.5", "<0.5", "0.5…", "−0.5",
     "0x1.8p-1"],
)  # fmt: skip
@pytest.mark.parametrize("sign", [" ", "=", ": "])
def test_a_number_that_may_be_another_is_doubtful_as_a_whole(printed: str, sign: str) -> None:
    line = read(f"epoch 3: val_loss{sign}{printed}")
    assert line.value("val_loss") is None
    assert line.doubtful("val_loss") == f"val_loss{sign}{printed}"


@pytest.mark.parametrize(
    ("printed", "number"),
    [("15'668.55", 15668.55), ("15’668.55", 15668.55), ("15\u202f668.55", 15668.55), ("15\u00a0668", 15668), ("1'234'567.5", 1234567.5),
     ("1,234.5", 1234.5), ("1,234,567", 1234567), ("0.52 (0.61)", 0.52), ("0.52 [0.4, 0.6]", 0.52), ("0.52 3.2s", 0.52), ("0.52 12 ms", 0.52),
     ("0.5 - 2s/epoch - 1ms/step", 0.5), ("0.5 - acc 0.9", 0.5), ("0.52 ± 0.1", 0.52), ("0.5 k=3", 0.5), ("0.5 M 3.5", 0.5), ("'0.5'", 0.5), ("0.5 % of 1000", 0.5), ("0.5 G loss 0.3", 0.5),
     ("0.52 12.3 samples/s", 0.52), ("0.52 3 minutes", 0.52), ("0.52 512 samples in 3 s", 0.52), ("0.52 93.1% acc", 0.52), ("0.52 1e-3 lr", 0.52),
     ("0.52 - 93.1%", 0.52), ("0.52 - 391 batches", 0.52), ("0.52 · 12.3s", 0.52), ("0.52 x3", 0.52), ("0.52 / 0.93", 0.52), ("0.52       100", 0.52)],
)  # fmt: skip
def test_a_number_that_can_be_only_one_is_read(printed: str, number: float) -> None:
    value = read(f"epoch 3: val_loss {printed}").value("val_loss")
    assert value is not None
    assert value.number == number


def test_a_comma_separates_thousands_once_a_number_of_the_script_shows_it() -> None:
    """`Verlust 1,567` of a German program was recorded as 1567."""
    reader = Reader(["reward"])
    lines = [
        "step 1: reward 1,567",
        "step 2: reward 950",
        "step 3: reward 1,567 (best 1,600.5)",
        "step 4: reward 2,567",
    ]
    found = [line.value("reward") for text in lines if (line := reader.read(text)) is not None]
    assert [None if value is None else value.number for value in found] == [None, 950, 1567, 2567]


@pytest.mark.parametrize(
    ("text", "step"),
    [("step 1'000: loss=1", 1000), ("step 1,000: loss=1", 1000), ("[1,000/12,000] loss=1", 1000), ("step 12\u202f000/60\u202f000: loss=1", 12000),
     ("epoch-3 loss=1", 3), ("epoch - 3 loss=1", 3), ("epoch 3 100/391 loss=1", 3), ("iter 1000 512 loss=1", 1000), ("epoch 3 K=5 loss=1", 3), ("epoch 3 G loss=1", 3),
     ("step 1 000: loss=1", None), ("step 1 000/12 000: loss=1", None), ("[1 000/12 000] loss=1", None), ("step 10 k loss=1", None), ("step 10 k: loss=1", None),
     ("step 10k: loss=1", None), ("step 1.000: loss=1", None), ("epoch 0,5: loss=1", None), ("epoch 1,5: loss=1", None),
     ("epoch -1 loss=1", None), ("epoch: -1 loss=1", None)],
)  # fmt: skip
def test_a_step_is_read_whole_or_is_doubtful(text: str, step: float | None) -> None:
    (found,) = read(text).steps.values()
    assert math.isnan(found) if step is None else found == step


@pytest.mark.parametrize("cell", ["1 000", "1,567", "12k"])
def test_a_cell_of_a_table_is_doubtful_too(cell: str) -> None:
    reader = Reader(["loss"])
    lines = [reader.read(text) for text in ("epoch   loss", "3       0.5", f"4       {cell}")]
    assert lines[1] is not None
    assert lines[2] is not None
    assert (lines[1].value("loss"), lines[2].value("loss")) == (read("loss 0.5").value("loss"), None)
    assert lines[2].doubtful("loss") == f"loss={cell}"


def run(folder: Path, lines: list[str], **more: object) -> list[object]:
    body = f"import sys\nsys.stdout.write({chr(10).join(lines) + chr(10)!r})"
    return list(trained(script(folder, body, **more), assigned(folder)))  # type: ignore[arg-type]


def test_a_doubtful_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        Refused, match=r"'step 1 000: distance=0.5' gives step .* in a doubtful form; print all digits alone"
    ):
        run(tmp_path, ["step 1 000: distance=0.5", "step 2 000: distance=0.4"], horizon=12000)


def test_a_trial_does_not_complete_on_the_values_before_doubtful_ones(tmp_path: Path) -> None:
    """Values fell below 1 after the first, `0,858` was dropped without a word, and the trial completed at step 1."""
    lines = ["epoch 1: distance 999.5", "epoch 2: distance 1 000.5", "epoch 3: distance 1 001.5"]
    with pytest.raises(
        ScriptFailed, match=r"after step 1 of 6, but its last 'distance' cannot be read .*\(distance 1 001.5\)"
    ):
        run(tmp_path, lines)


@pytest.mark.parametrize(
    "last", ["epoch 2: distance 0.61 -> 0.52", "distance 0.61 -> 0.52", "best distance 0,5", "epoch 3: distance 0.5"]
)
def test_a_doubtful_line_about_a_step_with_a_value_does_no_harm(last: str, tmp_path: Path) -> None:
    items = trained(
        script(tmp_path, f"for text in ('epoch 1: distance 1,567', 'epoch 2: distance 0.5', {last!r}): print(text)"),
        assigned(tmp_path),
    )
    assert curve(items).items() >= {2: 0.5}.items()
    assert texts(items)[:1] == ["'distance 1,567' is not a number that can be read with certainty; it does not count"]


def test_a_doubtful_row_after_the_others_fails_its_trial(tmp_path: Path) -> None:
    text = "import os\nfile = open(os.environ['TRIAL_FOLDER'] + '/m.csv', 'w')\nfile.write('epoch;distance\\n1;999.5\\n2;1,000.5\\n')"
    with pytest.raises(ScriptFailed, match=r"after step 1 of 6, but its last 'distance' .*\(distance=1,000.5\)"):
        trained(script(tmp_path, text, file="m.csv"), assigned(tmp_path))


@pytest.mark.parametrize(
    ("text", "name", "step", "value"),
    [
        ("EPOCH   10  TRAIN ERROR: 1.4316  TEST ERROR: 1.5669", "TEST ERROR", {"epoch": 10}, 1.5669),
        ("EPOCH 10  TEST ERROR: 0.47", "TEST ERROR", {"epoch": 10}, 0.47),
        ("TEST ERROR: 0.47", "test_error", {}, 0.47),
        ("2024-05-01 12:00:00 - ERROR RATE 0.4", "ERROR RATE", {}, 0.4),
        ("INFO GAIN: 0.4", "INFO GAIN", {}, 0.4),
        ("[step 10/120] INFO val_loss=0.4", "val_loss", {"step": 10}, 0.4),
        ("[10/120] INFO val_loss: 0.4", "val_loss", {"index": 10}, 0.4),
        ("step 10 | INFO | train.py:31 | val_loss: 0.4", "val_loss", {"step": 10}, 0.4),
        ("worker 3 (trainer:243) INFO: epoch 5: val_loss 0.4", "val_loss", {"epoch": 5}, 0.4),
        ("12:00:00 [rank 0] [ERROR] epoch 5: val_loss 0.4", "val_loss", {"epoch": 5}, 0.4),
    ],
)
def test_a_log_level_is_a_prefix_and_takes_neither_a_step_nor_a_name_away(
    text: str, name: str, step: dict[str, float], value: float
) -> None:
    line = read(text, [name])
    assert dict(line.steps) == step
    assert (found := line.value(name)) is not None
    assert found.number == value


@pytest.mark.parametrize(
    ("text", "is_progress"),
    [("acc 62.5% (625/1000)", False), ("acc 62.5% (624/1000) best 62.5%", False), ("acc: 0.624 (624/1000)", False),
     ("Loss: 0.5 | Acc: 85.210% (8521/10000)", False), ("acc 0.512 (100/391)", True), ("acc 62.5% (100/391)", True),
     ("acc 0.5 [100/391]", True), ("Train: 0 [   0/1251 (  0%)]  acc: 6.95", True)],
)  # fmt: skip
def test_a_share_behind_its_own_fraction_is_no_progress(text: str, is_progress: bool) -> None:
    line = read(f"[epoch 12] {text}")
    assert line.is_progress is is_progress
    assert line.value("acc") is not None
    assert line.steps["epoch"] == 12


@pytest.mark.parametrize(
    "behind", ["(best 0.4363 at epoch 6)", "(best 0.4363 @ epoch 6)", "(best 0.4363, epoch 6)", "[best: 0.4363 in epoch 6]",
               "best 0.4363 at epoch 6", "| lowest 0.43 at step 600"],
)  # fmt: skip
def test_the_step_of_the_best_value_is_not_the_lines(behind: str) -> None:
    reader = Reader(["val_loss"])
    reader.read("Epoch 7/12")
    line = reader.read(f"  val_loss 0.47 {behind}")
    assert line is not None
    assert dict(line.steps) == {"epoch": 7}
    assert dict(read(f"val_loss 0.47 {behind}").steps) == {}


def test_a_complete_bar_of_all_steps_is_the_last_step(tmp_path: Path) -> None:
    """tqdm's `12/12 [… val_loss=0.471]` was recorded at step 1 of 12."""
    bar = "{n * 100 // 6:3d}%|####  | {n}/6 [00:00<00:00, 12.34it/s, distance={1 / n:.3f}]"
    body = f"import sys\nfor n in range(1, 7): sys.stderr.write(f'\\r{bar}')\nsys.stderr.write(chr(10))"
    items = trained(script(tmp_path, body), assigned(tmp_path))
    assert curve(items) == {6: 0.167}
    assert [text for text in texts(items) if "progress bar of all 6 steps" in text and "stopped early" in text]


def test_json_may_be_longer_than_other_lines(tmp_path: Path) -> None:
    rows = [json.dumps({"epoch": n, "classes": [n / 7] * 9000, "distance": 1 / n}) for n in (1, 2)]
    (tmp_path / "rows.txt").write_text("\n".join(rows) + "\n")
    items = trained(script(tmp_path, f"print(open({str(tmp_path / 'rows.txt')!r}).read())"), assigned(tmp_path))
    assert curve(items) == {1: 1.0, 2: 0.5}


def test_a_line_that_is_too_long_is_named_with_the_limit(tmp_path: Path) -> None:
    body = "for n in (1, 2): print(f'epoch {n} ' + '0.123 ' * 9000 + f'distance {1 / n}')"
    with pytest.raises(
        ScriptFailed, match=r"A line could not be read: 'epoch 1 0.123 .* only JSON may have more than 20,000"
    ):
        trained(script(tmp_path, body), assigned(tmp_path))


def test_a_word_of_a_sentence_is_not_named_as_a_metric(tmp_path: Path) -> None:
    with pytest.raises(ScriptFailed, match="it named no metric at all"):
        trained(script(tmp_path, "print('Score at iteration 120 is 0.47')", metric="score"), assigned(tmp_path))


def test_a_text_log_in_place_of_a_metrics_file_is_told_with_a_command_that_has_it_read(tmp_path: Path) -> None:
    text = "import os\nwith open(os.environ['TRIAL_FOLDER'] + '/train.log', 'w') as file:\n    for n in range(1, 7): file.write(f'epoch {n}: distance = {1 / n}\\n')"
    with pytest.raises(ScriptFailed, match=r"train\.log is neither CSV nor JSON") as raised:
        trained(script(tmp_path, text, file="train.log"), assigned(tmp_path))
    told = script(tmp_path / "again", text)
    command = (
        str(raised.value)
        .split("let the command print them: ")[1]
        .replace(str(tmp_path / "train.py"), str(tmp_path / "again" / "train.py"))
    )
    items = trained(type(told)(command, metric="distance", mode="min", horizon=6), assigned(tmp_path / "again"))
    assert curve(items)[6] == 0.1667
