"""Trained weights: read from a checkpoint or a file, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from trainables.execution.store import Store
from trainables.models import weights


def network(width: int = 3) -> nn.Module:
    return nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))


def test_a_file_and_a_checkpoint_give_the_same_weights(tmp_path: Path) -> None:
    model = network()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    saved = Store(tmp_path).save({"weights": {"model": dict(model.state_dict())}}, step=3)
    for place in (tmp_path / "model.safetensors", saved.path):
        other = network()
        weights.put(other, weights.read(place))
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_a_new_head_stays_as_it_is() -> None:
    model, other = network(), network()
    head = other[1].weight.clone()
    weights.put(other, model.state_dict(), fresh=["1."])
    assert torch.equal(other[0].weight, model[0].weight)
    assert torch.equal(other[1].weight, head)


def test_what_cannot_be_read_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "half.safetensors").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"half.safetensors.*not a whole"):
        weights.read(tmp_path / "half.safetensors")
    with pytest.raises(ValueError, match=r"nothing'.*checkpoint folder of a trial"):
        weights.read(tmp_path / "nothing")
    saved = Store(tmp_path).save({"weights": {"model": dict(network().state_dict())}}, step=3)
    (Path(saved.path) / "tensors.safetensors").write_bytes(b"abc")
    with pytest.raises(ValueError, match="bytes instead of"):
        weights.read(saved.path)


def test_another_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'0.bias' is \(3,\), the model's is \(5,\)"):
        weights.put(network(5), network(3).state_dict())
    with pytest.raises(ValueError, match=r"they lack '1\.bias'"):
        weights.put(network(), {k: v for k, v in network().state_dict().items() if k != "1.bias"})
    with pytest.raises(ValueError, match="the model has no 'extra'"):
        weights.put(network(), {**network().state_dict(), "extra": torch.zeros(1)})
