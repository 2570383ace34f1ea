"""Programs that run a command in the environment of its project: `uv run train.py`, `poetry run python train.py`."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from trainables.scripts.entry_point import entry_point, is_python, module_name

_ADD = {  # how a package comes into the project's environment
    "uv": "uv add", "poetry": "poetry add", "pipenv": "pipenv install", "pdm": "pdm add", "pixi": "pixi add",
    "rye": "rye add", "conda": "conda install", "mamba": "mamba install", "micromamba": "micromamba install",
}  # fmt: skip
_PREFER_THE_ACTIVE_ONE = ("poetry", "pipenv", "pdm", "hatch")
_RUN = re.compile(rf"(?:^|[\s/'\"])({'|'.join([*_ADD, 'hatch'])})\s+(?:-\S+\s+(?:(?!run\s)[^-\s]\S*\s+)?)*run(?=\s|$)")
_OPTIONS_OF_CONDA = re.compile(r"\bconda\s.*?\brun((?:\s+-\S+(?:\s+[^-\s]\S*)?)*)", re.S)  # not of the training
_CONTAINER = re.compile(
    r"\b(?P<program>docker|podman|nerdctl)\s(?:[^;&|]*?\s)?run(?P<options>(?:\s+-\S+(?:\s+[^-\s]\S*)?)*)", re.S
)
_STREAMS = {"--no-capture-output", "--live-stream", "-s"}


def runner(command: str) -> str:
    """The program of `command` that runs the training in its project's environment, such as "uv"; empty if there is none."""
    found = _RUN.search(command)
    return found.group(1) if found else ""


def without_our_own(environment: Mapping[str, str], command: str) -> dict[str, str]:
    """The environment for `command`, without VIRTUAL_ENV if that is the tool's and its runner would prefer it to the project's.

    Poetry, pipenv, PDM and Hatch use an activated environment, whatever project they are in.
    """
    left = dict(environment)
    active = left.get("VIRTUAL_ENV")
    if active and runner(command) in _PREFER_THE_ACTIVE_ONE and Path(active).resolve() == Path(sys.prefix).resolve():
        del left["VIRTUAL_ENV"]
        left.pop("PIPENV_ACTIVE", None)
        left.pop("POETRY_ACTIVE", None)
    return left


def withholds_output(command: str) -> str:
    """What is wrong if the command's runner shows the output of the training only at its end; else empty."""
    if runner(command) != "conda" or (_STREAMS & set(_OPTIONS_OF_CONDA.findall(command)[0].split())):
        return ""
    return (
        "conda run withholds what the training prints until it ends, so nothing can be stopped early: write conda run "
        "--no-capture-output"
    )


def container_doubt(command: str) -> str:
    """What is wrong if the command's container would train on when its trial is stopped; else empty."""
    found = _CONTAINER.search(command)
    if found is None or re.search(r"\s(?:--init|--pid=host)(?=[\s='\"]|$)", command):
        return ""
    return (
        f"without --init the first process of a container may ignore SIGTERM, so that the container of a stopped trial trains "
        f"on: write {found['program']} run --init"
    )


def detaches(command: str) -> str:
    """What is wrong if the command starts a container in the background; else empty."""
    found = _CONTAINER.search(command)
    options = found["options"].split() if found else []
    if not any(re.fullmatch(r"-[itP]*d[itP]*|--detach(?:=true)?", option) for option in options):
        return ""
    return (
        f"{command!r}: the container would train in the background, where nobody can follow or stop it. Leave out -d."
    )


def import_remedy(error: str, command: str) -> str:
    """What to do about an `error` in a training that `command` starts, if it is one of an import; else empty."""
    words = shlex.split(command)
    entry = entry_point(words)
    if "relative import" in error and entry is not None:
        module = module_name(entry.path)
        if "." not in module:
            return "It is part of a package: start it with -m, in the folder above the package."
        return f"It is part of a package: write {shlex.join(words[: entry.place])} -m {module}."
    missing = re.search(r"No module named '?([\w-]+)", error)
    if missing is None:
        return ""
    package = missing.group(1)
    if add := _ADD.get(runner(command)):
        return f"Install {package!r} in the project's environment, as with {add} {package}."
    python = words[0] if python_of(command) else str(Path(words[0]).parent / "python")
    if "/" in words[0] and shutil.which(python):
        return f"Install {package!r} there, as with {python} -m pip install {package}."
    return "Activate the environment of the training, or write the full path of its Python."


def python_of(command: str) -> str:
    """The full path of the interpreter that the command starts with; empty if it starts with another program."""
    program = next(iter(shlex.split(command)), "")
    return (shutil.which(program) or "") if is_python(program) else ""
