"""Metrics files as scripts and their loggers write them, whole or half written."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from trainables.scripts.metrics_file import MetricsFile, events, rows
from trainables.scripts.reading import Reading
from trainables.scripts.step_count import StepCount

LIGHTNING = "epoch,step,train_loss,valid_loss\n0,49,0.9,\n0,99,,0.52\n1,149,0.7,\n1,199,,0.42\n"
ULTRALYTICS = "                  epoch,         train/box_loss,  metrics/mAP50(B)\n                      1,                1.109,            0.605\n"


def told(path: Path, name: str, ended: bool = False, pattern: str = "*") -> list[tuple[dict[str, float], float]]:
    found = MetricsFile(path, pattern).poll(name, ended)
    return [(dict(line.steps), line.value(name).number) for line, _ in found]  # type: ignore[union-attr]


def test_an_object_that_is_being_written_hides_none_of_its_rows(tmp_path: Path) -> None:
    path, file = tmp_path / "trainer_state.json", MetricsFile(tmp_path, "trainer_state.json", rest=0)
    whole = json.dumps({"log_history": [{"eval_loss": 1 / n, "step": n} for n in (1, 2, 3)]}, indent=1)
    for text, expected in ((whole[:90], []), (whole + "\n", [1.0, 0.5, 1 / 3])):
        path.write_text(text)
        assert [line.value("eval_loss").number for line, _ in file.poll("eval_loss", ended=False)] == expected  # type: ignore[union-attr]


def test_a_sparse_csv_gives_the_rows_that_have_the_metric(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(LIGHTNING)
    assert told(tmp_path, "valid_loss") == [({"epoch": 0, "step": 99}, 0.52), ({"epoch": 1, "step": 199}, 0.42)]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (ULTRALYTICS, "metrics/mAP50(B)", [({"epoch": 1}, 0.605)]),
        ("epoch;valid_loss\n1;0.5\n", "valid_loss", [({"epoch": 1}, 0.5)]),
        ("epoch\tvalid_loss\n1\t0.5\n", "valid_loss", [({"epoch": 1}, 0.5)]),
        (",valid_loss\n0,0.5\n1,0.4\n", "valid_loss", [({"index": 0}, 0.5), ({"index": 1}, 0.4)]),  # pandas
        ('{"iteration": 19, "total_loss": 1.2}\n{"iteration": 39, "bbox/AP": 0.3}\n', "bbox/AP", [({"iteration": 39}, 0.3)]),
        ('[{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": NaN}]\n', "loss", [({"epoch": 1}, 0.5), ({"epoch": 2}, "nan")]),
        ('{"epoch": 1, "valid": {"loss": 0.5}}\n', "valid.loss", [({"epoch": 1}, 0.5)]),
        ('epoch,note,loss\n1,"a, b",0.5\n', "loss", [({"epoch": 1}, 0.5)]),
        ("epoch,loss\n1,None\n2,0.5\n", "loss", [({"epoch": 2}, 0.5)]),
        ("{'epoch': 1, 'loss': 0.5}\n", "loss", [({"epoch": 1}, 0.5)]),
        ('{"epoch": 1, "loss": 0.5, "note": "a\u2028b"}\n{"epoch": 2}\n', "loss", [({"epoch": 1}, 0.5)]),
        ('{"epoch": 1, "loss": "1,234.5"}\n', "loss", [({"epoch": 1}, 1234.5)]),
        ('{"epoch": 1, "loss": 0.5, "note": "a: nan, b"}\n', "loss", [({"epoch": 1}, 0.5)]),
        ("#  step   rmse_val   lr\n      0   2.06e+01   1.0e-03\n    100   1.06e+01   1.0e-03\n", "rmse_val", [({"step": 0}, 20.6), ({"step": 100}, 10.6)]),
        ("# run 3\n# epoch,loss\n1.0,0.5\n2.0,nan\n", "loss", [({"epoch": 1}, 0.5), ({"epoch": 2}, "nan")]),
        ('#{"t_start": 17.5, "env_id": "CartPole"}\nr,l,t\n20.5,20,0.5\n', "r", [({}, 20.5)]),  # stable-baselines3
        ("#\n# epoch loss\n", "loss", []),
        ('{\n "epoch": 1.0,\n "log_history": [\n  {"epoch": 0.5, "loss": 0.6, "step": 5},\n  {"eval_loss": 0.5, "step": 9}\n ]\n}\n', "eval_loss", [({"step": 9}, 0.5)]),
        ('[{"loss": 0.5, "step": 9},\n {"norms": [1, 2]', "loss", []),
        ('{\n "log_history": [\n  {"eval_loss": 0.5, "step": 9},\n', "eval_loss", []),  # the rest is not written yet
        ('{"loss": [0.5, 0.4], "val_loss": [0.6, 0.5]}\n', "val_loss", [({}, 0.6), ({}, 0.5)]),  # Keras
        ('{\n  "val_loss": 0.5\n}\n', "val_loss", [({}, 0.5)]),
        ('{"loss": 0.5, "norms": [0.6, 0.5]}\n', "loss", [({}, 0.5)]),
        ('{"val_loss": [0.6, 0.5], "best_epoch": 2, "config": {"lr": 0.1}}', "val_loss", [({}, 0.6), ({}, 0.5)]),
        ('{\n "epoch": [1, 2],\n "val_loss": [0.6, 0.5],\n "best": 0.5\n}', "val_loss", [({"epoch": 1}, 0.6), ({"epoch": 2}, 0.5)]),
        ('{"params": {"a": 1}, "history": {"val_loss": [0.6, 0.5]}}', "val_loss", [({}, 0.6), ({}, 0.5)]),
        ('{"params": {"a": 1}, "history": {"val_loss": [0.6, 0.5]}}', "history.val_loss", [({}, 0.6), ({}, 0.5)]),
        ('{"val": {"loss": [0.6, 0.5]}, "train": {"loss": [0.4, 0.3]}}', "val.loss", [({}, 0.6), ({}, 0.5)]),
        ('{"val": {"loss": [0.6, 0.5]}, "train": {"loss": [0.4, 0.3]}}', "loss", []),  # of which?
        ('{"log_history": [{"epoch": 1, "mse": 0.5}, {"epoch": 2, "mse": 0.4}]}', "mse", [({"epoch": 1}, 0.5), ({"epoch": 2}, 0.4)]),
        ('{"epoch": 2.0, "log_history": [{"step": 5, "loss": 0.6}, {"step": 9, "eval_loss": 0.5}]}', "eval_loss", [({"step": 9}, 0.5)]),
        ('{"lr": 0.1, "rows": [{"epoch": 1, "mse": 0.5}]}', "mse", [({"epoch": 1}, 0.5)]),
        ('{"rows": [{"mse": 0.5}, {"mse": 0.4}]}', "mse", [({}, 0.5), ({}, 0.4)]),
        ('{"epoch": 1, "acc": 0.5, "batches": [{"step": 1, "acc": 0.3}]}', "acc", [({"epoch": 1}, 0.5)]),  # a row of JSON lines
        ('{"acc": 0.5, "classes": [{"name": "a", "acc": 0.3}, {"name": "b", "acc": 0.4}]}', "acc", [({}, 0.5)]),
    ],
)  # fmt: skip
def test_the_usual_files(text: str, name: str, expected: list[tuple[dict[str, float], object]], tmp_path: Path) -> None:
    (tmp_path / "metrics.txt").write_text(text)
    found = [(steps, value if value == value else "nan") for steps, value in told(tmp_path, name)]
    assert found == expected


@pytest.mark.parametrize(
    "printed",
    ["nan", "-nan", "NaN", "NAN", "+nan", "-nan(ind)", "nan(0x8000000000000)", "1.#QNAN", "-1.#IND", "1.#INF", "inf", "-inf",
     "+Inf", "Infinity", "-Infinity", '"nan"', '"-Infinity"', "1e999"],
)  # fmt: skip
@pytest.mark.parametrize("form", ['{"step": 3, "eval": {"loss": %s, "acc": 0.5}}\n', "step,eval.loss,acc\n3,%s,0.5\n"])
def test_what_is_not_finite_is_read_as_any_language_prints_it(form: str, printed: str) -> None:
    (line,) = rows(form % printed)
    value = line.value("eval.loss")
    assert value is not None
    assert not math.isfinite(value.number)
    assert math.isinf(value.number) == ("inf" in printed.lower() or "e999" in printed)
    assert dict(line.steps) == {"step": 3}


@pytest.mark.parametrize(
    ("text", "other", "broken"),
    [
        ('{"step": 1, "eval": {"loss": null}}\n', "null", ""),
        ("step,eval.loss\n1,NA\n", "NA", ""),
        ('{"step": 1, "eval": {"loss": "0,52"}}\n', "0,52", ""),
        ("step;eval.loss\n1;0,52\n", "0,52", ""),
        ("step,eval.loss\n1,\n", "", ""),  # sparse
        ("step,eval.loss\n1,0,52\n", "", "it has 3 cells, and the header 2"),
        ('{"step": 1, "ev{"step": 1, "eval": {"loss": 0.5}}\n', "", "it is no JSON"),
    ],
)
def test_a_row_without_a_number_says_what_it_has(text: str, other: str, broken: str) -> None:
    (line,) = rows(text)
    assert (line.value("eval.loss"), line.other("eval.loss"), line.broken) == (None, other, broken)


def test_the_row_that_a_killed_script_had_begun_is_passed_over_and_the_next_does_not_grow_into_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,loss\n1,3\n2,2.")  # of 2.5
    file = MetricsFile(tmp_path, "metrics.csv", rest=0.0)
    assert [line.value("loss").number for line, _ in file.poll("loss", False)] == [3]  # type: ignore[union-attr]
    file.leave_half_rows()
    with open(path, "a") as appended:
        appended.write("2,2.5\n")
    found = MetricsFile(tmp_path, "metrics.csv", file.marks, rest=0.0).poll("loss", False)
    assert [(line.steps["epoch"], line.value("loss").number) for line, _ in found] == [(2, 2.5)]  # type: ignore[union-attr]


def test_the_row_of_json_that_a_killed_script_had_written_counts_if_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for half, steps in [('{"step": 2, "loss": 2.5}', [1, 2, 3]), ('{"step": 2, "loss": 2.', [1, 3])]:
        path.write_text('{"step": 1, "loss": 3}\n' + half)
        file = MetricsFile(tmp_path, "metrics.jsonl", rest=0.0)
        found = file.poll("loss", False)
        file.leave_half_rows()
        with open(path, "a") as appended:
            appended.write('{"step": 3, "loss": 1}\n')
        found += MetricsFile(tmp_path, "metrics.jsonl", file.marks, rest=0.0).poll("loss", False)
        assert [line.steps["step"] for line, _ in found] == steps


def test_a_nested_name_is_no_doubtful_number_of_another(tmp_path: Path) -> None:
    (line,) = rows('{"step": 1, "eval": {"loss": 0.5}}\n')
    assert (line.value("loss"), line.doubtful("loss")) == (None, "")


def test_a_row_that_is_being_written_does_not_count_until_it_is_whole(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path, "metrics.csv", rest=0.0)
    path = tmp_path / "metrics.csv"
    for text, expected in [("epoch,loss\n1,0.5\n2,0.1", [0.5]), ("epoch,loss\n1,0.5\n2,0.125\n3", [0.125])]:
        path.write_text(text)
        assert [line.value("loss").number for line, _ in file.poll("loss", False)] == expected  # type: ignore[union-attr]
    path.write_text("epoch,loss\n1,0.5\n2,0.125\n3,0.25")
    assert [line.value("loss").number for line, _ in file.poll("loss", True)] == [0.25]  # type: ignore[union-attr]


HISTORY = [{"epoch": 1, "mse": 0.5}, {"epoch": 2, "mse": 0.53}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(HISTORY),
        json.dumps(HISTORY, indent=2),
        json.dumps({"history": HISTORY}),
        json.dumps({"log_history": HISTORY, "best": 0.5}, indent=2),
        json.dumps({"epoch": [1, 2], "mse": [0.5, 0.53]}),
        "\n".join(map(json.dumps, HISTORY)),
        str(HISTORY),
    ],
)
def test_json_counts_as_soon_as_it_is_whole_and_no_part_of_it_gives_a_wrong_value(text: str, tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    for length in range(len(text) + 1):
        path.write_text(text[:length])
        found = told(tmp_path, "mse")
        assert found in ([], [({"epoch": 1}, 0.5)], [({"epoch": 1}, 0.5), ({"epoch": 2}, 0.53)])
    assert len(found) == 2


@pytest.mark.parametrize("text", ["0.53", "epoch,mse\n1,0.53", "epoch mse\n1 0.53", "# run\nepoch;mse\n1;0.53"])
def test_a_number_without_a_line_end_may_be_cut_off(text: str, tmp_path: Path) -> None:
    for length in range(len(text) + 1):
        (tmp_path / "metrics.csv").write_text(text[:length])
        assert told(tmp_path, "mse") == []


@pytest.mark.parametrize("form", ['{"epoch": %d, "mse": %s}', '{\n "epoch": %d,\n "mse": %s\n}', "epoch,mse\n%d,%s\n"])
def test_each_value_of_a_file_that_holds_only_the_latest_counts(form: str, tmp_path: Path) -> None:
    path, file, found = tmp_path / "latest", MetricsFile(tmp_path, "latest", rest=0.0), []
    for epoch, mse in [(1, 0.5), (2, 0.4), (2, 0.4), (3, 0.25)]:
        path.write_text(form % (epoch, mse))
        found += [line.value("mse").number for line, _ in file.poll("mse", ended=False)]  # type: ignore[union-attr]
    assert found == [0.5, 0.4, 0.25]


@pytest.mark.parametrize(
    ("first", "late", "is_told"), [("", 0.0, True), ("epoch,mse\n1,0.5\n", 0.0, False), ("", 99.0, False)]
)
def test_a_file_that_stays_empty_until_the_script_ends_is_told_of(
    first: str, late: float, is_told: bool, tmp_path: Path
) -> None:
    path, file = tmp_path / "metrics.csv", MetricsFile(tmp_path, "metrics.csv", rest=0.0, late=late)
    path.write_text(first)
    file.poll("mse", ended=False)
    path.write_text("epoch,mse\n" + "".join(f"{epoch},0.5\n" for epoch in range(1, 6)))
    file.poll("mse", ended=True)
    assert ("metrics.csv came as the script ended" in file.late) is is_told


def test_a_row_that_gets_its_metric_later_counts_then(tmp_path: Path) -> None:
    path, file = tmp_path / "history.json", MetricsFile(tmp_path, "history.json", rest=0.0)
    path.write_text('[{"epoch": 1, "train_loss": 0.6}]')
    assert file.poll("mse", ended=False) == []
    path.write_text('[{"epoch": 1, "train_loss": 0.6, "mse": 0.5}]')
    assert [line.value("mse").number for line, _ in file.poll("mse", ended=False)] == [0.5]  # type: ignore[union-attr]


def test_a_file_that_is_begun_anew_is_read_anew_and_rows_know_their_number(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("loss\n3\n2\n1\n")
    file = MetricsFile(tmp_path, "metrics.csv", rest=0.0)
    assert [row for _, row in file.poll("loss", False)] == [1, 2, 3]
    path.write_text("loss\n5\n")
    assert [(line.value("loss").number, row) for line, row in file.poll("loss", False)] == [(5, 1)]  # type: ignore[union-attr]


def test_a_start_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(LIGHTNING)
    first = MetricsFile(tmp_path, "*.csv")
    first.poll("valid_loss", False)
    marks = json.loads(json.dumps(first.marks))
    (tmp_path / "metrics.csv").write_text(LIGHTNING + "2,299,,0.32\n")
    found = MetricsFile(tmp_path, "*.csv", marks).poll("valid_loss", False)
    assert [line.value("valid_loss").number for line, _ in found] == [0.32]  # type: ignore[union-attr]


def test_tensorboards_events_are_read_as_far_as_they_are_whole(tmp_path: Path) -> None:
    tensorboardX = pytest.importorskip("tensorboardX")
    writer = tensorboardX.SummaryWriter(str(tmp_path / "runs" / "a"))
    for step in (0, 300, 70_000):
        writer.add_scalar("valid/loss", 1 / (step + 2), step)
        writer.add_scalar("train/loss", 0.1, step)
    writer.close()
    found = told(tmp_path, "valid/loss", pattern="runs/**/events.out.tfevents*")
    assert [steps for steps, _ in found] == [{"step": 0.0}, {"step": 300.0}, {"step": 70_000.0}]
    assert [value for _, value in found] == pytest.approx([1 / 2, 1 / 302, 1 / 70_002], rel=1e-6)
    data = next((tmp_path / "runs" / "a").iterdir()).read_bytes()
    whole, used = events(data)
    torn, less = events(data[:-5])
    assert len(torn) == len(whole) - 1
    assert less < used == len(data)


def test_an_empty_file_and_a_header_alone_say_nothing() -> None:
    assert list(rows("")) == list(rows("epoch,loss\n")) == []


def test_a_file_that_was_seen_while_it_was_written_anew_tells_nothing_twice(tmp_path: Path) -> None:
    path, file, count = tmp_path / "metrics.csv", MetricsFile(tmp_path, "metrics.csv", rest=0.0), StepCount("loss", 9)
    steps = []
    for text in ("epoch,loss\n1,3\n2,2\n", "", "epoch,loss\n1,3\n2,2\n3,1\n"):
        path.write_text(text)
        for line, row in file.poll("loss", False):
            value = line.value("loss")
            assert value is not None
            steps.append(count.place(Reading(value, {}, line.steps, line.text, row)))
    assert steps == [1, 2, 3]


@pytest.mark.parametrize("form", ["csv", "jsonl", "list"])
def test_of_a_file_that_has_grown_only_the_new_rows_are_read(form: str, tmp_path: Path) -> None:
    path, file = tmp_path / "metrics", MetricsFile(tmp_path, "metrics", rest=0.0)
    texts = {
        "csv": ("epoch,note,loss\n", "{0},,\n{0},,{0}.5\n", ""),
        "jsonl": ("", '{{"epoch": {0}}}\n{{"epoch": {0}, "loss": {0}.5}}\n', ""),
        "list": ("[{}", ', {{"epoch": {0}}}, {{"epoch": {0}, "loss": {0}.5}}', "]"),
    }
    begin, row, end = texts[form]
    for count in (500, 501):
        text = begin + "".join(map(row.format, range(count))) + end
        path.write_text(text)
        found = file.poll("loss", ended=False)
        assert found[-1][1] == count
    assert len(found) == 1
    known = len(list(rows(text)))
    assert len(list(rows(text, skip=known - 1))) == 1


@pytest.mark.parametrize(
    "text", ["epoch,loss\r\n1,0.5\r\n", '{"epoch": 1, "loss": 0.5}\r\n', '[{"epoch": 1, "loss": 0.5}]']
)
def test_a_file_of_windows_is_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert told(tmp_path, "loss") == [({"epoch": 1}, 0.5)]


@pytest.mark.parametrize("again", ["epoch,loss\n1,9\n", "epoch,loss\n1,9\n2,8\n", "epoch,loss\n1,9\n2,8\n3,7\n"])
def test_a_file_with_other_rows_than_before_is_read_from_its_beginning(again: str, tmp_path: Path) -> None:
    path, file = tmp_path / "metrics.csv", MetricsFile(tmp_path, "metrics.csv", rest=0.0)
    path.write_text("epoch,loss\n1,3\n2,2\n")
    file.poll("loss", ended=False)
    path.write_text(again)
    assert [number for _, number in file.poll("loss", ended=False)] == list(range(1, again.count("\n")))
