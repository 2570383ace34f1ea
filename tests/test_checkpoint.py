"""Checkpoints: exact round trips, and no damage, kill or full disk that goes unnoticed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import random
import resource
import shutil
import signal
import stat
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.execution import checkpoint
from trainables.execution.checkpoint import DamagedCheckpoint, load
from trainables.execution.store import Store, describe
from trainables.training.codec import pack, unpack

STATE = {"weights": {"w": torch.arange(6.0).reshape(2, 3)}, "optimizer": {0: (0.9, None)}, "note": "ä"}

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]

tensors = st.builds(
    lambda shape, dtype, seed: torch.randn(shape, generator=torch.Generator().manual_seed(seed)).mul(100).to(dtype),
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from(DTYPES),
    st.integers(0, 9),
)
keys = st.text(max_size=4) | st.sampled_from(["$tensor", "$pairs", "__metadata__", "a/b"]) | st.integers()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | tensors,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal in type, structure and every bit of every number."""
    if isinstance(a, torch.Tensor):
        raw = [t.contiguous().reshape(-1).view(torch.uint8) if t.numel() else t for t in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*raw)
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return (
            list(a) == list(b)
            and all(same(k, m) for k, m in zip(a, b, strict=True))
            and all(same(a[key], b[key]) for key in a)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@settings(deadline=None, max_examples=150)
@given(value=values)
def test_any_plain_value_comes_back_exactly(value: Any) -> None:
    import safetensors.torch

    packed, named = pack(value)
    text = json.dumps(packed, allow_nan=False)
    assert same(unpack(json.loads(text), safetensors.torch.load(safetensors.torch.save(named))), value)


@settings(deadline=None, max_examples=20)
@given(value=st.dictionaries(st.text(max_size=4), values, max_size=4))
def test_any_plain_state_comes_back_from_disk(value: dict[str, Any], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("trial")
    assert same(load(Path(Store(folder).save(value, step=1).path)), value)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, -0.0, 5e-324, 0.1 + 0.2, 1e308])
def test_floats_are_exact(number: float, tmp_path: Path) -> None:
    assert same(load(Path(Store(tmp_path).save({"x": number}, step=1).path)), {"x": number})


def test_tensors_that_share_memory_come_back(tmp_path: Path) -> None:
    tied = torch.arange(4.0)
    state = {"a": tied, "b": tied.view(4), "part": tied[1:3], "turned": torch.arange(6).reshape(2, 3).T}
    loaded = load(Path(Store(tmp_path).save(state, step=1).path))
    assert same(loaded, state)
    assert loaded["a"] is loaded["b"]


def test_another_kind_of_value_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"policy/0 is a pathlib\.\w+; a checkpoint holds"):
        Store(tmp_path).save({"policy": [Path()]}, step=1)
    assert Store(tmp_path).find() == []


class OfAnotherLibrary:
    """An array that says so, as those of JAX and CuPy do, and can be read as NumPy's or not."""

    def __init__(self, numbers: object) -> None:
        self._numbers = numbers

    def __array_namespace__(self, **_: object) -> object:
        return np

    def __array__(self, *_: object, **__: object) -> object:
        if self._numbers is None:
            raise TypeError("A key cannot be read. Use key_data() instead")
        return self._numbers


def test_an_array_of_another_library_comes_back_as_one_of_numpy(tmp_path: Path) -> None:
    """A state of JAX arrays was saved by no checkpoint, and the training started over."""
    numbers = np.array([[1.5, -0.0], [np.nan, 3.0]], np.float32)
    loaded = load(
        Path(Store(tmp_path).save({"w": OfAnotherLibrary(numbers), "n": OfAnotherLibrary(np.array(3))}, step=1).path)
    )
    assert (loaded["w"].tobytes(), loaded["w"].dtype, loaded["w"].shape) == (numbers.tobytes(), np.float32, (2, 2))
    assert (loaded["n"].shape, int(loaded["n"])) == ((), 3)
    with pytest.raises(
        TypeError, match=r"w is a .*OfAnotherLibrary \(A key cannot be read. Use key_data\(\) instead\); a checkpoint"
    ):
        Store(tmp_path).save({"w": OfAnotherLibrary(None)}, step=2)


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "int4"])
def test_small_numbers_of_numpy_come_back_exactly(kind: str, tmp_path: Path) -> None:
    small = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: pip install ml_dtypes")
    numbers = np.array([1, 2, 3], getattr(small, kind))
    loaded = load(Path(Store(tmp_path).save({"w": numbers, "n": numbers[1]}, step=1).path))
    assert (loaded["w"].dtype, loaded["w"].tobytes()) == (numbers.dtype, numbers.tobytes())
    assert (type(loaded["n"]), loaded["n"]) == (type(numbers[1]), numbers[1])


def test_arrays_of_jax_come_back_as_those_of_numpy(tmp_path: Path) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    state = {"w": jax.numpy.arange(3, dtype="bfloat16"), "key": jax.random.PRNGKey(3), "n": jax.numpy.int32(4)}
    loaded = load(Path(Store(tmp_path).save(state, step=1).path))
    for name, array in state.items():
        assert (loaded[name].dtype, loaded[name].tobytes()) == (array.dtype, np.asarray(array).tobytes())
        assert jax.numpy.array_equal(jax.numpy.asarray(loaded[name]), array)
    with pytest.raises(TypeError, match=r"Use jax\.random\.key_data"):
        Store(tmp_path).save({"key": jax.random.key(3)}, step=2)


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    path = Path(Store(tmp_path / "trial").save(STATE, step=12, cursor=128).path)
    assert path.name == "step-000012+000128"
    assert [stat.S_IMODE(p.stat().st_mode) for p in (path.parent, path)] == [0o700, 0o700]
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {0o600}


def test_what_is_reported_describes_what_is_there(tmp_path: Path) -> None:
    written = Store(tmp_path).save(STATE, step=3)
    assert describe(Store(tmp_path).find()[0]) == written
    assert written.bytes == sum((Path(written.path) / name).stat().st_size for name in checkpoint.FILES)


def test_no_damage_goes_unnoticed(tmp_path: Path) -> None:
    """300 flipped bits and cut files: not one is loaded, and the one before is found each time."""
    old = Store(tmp_path).save(STATE, step=1)
    new = Store(tmp_path).save(STATE, step=2)
    files = [Path(new.path) / name for name in (*checkpoint.FILES, checkpoint.MANIFEST)]
    contents = {file: file.read_bytes() for file in files}
    generator = random.Random(1)
    for attempt in range(300):
        file = generator.choice(files)
        damaged = bytearray(contents[file])
        place = generator.randrange(len(damaged))
        if attempt % 3:
            damaged[place] ^= 1 << generator.randrange(8)
        else:
            del damaged[place:]
        file.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint, match=file.name):
            load(Path(new.path))
        state, notices = Store(tmp_path).newest(recorded=9)
        assert same(state, STATE)
        assert len(notices) == 1
        assert file.name in notices[0]
        file.write_bytes(contents[file])
    assert same(load(Path(new.path)), STATE)
    assert same(load(Path(old.path)), STATE)


@pytest.mark.parametrize("name", [*checkpoint.FILES, checkpoint.MANIFEST])
def test_a_missing_file_is_damage(name: str, tmp_path: Path) -> None:
    path = Path(Store(tmp_path).save(STATE, step=1).path)
    (path / name).unlink()
    with pytest.raises(DamagedCheckpoint, match=f"{name} cannot be read"):
        load(path)
    assert Store(tmp_path).newest(recorded=1)[0] is None


def test_a_manifest_cannot_name_other_files(tmp_path: Path) -> None:
    path = Path(Store(tmp_path).save(STATE, step=1).path)
    manifest = json.loads((path / checkpoint.MANIFEST).read_text())
    manifest["files"]["../../elsewhere"] = manifest["files"].pop("state.json")
    (path / checkpoint.MANIFEST).write_bytes(checkpoint.sealed(manifest))
    with pytest.raises(DamagedCheckpoint):
        load(path)


def test_steps_that_are_not_recorded_are_not_used(tmp_path: Path) -> None:
    for step, cursor in [(1, 0), (2, 0), (2, 64), (3, 0)]:
        Store(tmp_path).save({"at": (step, cursor)}, step=step, cursor=cursor)
    assert Store(tmp_path).newest(recorded=2) == ({"at": (2, 64)}, [])
    assert Store(tmp_path).newest(recorded=2, on_the_way=False) == ({"at": (2, 0)}, [])
    assert Store(tmp_path).newest(recorded=0) == (None, [])
    assert Store(tmp_path / "nothing here").newest(recorded=2) == (None, [])


def test_steps_of_more_than_six_digits_stay_in_order(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000):
        Store(tmp_path).save({"at": step}, step=step)
    assert Store(tmp_path).newest(recorded=2_000_000) == ({"at": 1_000_000}, [])


def test_prune_keeps_the_newest_and_the_recorded(tmp_path: Path) -> None:
    for step in range(1, 7):
        Store(tmp_path).save(STATE, step=step)
    Store(tmp_path).prune(keep=2, recorded=3)
    assert [found.step for found in Store(tmp_path).find()] == [3, 5, 6]
    Store(tmp_path).prune(keep=2)
    assert [found.step for found in Store(tmp_path).find()] == [5, 6]


def test_prune_deletes_nothing_while_the_newest_is_damaged(tmp_path: Path) -> None:
    for step in range(1, 4):
        path = Path(Store(tmp_path).save(STATE, step=step).path)
    (path / "state.json").write_bytes(b"{}")
    Store(tmp_path).prune(keep=1)
    assert [found.step for found in Store(tmp_path).find()] == [1, 2, 3]


def test_clean_removes_what_lies_ahead(tmp_path: Path) -> None:
    for step in range(1, 4):
        Store(tmp_path).save(STATE, step=step)
    shutil.copytree(tmp_path / "step-000003+000000", tmp_path / "step-000004+000000.tmp")
    Store(tmp_path).clean(2, 0)
    assert sorted(os.listdir(tmp_path)) == ["step-000001+000000", "step-000002+000000"]


def test_saving_a_place_again_replaces_it(tmp_path: Path) -> None:
    Store(tmp_path).save({"x": 1}, step=1)
    Store(tmp_path).save({"x": 2}, step=1)
    assert Store(tmp_path).newest(recorded=1) == ({"x": 2}, [])


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    """Neither beside the files of a checkpoint nor under their names."""
    canary = tmp_path / "canary"
    payload = pickle.dumps(Evil(canary))
    path = Path(Store(tmp_path).save(STATE, step=1).path)
    for name in ("data.pkl", "weights.pt", "state.pkl", "__init__.py"):
        (path / name).write_bytes(payload)
    assert same(load(path), STATE)
    for name in (*checkpoint.FILES, checkpoint.MANIFEST):
        (path / name).write_bytes(payload)
        with pytest.raises(DamagedCheckpoint):
            load(path)
    manifest = {"format": 1, "files": {}}
    for name in checkpoint.FILES:  # and not if somebody makes the hashes right
        manifest["files"][name] = {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}  # type: ignore[index]
    (path / checkpoint.MANIFEST).write_bytes(checkpoint.sealed(manifest))
    with pytest.raises(ValueError):
        load(path)
    assert not canary.exists()


def save_for_ever(folder: Path, told: int) -> None:
    torch.set_num_threads(1)
    for step in range(1, 100_000):
        Store(folder).save({"step": step, "w": torch.full((20_000,), float(step))}, step=step)
        os.write(told, b"x")
        Store(folder).prune(keep=2)


def test_a_kill_at_any_instant_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    generator = random.Random(2)
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        told, telling = os.pipe()
        saver = os.fork()
        if saver == 0:
            save_for_ever(folder, telling)
        os.close(telling)
        finished = len(os.read(told, 1))
        time.sleep(generator.uniform(0, 0.1))
        os.kill(saver, signal.SIGKILL)
        os.waitpid(saver, 0)
        while more := os.read(told, 4096):
            finished += len(more)
        os.close(told)
        state, _ = Store(folder).newest(recorded=100_000)
        assert state is not None
        assert state["step"] >= finished
        assert torch.equal(state["w"], torch.full((20_000,), float(state["step"])))


def test_a_full_disk_is_a_clear_error_and_costs_nothing(tmp_path: Path) -> None:
    Store(tmp_path).save(STATE, step=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        for limit in (0, 10, 300, 1000):  # bytes a file may have: each of the files meets it
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
            with pytest.raises(OSError, match="checkpoint not written, earlier ones are kept: File too large"):
                Store(tmp_path).save({"w": torch.zeros(1000)}, step=2)
            assert os.listdir(tmp_path) == ["step-000001+000000"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(Store(tmp_path).newest(recorded=9)[0], STATE)


def test_any_failing_operation_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the n-th fsync, for every n: file, manifest, folder, parent."""
    Store(tmp_path).save(STATE, step=1)
    real = os.fsync
    for n in range(1, 6):
        calls = iter(range(1, 100))

        def failing(handle: int, n: int = n, calls: Any = calls) -> None:
            if next(calls) == n:
                raise OSError(28, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="No space left on device"):
            Store(tmp_path).save(STATE, step=2)
        assert load(tmp_path / "step-000001+000000")
    monkeypatch.setattr(os, "fsync", real)
    Store(tmp_path).save(STATE, step=2)
    assert Store(tmp_path).newest(recorded=2)[1] == []
