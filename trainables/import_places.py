"""The folders outside of a script's own in which it finds the user's modules: those of PYTHONPATH, of `sys.path` lines in
the script, of editable installs, and the src/ of the project.

They are read, and nothing is imported. Installed packages and the standard library are not the user's.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import shutil
import site
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from trainables.source_files import source

_INSTALLED = ("site-packages", "dist-packages")
_STANDARD = Path(os.__file__).parent
_CHANGED_PATH = re.compile(r"\b(?:sys\.path|site\.addsitedir)\b(.*)")
_OF_THE_PROJECT = ("python", ".venv/bin/python")  # which `bash run.sh` and `uv run` start


def places_of_command(words: Sequence[str], script: Path) -> list[Path]:
    """Where a script or a module that a command starts finds modules, beside its own folder."""
    named = [word.partition("=")[2] for word in words if word.startswith("PYTHONPATH=")]
    named.append(os.environ.get("PYTHONPATH", ""))
    texts = [text for each in named for text in each.split(os.pathsep) if text and not text.startswith("$")]
    sites = [folder for word in (*words, *_OF_THE_PROJECT) if "=" not in word for folder in _sites(word)]
    return _users([*map(Path, texts), *_added_by(script), Path("src"), *_editable(sites)])


def places_here() -> list[Path]:
    """Where the functions of this process find modules: the path of this Python, and what it has imported."""
    files = [vars(module).get("__file__") for name, module in list(sys.modules.items()) if "." not in name]
    loaded = [Path(file) for file in files if isinstance(file, str) and os.path.isabs(file)]
    folders = [path.parent.parent if path.name == "__init__.py" else path.parent for path in loaded]
    return _users([*map(Path, filter(None, sys.path)), *folders, *_editable(_sites("python"))])


def not_found(words: Sequence[str], script: Path, places: Sequence[Path]) -> list[str]:
    """The packages that a script always imports, and that neither a place nor the Python of the command has: it finds them
    in a way that is not known here. Of another Python than this one nobody knows."""
    if not any(_is_this_python(word) for word in words):
        return []
    try:
        body = ast.parse(source(script) or "").body
    except (SyntaxError, ValueError, RecursionError):
        return []
    names = [alias.name for each in body if isinstance(each, ast.Import) for alias in each.names]
    names += [str(each.module) for each in body if isinstance(each, ast.ImportFrom) and not each.level]
    packages = dict.fromkeys(name.partition(".")[0] for name in names)
    return [name for name in packages if not (_is_there(name) or any(any(each.glob(f"{name}*")) for each in places))]


def _is_there(name: str) -> bool:
    try:
        return name in sys.stdlib_module_names or find_spec(name) is not None
    except (ImportError, ValueError):
        return True


def _is_this_python(word: str) -> bool:
    return bool(re.fullmatch(r"python[\d.]*", Path(word).name)) and _prefix(word) == Path(sys.prefix)


def _prefix(program: str) -> Path | None:
    """The folder of the environment that a program lies in; links are not followed, as one may be in an environment."""
    found = shutil.which(program)
    return Path(os.path.abspath(found)).parent.parent if found is not None else None


def _sites(program: str) -> list[Path]:
    """The folders of installed packages that a program of an environment uses."""
    prefix = _prefix(program)
    if prefix is None:
        return []
    if prefix == Path(sys.prefix):
        return [Path(place) for place in (*site.getsitepackages(), site.getusersitepackages())]
    return [place for name in _INSTALLED for place in prefix.glob(f"lib/python*/{name}")]


def _editable(sites: Iterable[Path]) -> list[Path]:
    """The folders of the user's that are installed by their place."""
    found = []
    for folder in dict.fromkeys(sites):
        with contextlib.suppress(OSError):
            found += _installed_by_place(folder, os.stat(folder).st_mtime_ns)
    return found


@lru_cache(maxsize=32)
def _installed_by_place(folder: Path, time: int) -> list[Path]:
    """`time`: the state of the folder, which is read again in another one."""
    found = []
    for path in sorted(folder.glob("*.pth")):
        lines = [line.strip() for line in (source(path) or "").splitlines()]
        found += [folder / line for line in lines if line and not line.startswith(("import ", "import\t", "#"))]
    for path in sorted(folder.glob("__editable__*_finder.py")):  # setuptools, of a project without src/
        mapping = re.search(r"^MAPPING\b.*?= (\{.*\})$", source(path) or "", re.M)
        with contextlib.suppress(ValueError, SyntaxError):
            found += [Path(place).parent for place in ast.literal_eval(mapping[1] if mapping else "{}").values()]
    return found


def _added_by(script: Path) -> Iterator[Path]:
    """The folders that lines such as `sys.path.insert(0, "src")` may mean: below the working folder, the script's, and
    those between them."""
    here, folder = Path.cwd(), script.absolute().parent
    bases = [folder, *(each for each in folder.parents if here in each.parents), folder.parent, here]
    for found in _CHANGED_PATH.finditer(source(script) or ""):
        words = re.findall(r"""["']([^"']+)["']""", found[1])
        yield from (base.joinpath(*words) for base in bases)


def _users(places: Iterable[Path]) -> list[Path]:
    """Those that are there, and no place of installed packages or of the standard library."""
    found = dict.fromkeys(Path(os.path.abspath(place)) for place in places)
    return [
        place for place in found
        if not any(name in place.parts for name in _INSTALLED)
        and _STANDARD not in (place, *place.parents) and place.is_dir()
    ]  # fmt: skip
