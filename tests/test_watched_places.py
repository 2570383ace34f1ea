"""What a training imports of the user's own code is watched wherever it lies; installed packages are not."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from orchestrator import FromFunction, Script, Space, Sweep, uniform
from orchestrator.definition.sources import edited, sources_of
from orchestrator.definition.warnings import warnings

PACKAGE = {"__init__.py": "", "engine.py": "from . import losses\nimport numpy\n", "losses.py": "SMOOTHING = 0.05\n"}
TRAIN = "import mylab.engine\nprint('epoch 1: loss=1.0')\n"


def project(folder: Path, package: str, script: str = "scripts/train.py", text: str = TRAIN) -> None:
    files = {f"{package}/mylab/{name}": content for name, content in PACKAGE.items()}
    for name, content in {**files, script: text}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def script(command: str) -> Script:
    return Script(command, metric="loss", mode="min", horizon=1)


def losses_watched(command: str, losses: Path) -> bool:
    """Whether an edit of the package is told."""
    before = sources_of(script(command))
    losses.write_text("SMOOTHING = 0.3\n")
    return any(name.endswith("losses.py") for name in edited(before, sources_of(script(command))))


LITERAL = "import sys\nsys.path.insert(0, 'lib')\n"
ABOVE = "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), '..', 'lib'))\n"
PATHS = (
    "import sys\nfrom pathlib import Path\nROOT = Path(__file__).parents[1]\nsys.path.insert(0, str(ROOT / 'lib'))\n"
)


@pytest.mark.parametrize(
    ("package", "command", "head"),
    [
        ("src", "python scripts/train.py", ""),
        ("src", "uv run scripts/train.py", ""),
        ("lib", "env PYTHONPATH=lib:more python scripts/train.py", ""),
        ("lib", "python scripts/train.py", LITERAL),
        ("lib", "python scripts/train.py", ABOVE),
        ("lib", "bash -c 'python scripts/train.py'", PATHS),
        ("scripts", "python scripts/train.py", ""),
    ],
)
def test_an_edit_of_a_package_in_another_folder_is_told(
    package: str, command: str, head: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path, package, text=head + TRAIN)
    assert losses_watched(command, tmp_path / package / "mylab" / "losses.py")
    assert not [name for name in sources_of(script(command)) if "numpy" in name]


def test_the_variable_pythonpath_is_followed_out_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path / "elsewhere", ".", script="../mine/train.py")
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    assert losses_watched("python train.py", tmp_path / "elsewhere" / "mylab" / "losses.py")


def test_the_config_file_that_a_parser_starts_from_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base.yaml", "other.yaml"):
        Path(name).write_text("lr: 0.1\n")
    Path("train.py").write_text("parser.add_argument('--config', type=Path, default='base.yaml')\n")
    assert set(sources_of(script("python train.py"))) == {"train.py", "base.yaml"}
    assert set(sources_of(script("python train.py --config other.yaml"))) == {"train.py", "other.yaml"}


FINDER = "MAPPING: dict[str, str] = {{'mylab': '{folder}/mylab'}}\nNAMESPACES = {{}}\n"


@pytest.mark.parametrize("form", ["path", "finder"])
@pytest.mark.parametrize("command", [".venv/bin/python train.py", "uv run train.py"])
def test_an_editable_install_in_the_environment_of_the_script_is_watched(
    form: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path / "checkout", "code", script="../mine/train.py")
    monkeypatch.chdir(tmp_path / "mine")
    venv.create(".venv", symlinks=True)
    site = next(Path(".venv").glob("lib/python*/site-packages"))
    code = tmp_path / "checkout" / "code"
    if form == "path":
        (site / "__editable__.mylab-0.1.pth").write_text(f"{code}\n")
    else:
        (site / "__editable__.mylab-0.1.pth").write_text("import __editable___mylab_0_1_finder\n")
        (site / "__editable___mylab_0_1_finder.py").write_text(FINDER.format(folder=code))
    (site / "numpy.py").write_text("")
    assert losses_watched(command, code / "mylab" / "losses.py")
    assert not [name for name in sources_of(script(command)) if "numpy" in name]


def test_what_the_module_of_a_function_imports_from_elsewhere_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = "def train(config):\n    from elsewhere_later import RATE\n    yield {'loss': RATE}\n"
    files = {
        "mine/tune_elsewhere.py": "from elsewhere.engine import STEP\n" + later,
        "code/elsewhere/engine.py": "STEP = 1\n",
        "code/elsewhere_later.py": "RATE = 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "mine"), str(tmp_path / "code"), *sys.path])
    train = importlib.import_module("tune_elsewhere").train
    found = sources_of(FromFunction(train, metric="loss", mode="min", horizon=1))
    assert set(found) == {"train()", "elsewhere/engine.py", "elsewhere_later.py"}


def told(command: str) -> str:
    return " ".join(warnings(Sweep("mine", script(command), Space({"rate": uniform(0, 1)}), num_samples=1)))


def test_what_is_found_in_an_unknown_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("helper.py").write_text("")
    Path("train.py").write_text(
        "import os, helper, numpy, orchestrator\nimport secret_lab.losses\ntry:\n    import apex_or_not\nexcept ImportError:\n    pass\n"
    )
    assert "not watched: secret_lab (train.py), which this Python does not find" in told(
        "python train.py --rate={rate}"
    )
    assert "not watched" not in told("/another/python train.py --rate={rate}")
    Path("train.py").write_text("import os, helper, numpy, orchestrator\n")
    assert "not watched" not in told("python train.py --rate={rate}")


@pytest.mark.slow
def test_an_edit_of_a_package_that_pip_installed_by_its_place_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, "src")
    (tmp_path / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        "[project]\nname = 'mylab'\nversion = '0.1'\n"
    )
    environment = tmp_path / "elsewhere"
    venv.create(environment, with_pip=True)
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "-q", "-e", str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": ""})
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path / "work")
    assert losses_watched(f"{environment}/bin/python train.py", tmp_path / "src" / "mylab" / "losses.py")
