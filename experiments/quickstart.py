"""Fine-tune a small residual network on real images: tuned against the usual transfer-learning recipe.

The network is pre-trained once on the digits 0–4 of scikit-learn's digits and fine-tuned on 5–9. The sweep tunes the
seven parameters of SigOpt's Stanford Cars study. Claim: on a test part that no decision has seen, the tuned configuration
is clearly better than the baseline, for the cost of a few full trainings. Two to three minutes on two cores:

    python experiments/quickstart.py
"""

from orchestrator import (
    Asha,
    Plateau,
    ResNetFinetune,
    Space,
    Sweep,
    Tpe,
    choice,
    launch,
    loguniform,
    pow2,
    randint,
    uniform,
)
from search.records import Config


def plateau(config: Config) -> Plateau:
    """Lower the learning rate when the training loss stalls, as in the cars study."""
    return Plateau(factor=config["schedule_factor"], patience=config["schedule_step"])


def sweep() -> Sweep:
    return Sweep(
        name="quickstart",
        workload=ResNetFinetune(),
        policy=plateau,
        space=Space(
            {
                "learning_rate": loguniform(1.2e-4, 1.0),
                "schedule_factor": uniform(0.0, 0.99),
                "batch_size": pow2(16, 256),
                "nesterov": choice([True, False]),
                "weight_decay": loguniform(1.2e-5, 1.0),
                "momentum": uniform(0.0, 0.9),
                "schedule_step": randint(1, 20),
            }
        ),
        searcher=Tpe(),
        scheduler=Asha(grace_period=2, reduction_factor=3),
        num_samples=64,
    )


if __name__ == "__main__":
    launch(sweep)
