"""Networks for images: augmentation, weights, a frozen body."""

from __future__ import annotations

import sys
import types
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from tests.imaging import RANDOM, archives
from trainables.data.images import augmented
from trainables.execution.store import Store
from trainables.models.hugging_resnet import from_torchvision, renamed
from trainables.models.resnets import Architecture, is_published
from trainables.training.loop import Training, train
from trainables.workloads.resnet_finetune import ResNetFinetune
from trainables.workloads.resnet_pretrain import ResNetPretrain

pytestmark = pytest.mark.usefixtures("one_thread")

# Augmentation


def test_augmented_images_are_mirrored_and_shifted_copies_and_the_stream_decides() -> None:
    images = torch.from_numpy(RANDOM.integers(1, 255, (40, 3, 16, 16), dtype=np.uint8))
    torch.manual_seed(3)
    once = augmented(images)
    torch.manual_seed(3)
    assert torch.equal(augmented(images), once)
    assert not torch.equal(augmented(images), once)
    assert (once.shape, once.dtype) == (images.shape, images.dtype)
    padded = functional.pad(images, (2, 2, 2, 2))
    places = [(down, right) for down in range(5) for right in range(5)]
    seen = set()
    for before, after in zip(padded, once, strict=True):
        crops = {
            (mirror, *place): (before.flip(2) if mirror else before)[
                :, place[0] : place[0] + 16, place[1] : place[1] + 16
            ]
            for place in places
            for mirror in (False, True)
        }
        seen.add(next(how for how, crop in crops.items() if torch.equal(crop, after)))
    assert len(seen) > 15
    assert {mirror for mirror, *_ in seen} == {False, True}


def test_a_training_with_augmentation_is_resumed_exactly(tmp_path: Path) -> None:
    workload = ResNetPretrain(horizon=2, data=archives(tmp_path), widths=(4, 8))
    config = {**ResNetPretrain.baseline, "batch_size": 5}
    whole = Training(workload, None, config)
    items = iter(whole)
    for _ in range(3):
        next(items)
    state = whole.state()
    expected = [item.metrics for item in items if item]
    resumed = Training(workload, None, config)
    torch.rand(7)
    resumed.load(state)
    assert [item.metrics for item in resumed if item] == expected
    assert len(expected) == 2


def test_digits_are_not_augmented() -> None:
    workload = ResNetPretrain.smallest()
    model = workload.model({}, None)
    torch.manual_seed(1)
    workload.loss(model, torch.arange(8))
    after = torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), after)


# Weights


def test_a_fine_tune_starts_from_a_checkpoint_of_the_pretraining(tmp_path: Path) -> None:
    data = archives(tmp_path / "data")
    source = ResNetPretrain(horizon=1, data=data, widths=(4, 8), stem_stride=2)
    training = Training(source, None, source.baseline)
    list(training)
    path = Store(tmp_path).save(training.state(), step=1).path
    workload = ResNetFinetune(data=data, widths=(4, 8), stem_stride=2, weights=path, classes_every=2)
    workload.check()
    workload.prepare(tmp_path / "prepared")
    model = workload.model({}, tmp_path / "prepared")
    own, given = model.state_dict(), training.model.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in given if not name.startswith("head."))
    assert own["head.weight"].shape == (2, 8)
    with pytest.raises(ValueError, match=r"weights=.*another architecture"):
        replace(workload, widths=(4, 16)).check()
    with pytest.raises(ValueError, match=r"and 1 channels: the weights are of another architecture"):
        replace(workload, data=None, classes_every=1).check()


def test_from_scratch_nothing_is_prepared(tmp_path: Path) -> None:
    workload = replace(ResNetFinetune.smallest(), weights="none")
    workload.check()
    workload.prepare(tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()
    assert len(list(train(workload, None, workload.baseline))) == 3


@pytest.mark.parametrize("network", ["resnet18", "resnet50"])
def test_a_published_network_gives_its_body(network: str, tmp_path: Path) -> None:
    """As from_pretrained finds it: a folder with config.json and model.safetensors."""
    from transformers import ResNetConfig, ResNetForImageClassification

    bottleneck = network == "resnet50"
    config = ResNetConfig(
        embedding_size=4 if bottleneck else 16,
        hidden_sizes=[16, 32],
        depths=[3, 4] if bottleneck else [2, 2],
        layer_type="bottleneck" if bottleneck else "basic",
    )
    published = ResNetForImageClassification(config).eval()
    published.save_pretrained(tmp_path / "model")
    workload = ResNetFinetune(
        data=archives(tmp_path / "data", side=32), network=network, widths=(16, 32), weights=str(tmp_path / "model")
    )
    workload.check()
    workload.prepare(tmp_path / "prepared")
    model: Any = workload.model({}, tmp_path / "prepared").eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model.features(images), published.resnet(images).pooler_output.flatten(1))
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"transformers cannot load this .*give its folder"):
        workload.check()


def test_names_of_published_weights_are_told_from_paths() -> None:
    assert is_published("microsoft/resnet-50")
    assert not any(map(is_published, ("runs/x/step-1", "/weights/x", "./x/y", "x/y.safetensors", "none", "tests/x/")))


@pytest.mark.parametrize("network", ["resnet18", "resnet34", "resnet50"])
def test_torchvisions_names_become_those_of_the_network(network: str) -> None:
    """Each of ours is found, with its shape, from a state dict with the names and shapes of torchvision's ResNets."""
    model = Architecture(network).build(3, 2)
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items() if not name.startswith("head.")}
    given = torchvision_shapes(network)
    assert {name: tuple(value.shape) for name, value in renamed(given).items()} == ours


def torchvision_shapes(network: str) -> dict[str, torch.Tensor]:
    depths = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}[network]
    expansion = 4 if network == "resnet50" else 1
    state = {"conv1.weight": torch.empty(64, 3, 7, 7), **norm("bn1", 64)}
    inputs = 64
    for stage, depth in enumerate(depths):
        inner = 64 * 2**stage
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            sizes = [(inner, inputs, 1), (inner, inner, 3), (4 * inner, inner, 1)]
            for place, (after, before, side) in enumerate(
                sizes if expansion == 4 else [(inner, inputs, 3), (inner, inner, 3)], start=1
            ):
                state[f"{name}.conv{place}.weight"] = torch.empty(after, before, side, side)
                state |= norm(f"{name}.bn{place}", after)
            if inputs != inner * expansion:
                state[f"{name}.downsample.0.weight"] = torch.empty(inner * expansion, inputs, 1, 1)
                state |= norm(f"{name}.downsample.1", inner * expansion)
            inputs = inner * expansion
    return {**state, "fc.weight": torch.empty(1000, inputs), "fc.bias": torch.empty(1000)}


def norm(name: str, width: int) -> dict[str, torch.Tensor]:
    parts = {part: torch.empty(width) for part in ("weight", "bias", "running_mean", "running_var")}
    return {f"{name}.{part}": value for part, value in {**parts, "num_batches_tracked": torch.tensor(0)}.items()}


def test_a_missing_and_a_broken_torchvision_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ValueError, match=r"torchvision is not installed; pip install torchvision"):
        from_torchvision("resnet18")

    class Broken(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setitem(sys.modules, "torchvision", Broken("torchvision"))
    with pytest.raises(ValueError, match=r"cannot be imported \(RuntimeError: operator torchvision::nms"):
        from_torchvision("resnet18")


# A frozen body


@pytest.fixture
def frozen(tmp_path: Path) -> tuple[ResNetFinetune, Path]:
    workload = replace(ResNetFinetune.smallest(), scope="head")
    workload.prepare(tmp_path / "prepared")
    return workload, tmp_path / "prepared"


def test_only_the_head_is_trained(frozen: tuple[ResNetFinetune, Path]) -> None:
    workload, prepared = frozen
    training = Training(workload, None, workload.baseline, prepared=prepared)
    assert set(training.model.state_dict()) == {"head.weight", "head.bias"}
    before = (prepared / "features.safetensors").read_bytes()
    list(training)
    assert (prepared / "features.safetensors").read_bytes() == before


def test_a_head_on_known_features_is_trained_as_on_the_frozen_body(frozen: tuple[ResNetFinetune, Path]) -> None:
    workload, prepared = frozen
    config = {**ResNetFinetune.baseline, "learning_rate": 0.05}
    known = Training(workload, None, config, prepared=prepared)
    settings = {field.name: getattr(ResNetFinetune.smallest(), field.name) for field in fields(ResNetFinetune)}
    whole = Training(Whole(**settings), None, config, prepared=prepared)
    whole.model.head.load_state_dict(known.model.head.state_dict())
    curves = [[item.metrics for item in training if item] for training in (known, whole)]
    for ours, theirs in zip(*curves, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert torch.allclose(known.model.head.weight, whole.model.head.weight, rtol=1e-4, atol=1e-6)
    body = replace(workload, scope="all").model(config, prepared).state_dict()
    assert all(torch.equal(value, body[name]) for name, value in whole.model.state_dict().items() if "head" not in name)


class FrozenBody(nn.Module):
    def __init__(self, whole: Any) -> None:
        super().__init__()
        self.whole = whole
        self.head = whole.head

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.whole.eval()
        with torch.no_grad():
            features = self.whole.features(images)
        return self.head(features)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.whole.state_dict(*args, **kwargs)


class Whole(ResNetFinetune):
    """The same images, shown to the body each time."""

    def model(self, config: Any, prepared: Path | None) -> nn.Module:
        return FrozenBody(super().model(config, prepared))

    def optimizer(self, model: Any, config: Any) -> torch.optim.Optimizer:
        return super().optimizer(model.head, config)


def test_a_share_of_the_data_uses_the_same_features(frozen: tuple[ResNetFinetune, Path]) -> None:
    workload, prepared = frozen
    small = replace(workload, data_share=0.25)
    assert small.samples() == 25
    assert len(list(train(small, None, small.baseline, prepared=prepared))) == 3
    with pytest.raises(ValueError, match=r"features of 100 training images of side 16, but there are 50"):
        replace(workload, per_class=10).model({}, prepared)
    with pytest.raises(ValueError, match=r"but there are 100 of side 8; all tasks share the prepared files"):
        replace(workload, side=8).model({}, prepared)
