"""From a tuned batch to a larger one."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from trainables.estimates.batch_scaling import scaled_batches

TUNED: dict[str, Any] = {"base_batch": 128, "learning_rate": 0.1, "warmup_epochs": 0.2, "target": 8192}


def test_the_first_rung_is_what_was_tuned_and_the_last_the_target() -> None:
    first, *_, last = scaled_batches(**TUNED)
    assert (first.batch_size, first.learning_rate, first.warmup_epochs) == (128, 0.1, 0.2)
    assert (last.batch_size, last.learning_rate, last.warmup_epochs) == (8192, pytest.approx(0.8), pytest.approx(12.8))
    assert last.fewer_updates == 64


@pytest.mark.parametrize("target", [128, 129, 1000, 8192])
def test_each_rung_doubles_and_the_warm_up_has_as_many_updates_everywhere(target: int) -> None:
    rungs = scaled_batches(**{**TUNED, "target": target})
    assert [row.batch_size for row in rungs] == sorted({row.batch_size for row in rungs})
    assert rungs[-1].batch_size == target
    assert all(b.batch_size == 2 * a.batch_size for a, b in pairwise(rungs[:-1]))
    for row in rungs:
        assert row.warmup_epochs / row.batch_size == pytest.approx(0.2 / 128)
        assert row.learning_rate / math.sqrt(row.batch_size) == pytest.approx(0.1 / math.sqrt(128))


def test_linear_scaling_is_there_for_comparison() -> None:
    assert scaled_batches(**TUNED, scaling="linear")[-1].learning_rate == pytest.approx(6.4)


def test_the_noise_scale_promises_nothing_that_was_not_measured() -> None:
    verdicts = [row.verdict for row in scaled_batches(**TUNED, noise_scale=2000)]
    assert verdicts[0] == "as tuned"
    assert verdicts[1].startswith("about 1.1 times the samples")
    assert "times the samples" in verdicts[3]
    assert [verdict.split()[0] for verdict in verdicts[1:]] == sorted(
        (verdict.split()[0] for verdict in verdicts[1:]), key=["about", "fewer", "hardly"].index
    )
    assert all("a proxy: measure by branching, LargestFreeBatch" in verdict for verdict in verdicts[1:])
    assert scaled_batches(**TUNED, noise_scale=50)[-1].verdict.startswith("hardly fewer updates")
    assert {row.verdict for row in scaled_batches(**TUNED)[1:]} == {"unknown: measure by branching, LargestFreeBatch"}
    at = next(
        row
        for row in scaled_batches(**{**TUNED, "base_batch": 1, "target": 2048}, noise_scale=2048)
        if row.batch_size == 2048
    )
    assert at.more_samples == pytest.approx(2, rel=1e-3)  # at the noise scale twice the samples


@pytest.mark.parametrize(("changes", "words"), [
    ({"target": 64}, "target=64: the target must not be below"),
    ({"learning_rate": 0.0}, "tuned at the base batch"),
    ({"warmup_epochs": -1}, "tuned at the base batch"),
    ({"noise_scale": -5.0}, "noise_scale=-5.0"),
    ({"scaling": "cubic"}, "scaling='cubic'"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scaled_batches(**{**TUNED, **changes})
