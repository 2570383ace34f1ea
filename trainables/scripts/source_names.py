"""Tell from a Python script's source whether it can print a name at all.

The source is every file with code or settings in the script's folder and in the working folder, and the command. A
script that trains with somebody else's loop prints names that no file of the user's holds, so nothing is known of it.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

MOST = 2000  # files and folders to look at; of a larger place nothing is known
_SETTINGS = (".yaml", ".yml", ".json", ".toml", ".cfg", ".ini")
_APART = {"__pycache__", "node_modules", "site-packages", "venv", "runs"}
_SWEEP = re.compile(r"^\s*(?:import|from)\s+orchestrator\b", re.M)
_LOOPS = re.compile(
    r"^\s*(?:import|from)\s+(?:transformers|trl|accelerate|lightning|pytorch_lightning|keras|tensorflow|fastai|ultralytics"
    r"|mm\w+|detectron2|timm|sklearn|xgboost|lightgbm|catboost|stable_baselines3|sb3_contrib|tianshou|ray|skrl|torchrl|ignite"
    r"|composer|deepspeed|megatron|fairseq|espnet\w*|coax|d3rlpy|torchtune|axolotl|evaluate|pycocotools)\b",
    re.M,
)


def never_prints(name: str, others: Iterable[str], script: Path, command: str) -> bool:
    """Whether the source holds every word of the `others`, which were printed, and not every word of `name`."""
    words = _words_of_source(script.absolute(), Path.cwd())
    if words is None:
        return False
    known = words | _words(" ".join(shlex.split(command)))
    return all(_words(other) <= known for other in others) and not _words(name) <= known


@lru_cache(maxsize=8)
def _words_of_source(script: Path, here: Path) -> frozenset[str] | None:
    """The words in the strings and identifiers of the source; None if they are not all that can be printed."""
    found: set[str] = set()
    try:
        for path in {script, *_files(script.parent), *_files(here)}:
            text = path.read_text(errors="replace")
            if path != script and _SWEEP.search(text):
                continue  # it names the metric that we look for
            if path.suffix == ".py" and _LOOPS.search(text):
                return None
            found |= _words(" ".join(_said(text)) if path.suffix == ".py" else text)
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    return frozenset(found)


def _files(root: Path) -> Iterator[Path]:
    """The files with code or settings below a folder. Raises ValueError if there is too much to look at."""
    seen = 0
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if name not in _APART and not name.startswith(".")]
        seen += len(inside) + len(names)
        if seen > MOST:
            raise ValueError(f"more than {MOST} files in {root}")
        yield from (Path(folder, name) for name in names if name.endswith((".py", *_SETTINGS)))


def _said(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        for kind in ("id", "attr", "arg", "name"):
            if isinstance(word := getattr(node, kind, None), str):
                yield word


def _words(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.casefold()))
