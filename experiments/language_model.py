"""A language model: learning rate, batch size, dropout and clipping, tuned against the recipe of the literature.

Claim: at the cost of a few full trainings the perplexity on a test part that no decision has seen is below that of SGD
with a learning rate of 1 and batches of 20. One LSTM layer of 128 and an adaptive softmax; a few minutes on two cores:

    python experiments/language_model.py

By default it learns from Python's language reference. For your own text, a folder as in `trainables/data/text.py`:

    LANGUAGE_MODEL_DATA=ptb python experiments/language_model.py
"""

import os
from pathlib import Path

from orchestrator import Asha, LstmLm, Space, Sweep, Tpe, launch, loguniform, pow2, uniform

DATA = os.environ.get("LANGUAGE_MODEL_DATA")  # a folder of text; None: Python's own


def sweep() -> Sweep:
    return Sweep(
        name="language-model",
        workload=LstmLm(
            horizon=6,
            data=str(Path(DATA).absolute()) if DATA else None,  # workers have other working folders
            hidden=128,
            layers=1,
            cutoffs=(1000, 4000),
        ),
        space=Space(
            {
                "learning_rate": loguniform(0.05, 5.0),
                "batch_size": pow2(4, 64),
                "dropout": uniform(0.0, 0.6),
                "clip_norm": loguniform(0.5, 20.0),
            }
        ),
        baseline={"learning_rate": 1.0, "batch_size": 16, "dropout": 0.0, "clip_norm": 5.0},
        searcher=Tpe(),
        scheduler=Asha(grace_period=1, reduction_factor=3),
        num_samples=24,
    )


if __name__ == "__main__":
    launch(sweep)
