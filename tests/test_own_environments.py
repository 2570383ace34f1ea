"""Commands that train in an environment of their own: a project's, a container's, another interpreter's."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.definition.sources import sources_of
from orchestrator.definition.warnings import warnings
from search.space import Space, choice, loguniform
from tests.support import small_sweep
from trainables.scripts.entry_point import entry_point
from trainables.scripts.runners import container_doubt, detaches, import_remedy, runner, without_our_own
from trainables.workloads.script import Script

TRAINING = """
import argparse
from pkg.loss import loss
parser = argparse.ArgumentParser()
parser.add_argument("--learning-rate", type=float)
parser.add_argument("--fast", action=argparse.BooleanOptionalAction)
def main():
    print("epoch 1: loss=0.5", parser.parse_args())
if __name__ == "__main__":
    main()
"""
PROJECT = '[project]\nname = "shop"\n[project.scripts]\nshop-train = "pkg.train:main"\n'


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a project with its package in src/."""
    package = tmp_path / "src" / "pkg"
    package.mkdir(parents=True)
    (package / "train.py").write_text(TRAINING)
    (package / "loss.py").write_text("loss = 1\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "src"))
    return tmp_path


def script(command: str, flag: str | None = None) -> Script:
    return Script(command, metric="loss", mode="min", horizon=1, flag=flag)


@pytest.mark.parametrize(
    ("command", "place", "path"),
    [
        (".venv/bin/python -m pkg.train --lr 1", 2, "src/pkg/train.py"),
        ("poetry run shop-train --lr 1", 2, "src/pkg/train.py"),
        (".venv/bin/shop-train", 0, "src/pkg/train.py"),
        ("uv run --no-sync train.py", 3, "train.py"),
        ("torchrun --nproc-per-node 2 -m pkg.train", 4, "src/pkg/train.py"),
    ],
)
def test_the_file_behind_a_command_is_found(command: str, place: int, path: str, project: Path) -> None:
    found = entry_point(shlex.split(command))
    assert found is not None
    assert (found.place, found.path) == (place, Path(path))


def test_a_program_that_is_no_script_of_the_project_has_no_such_file(project: Path) -> None:
    assert entry_point(["shop-serve", "--lr", "1"]) is None
    assert entry_point(["python", "-m", "http.server"]) is None
    (project / "pyproject.toml").write_text("[project\n")
    assert entry_point(["shop-train"]) is None


def test_a_module_in_src_is_asked_for_its_flags(project: Path) -> None:
    workload = script(f"{sys.executable} -m pkg.train")
    assert workload.arguments({"learning_rate": 0.5, "fast": False})[-2:] == ["--learning-rate=0.5", "--no-fast"]
    with pytest.raises(ValueError, match="has no flag --batch_size"):
        workload.check_space(Space({"batch_size": choice([8, 16])}))
    with pytest.raises(ValueError, match=r"--lrr is in the command, and the script has no such flag"):
        script(f"{sys.executable} -m pkg.train --lrr 3").check()
    with pytest.raises(ValueError, match=r"no module 'pkg.trian' in .*src. Did you mean 'pkg.train'\?"):
        script(f"{sys.executable} -m pkg.trian").check()


@pytest.mark.parametrize(
    "command",
    [
        "python -m pkg.train",
        "poetry run shop-train",
        "bash -c 'source .venv/bin/activate && python src/pkg/train.py'",
        "sh -c 'python -m pkg.train'",
        "make -C . train LR={lr}",
        "bash run.sh",
    ],
)
def test_an_edit_of_the_training_is_seen_however_it_is_started(command: str, project: Path) -> None:
    (project / "Makefile").write_text("train:\n\tpython -m pkg.train --learning-rate $(LR)\n")
    (project / "run.sh").write_text('exec python -m pkg.train "$@"\n')
    before = sources_of(script(command))
    assert {"train.py", "loss.py"} <= set(before)
    (project / "src" / "pkg" / "loss.py").write_text("loss = 2\n")
    assert sources_of(script(command)) != before


def test_the_makefile_and_a_compiled_program_are_watched_and_an_environment_is_not(project: Path) -> None:
    (project / "GNUmakefile").write_text("train:\n\t./train\n")
    assert set(sources_of(script("make train"))) == {"GNUmakefile"}
    (project / "train").write_bytes(b"\x7fELF\x00")
    (project / "train").chmod(0o755)
    assert set(sources_of(script("env OMP_NUM_THREADS=1 ./train --lr 1"))) == {"train"}
    (project / ".venv" / "bin").mkdir(parents=True)
    (project / ".venv" / "pyvenv.cfg").touch()
    (project / ".venv" / "bin" / "python").write_bytes(b"\x7fELF\x00")
    assert sources_of(script(".venv/bin/python -c 1")) == {}


@pytest.mark.parametrize(
    "command",
    [
        "{} run --rm image python /app/train.py",
        "{} exec trainer bash /app/train.sh",
        "env A=1 {} compose run train python -m app.train /app/config.py",
    ],
)
@pytest.mark.parametrize("program", ["docker", "podman", "ssh"])
def test_the_files_of_a_container_are_not_looked_for_here(
    command: str, program: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy("/bin/true", project / program)
    monkeypatch.setenv("PATH", f"{project}:{os.environ['PATH']}")
    workload = script(command.format(program))
    workload.check()
    told = warnings(small_sweep(workload=workload, space=Space({"lr": loguniform(0.1, 1)})))
    assert [text for text in told if "an edit of the training will not be noticed" in text]


def test_the_text_of_a_shell_is_no_file_and_a_missing_script_still_is(project: Path) -> None:
    script("bash -c 'source .venv/bin/activate && python train.py'").check()
    for command in ("bash missing.sh", f"{sys.executable} missing.py", "env A=1 bash missing.sh"):
        with pytest.raises(ValueError, match="there is no file 'missing"):
            script(command).check()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("uv run train.py", "uv"),
        ("uv --quiet run --no-sync python train.py", "uv"),
        ("tools/bin/poetry run my-train", "poetry"),
        ("bash -c 'cd there && pipenv run python train.py'", "pipenv"),
        ("conda run -n torch python train.py", "conda"),
        ("hatch -e cuda run python train.py", "hatch"),
        ("poetry -C there -q run my-train", "poetry"),
        ("python train.py run", ""),
        ("python poetry run.py", ""),
    ],
)
def test_the_runner_of_a_project_is_known(command: str, name: str) -> None:
    assert runner(command) == name


@pytest.mark.parametrize(
    ("command", "active", "stays"),
    [
        ("poetry run python train.py", sys.prefix, False),
        ("pipenv run python train.py", sys.prefix, False),
        ("poetry run python train.py", "/the/users/own", True),
        ("python train.py", sys.prefix, True),
        ("uv run train.py", sys.prefix, True),
    ],
)
def test_poetry_and_pipenv_do_not_take_our_environment_for_the_projects(command: str, active: str, stays: bool) -> None:
    left = without_our_own({"VIRTUAL_ENV": active, "PATH": "/bin"}, command)
    assert left == ({"VIRTUAL_ENV": active} if stays else {}) | {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("command", "remedy"),
    [
        ("uv run train.py", "uv add xgboost"),
        ("poetry run python train.py", "poetry add xgboost"),
        (f"{sys.executable} train.py", f"{sys.executable} -m pip install xgboost"),
        ("python train.py", "Activate the environment of the training"),
    ],
)
def test_a_missing_package_is_to_be_installed_where_the_training_runs(command: str, remedy: str) -> None:
    assert remedy in import_remedy("ModuleNotFoundError: No module named 'xgboost.core'", command)


def test_a_script_of_a_package_is_to_be_started_as_a_module(project: Path) -> None:
    told = import_remedy(
        "ImportError: attempted relative import with no known parent package", ".venv/bin/python src/pkg/train.py"
    )
    assert told == "It is part of a package: write .venv/bin/python -m pkg.train."


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ("-n torch", True),
        ("--no-capture-output -n torch", False),
        ("-n torch --live-stream", False),
        ("-s -n torch", False),
    ],
)
def test_conda_that_withholds_the_output_is_told(options: str, is_told: bool) -> None:
    told = script(f"conda run {options} python -c 1 -s 3").doubt()
    assert ("write conda run --no-capture-output" in told) == is_told


@pytest.mark.parametrize(
    "command",
    [
        "bash run.sh shop-train",
        "make shop-train",
        "docker run image shop-train",
        "conda run -n shop-train ./train",
        "uv run --extra shop-train ./train",
        "./train --split shop-train data/shop-train",
    ],
)
def test_a_word_that_is_no_program_is_no_console_script(command: str, project: Path) -> None:
    assert entry_point(shlex.split(command)) is None


@pytest.mark.parametrize(
    "command",
    [
        f"bash -c 'set -e; {'export A=1; ' * 40} python train.py'",  # no name of a file is so long
        f"bash -c '{'true; ' * 60} ./train.sh'",
        f"bash -c '{'true; ' * 60} ./train conf.yaml'",
        "./train -m .",
        "./train -m ..",
        "./train -m ./model",
        "bash copy.sh",
    ],
)
def test_a_word_that_is_no_file_nor_module_is_passed_over(command: str, project: Path) -> None:
    (project / "copy.sh").write_text("install -m ./train there\ncp -m . there\n")
    shutil.copy("/bin/true", project / "train")
    (project / "model.py").touch()
    workload = script(command)
    workload.check()
    assert set(map(str, workload.files())) <= {"train", "copy.sh"}


def test_the_files_of_a_makefile_are_those_of_its_folder(project: Path) -> None:
    (project / "Makefile").write_text("all:\n")
    (project / "sub").mkdir()
    (project / "sub" / "Makefile").write_text("train:\n\tpython fit.py\n")
    (project / "sub" / "fit.py").write_text("import loss\n")
    (project / "sub" / "loss.py").touch()
    found = sources_of(script("env LR={lr} make -j 4 -C sub train"))
    assert set(found) == {"Makefile", "fit.py", "loss.py"}
    assert found["Makefile"]["path"].endswith("sub/Makefile")


def test_a_data_file_is_no_program_though_its_disk_marks_all_files_as_executable(project: Path) -> None:
    (project / "data").mkdir()
    for name in ("data/train.csv", "train"):
        (project / name).touch(0o755)
    assert set(sources_of(script("env A=1 ./train data/train.csv"))) == {"train"}
    assert set(sources_of(script("bash ./train data/train.csv"))) == {"train"}
    assert sources_of(script("python -c 1 data/train.csv")) == {}


@pytest.mark.parametrize("name", ["fit.R", "fit.jl", "fit.js"])
def test_a_script_of_another_language_is_watched(name: str, project: Path) -> None:
    (project / name).touch()
    assert set(sources_of(script(f"/bin/true {name} --lr 1"))) == {name}


def test_a_switch_of_the_training_names_no_module(project: Path) -> None:
    (project / "models").mkdir()
    (project / "models" / "__init__.py").write_text("class Net: ...\n")
    (project / "models" / "fast.cpython-310-x86_64-linux-gnu.so").touch()
    script(f"{sys.executable} src/pkg/train.py -m models.Net").check()
    script(f"{sys.executable} -m models.fast").check()
    with pytest.raises(ValueError, match=r"no module 'models\.slow'"):
        script(f"{sys.executable} -m models.slow").check()


def test_a_folder_does_not_hide_an_installed_package_of_its_name(project: Path) -> None:
    (project / "email").mkdir()
    (project / "email" / "send.py").touch()
    script(f"{sys.executable} -m email.mime.text").check()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("{}/src/pkg/train.py", "write python -m pkg.train."),
        ("src/pkg/../pkg/train.py", "start it with -m"),
        ("../pkg/train.py", "start it with -m"),
        ("train.py", "start it with -m"),
    ],
)
def test_the_module_of_a_script_is_named_if_it_is_one_of_the_project(path: str, told: str, project: Path) -> None:
    (project / "train.py").touch()
    command = f"python {path.format(project)}"
    assert told in import_remedy("ImportError: attempted relative import with no known parent package", command)


def test_a_file_that_the_training_will_write_may_be_missing(project: Path) -> None:
    training = f"{sys.executable} src/pkg/train.py"
    for words in ("--export net.py", "--model-output=net.py", "--save_to run.sh"):
        Script(f"{training} {words}", metric="loss", mode="min", horizon=1, flag="{name}={value}").check()
    for words in ("--config net.py", "net.py", "--logistic net.py"):
        with pytest.raises(ValueError, match="there is no file 'net"):
            Script(f"{training} {words}", metric="loss", mode="min", horizon=1, flag="{name}={value}").check()


@pytest.mark.parametrize(
    "command",
    [f'{sys.executable} -c \'open("trained", "w")\' fit.py', "bash fit.sh fit.py", "bash -c '> trained' fit.py"],
)
def test_a_script_that_would_not_hear_the_question_is_not_asked(command: str, project: Path) -> None:
    (project / "fit.py").write_text("import argparse\n")
    (project / "fit.sh").write_text('python -c "import sys" $1 > trained\n')
    assert script(command).known_flags() == {}
    assert not (project / "trained").exists()


@pytest.mark.parametrize(
    ("command", "is_told"),
    [
        ("docker run --rm -e TRIAL_FOLDER image python train.py", True),
        ("docker run --rm --init image python train.py", False),
        ("docker run --rm image python train.py --init_from=resume", True),
        ("bash -c 'docker rm -f old; exec podman run image python train.py \"$@\"' train", True),
        ("docker exec trainer python /app/train.py", False),
    ],
)
def test_a_container_that_would_train_on_is_told(command: str, is_told: bool) -> None:
    assert ("--init" in container_doubt(command)) == is_told


@pytest.mark.parametrize(
    ("options", "is_refused"),
    [("-d", True), ("--rm -itd", True), ("--detach", True), ("--rm -e D", False), ("", False)],
)
def test_a_container_in_the_background_is_refused(options: str, is_refused: bool) -> None:
    assert ("Leave out -d" in detaches(f"docker run {options} image python train.py -d")) == is_refused


def test_an_error_of_any_kind_in_place_of_the_flags_is_told(project: Path) -> None:
    (project / "src" / "pkg" / "train.py").write_text("import argparse\nraise SystemExit('no data in /data')\n")
    told = script(f"{sys.executable} -m pkg.train").doubt()
    assert told.endswith("cannot be asked for its flags: no data in /data.")


def test_a_console_scripts_package_is_to_be_installed_beside_it(project: Path) -> None:
    programs = project / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    told = import_remedy("ModuleNotFoundError: No module named 'xgboost'", ".venv/bin/shop-train")
    assert told == "Install 'xgboost' there, as with .venv/bin/python -m pip install xgboost."


def test_flags_that_a_shell_hands_on_are_said_to_be_unchecked(project: Path) -> None:
    space = Space({"lr": loguniform(0.1, 1), "wd": loguniform(0.1, 1)})
    shell = "bash -c 'python -m pkg.train --lr {lr} \"$@\"' train"
    assert script(shell).space_doubt(space).endswith("it is not checked that the training takes --wd")
    assert script(f"{sys.executable} -m pkg.train").space_doubt(space) == ""


def test_names_that_a_flag_of_the_users_carries_are_said_to_be_unchecked(project: Path) -> None:
    """Those of ml_collections: a name with a typing error passed the dry run without a word."""
    space = Space({"optim.lr": loguniform(0.1, 1), "wd": loguniform(0.1, 1)})
    command = f"{sys.executable} -m pkg.train --config=conf.py --config.wd={{wd}}"
    for flag, told in (("--config.{name}={value}", "--config.optim.lr="), ("{name} {value}", "optim.lr")):
        doubt = script(command, flag=flag).space_doubt(space)
        assert doubt == f"flag={flag!r}: it is not checked that the training takes {told}"
    (project / "base.yaml").write_text("optim:\n  lr: 0.1\n")
    assert script(f"{command} base.yaml", flag="{name}={value}").space_doubt(space) == ""
    assert "has no key 'lr'" in script("python t.py base.yaml lr={lr}", flag="{name}={value}").space_doubt(
        Space({"optim.lr": loguniform(0.1, 1), "lr": loguniform(0.1, 1)})
    )


@pytest.mark.parametrize("command", ["make train LR={lr}", "env SEED=1 make -s train LR={lr}"])
def test_make_gets_no_flags(command: str, project: Path) -> None:
    with pytest.raises(ValueError, match=r"the parameter 'wd' would be refused. Write Script\(flag='{name}={value}'\)"):
        script(command).check_space(Space({"lr": loguniform(0.1, 1), "wd": loguniform(0.1, 1)}))
    script(command).check_space(Space({"lr": loguniform(0.1, 1)}))
