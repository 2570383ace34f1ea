"""A metric whose name says that it is tuned the wrong way round, such as an accuracy that is minimised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.sweep import Sweep

HIGHER = {
    "acc", "accuracy", "top1", "top5", "auc", "auroc", "auprc", "ap", "map", "precision", "recall", "f1", "r2",
    "iou", "miou", "dice", "bleu", "rouge", "meteor", "psnr", "ssim", "ndcg", "mrr", "reward", "rewards", "return",
    "returns", "success",
}  # fmt: skip
LOWER = {
    "loss", "losses", "nll", "err", "error", "errors", "mse", "rmse", "mae", "mape", "logloss", "ppl",
    "perplexity", "wer", "cer", "fid", "bpc", "bpb", "regret",
}  # fmt: skip
TURNED = {"neg", "negative", "minus", "inverse", "inv", "one", "not"}  # words that turn the meaning round


def warning(sweep: Sweep) -> str:
    """What to know before the start; empty where the direction fits the metric's name, or the name says nothing."""
    name = sweep.metric_name
    usual = _is_higher_better(name)
    if usual is None or usual == sweep.maximise:
        return ""
    meant = "maximize" if usual else "minimize"
    done = "maximises" if sweep.maximise else "minimises"
    return (
        f"the sweep {done} {name!r}, of which {'higher' if usual else 'lower'} values are usually better: was "
        f"{meant}={name!r} meant?"
    )


def _is_higher_better(name: str) -> bool | None:
    """
    >>> [_is_higher_better(name) for name in ("valid's auc", "val/F1Score", "acc_loss", "neg_loss", "speed")]
    [True, True, False, None, None]
    """
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+\d*|[A-Z]+\d*(?![a-z])", name)]
    if TURNED & set(words):
        return None
    known = [word for word in words if word in HIGHER | LOWER]
    return known[-1] in HIGHER if known else None
