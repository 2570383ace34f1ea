"""A training of several processes: which of them is recorded, its ports, its size, and a wrapper that hides its failure."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import pytest

from orchestrator import RunToEnd, Script, Space, Sweep, uniform
from orchestrator.definition.warnings import warnings
from orchestrator.main import run
from search.work import Ended
from tests.scripting import assigned, script, texts, trained
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.starting_over import with_remedy

TWO_RANKS = """
import sys
for epoch in range(1, 7):
    for rank in (1, 0):
        print(f"[rank{rank}] epoch {epoch}: distance=FORM", flush=True)
"""


def told(tmp_path: Path, text: str, until: int = 6, **settings: object) -> list[str]:
    running = script(tmp_path, text, **settings).run(None, assigned(tmp_path, until=until))
    items = [item for item in running if item is not None]
    return [*texts(items), *running.told_at_end]


def test_two_values_of_the_last_step_are_told_of(tmp_path: Path) -> None:
    (text,) = told(tmp_path, TWO_RANKS.replace("FORM", "{epoch + 100 * rank}"), until=1, horizon=1)
    assert "two values of 'distance' for epoch 1: 101 in '[rank1] epoch 1: distance=101' and 1 in" in text
    assert "if several processes print it, let only rank 0 do so" in text


def test_a_closing_line_is_no_second_value(tmp_path: Path) -> None:
    text = "print('epoch 1: distance=3'); print('Done. epoch 1: distance=2 with averaged weights')"
    assert told(tmp_path, text, until=1, horizon=1) == []


def test_two_values_of_a_further_metric_are_told_of_once(tmp_path: Path) -> None:
    (text,) = told(tmp_path, TWO_RANKS.replace("FORM", "{epoch} own={epoch + rank}"), metrics=("own",))
    assert "two values of 'own' for one step" in text
    assert "let only rank 0 do so" in text


TRACEBACK = (
    'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\n    main()\nRuntimeError: out of data\n'
)
TORCHRUNS = f"{TRACEBACK}{TRACEBACK.rpartition('RuntimeError')[0]}torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\ntrain.py FAILED\n"


def test_an_early_end_with_an_error_is_told_with_it_and_not_taken_for_a_shorter_horizon(tmp_path: Path) -> None:
    items = trained(script(tmp_path, f"print('epoch 1: distance=3'); print({TRACEBACK!r})"), assigned(tmp_path))
    assert isinstance(items[-1], Ended)
    assert "its output ends with an error: RuntimeError: out of data" in items[-1].advice
    assert "pipefail" in items[-1].advice
    text = f"print('epoch 1: distance=3'); print({TRACEBACK!r}); print('stopped early: no gain for 3 epochs')"
    ended = trained(script(tmp_path, text, horizon=5), assigned(tmp_path / "other"))[-1]
    assert isinstance(ended, Ended)
    assert ended.advice == ""


def test_a_failure_of_torchrun_is_one_even_behind_a_pipe_that_hides_its_exit_code(tmp_path: Path) -> None:
    workload = script(tmp_path, f"print('epoch 1: distance=3'); print({TORCHRUNS!r})")
    with pytest.raises(
        ScriptFailed, match=r"RuntimeError: out of data .*exit code 0 after step 1 of 6.*; let .*pipefail"
    ):
        trained(workload, assigned(tmp_path))


@pytest.mark.parametrize(
    ("command", "changes", "words"),
    [
        ("torchrun --nproc_per_node 2 --master_port 29533 train.py", {"resources": {"cpu": 2}}, ["listens on port 29533"]),
        ("torchrun --nproc-per-node=2 train.py", {}, ["starts 2 processes and reserves 1 CPU"]),
        ("torchrun --nproc_per_node 2 --master_port=29533 train.py", {"resources": {"gpu": 2}, "max_concurrent": 1}, []),
        ("torchrun --rdzv-endpoint=localhost:0 --nproc_per_node 1 train.py -n 4", {}, []),
        ("accelerate launch --num_processes 4 --main_process_port 29500 train.py", {}, ["listens on port 29500", "starts 4 processes"]),
        ("./run.sh", {}, ["listens on port 29501", "starts 2 processes"]),
    ],
)  # fmt: skip
def test_a_launchers_port_and_processes_are_looked_at_before_the_start(
    command: str, changes: dict[str, object], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("print('epoch 1: distance=3')")
    Path("run.sh").write_text('#!/bin/bash\nexec torchrun --master_port 29501 \\\n  --nproc_per_node 2 train.py "$@"\n')
    workload = Script(command, metric="distance", mode="min", horizon=3)
    sweep = Sweep("ports", workload, Space({"lr": uniform(0, 1)}), scheduler=RunToEnd(), **changes)  # type: ignore[arg-type]
    found = [text for text in warnings(sweep) if "port" in text or "processes" in text]
    assert len(found) == len(words)
    for word, text in zip(words, found, strict=True):
        assert word in text


def test_a_port_in_use_is_named_with_its_remedy(tmp_path: Path) -> None:
    error = "torch.distributed.DistNetworkError: The server socket has failed to listen. port: 29533, errno: -98 (EADDRINUSE)."
    assert with_remedy(error, tmp_path, "./run.sh").startswith(
        f"{error.rstrip('.')}. Another trial may use this port: let"
    )


SPAWNED = """
import torch.distributed, torch.multiprocessing
from orchestrator import report


def worker(rank, lr, place):
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    for step in (1, 2):
        report(step, distance=lr + 100 * rank, own=rank)


def train(config):
    import tempfile
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(worker, (config["lr"], f"{folder}/store"), nprocs=2)
"""


@pytest.mark.slow
def test_of_spawned_processes_rank_0_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spawned_ranks.py").write_text(textwrap.dedent(SPAWNED))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    import spawned_ranks  # type: ignore[import-not-found]

    space = Space({"lr": uniform(0, 1)})
    sweep = Sweep(
        "ranks", spawned_ranks.train, space, minimize="distance", steps=2, num_samples=2, scheduler=RunToEnd()
    )
    result = run(sweep, runs=tmp_path / "runs", simulate=True)
    assert list(result.trials["value"]) == pytest.approx(list(result.trials["config.lr"]))
