"""The libraries with which a Python script reads its command line, by the names that its source has of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

ABBREVIATING = ("argparse", "ArgumentParser", "HfArgumentParser")  # --learn is --learning-rate
STRICT = (*ABBREVIATING, "click", "typer")  # what --help does not list is refused
LENIENT = (
    "absl",
    "jsonargparse",
    "LightningCLI",
    "simple_parsing",
    "tyro",
    "configargparse",
)  # flags may come from elsewhere
SILENT = ("fire", "hydra", "hydra_zen", "docopt")  # --help is no list of flags


def naming(libraries: Iterable[str]) -> re.Pattern[str]:
    """The pattern of a source that names one of them."""
    return re.compile(rf"\b(?:{'|'.join(libraries)})\b")
