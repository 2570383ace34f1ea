"""A tiny BERT, pre-trained on masked words and fine-tuned on a sentence task: one sweep for each.

Claim: within each step the tuned configuration is better than its baseline on a test part that no decision has seen.
Not claimed: that pre-training helps the task. On one CPU core it is too short for that.

By default it pre-trains on Python's language reference, a few minutes on two cores. The second step starts from the
checkpoint that the first one's summary names and uses the same word pieces; without `BERT_WEIGHTS` it starts at random:

    python experiments/bert.py
    BERT_STEP=tune BERT_WEIGHTS=(the checkpoint) BERT_VOCABULARY=runs/bert-pretrain/prepared/vocab.txt python experiments/bert.py

`BERT_TEXT` is a folder of text to pre-train on (see `trainables/data/text.py`), `BERT_DATA` one of the task's files (see
`trainables/data/sentences.py`), `BERT_TASK` cola or sst2.
"""

import os
from pathlib import Path

from orchestrator import Asha, BertClassify, BertMlm, Space, Sweep, Tpe, launch, loguniform, pow2


def given(name: str) -> str | None:
    """The value of an environment variable; a path is made absolute, because workers have other working folders."""
    value = os.environ.get(name)
    return str(Path(value).absolute()) if value and Path(value).exists() else value


TEXT, DATA = given("BERT_TEXT"), given("BERT_DATA")
WEIGHTS, VOCABULARY = given("BERT_WEIGHTS"), given("BERT_VOCABULARY")
TASK = os.environ.get("BERT_TASK", "sst2")
EPOCHS = int(os.environ.get("BERT_EPOCHS", "4"))


def pretrain() -> Sweep:
    """Guess masked words."""
    return Sweep(
        name="bert-pretrain",
        workload=BertMlm(horizon=EPOCHS, data=TEXT, vocabulary=VOCABULARY),
        space=Space(
            {
                "learning_rate": loguniform(1e-4, 1e-2),
                "batch_size": pow2(8, 128),
                "weight_decay": loguniform(1e-3, 0.3),
            }
        ),
        searcher=Tpe(),
        scheduler=Asha(grace_period=1, reduction_factor=3),
        num_samples=12,
    )


def tune() -> Sweep:
    """Tell sentences apart; CoLA is measured by Matthews' correlation."""
    return Sweep(
        name=f"bert-{TASK}",
        workload=BertClassify(horizon=EPOCHS, task=TASK, data=DATA, weights=WEIGHTS, vocabulary=VOCABULARY),
        metric="matthews" if TASK == "cola" else "accuracy",
        mode="max",
        space=Space(
            {
                "learning_rate": loguniform(3e-5, 3e-3),
                "batch_size": pow2(8, 128),
                "weight_decay": loguniform(1e-3, 0.3),
            }
        ),
        searcher=Tpe(),
        scheduler=Asha(grace_period=1, reduction_factor=3),
        num_samples=16,
    )


if __name__ == "__main__":
    launch(tune if os.environ.get("BERT_STEP") == "tune" else pretrain)
