"""How replicas are computed: all at once, in parts, marked, rewound, forked."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search.records import Config
from search.work import Assignment
from tests.averaged import CONFIG, Acting, Double, Small, after, replicas_of, training, weights
from tests.trainings import Everything, begin, good, metrics, numbers, resume, timeless
from trainables.carry_out import carry_out
from trainables.policies.fixed import Fixed
from trainables.policies.sma import Sma
from trainables.training.loop import Training
from trainables.values import Action, Averaging, Execution, Knobs
from trainables.workloads.lstm_mnist import LstmMnist
from trainables.workloads.mlp_digits import MlpDigits

# How they are computed


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.slow
def test_all_at_once_is_one_after_the_other(normed: bool) -> None:
    """Weights and statistics, over two epochs with uneven batches."""
    workload = Small(normed=normed)
    at_once, singly = (after(training(Averaging(3), workload), 1) for _ in range(2))
    assert at_once.weights.replicas is not None
    assert singly.weights.replicas is not None
    assert at_once.weights.replicas.losses.obstacle == ""
    singly.weights.replicas.losses.obstacle = "as told"
    for each in (at_once, singly):
        assert len(metrics(each)) == 3
    for name, value in at_once.model.state_dict().items():
        assert torch.allclose(value, singly.model.state_dict()[name], rtol=0, atol=1e-9), name


def test_statistics_of_the_central_model_are_the_means_of_the_replicas() -> None:
    normed = after(training(Averaging(3), Small(normed=True)), 4)
    assert normed.weights.replicas is not None
    stacks = normed.weights.replicas.state()["buffers"]
    central = dict(normed.model.named_buffers())
    assert stacks["model.1.running_mean"].std(0).min() > 0
    for name in ("1.running_mean", "1.running_var"):
        assert torch.allclose(central[name], stacks[f"model.{name}"].mean(0))
    assert central["1.num_batches_tracked"] == 4


def test_buffers_that_a_model_exchanges_are_kept() -> None:
    class Counting(Double):
        seen: Tensor

        def forward(self, pixels: Tensor) -> Tensor:
            if self.training:
                self.seen = self.seen + len(pixels)  # another tensor, not the same changed
            return super().forward(pixels)

    @dataclass(frozen=True)
    class Counted(Small):
        def model(self, config: Config, prepared: Path | None) -> nn.Module:
            model = Counting(*super().model(config, prepared).double())  # type: ignore[arg-type]
            model.register_buffer("seen", torch.zeros(()).double())
            return model

    for obstacle in ("", "as told"):
        counted = training(Averaging(3), Counted())
        assert counted.weights.replicas is not None
        counted.weights.replicas.losses.obstacle = obstacle
        after(counted, 3)
        assert counted.weights.replicas.state()["buffers"]["model.seen"].tolist() == [15.0, 12.0, 12.0]


@pytest.mark.slow
def test_a_model_that_cannot_be_computed_at_once_is_said_to_be_and_trains() -> None:
    recurrent = Training(LstmMnist.smallest(), Sma(2), good(LstmMnist()), until=1)
    told, *_, report = [item for item in recurrent if item is not None]
    assert told.text.startswith("2 replicas, one after the other (Batching rule not implemented for aten::lstm")
    assert math.isfinite(report.metrics["train_loss"])
    (told, *_) = Training(MlpDigits.smallest(), Sma(2), good(MlpDigits()), until=1)
    assert told is not None
    assert told.text == "2 replicas, all at once"


@pytest.mark.slow
def test_every_sample_is_seen_once_an_epoch_by_one_replica() -> None:
    seen: Counter[int] = Counter()

    @dataclass(frozen=True)
    class Watched(Small):
        def loss(self, model: nn.Module, indices: Tensor) -> Tensor:
            if model.training:
                seen.update(indices.tolist())  # which also forbids to compute all at once
            return super().loss(model, indices)

    for k, batch_size, micro_batch in product((2, 7), (7, 29), (None, 4)):
        workload = Watched(horizon=2, execution=Execution(micro_batch=micro_batch))
        watched = training(Averaging(k), workload, batch_size=batch_size)
        seen.clear()
        metrics(watched)
        assert seen == Counter(dict.fromkeys(range(60), 2)), (k, batch_size, micro_batch)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_batches_in_parts_make_the_same_rounds(clip: float | None) -> None:
    whole = training(Averaging(3), Small(clip=clip))
    parts = training(Averaging(3), Small(clip=clip, execution=Execution(micro_batch=6)))
    assert sum(item is None for item in whole) < sum(item is None for item in parts)
    assert torch.allclose(weights(whole), weights(parts), rtol=0, atol=1e-10)


def test_one_replica_is_plain_training(tmp_path: Path) -> None:
    found = []
    for policy in (Fixed(), Sma(1)):
        whole = begin(Everything(), policy, tmp_path)
        found.append([*metrics(whole), timeless(whole.state())])
    assert found[0] == found[1]


# Restarts, marks, states


TURN = Action(knobs=Knobs(0.01, 13, 0.5, 0.01), why="time for it")


@pytest.mark.parametrize(("action", "restarts"), [
    (TURN, True),
    (replace(TURN, why=""), False),  # a schedule
    (replace(TURN, knobs=Knobs(0.1, 7, 0.5, 0.01)), False),
    (Action(average=Averaging(3)), True),
    (Action(average=Averaging(5)), True),
])  # fmt: skip
def test_replicas_start_afresh_when_a_decision_turns_the_learning_rate(action: Action, restarts: bool) -> None:
    policy = Acting(((0, Action(average=Averaging(3))), (3, action)))
    turned = after(Training(Small(), policy, CONFIG, seed=3), 3)
    apart = (replicas_of(turned) - weights(turned)).abs().max()
    assert (apart == 0) == restarts
    assert turned.weights.replicas is not None
    before = torch.cat([value.flatten() for value in turned.weights.replicas.state()["before"].values()])
    assert torch.equal(before, weights(turned)) == restarts
    assert all(map(math.isfinite, (report["loss"] for report in metrics(turned))))


def test_the_way_back_to_one_model_keeps_the_mean_of_what_the_optimisers_kept() -> None:
    three = after(training(Averaging(3), optimizer="adam"), 3)
    moments = [dict(three.optimizer.state[p]) for group in three.optimizer.param_groups for p in group["params"]]
    policy = Acting(((0, Action(average=Averaging(3))), (3, Action(average=Averaging(1)))))
    averaged = after(Training(Small(), policy, {**CONFIG, "optimizer": "adam"}, seed=3), 3)
    assert averaged.weights.replicas is None
    parameters = [p for group in averaged.optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in parameters} == {id(p) for p in averaged.model.parameters()}
    for parameter, old in zip(parameters, moments, strict=True):
        new = averaged.optimizer.state[parameter]
        assert torch.allclose(new["exp_avg"], old["exp_avg"].mean(0), rtol=0, atol=1e-15)
        assert new["step"] == old["step"] == 3
    assert len(metrics(averaged)) == 3


@pytest.mark.parametrize("at_mark", [1, 3])
def test_a_rewind_brings_back_as_many_replicas_as_there_were(at_mark: int) -> None:
    begun, other = Action(average=Averaging(at_mark)), Action(average=Averaging(4))
    policy = Acting(((2, begun), (4, Action(snapshot=True)), (6, other), (8, Action(roll_back=True))))
    marked = after(Training(Small(), policy, CONFIG, seed=3), 4).state()["weights"]
    rewound = Training(Small(), policy, CONFIG, seed=3)
    assert ("replicas" in marked) == (at_mark > 1)
    assert numbers(after(rewound, 8).state()["weights"]) == numbers(marked)
    assert len(metrics(rewound)) == 2  # of three, one was over


LEFT_OUT = [None, "parameters", "buffers", "before", "rounds", "averaging", "obstacle"]


@pytest.mark.parametrize("left_out", LEFT_OUT)
@pytest.mark.slow
def test_nothing_can_be_left_out_of_the_state_of_replicas(left_out: str | None, tmp_path: Path) -> None:
    """One item as at the start, and the rest of the training is another."""
    policy = Acting(((2, Action(average=Averaging(2, period=2))), (7, Action(average=Averaging(2, 0.3, period=2)))))
    workload = Everything()
    start = after(begin(workload, policy, tmp_path), 2).state()["weights"]["replicas"]
    whole = after(begin(workload, policy, tmp_path), 8)
    state = whole.state()
    expected = [*metrics(whole), timeless(whole.state())]
    replicas = state["weights"]["replicas"]
    assert set(replicas) == {name for name in LEFT_OUT if name}
    if left_out is not None:
        replicas[left_out] = "as told" if left_out == "obstacle" else start[left_out]
    resumed = resume(state, workload, policy, tmp_path)
    assert ([*metrics(resumed), timeless(resumed.state())] == expected) == (left_out is None)


def test_a_fork_of_averaged_replicas_goes_on_from_their_average(tmp_path: Path) -> None:
    workload = Small()
    parent = Assignment(0, CONFIG, 3, 2, tmp_path / "parent", checkpoint_seconds=0)
    for _ in carry_out(workload, Sma(3), parent):
        pass
    averaged = Training(workload, Sma(3), CONFIG, seed=3, until=2)
    metrics(averaged)
    for policy, replicas in ((Fixed(), 1), (Sma(4), 4)):
        folder = tmp_path / str(replicas)
        child = replace(parent, until=3, folder=folder, parent=parent.folder, parent_step=2, seed=5)
        run = carry_out(workload, policy, child)
        forked = run.training  # type: ignore[union-attr]
        assert isinstance(forked, Training)
        assert torch.equal(weights(forked), weights(averaged))
        assert (1 if forked.weights.replicas is None else len(replicas_of(forked))) == replicas
        assert [item.step for item in run if item is not None and item.kind == "report"] == [3]
