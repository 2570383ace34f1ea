"""Prices: what one device costs for an hour. The user gives them; none is known beforehand.

    prices = {"H100": 2.49, "A100": {"usd_per_hour": 32.77, "devices": 8, "spot": True}, "cpu": 0.04}

A price is for one device. `devices` divides the price of a machine by the devices in it. The name is found in the name
that the driver of the device gives ("H100" in "NVIDIA H100 80GB HBM3"); if several names fit, the longest counts, and
"gpu" fits every GPU. A trial pays for its share: half a GPU costs half the price. A trial on GPUs pays for these alone,
and a trial without one for its CPU cores.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput, did_you_mean

CPU, GPU = "cpu", "gpu"  # names of devices: a CPU core, and a GPU whose model is unknown
HOUR = 3600.0
EXAMPLE = "prices={'H100': 2.49}, dollars for an hour of one device; or --prices FILE"


@dataclass(frozen=True)
class Price:
    """Dollars for an hour of `devices` devices; `spot`: the machine may be taken away.

    >>> Price(32.77, devices=8).of_one
    4.09625
    """

    usd_per_hour: float
    devices: int = 1
    spot: bool = False

    @property
    def of_one(self) -> float:
        """Dollars for an hour of one device."""
        return self.usd_per_hour / self.devices


@dataclass(frozen=True)
class Prices:
    """A price table: the name of a device → its price."""

    table: Mapping[str, Price]

    def __bool__(self) -> bool:
        return bool(self.table)

    def of(self, device: str) -> Price | None:
        """The price of a device; None if the table has none for it.

        A GPU whose model is unknown has the price of "gpu", or of the only GPU in the table.
        """
        name = _words(device)
        if device in (CPU, GPU):
            found = {key: price for key, price in self.table.items() if _words(key) == name}
            gpus = self.gpus
            if not found and device == GPU and len(gpus) == 1:
                return next(iter(gpus.values()))
        else:
            found = {key: price for key, price in self.gpus.items() if _fits(_words(key), name)}
        best = max(found, key=lambda key: (_words(key) != GPU, len(key)), default=None)
        return None if best is None else found[best]

    @property
    def gpus(self) -> dict[str, Price]:
        """The prices of GPUs."""
        return {key: price for key, price in self.table.items() if _words(key) != CPU}

    def usd(self, device: str, device_seconds: float) -> float | None:
        """Dollars for this time of a device; None without its price."""
        price = self.of(device)
        return None if price is None else price.of_one * device_seconds / HOUR

    def plain(self) -> dict[str, Any]:
        """As JSON: a number, or the fields of a price that has more than one."""
        return {name: _plain(price) for name, price in sorted(self.table.items())}


def held_by_trial(resources: Mapping[str, Any]) -> tuple[str, float]:
    """What one trial holds and pays for: its GPUs, or without one its CPU cores.

    >>> held_by_trial({"cpu": 8, "gpu": 0.5}), held_by_trial({"memory": "1GiB"})
    (('gpu', 0.5), ('cpu', 1.0))
    """
    gpus = float(resources.get(GPU) or 0)
    return (GPU, gpus) if gpus else (CPU, float(resources.get(CPU) or 1))


def prices_of(given: Any, place: str = "Sweep(prices)") -> Prices:
    """The table that is `given`: a mapping, or the path of a TOML, YAML or JSON file. Raises BadInput."""
    if given is None:
        return Prices({})
    if isinstance(given, Prices):
        return given
    if isinstance(given, (str, Path)):
        place, given = f"prices in {given}", _read(Path(given).expanduser())
        if isinstance(given, Mapping) and set(given) == {"prices"}:
            given = given["prices"]
    if not isinstance(given, Mapping):
        raise BadInput(f"{place}: {given!r} is not a table of prices; write {EXAMPLE}.")
    return Prices({_name(name, place): _price(name, price, place) for name, price in given.items()})


def _name(name: Any, place: str) -> str:
    if not isinstance(name, str) or not _words(name):
        raise BadInput(f"{place}: {name!r} is not the name of a device; write {EXAMPLE}.")
    return name


def _price(name: str, given: Any, place: str) -> Price:
    where = f"{place}: {name!r}"
    if isinstance(given, Price):
        price = given
    elif isinstance(given, Mapping):
        known = [field.name for field in fields(Price)]
        for key in given:
            if key not in known:
                raise BadInput(f"{where} has {key!r}.{did_you_mean(str(key), known)}")
        if "usd_per_hour" not in given:
            raise BadInput(f"{where} has no usd_per_hour; write {{'usd_per_hour': 2.49}}, or the number alone.")
        price = Price(**given)
    else:
        price = Price(given)
    amount, devices = price.usd_per_hour, price.devices
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 <= amount < math.inf:
        raise BadInput(f"{where} costs {amount!r}: must be a number of dollars for an hour, 0 or more, such as 2.49.")
    if isinstance(devices, bool) or not isinstance(devices, int) or devices < 1:
        raise BadInput(f"{where} has devices={devices!r}: must be a whole number, the devices that the price is for.")
    if not isinstance(price.spot, bool):
        raise BadInput(f"{where} has spot={price.spot!r}: must be true or false.")
    return price


def _read(path: Path) -> Any:
    """The content of a price file. Raises BadInput."""
    try:
        text = path.read_text()
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise BadInput(f"prices={str(path)!r}: cannot be read: {why}. Write {EXAMPLE}.") from error
    try:
        if path.suffix == ".json":
            return json.loads(text)
        if path.suffix in (".yaml", ".yml"):
            from ruamel.yaml import YAML

            return YAML(typ="safe").load(text)
        if path.suffix == ".toml" and sys.version_info >= (3, 11):
            import tomllib

            return tomllib.loads(text)
    except Exception as error:
        raise BadInput(f"prices={str(path)!r}: cannot be understood: {error}") from error
    kinds = ".toml, .yaml or .json" if sys.version_info >= (3, 11) else ".yaml or .json (.toml needs Python 3.11)"
    raise BadInput(f"prices={str(path)!r}: must end in {kinds}.")


def _plain(price: Price) -> Any:
    if price.devices == 1 and not price.spot:
        return price.usd_per_hour
    return {"usd_per_hour": price.usd_per_hour, "devices": price.devices, "spot": price.spot}


def _words(name: str) -> str:
    """The name in small letters, its words separated by blanks: "NVIDIA A100-SXM4" and "a100 sxm4" have the same words."""
    return " ".join(re.findall(r"[a-z0-9]+", name.lower()))


def _fits(key: str, name: str) -> bool:
    return key == GPU or f" {key} " in f" {name} "
