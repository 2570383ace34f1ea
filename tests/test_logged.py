"""What a script logs to TensorBoard, W&B or MLflow counts, if its printed lines lack the tuned metric."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from search.work import ProcessError
from tests.scripting import assigned, curve, killed_after, log, script, texts, trained, truth
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.environment import STARTUP

pytestmark = pytest.mark.usefixtures("reports_find_this_checkout")

LOGGERS = {
    "tensorboard": (
        "from torch.utils.tensorboard import SummaryWriter",
        "writer = SummaryWriter(os.environ['TRIAL_FOLDER'])",
        "writer.add_scalar('distance', 1 / epoch, epoch)",
    ),
    "tensorboardX": (
        "from tensorboardX import SummaryWriter",
        "writer = SummaryWriter(os.environ['TRIAL_FOLDER'])",
        "writer.add_scalar('distance', 1 / epoch, global_step=epoch)",
    ),
    "wandb": (
        "import wandb",
        "run = wandb.init(mode='offline', dir=os.environ['TRIAL_FOLDER'])",
        "wandb.log({'epoch': epoch, 'distance': 1 / epoch, 'table': [1, 2]})",
    ),
    "mlflow": (
        "import mlflow",
        "mlflow.set_tracking_uri('sqlite:///' + os.environ['TRIAL_FOLDER'] + '/mlflow.db')",
        "mlflow.log_metrics({'other': 1.0, 'distance': 1 / epoch}, step=epoch)",
    ),
}


def logs(line: str, logger: str = "tensorboardX", before: str = "") -> str:
    """A script that carries out `line` in each epoch, in which `log` stands for the call of the logger."""
    imports, begins, call = LOGGERS[logger]
    body = line.replace("log", call)
    return f"import os, time\n{imports}\n{before}\n{begins}\nfor epoch in range(1, 7):\n    {body}\n"


@pytest.mark.parametrize(
    "logger",
    ["tensorboardX", *(pytest.param(name, marks=pytest.mark.slow) for name in LOGGERS if name != "tensorboardX")],
)
def test_a_script_that_only_logs_needs_no_change(logger: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(logger) is None:
        pytest.skip(f"{logger} is not installed: pip install {logger}")
    items = trained(script(tmp_path, logs("log", logger)), assigned(tmp_path))
    assert curve(items) == truth(*range(1, 7))
    assert texts(items) == []


LIGHTNING = """
import os, torch, {module} as L
from {module}{inside}.loggers import CSVLogger

class Net(L.LightningModule):
    automatic_optimization = False
    def training_step(self, batch, index): return None
    def validation_step(self, batch, index): self.log("distance", torch.tensor(1.0 / (self.current_epoch + 1)))
    def configure_optimizers(self): return None

data = torch.utils.data.DataLoader(torch.zeros(4, 1), 1)
logger = CSVLogger(os.environ["TRIAL_FOLDER"])
L.Trainer(
    max_epochs=6, logger=logger, enable_progress_bar=False, enable_checkpointing=False, num_sanity_val_steps=0,
).fit(Net(), data, data)
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["lightning", "pytorch_lightning"])
def test_the_epochs_of_lightning_are_the_steps(module: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    inside = ".pytorch" if module == "lightning" else ""
    items = trained(script(tmp_path, LIGHTNING.format(module=module, inside=inside)), assigned(tmp_path))
    assert curve(items) == truth(*range(1, 7))


TRAINER = """
import os, torch
from transformers import PreTrainedModel, PretrainedConfig, Trainer, TrainingArguments

class Net(PreTrainedModel):
    config_class = PretrainedConfig
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(1, 1)
        self.post_init()
    def forward(self, x=None, labels=None):
        return {{"loss": ((self.layer(x) - labels) ** 2).mean(), "logits": self.layer(x)}}

torch.manual_seed(0)
data = [{{"x": torch.tensor([n / 8]), "labels": torch.tensor([n / 4])}} for n in range(8)]
arguments = TrainingArguments(
    os.environ["TRIAL_FOLDER"], per_device_train_batch_size=2, num_train_epochs=3, save_strategy="no", use_cpu=True,
    report_to="none", logging_steps=1, eval_on_start=True, {evaluates},
)
trainer = Trainer(Net(PretrainedConfig()), arguments, train_dataset=data, eval_dataset=data)
trainer.train()
for row in trainer.state.log_history:
    if "eval_loss" in row:
        print("history", row["step"], repr(row["eval_loss"]), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("evaluates", "horizon", "steps"),
    [
        ("eval_strategy='epoch'", 3, [1, 2, 3]),
        ("eval_strategy='epoch'", 12, [4, 8, 12]),
        ("eval_strategy='steps', eval_steps=2", 12, [2, 4, 6, 8, 10, 12]),
    ],
)
def test_the_usual_trainer_of_transformers_needs_no_change(
    evaluates: str, horizon: int, steps: list[int], tmp_path: Path
) -> None:
    """It prints `'epoch': '0.5'`, without the step that this belongs to."""
    given = replace(script(tmp_path, TRAINER.format(evaluates=evaluates), metric="eval_loss"), horizon=horizon)
    items = trained(given, assigned(tmp_path, until=horizon))
    printed = [line.split() for line in log(tmp_path).splitlines() if line.startswith("history")]
    told = {item.step: item.metrics["eval_loss"] for item in items if item.kind == "report"}
    assert told == {step: float(value) for step, (_, _, value) in zip(steps, printed[1:], strict=True)}
    assert texts(items) == []


@pytest.mark.slow
def test_a_horizon_in_epochs_for_evaluations_within_epochs_is_refused_with_the_remedy(tmp_path: Path) -> None:
    text = TRAINER.format(evaluates="eval_strategy='steps', eval_steps=2")
    with pytest.raises(ProcessError, match=r"epoch=0.5 .* not a whole step; .* steps to the number of updates"):
        trained(replace(script(tmp_path, text, metric="eval_loss"), horizon=3), assigned(tmp_path, until=3))


@pytest.mark.slow
def test_mlflows_client_logs_a_whole_step_at_once(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    text = logs("log", "mlflow", "from mlflow.entities import Metric; from mlflow import MlflowClient")
    call = "MlflowClient().log_batch(run, [Metric('distance', 1 / epoch, 0, 9 * epoch), Metric('epoch', epoch - 1, 0, 9 * epoch)])"
    text = text.replace(LOGGERS["mlflow"][2], call).replace("\nfor", "\nrun = mlflow.start_run().info.run_id\nfor")
    assert curve(trained(script(tmp_path, text), assigned(tmp_path))) == truth(*range(1, 7))


@pytest.mark.parametrize(
    "order",
    [
        "log; print(f'epoch {epoch}: distance={2 / epoch}', flush=True)",
        "print(f'epoch {epoch}: distance={2 / epoch}', flush=True); log",
    ],
)
def test_printed_lines_come_first(order: str, tmp_path: Path) -> None:
    items = trained(script(tmp_path, logs(order)), assigned(tmp_path))
    assert curve(items) == {step: round(2 / step, 4) for step in range(1, 7)}


@pytest.mark.slow
def test_a_call_of_report_comes_first(tmp_path: Path) -> None:
    text = logs("log; report(epoch, distance=2 / epoch)", before="from orchestrator import report")
    items = trained(script(tmp_path, text), assigned(tmp_path))
    assert curve(items) == {step: round(2 / step, 4) for step in range(1, 7)}


@pytest.mark.slow
def test_rows_without_a_step_are_counted(tmp_path: Path) -> None:
    text = logs("log").replace(", global_step=epoch", "")
    assert curve(trained(script(tmp_path, text), assigned(tmp_path))) == truth(*range(1, 7))


def test_a_killed_worker_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    text = logs("log; time.sleep(0.05)")
    told = killed_after(tmp_path, text, step=3)
    assert told == truth(*range(1, max(told) + 1))
    items = trained(script(tmp_path, text), assigned(tmp_path, recorded=max(told)))
    assert curve(items) == truth(*range(max(told) + 1, 7))


@pytest.mark.slow
def test_later_trials_know_that_nothing_is_printed(tmp_path: Path) -> None:
    """So a scheduler may stop them after their first step, whose row is the first that counts."""
    workload = script(
        tmp_path, logs("log; time.sleep(600 if '00001' in os.environ['TRIAL_FOLDER'] and epoch > 1 else 0)")
    )
    places = (tmp_path / "trials" / number / "checkpoints" for number in ("00000", "00001"))
    first, second = (replace(assigned(tmp_path), folder=place) for place in places)
    trained(workload, first)
    assert curve(trained(workload, replace(second, until=1))) == truth(1)


@pytest.mark.slow
def test_a_wrong_name_is_told_with_the_names_that_were_logged(tmp_path: Path) -> None:
    text = logs("log").replace("'distance'", "'val/loss'")
    with pytest.raises(ScriptFailed, match="; nothing that it logs has 'accuracy'; it named val/loss"):
        trained(script(tmp_path, text, metric="accuracy"), assigned(tmp_path))
    with pytest.raises(ScriptFailed, match="Did you mean 'val/loss'"):
        trained(script(tmp_path, text, metric="valid_loss"), assigned(tmp_path))
    other = tmp_path / "other"
    with pytest.raises(ScriptFailed, match=r"it named train/loss\.$"):  # the loss of the training is no answer
        trained(script(other, text.replace("val/", "train/"), metric="val/loss"), assigned(other))


def written(*rows: str) -> str:
    """A script with these rows for a logger."""
    return (
        "import os, time\nfor row in " + repr(rows) + ":\n"
        "    with open(os.environ['TRIAL_FOLDER'] + '/.reports/logged.jsonl', 'a') as file: print(row, file=file)\n"
        "time.sleep(0.2)\n"
    )


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        (["{'val_distance': 1}"] * 5, {"metric": "valid_distance"}, r"the script logs no 'valid_distance'; it named"),
        (["{'other': 1}"], {}, r"exit code 0; nothing that it logs has 'distance'; it named other"),
        (["{'distance': 1}"], {"step": "updates"}, r"has no 'updates'; log updates=3 in it"),
        (["{'distance': 2}", "{'epoch': 2, 'distance': 1}"], {}, r"earlier calls with .*; log the step in each of them"),
        (["{'distance': 1}"], {"horizon": 20_000}, r"by the order of the calls .*Log the step in each call \(step=300\)"),
        (["{'epoch': 0.5, 'distance': 1}"], {}, r"or log another count in the call and name it"),
        (["{'epoch': 2, 'distance': 2}", "{'epoch': 1, 'distance': 1}"], {}, r"log each epoch once, in order"),
        (["{'epoch': 2, 'distance': 2}", "{'epoch': 2, 'distance': 1}"], {}, r"or log a count that rises from call to call"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_logged_value_is_told_of_logging(
    rows: list[str], more: dict[str, object], words: str, tmp_path: Path
) -> None:
    workload = script(tmp_path, written(*(row.replace("'", '"') for row in rows)), **more)
    with pytest.raises(ProcessError, match=words) as caught:
        trained(workload, assigned(tmp_path, until=workload.horizon))
    assert "print" not in str(caught.value).lower()


@pytest.mark.slow
def test_the_users_own_sitecustomize_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("print('my own set-up')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(tmp_path / "own")]))
    trained(script(tmp_path, logs("log")), assigned(tmp_path))
    assert "my own set-up" in log(tmp_path)


def test_an_error_of_the_logger_reaches_the_script_and_one_of_ours_does_not(tmp_path: Path) -> None:
    wrong = logs("log").replace("1 / epoch", "1 / epoch if epoch < 4 else 'high'")
    with pytest.raises(ScriptFailed, match="after step 3 of 6"):
        trained(script(tmp_path / "wrong", wrong), assigned(tmp_path / "wrong"))
    ours = logs("log", before="os.environ['TRIAL_FOLDER'] = '/nowhere'").replace(
        "os.environ['TRIAL_FOLDER'])", "'runs')"
    )
    ours = ours.replace("'runs'", repr(str(tmp_path / "logs")))
    with pytest.raises(ScriptFailed, match="none of its 0 lines has 'distance'; it named no metric at all"):
        trained(script(tmp_path, ours), assigned(tmp_path))


def test_only_rows_with_a_tuned_metric_are_kept(tmp_path: Path) -> None:
    text = logs("[writer.add_scalar('train', i, i) for i in range(200)]; log")
    items = trained(script(tmp_path, text), assigned(tmp_path, until=5))
    assert curve(items) == truth(*range(1, 6))
    rows = (tmp_path / "trial" / "checkpoints" / "script" / ".reports" / "logged.jsonl").read_text().splitlines()
    assert sum("train" in json.loads(row) for row in rows) == 20


def test_a_python_outside_of_a_trial_starts_as_ever(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print([type(finder) for finder in sys.meta_path])"]
    shown = subprocess.run(command, env={"PYTHONPATH": str(STARTUP)}, capture_output=True, text=True, check=True)
    assert "_Finder" not in shown.stdout
    assert shown.stderr == ""


def test_a_python_too_old_to_follow_loggers_starts_as_ever(tmp_path: Path) -> None:
    ast.parse((STARTUP / "sitecustomize.py").read_text(), feature_version=(3, 4))
    for name in ("sitecustomize.py", "parsers.py"):
        ast.parse((STARTUP.parent / name).read_text(), feature_version=(3, 6))
    (tmp_path / "sitecustomize.py").write_text("print('my own set-up')")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(STARTUP), str(tmp_path)])}
    with contextlib.suppress(FileNotFoundError):  # there is no such Python
        shown = subprocess.run(["python2.7", "-c", "print(1)"], env=environment, capture_output=True, text=True)
        assert shown.stderr or shown.stdout == "my own set-up\n1\n"
        assert "sitecustomize" not in shown.stderr


def test_a_metric_in_a_second_run_is_refused_not_mixed(tmp_path: Path) -> None:
    text = logs("log").replace(
        "for epoch", "for fold in 'ab':\n  writer = SummaryWriter(os.environ['TRIAL_FOLDER'] + fold)\n  for epoch"
    )
    text = text.replace("range(1, 7)", "range(1, 4)")
    with pytest.raises(
        ScriptFailed, match="logs 'distance' in more than one TensorBoard run, and a trial has one curve"
    ):
        trained(script(tmp_path, text), assigned(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "writer.add_scalars('run', {'distance': 1 / epoch, 'other': 9.0}, epoch)",
        "writer.add_scalar('run/distance', 1 / epoch, epoch); epoch < 6 or writer.add_hparams({'rate': 1}, {'run/distance': 0.1})",
    ],
)
def test_several_scalars_count_and_a_result_beside_hyperparameters_is_no_second_run(line: str, tmp_path: Path) -> None:
    """`add_hparams` writes into a run of its own."""
    items = trained(script(tmp_path, logs(line), metric="run/distance"), assigned(tmp_path))
    found = {item.step: round(item.metrics["run/distance"], 4) for item in items if item.kind == "report"}
    assert found == truth(*range(1, 7))


@pytest.mark.slow
def test_a_script_for_wandb_agent_finds_its_parameters_in_wandb_config(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    text = (
        "import os, wandb\n"
        "run = wandb.init(mode='offline', dir=os.environ['TRIAL_FOLDER'], config={'rate': 9.0, 'net': {'width': 3, 'depth': 2}})\n"
        "assert wandb.config.net == {'width': 64, 'depth': 2}, wandb.config\n"
        "for epoch in range(1, 7):\n"
        "    wandb.log({'epoch': epoch}, commit=False)\n"
        "    wandb.log({'distance': wandb.config.rate / epoch})\n"
    )
    items = trained(script(tmp_path, text), assigned(tmp_path, config={"rate": 0.5, "net.width": 64}))
    assert curve(items) == {step: round(0.5 / step, 4) for step in range(1, 7)}
