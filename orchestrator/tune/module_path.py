"""A worker finds modules where the driver finds them: what the driver's program has added to `sys.path` counts there, too."""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

_LACKING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


class ModulePath(NamedTuple):
    """The additions to an interpreter's own `sys.path`, absolute and in order. A path that a node lacks does no harm."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def enter(self) -> None:
        """Add them to this process's `sys.path`."""
        known = [*self.before, *(path for path in sys.path if path not in self.before)]
        sys.path[:] = [*known, *(path for path in self.after if path not in known)]


def module_path() -> ModulePath:
    """That of this process."""
    own = [index for index, path in enumerate(sys.path) if _is_pythons(path)]
    first = own[0] if own else len(sys.path)
    return ModulePath(_added(sys.path[:first]), _added(sys.path[first:]))


def not_found(error: str) -> str:
    """Which module of this process a worker could not import, from the text of its error; empty if it is another error."""
    found = _LACKING.findall(error)
    if not found or found[-1] not in sys.modules:
        return ""
    name, module = found[-1], sys.modules[found[-1]]
    place = next(iter(getattr(module, "__path__", ())), None) or getattr(module, "__file__", None)
    if place is None:
        return f"the sweep uses the module {name!r}, which is no file here, so a worker cannot import it: write it to a file."
    folder = str(Path(place).absolute().parents[name.count(".")])
    return (
        f"the sweep uses the module {name!r}, which this program has from {place}, and a worker cannot import it: add "
        f"{folder} to sys.path before the sweep starts, or to PYTHONPATH."
    )


def _added(paths: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.path.abspath(path) for path in paths if not _is_pythons(path)))


def _is_pythons(path: str) -> bool:
    """Whether each interpreter has its own: the standard library and installed packages."""
    known = sysconfig.get_paths()
    places = [known[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    places += [*site.getsitepackages(), site.getusersitepackages()]
    is_zip = os.path.basename(path) == f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    return is_zip or any(path == place or path.startswith(f"{place}{os.sep}") for place in places)
