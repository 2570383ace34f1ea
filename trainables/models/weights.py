"""Read trained weights from a trial's checkpoint or from a file of tensors."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from trainables.execution import checkpoint


def read(path: str | Path) -> dict[str, Tensor]:
    """Name → tensor of the model at `path`: a checkpoint folder (`step-000012+000000`), or a .safetensors file.

    Raises ValueError if there is no such thing, or if it is damaged.
    """
    place = Path(path)
    if place.is_file() and place.suffix == ".safetensors":
        try:
            return dict(safetensors.torch.load_file(place))
        except Exception as error:  # safetensors has its own exceptions for damaged files
            raise ValueError(f"weights={str(path)!r}: not a whole .safetensors file ({error}).") from error
    if (place / checkpoint.MANIFEST).is_file():
        try:
            model = checkpoint.load(place)["weights"]["model"]
        except checkpoint.DamagedCheckpoint as damage:
            raise ValueError(f"weights={str(path)!r}: {damage}.") from damage
        assert isinstance(model, dict)
        return model
    raise ValueError(
        f"weights={str(path)!r}: must be a .safetensors file, or the checkpoint folder of a trial "
        "(trials/00007/checkpoints/step-000012+000000 in the folder of a run)."
    )


def put(model: torch.nn.Module, weights: dict[str, Tensor], *, fresh: Collection[str] = ()) -> None:
    """Load `weights` into `model`, except those whose names begin with one of `fresh`; these keep their values.

    Raises ValueError if the weights are of another architecture.
    """
    own = model.state_dict()
    kept = {name: value for name, value in own.items() if name.startswith(tuple(fresh))}
    given = {name: value for name, value in weights.items() if not name.startswith(tuple(fresh))}
    wanted = own.keys() - kept.keys()
    missing, unknown = sorted(wanted - given.keys()), sorted(given.keys() - wanted)
    if missing or unknown:
        what = f"they lack {missing[0]!r}" if missing else f"the model has no {unknown[0]!r}"
        raise ValueError(f"the weights are of another architecture: {what}.")
    for name in sorted(wanted):
        if own[name].shape != given[name].shape:
            raise ValueError(
                f"the weights are of another architecture: {name!r} is {tuple(given[name].shape)}, "
                f"the model's is {tuple(own[name].shape)}."
            )
    model.load_state_dict({**given, **kept})
