"""Failures have one cause when they differ only in numbers, paths, addresses and times."""

from __future__ import annotations

import pytest

from orchestrator.failures import signature


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ValueError: lr 0.003 is too small", "ValueError: lr 1e-07 is too small"),
        ("unrecognized arguments: --batch_size=128 --wd=0.0085", "unrecognized arguments: --batch_size=32 --wd=0.2"),
        ("FileNotFoundError: no '/tmp/a/00003/x.csv'", "FileNotFoundError: no '/tmp/b/00012/x.csv'"),
        ("TypeError: <f at 0x7f00aa12>", "TypeError: <f at 0x55fe0010>"),
        ("Timeout at 2026-01-02 10:11:12", "Timeout at 2027-03-04 20:21:22"),
        ("CUDA error: tried 2.50 GiB of 7.79 GiB", "CUDA error: tried 12.25 GiB of 39.4 GiB"),
        ("shape [128, 3, 32] is wrong", "shape [16, 3, 8] is wrong"),
        ("loss is nan", "loss is inf"),
    ],
)
def test_reasons_that_differ_in_numbers_and_names_are_one_cause(first: str, second: str) -> None:
    assert signature(first) == signature(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("ValueError: too small", "ValueError: too large"),
        ("KeyError: 'lr'", "ValueError: 'lr'"),
        ("size mismatch for conv1", "size mismatch for head"),
    ],
)
def test_other_causes_stay_apart(first: str, second: str) -> None:
    assert signature(first) != signature(second)
