"""A metric by a name that a script does not print: what is said, and when its trial gives up."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from search.work import Assignment, Ended
from tests.scripting import assigned, script, texts, trained
from tests.support import ROOT
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.names import key_of

WRONG_NAME = """
{first}
import time
for n in range(1, 31): print(f"[env {{5000 * n}}/200000] R20={{n}}.5 +- 2.0 kl={{n / 99}}", flush=True)
print("best mean return: 30.5", flush=True)
{last}
"""


def test_a_metric_that_no_file_of_the_script_names_fails_after_some_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.py").write_text("from orchestrator import Script\nworkload = Script(metric='R_20')\n")
    workload = script(tmp_path, WRONG_NAME.format(first="", last="time.sleep(60)"), metric="R_20", horizon=200_000)
    words = r"^none of \d+ lines has 'R_20', nor has the script's source; it named R20, kl.*Did you mean 'R20'\?$"
    with pytest.raises(ScriptFailed, match=words):
        trained(workload, assigned(tmp_path, until=200_000))


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("import transformers", "transformers.last()"),  # whose loop may print any name
        ("", "print('[env 200000] ' + 'r_20=3'.upper())"),
        ("from helper import last", "last()"),
    ],
)
def test_a_metric_that_may_still_come_is_waited_for(
    first: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "helper.py").write_text("def last(): print('[env 200000] ' + 'r_20=3'.upper())\n")
    if "transformers" in first:
        (tmp_path / "transformers.py").write_text("def last(): print(f'[env 200000] R_{4 * 5}=3')\n")
        (tmp_path / "helper.py").unlink()
    workload = script(
        tmp_path, WRONG_NAME.format(first=first, last=f"time.sleep(0.5); {last}"), metric="R_20", horizon=200_000
    )
    items = trained(workload, assigned(tmp_path, until=200_000))
    assert [item.step for item in items if item.kind == "report"] == [200_000]


def test_a_name_on_one_line_is_not_suggested_if_others_recur(tmp_path: Path) -> None:
    workload = script(tmp_path, WRONG_NAME.format(first="", last=""), metric="mean return", horizon=200_000)
    with pytest.raises(ScriptFailed, match=r"has 'mean return'; it named R20, kl, best mean return\. Its last line"):
        trained(workload, assigned(tmp_path, until=200_000))


CONFIGURATION = """
print("INFO - Training parameters TrainingArguments(", "adam_beta1=0.9,", "gradient_accumulation_steps=1,", ")", sep="\\n")
print("Model config BertConfig {", '  "hidden_dropout_prob": 0.1,', '  "classifier_accuracy_weight": 1,', "}", sep="\\n")
print("[INFO] args: {'lr': 0.1, 'map_size': 3}", "Namespace(lr=0.1, f1_weight=3)", sep="\\n")
for epoch in range(1, 7): print(f"{{'eval_loss': {1 / epoch}, 'eval_f1': {1 / epoch}, 'epoch': {epoch}.0}}", flush=True)
"""


@pytest.mark.parametrize("words", ["train distance={n} val distance={n}", "validation distance: {n}"])
def test_a_metric_of_another_part_of_the_data_is_named(words: str, tmp_path: Path) -> None:
    text = f"for n in range(1, 7): print(f'epoch {{n}}: {words}', flush=True)"
    with pytest.raises(ScriptFailed, match=r"has 'distance'; it named .*Did you mean 'val(idation)? distance'\?"):
        trained(script(tmp_path, text), assigned(tmp_path))


def test_a_printed_configuration_names_no_metrics(tmp_path: Path) -> None:
    items = trained(script(tmp_path / "right", CONFIGURATION, metric="eval_f1"), assigned(tmp_path / "right"))
    assert len([item for item in items if item.kind == "report"]) == 6
    assert not texts(items)
    words = r"has 'f_1'; it named eval_loss, eval_f1\. Did you mean 'eval_f1'\?"
    with pytest.raises(ScriptFailed, match=words):
        trained(script(tmp_path / "wrong", CONFIGURATION, metric="f_1"), assigned(tmp_path / "wrong"))


def test_a_name_that_only_settings_have_is_named_nevertheless(tmp_path: Path) -> None:
    text = "for n in range(3): print(f'  val_acc={n},', flush=True)\n"
    with pytest.raises(ScriptFailed, match=r"it named val_acc\. Did you mean 'val_acc'\?"):
        trained(script(tmp_path, text, metric="valid_acc"), assigned(tmp_path))


NAMES = [
    "Val Loss", "val/loss", "mAP@50", "R²", "acc %", "loss_", "Δloss", "损失", "准确率", "損失", "Verlust für Größe",
    "हानि", "हीन", "ค่า", "😀", "😡", "#", "", " ",
]  # fmt: skip


def test_the_loggers_name_a_metric_as_the_readers_do() -> None:
    path = ROOT / "trainables" / "scripts" / "startup" / "sitecustomize.py"
    spec = importlib.util.spec_from_file_location("startup", path)
    assert spec is not None
    assert spec.loader is not None
    startup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(startup)
    assert [startup.key_of(name) for name in NAMES] == [key_of(name) for name in NAMES]


def test_names_of_any_alphabet_are_told_apart() -> None:
    assert len({key_of(name) for name in NAMES if name.strip()}) == len(NAMES) - 3  # Val Loss is val/loss


REPORTED = """
from orchestrator import report
for step in range(1, 4): report(step, {"准确率": 0.9, "LOSS": 7.0, "损失": 0.4 / step, "loss": 0.5 / step})
"""


@pytest.mark.parametrize(("metric", "first"), [("损失", 0.4), ("loss", 0.5)])
def test_a_metric_is_reported_by_its_own_name(metric: str, first: float, tmp_path: Path) -> None:
    items = trained(script(tmp_path, REPORTED, metric=metric, horizon=3), assigned(tmp_path, until=3))
    found = [item.metrics[metric] for item in items if item.kind == "report"]
    assert found == [pytest.approx(first / step) for step in (1, 2, 3)]


@pytest.mark.parametrize(
    ("content", "end"),
    [
        ("epoch,准确率,损失\n1,0.9,0.4\n2,0.95,0.3\n", "csv"),
        ("".join(json.dumps({"epoch": n, "准确率": 0.9, "损失": 0.5 - n / 10}) + "\n" for n in (1, 2)), "jsonl"),
        (json.dumps({"准确率": [0.9, 0.9], "损失": [0.4, 0.3]}) + "\n", "json"),
    ],
)
def test_a_metric_of_any_alphabet_is_read_from_a_file(content: str, end: str, tmp_path: Path) -> None:
    text = f"import os\nopen(os.environ['TRIAL_FOLDER'] + '/metrics.{end}', 'w').write({content!r})\n"
    workload = script(tmp_path, text, metric="损失", file=f"metrics.{end}", horizon=2)
    items = trained(workload, assigned(tmp_path, until=2))
    assert [(item.step, item.metrics["损失"]) for item in items if item.kind == "report"] == [(1, 0.4), (2, 0.3)]


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        ("print(f'エポック {n}: 損失={0.5 / n}', flush=True)", "損失"),
        ("print(f'epoch {n}：训练损失：0.9，损失：{0.5 / n}，准确率：90％', flush=True)", "损失"),
        ("print(f'epoch {n}: हानि={0.5 / n} हीन=0.9', flush=True)", "हानि"),
        ("print(f'epoch {n}: Δloss=0.01, loss={0.5 / n}', flush=True)", "loss"),
    ],
)
def test_a_metric_of_any_alphabet_is_read_from_a_printed_line(line: str, metric: str, tmp_path: Path) -> None:
    text = f"for n in range(1, 4): {line}\n"
    items = trained(script(tmp_path, text, metric=metric, horizon=3), assigned(tmp_path, until=3))
    assert [item.metrics[metric] for item in items if item.kind == "report"] == [0.5, 0.25, 0.5 / 3]


def test_steps_may_be_counted_by_a_word_of_any_alphabet(tmp_path: Path) -> None:
    text = "for n in (2, 4, 6): print(f'エポック {n}/6: 損失={1 / n}', flush=True)\n"
    workload = script(tmp_path, text, metric="損失", step="エポック", horizon=6)
    items = trained(workload, assigned(tmp_path, until=6))
    assert [item.step for item in items if item.kind == "report"] == [2, 4, 6]


def test_the_names_of_any_alphabet_are_told_if_the_metric_is_missing(tmp_path: Path) -> None:
    text = "for n in range(3): print(f'epoch {n}: 准确率: {n}', flush=True)\n"
    with pytest.raises(ScriptFailed, match=re.escape("it named 准确率")):
        trained(script(tmp_path, text, metric="损失"), assigned(tmp_path))


KERAS = """
print("Total params: 3,818 (14.91 KB)")
for epoch in range(1, 4):
    print(f"Epoch {epoch}/3")
    print(f"Epoch {epoch}: val_loss improved from None to 0.5, saving model", flush=True)
    print(f"10/10 - 1s - accuracy: 0.5 - loss: {1 / epoch}", flush=True)
    time.sleep(0.2)
    print(f"{before}val_loss: {1 / epoch:.4f}", flush=True)
"""


def test_a_metric_that_comes_at_the_end_of_the_first_step_is_not_missed(tmp_path: Path) -> None:
    """Of each training, the notice named the loss, and asked whether that was meant, before the first epoch had ended."""
    text = "import time\nbefore = ''\n" + KERAS
    assert not texts(trained(script(tmp_path, text, metric="val_loss", horizon=3), assigned(tmp_path, until=3)))


def test_a_metric_that_has_come_in_another_trial_is_not_missed(tmp_path: Path) -> None:
    text = (
        "import os, time\nfirst = os.environ['TRIAL_FOLDER'].find('00000') > 0\nbefore = '' if first else 'my '\n"
        + KERAS
    )
    text += "if not first: print('epoch 3: val_loss: 0.3')\n"
    told = []
    for number in (0, 1):
        folder = tmp_path / "trials" / f"{number:05d}" / "checkpoints"
        workload = script(tmp_path, text.replace("my ", "best "), metric="val_loss", horizon=3)
        told += trained(workload, Assignment(number, {"rate": 0.1}, 7, until=3, folder=folder))
    assert not texts(told)
    alone = trained(
        script(tmp_path, text.replace("my ", "best "), metric="val_loss", horizon=3), assigned(tmp_path / "x", until=3)
    )
    assert texts(alone) == ["no 'val_loss' so far; it named accuracy, loss, best val_loss. Did you mean 'loss'?"]


def test_words_of_a_sentence_and_units_are_no_metrics(tmp_path: Path) -> None:
    text = """
print("Total params: 3,818 (14.91 KB)")
for n in range(3): print(f"{n}: improved from None to 0.5, my_loss: 0.5 remaining: 1m 3{n}s", flush=True)
"""
    with pytest.raises(ScriptFailed, match=r"has 'R20'; it named my_loss\."):
        trained(script(tmp_path, text, metric="R20"), assigned(tmp_path))


def test_a_metric_of_a_closing_line_is_told_with_the_name_of_the_curve(tmp_path: Path) -> None:
    """CatBoost calls its metric `test` in each line; a line of the script gives `Accuracy` once, which counted as step 1."""
    text = """
for n in range(0, 401, 20): print(f"{n}:\\tlearn: 0.9\\ttest: 0.8{n:03}\\tbest: 0.85 (20)\\ttotal: 24s\\tremaining: 1m 3s", flush=True)
print("best score", {"Accuracy": 0.855, "MultiClass": 0.48})
"""
    *_, ended = trained(script(tmp_path, text, metric="Accuracy", horizon=400), assigned(tmp_path, until=400))
    assert isinstance(ended, Ended)
    assert ended.advice.startswith("'Accuracy' stood in one line and without a step, and 'test' has values at 21 steps")
    assert ended.advice.endswith("write Script(metric='test').")
