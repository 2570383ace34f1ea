"""Lines of training scripts, read as a person reads them: docs/printed_lines.md has the rules, printed_lines.md the outputs."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from search.work import Assignment
from tests.support import ROOT
from trainables.carry_out import carry_out
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.line import Value
from trainables.scripts.names import is_typing_error, likeliest
from trainables.scripts.printed import read, visible
from trainables.scripts.reader import Reader
from trainables.scripts.reading import Refused
from trainables.workloads.script import Script

PAGE = (ROOT / "docs" / "printed_lines.md").read_text()
OUTPUTS = PAGE + (ROOT / "tests" / "printed_lines.md").read_text()
SHOWN = re.findall(r"^### ([^\n]+)\n\n```text\n(.*?)\n```\n\n((?:- [^\n]*\n)+)", OUTPUTS, re.M | re.S)
CASES = [
    (source, lines.replace("␛", "\x1b").replace("␍", "\r"), *asked)
    for source, lines, told in SHOWN
    for asked in re.findall(r"- `(.+?)`, horizon (\d+): (.*)", told)
]


def test_there_are_at_least_forty_ways_to_print() -> None:
    assert len(SHOWN) >= 40
    assert OUTPUTS.count("\n### ") == len(SHOWN)
    assert sum(len(told.splitlines()) for _, _, told in SHOWN) == len(CASES)


def test_the_tables_of_the_page_name_each_output_that_is_read_or_refused() -> None:
    tables = PAGE.split("\n## Rules")[0].split("\n## Formats that are ")[1:]
    for table, is_refused in zip(tables, (False, True), strict=True):
        rows = re.findall(r"^\| (.+?) \| (`.+?`) \|", table, re.M)
        listed = {(source, metric) for source, metrics in rows for metric in re.findall(r"`(.+?)`", metrics)}
        assert listed == {
            (source, metric) for source, _, metric, _, told in CASES if told.startswith("refused") is is_refused
        }


@pytest.mark.parametrize(
    ("source", "lines", "metric", "horizon", "told"), CASES, ids=[f"{c[0]}: {c[2]}" for c in CASES]
)
def test_an_output_is_read_as_the_line_below_it_says(
    source: str, lines: str, metric: str, horizon: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "output.txt").write_text(lines + "\n")
    program = f"{sys.executable} -S -c 'import sys; sys.stdout.write(open(sys.argv[1], newline=chr(10)).read())'"
    workload = Script(f"{program} {tmp_path / 'output.txt'}", metric=metric, mode="min", horizon=int(horizon))
    items = carry_out(
        workload, None, Assignment(0, {}, 7, until=int(horizon), folder=tmp_path / "trial" / "checkpoints")
    )
    if told.startswith("refused: "):
        with pytest.raises((Refused, ScriptFailed), match=re.escape(told.removeprefix("refused: "))):
            list(items)
        return
    found = {item.step: item.metrics[metric] for item in items if item is not None and item.kind == "report"}
    assert found == {int(step): float(value) for step, value in re.findall(r"(\d+) = ([-\d.e]+)", told)}


def told(line: str, *names: str) -> dict[str, float | None]:
    found = read(line)
    return {name: None if (value := found.value(name)) is None else value.number for name in names}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("val_acc: 95.2 (best val_acc: 96.1)", "val_acc", 95.2),
        ("val_acc=1,234.5", "val_acc", 1234.5),
        ("val_acc 0.5 | train_acc 95% | 12 | step 1200", "val_acc", 0.5),
        ("val_acc 0.5 | train_acc 95%|0.5| step 1200", "val_acc", 0.5),
        ("val_acc 0.5 took 100ms [00:12] epoch 3", "val_acc", 0.5),
        ("12it [00:01, 300.00it/s, val_acc=0.4]epoch 3 val_acc 0.5", "val_acc", 0.5),
        (" 20%|==>  | 4/20 [00:01<00:05, 3it/s, val_acc=0.4]epoch 3 val_acc 0.5", "val_acc", 0.5),
        ("val_acc 0.91", "val_acc", 0.91),
        ("[3/20] | val_acc 0.5", "val_acc", 0.5),
        ('{"val_acc": "0.5"}', "val_acc", 0.5),
        ("val accuracy: 0.97", "val accuracy", 0.97),
        ("val accuracy: 0.97", "val_accuracy", 0.97),
        ("val accuracy: 0.97", "accuracy", None),
        ("\x1b[1;32mval_acc\x1b[0m: \x1b[31m0.5\x1b[0m", "val_acc", 0.5),
        ("latency: 12.7ms", "latency", 12.7),
        ("throughput: 12.7 it/s", "throughput", 12.7),
        ("size: 12.7k", "size", None),  # 12,700, or 12.7 of something
        ("loss=0.52.", "loss", 0.52),
        ("loss=5.", "loss", 5.0),
        ("loss=.5e-1,", "loss", 0.05),
        ("loss=-1.5E+03;", "loss", -1500.0),
        ("loss=1.2.3", "loss", None),
        ("loss=0,52", "loss", None),
        ("loss=0,523", "loss", None),  # no thousands begin with 0
        ("loss=-nan(ind) acc=1", "loss", math.nan),
        ("loss=1.#QNAN acc=1", "loss", math.nan),
        ("loss=-1.#INF, acc=1", "loss", -math.inf),
        ('{"loss": -nan, "note": "a: nan, b"}', "loss", math.nan),
        ("loss=1_000", "loss", None),
        ("loss=0x1F", "loss", None),
        ("loss=3/20", "loss", None),
        ("loss=0.4-0.6", "loss", None),
        ("loss=0.5e", "loss", None),
        ("loss=info", "loss", None),
        ("loss=inf", "loss", math.inf),
        ("loss: -Infinity", "loss", -math.inf),
        ("loss (0.5)", "loss", 0.5),
        ('{"loss": NaN, "note": "ok", "done": true}', "loss", math.nan),
        ("{'loss': nan, 'epoch': 1.0}", "loss", math.nan),
        ('{"loss": 1e-3, "done": true}', "done", None),
        ('{"eval": {"loss": 0.5}}', "eval/loss", 0.5),
        ('{"loss": [0.5]}', "loss", 0.5),
        ("epoch 1: {'loss': tensor(0.5, device='cuda:0')}", "loss", 0.5),
        ("loss: tensor([[0.5]], device='cuda:0')", "loss", 0.5),
        ("dice: tensor([0.5, 0.6])", "dice", None),  # one for each class
        ("dice [0.5, 0.6]", "dice", None),
        ("dice = [0.5 0.6]", "dice", None),
        ("dice: (0.5, 0.6)", "dice", None),
        ("loss: [0.5] acc: 0.6", "loss", 0.5),
        ("loss=0.4f0)", "loss", 0.4),
        ("loss=1.25D-01", "loss", 0.125),
        ("loss=1f3", "loss", None),
        ("Eval eval/loss: 0.5", "eval/loss", 0.5),
        ("best eval/loss: 0.5", "eval/loss", None),
        ("Train eval/loss: 0.5", "eval/loss", None),
        ("INFO:root:loss: 0.5", "loss", 0.5),
        ("2024-01-01 12:00:00,123 INFO loss: 0.5", "loss", 0.5),
        ("[rank0]: loss: 0.5", "loss", 0.5),
        ("train: loss=0.5 acc=0.9 | valid: loss=0.6 acc=0.8", "valid_loss", 0.6),
        ("train: loss=0.5 acc=0.9 | valid: loss=0.6 acc=0.8", "val loss", 0.6),
        ("train: loss=0.5 acc=0.9 | valid: loss=0.6 acc=0.8", "loss", 0.5),
        ("Average loss: 0.05", "loss", 0.05),
        ("best loss: 0.05", "loss", None),
        ("train loss: 0.05", "loss", None),
        ("Loss: 0.05", "loss", 0.05),
        ("total_loss: 0.05", "loss", None),
        ("loss/total: 0.05", "loss", None),
        ("mAP@[.5:.95]: 0.05 loss: 1", "loss", 1.0),
        ("accuracy          |     0.934  |     0.912", "accuracy", None),
        ("|    ep_rew_mean     | -3.58      |", "ep_rew_mean", -3.58),
        ("no numbers here", "loss", None),
        ("[1, 2]", "loss", None),
        ("wandb:  loss 0.5", "loss", None),
        ("10%|#         | 1/10 [00:01<00:09, loss=0.5]\r100%|##########| 10/10 [00:10<00:00, loss=0.4]", "loss", 0.4),
    ],
)  # fmt: skip
def test_a_number_is_read_whole_or_not_at_all(line: str, name: str, value: float | None) -> None:
    found = told(line, name)[name]
    assert found == value or (value is not None and found is not None and math.isnan(value) and math.isnan(found))


@pytest.mark.parametrize(
    "name",
    ["R(20)", "acc@5", "mAP@[.5:.95]", "mAP@0.5:0.95", "val/R(20)", "F1 (macro)", "R²(adj.)", "top-1, %", "P[x>0]"],
)
@pytest.mark.parametrize(
    "form", ["step 3: {}=0.25", "step 3 | {}: 0.25 (best {}: 0.5)", "step 3 {}  tensor(0.25, device='cpu')", "{{'step': 3, '{}': 0.25}}",
             "best {}=0.5 loss=1 {} = 25.0e-2%"],
)  # fmt: skip
def test_a_name_with_any_signs_is_read_where_the_user_asks_for_it(name: str, form: str) -> None:
    line = Reader([name]).read(form.format(name, name))
    assert line is not None
    assert (value := line.value(name)) is not None
    assert value.number == 0.25


@pytest.mark.parametrize(
    "text", ["R(20)_std=0.5", "val/R(20)=0.5", "R(20)=0,5", "R(20)=1/3", "best R(20)=0.5", "R(200)=0.5"]
)
def test_another_name_or_a_doubtful_number_is_none_for_a_name_with_signs(text: str) -> None:
    line = Reader(["R(20)"]).read(text)
    assert line is not None
    assert line.value("R(20)") is None


@pytest.mark.parametrize(
    ("line", "steps"),
    [
        ("epoch 3: loss=1", {"epoch": 3}),
        ("Epoch 3/20 loss=1", {"epoch": 3}),
        ("Epoch: [3][10/50] loss 1", {"epoch": 3}),
        ("Epoch #3 loss=1", {"epoch": 3}),
        ("epoch_3 loss=1", {"epoch": 3}),
        ("epoch=3.0, loss=1", {"epoch": 3}),
        ("Epoch 3 of 20 - loss 1", {"epoch": 3}),
        ("[3/20] loss=1", {"index": 3}),
        ("step 1,000 loss=1", {"step": 1000}),
        ("global_step=300 epoch=2 loss=1", {"global_step": 300, "epoch": 2}),
        ("global step 300, loss=1", {"global_step": 300}),
        ("trainer/global_step: 300, loss: 1", {"global_step": 300}),
        ("iter: 300 loss: 1", {"iter": 300}),
        ("3rd epoch loss=1", {"epoch": 3}),
        ("epoch=0.5 loss=1", {"epoch": 0.5}),
        ('{"step": 2, "loss": 1}', {"step": 2}),
        ('{"_step": 2, "loss": 1}', {"step": 2}),
        ("[env    5000/100000] loss=1", {"env": 5000}),
        ("env_steps=5,000 loss=1", {"env_steps": 5000}),
        ("num_timesteps: 5000 loss=1", {"num_timesteps": 5000}),
        ("total timesteps 5000 loss=1", {"total_timesteps": 5000}),
        ("[it 3] env 5000 loss=1", {"it": 3, "env": 5000}),
        ('{"timesteps": 5000, "loss": 1}', {"timesteps": 5000}),
        ("env: CartPole-v1 loss=1", {}),
        ("max timesteps 5000 loss=1", {}),
        ("epochs 20 loss=1", {}),
        ("best epoch 3 loss=1", {}),
        ("resuming from epoch 3, loss=1", {}),
        ("step_size=3 loss=1", {}),
        ("3ms/step loss=1", {}),
        ("epoch time: 12.3s loss=1", {}),
        ("2024-01-01 12:00:00 loss=1", {}),
        ("[12:00:00] loss=1", {}),
    ],
)  # fmt: skip
def test_a_step_is_found_in_whatever_way_it_is_said(line: str, steps: dict[str, float]) -> None:
    assert dict(read(line).steps) == steps


@pytest.mark.parametrize(
    "line",
    ["seen=5,000/100,000 loss=1", "[seen 5000/100000] loss=1", "loss=1 | seen: [5000/100000 (5%)]", "seen=5000 loss=1"],
)
def test_the_step_that_the_user_names_may_stand_before_its_total(line: str) -> None:
    assert read(line).step("seen") == 5000


def test_a_heading_says_which_step_the_lines_below_it_are_about() -> None:
    reader = Reader(["loss"])
    lines = ["Resuming from epoch 7", "loss=1", "Epoch 3/20", "loss=2", "loaded the best of epoch 2", "loss=3"]
    found = [line for text in lines if (line := reader.read(text)) is not None and line.value("loss")]
    assert [dict(line.steps) for line in found] == [{}, {"epoch": 3.0}, {"epoch": 3.0}]


@example(0.0, "{!r}", "%||")  # no progress bar
@given(
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from(["{!r}", "{:.4f}", "{:.3e}", "{:g}", "{:,.2f}", "{:+.2f}"]),
    st.text(alphabet="0123456789.,eE+-_/:%abkmsx)]}|;\"' ", max_size=6),
)
def test_whatever_follows_a_number_it_is_never_cut_off(number: float, form: str, follower: str) -> None:
    printed = form.format(number)
    found = read(f"loss={printed}{follower}").value("loss")
    if found is None:
        return
    rest = f"{printed}{follower}"[len(found.text) :]
    assert f"{printed}{follower}".startswith(found.text)
    assert not re.match(r"[\d_]|[.,]\d|[eE][-+]?\d", rest), (printed, follower, found.text)


@given(st.text(max_size=200))
def test_no_line_is_too_strange_to_be_read(text: str) -> None:
    line = Reader(["loss"]).read(text)
    assert line is None or all(math.isnan(value.number) or value.number is not None for value in line.values)


@pytest.mark.parametrize(
    ("first", "second", "repeats"),
    [("0.8612", "0.86", True), ("0.8612", "0.87", False), ("0.86", "0.86", True), ("1e-3", "0.001", True),
     ("0.861", "0.862", False), ("nan", "nan", True), ("95.2", "95", True)],
)  # fmt: skip
def test_a_number_with_fewer_digits_may_be_the_same(first: str, second: str, repeats: bool) -> None:
    assert Value("a", first).repeats(Value("a", second)) is repeats
    assert Value("a", second).repeats(Value("a", first)) is repeats


def test_the_likeliest_name_is_the_one_that_was_meant() -> None:
    assert likeliest("valid_loss", ["train_loss", "val_loss"]) == "val_loss"
    assert likeliest("accuracy", ["loss", "acc"]) == "acc"
    assert likeliest("val_accuracy", ["loss", "val acc", "train acc"]) == "val acc"
    assert likeliest("f_1", ["loss", "eval_loss", "eval_f1"]) == "eval_f1"
    assert likeliest("valloss", ["loss", "val_loss"]) == "val_loss"
    assert likeliest("bleu", ["loss", "time"]) is None


@pytest.mark.parametrize(
    ("name", "other", "same"),
    [("eval.loss", "eval.los", True), ("eval/loss", "eval.lsos", True), ("metrics", "metric", True), ("valid_loss", "valdi_loss", True),
     ("val_accuracy", "val_acuracy", True), ("acc1", "acc5", False), ("mae", "mse", False), ("iou", "miou", False), ("acc", "acc1", False),
     ("loss", "loss", False), ("train_loss", "valid_loss", False), ("ap", "map", False), ("ce", "cer", False), ("rmse", "rmsle", False),
     ("rouge", "rougeL", False)],
)  # fmt: skip
def test_a_typing_error_is_told_from_another_metric(name: str, other: str, same: bool) -> None:
    assert is_typing_error(name, other) is is_typing_error(other, name) is same


def test_the_rest_of_a_bar_that_was_wrapped_is_no_result() -> None:
    """Rich prints its bar when Lightning is ended by SIGTERM: the next epoch's number, and the value of the last one."""
    reader = Reader(["val_loss"])
    bar = reader.read("Epoch 3/9  ━━━━╸              1/4 0:00:01 • -:--:-- 0.00it/s v_num: 0.000")
    rest = reader.read(f"{'':<63}val_loss: 0.217")
    after = reader.read("epoch 4: val_loss=0.2")
    assert bar is not None
    assert rest is not None
    assert after is not None
    assert (bar.is_progress, rest.is_progress, after.is_progress) == (True, True, False)


def test_a_line_is_what_a_terminal_shows_in_the_end() -> None:
    assert visible("\x1b[2K\r 10%\r 20%\x1b[0m\r\n") == " 20%"
    assert visible("1/10\x08\x08\x08\x08 2/10") == " 2/10"
