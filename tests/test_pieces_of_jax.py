"""Trainings of Keras and JAX as docs/own_training.md shows them: they go on exactly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.piecing import compare_with_a_killed_one, section


def need(*packages: str) -> None:
    """Skip the test unless these are installed; importing Keras would load its default backend."""
    if not all(map(importlib.util.find_spec, packages)):
        pytest.skip(f"not installed: pip install {' '.join(packages)}")


@pytest.mark.slow
def test_the_keras_script_of_the_page_goes_on_exactly(tmp_path: Path) -> None:
    need("keras", "jax")
    train, tune = section("Keras")
    compare_with_a_killed_one(tmp_path, {"train.py": train, "tune.py": tune}, "keras", kill_after=6)


@pytest.mark.slow
def test_the_generator_of_jax_goes_on_exactly(tmp_path: Path) -> None:
    need("jax", "optax")
    compare_with_a_killed_one(tmp_path, {"tune.py": section("A function")[-1]}, "jax", kill_after=8)
