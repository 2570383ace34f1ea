"""The sweep of a program that called run(sweep), for `replay`, `audit` and `predictions`.

The program is imported, not run: what is below `if __name__ == "__main__":` stays alone, and a run(sweep) above it hands
its sweep over instead of training.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import cloudpickle

from orchestrator.console.handing_over import HandedOver, importing
from orchestrator.errors import BadInput, ResumeRefused
from orchestrator.record.ledger import Ledger
from orchestrator.record.resume_check import what_changed
from orchestrator.sweep import Sweep


def import_sweep(folder: Path, flags: Sequence[str]) -> Sweep:
    """Import the program that made the run in `folder`, and return its sweep as it describes it now.

    This process is then as the program's was: its arguments, its import path and its working folder. `flags`: those with
    which a script does what is asked; for "--audit" no setting may differ. Raises BadInput if there is no such sweep.
    """
    ledger = Ledger.read(folder)
    try:
        recorded = ledger.sweeps()
        code = recorded[-1]["code"]
        path = Path(code.get("program") or "")
        if not path.name:
            _refuse(folder, "run(sweep) made this run, in a notebook or at a prompt, so no file has its sweep", flags)
        if not path.is_file():
            _refuse(folder, f"the program that made this run ({path}) is not there", flags)
        sys.argv = [str(path), *_own_flags(code.get("typed", []))]  # the program may read them
        for sweep in _sweeps_in(path, Path(code["folder"]), folder, flags):
            try:
                change = what_changed(sweep, ledger, recorded)
            except ResumeRefused:
                continue
            if change and "--audit" in flags:
                _refuse(folder, f"the sweep in {path} differs from the one that made this run ({change})", flags)
            return sweep
        _refuse(folder, f"{path} made this run, and an import of it gives no such sweep", flags)
    finally:
        ledger.close()


def _own_flags(typed: Sequence[str]) -> Sequence[str]:
    """What was typed behind the program: `FILE flags…` or `-m MODULE flags…`."""
    return typed[2:] if typed[:1] == ["-m"] else typed[1:]


def _sweeps_in(path: Path, place: Path, folder: Path, flags: Sequence[str]) -> list[Sweep]:
    """The sweeps that a program has at its top, or the one that it runs as it is imported. `place`: where it ran."""
    if place.is_dir():
        os.chdir(place)
    sys.path[:0] = [str(path.parent), str(place)]
    name = path.stem if path.stem not in sys.modules else f"{path.stem}_again"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    cloudpickle.register_pickle_by_value(module)  # a process of a trial must not import the program: that may run it
    try:
        with importing():
            spec.loader.exec_module(module)
    except HandedOver as given:
        return [given.sweep]
    except (Exception, SystemExit) as error:
        _refuse(folder, f"{path} made this run, and cannot be imported ({type(error).__name__}: {error})", flags)
    return [value for value in vars(module).values() if isinstance(value, Sweep)]


def _refuse(folder: Path, why: str, flags: Sequence[str]) -> NoReturn:
    named = shlex.join(["--name", folder.name, "--runs", str(folder.parent), *flags])
    there = ""
    if "--replay" in flags:
        trial = flags[flags.index("--replay") + 1]
        there = f", or call Result({str(folder)!r}).replay(sweep, {trial}) where the sweep is"
    raise BadInput(
        f"{folder}: {why}. Write sweep = Sweep(…) at the top of a file that ends in launch(sweep), and run it with "
        f"{named}{there}."
    )
