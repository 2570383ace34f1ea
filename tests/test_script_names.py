"""A metric by a name that a script does not print: what is said, and when its trial gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripting import assigned, script, texts, trained
from trainables.scripts.channels import ScriptFailed

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
