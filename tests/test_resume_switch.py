"""`Script(resume="--resume")`: a switch, which the script gets once its trial has a checkpoint."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.scripting import assigned, curve, log, script, texts, trained, truth
from trainables.scripts.channels import ScriptFailed
from trainables.workloads.script import Script

RESUMES = """
import argparse, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--rate")
parser.add_argument("--resume", {how})
args = parser.parse_args()
args.out.joinpath("train.log").touch()  # not a checkpoint
place = args.out / {name!r}
done = int(place.read_text()) if args.resume else 0
if not args.resume: assert not place.exists()
for epoch in range(done + 1, 7):
    if epoch == {dies} and not args.resume: raise SystemExit("interrupted")
    place.parent.mkdir(exist_ok=True)
    place.write_text(str(epoch))
    print(f"epoch {{epoch}}: distance={{1 / epoch:.4f}}", flush=True)
"""
SWITCH = "action='store_true'"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CACHE", str(tmp_path / "cache"))


def described(
    folder: Path, how: str = SWITCH, name: str = "models/last.pt", dies: int = 0, resume: str = "--resume"
) -> Script:
    workload = script(folder, RESUMES.format(how=how, name=name, dies=dies))
    return Script(workload.command + " --out {folder}", metric="distance", mode="min", horizon=6, resume=resume)


@pytest.mark.parametrize("name", ["models/last.pt", "last.zip"])
def test_a_switch_is_given_once_there_is_a_checkpoint(name: str, tmp_path: Path) -> None:
    workload = described(tmp_path, name=name, dies=4)
    workload.check()
    with pytest.raises(ScriptFailed, match="interrupted"):
        trained(workload, assigned(tmp_path))
    assert curve(trained(workload, assigned(tmp_path))) == truth(*range(1, 7))
    assert [" --resume" in line for line in re.findall(r"^\$ .*", log(tmp_path), re.M)] == [False, True]


def test_a_switch_is_not_given_without_a_checkpoint(tmp_path: Path) -> None:
    workload = described(tmp_path, dies=1)
    for _ in range(2):
        with pytest.raises(ScriptFailed, match="interrupted"):
            trained(workload, assigned(tmp_path))
    assert (tmp_path / "trial" / "checkpoints" / "script" / "train.log").exists()
    assert "--resume" not in log(tmp_path)


def test_files_that_are_no_checkpoint_are_told(tmp_path: Path) -> None:
    told = texts(trained(described(tmp_path, name="last.dat"), assigned(tmp_path)))
    assert [text.partition(":")[0] for text in told] == [
        "there is no checkpoint (.pt, .pth, .ckpt, …) so far, but last.dat, train.log"
    ]


@pytest.mark.parametrize(
    ("how", "resume", "words"),
    [
        ("type=str", "--resume", r"the script's --resume takes a value: '--resume \{folder\}/last.pt'"),
        (SWITCH, "--resume {folder}/last.pt", "the script's --resume is a switch: '--resume'"),
    ],
)
def test_what_the_scripts_help_contradicts_is_refused(how: str, resume: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        described(tmp_path, how=how, resume=resume).check()


@pytest.mark.parametrize(
    ("how", "resume"),
    [
        ("nargs='?'", "--resume"),
        ("nargs='?'", "--resume {folder}/last.pt"),
        (SWITCH, "--resume --rate {folder}/rate.txt"),
    ],
)
def test_what_the_scripts_help_leaves_open_is_not_refused(how: str, resume: str, tmp_path: Path) -> None:
    described(tmp_path, how=how, resume=resume).check()


def test_a_switch_of_a_script_that_saves_elsewhere_is_doubted(tmp_path: Path) -> None:
    workload = described(tmp_path)
    assert workload.doubt() == ""
    elsewhere = replace(workload, command=workload.command.replace("{folder}", "models"))
    assert "neither the command nor the script names that folder" in elsewhere.doubt()


WITHOUT_A_FILE = [
    "--resume", "-r", "resume=true", "train.resume=True", "--auto-resume", "--init_from=resume",
    "--resume_from_checkpoint latest", "--resume auto", "--checkpoint=last", "+trainer.resume=auto",
]  # fmt: skip


@pytest.mark.parametrize("resume", WITHOUT_A_FILE)
def test_words_without_a_file_are_given_once_there_is_a_checkpoint(resume: str, tmp_path: Path) -> None:
    workload = Script("python train.py", metric="loss", mode="min", horizon=1, resume=resume)
    places = {"folder": str(tmp_path), "seed": 0}
    assert workload.arguments({}, places) == ["python", "train.py"]
    assert workload.missing_checkpoint(tmp_path).startswith("checkpoint (.pt")
    (tmp_path / "ckpt.pt").touch()
    assert workload.arguments({}, places) == ["python", "train.py", *resume.split()]
    assert workload.missing_checkpoint(tmp_path) == ""


def test_the_folder_itself_is_given_once_there_is_a_checkpoint(tmp_path: Path) -> None:
    workload = Script("train", metric="loss", mode="min", horizon=1, resume="--resume_from {folder}")
    places = {"folder": str(tmp_path), "seed": 0}
    assert workload.arguments({}, places) == ["train"]
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / "model.safetensors").touch()
    assert workload.arguments({}, places) == ["train", "--resume_from", str(tmp_path)]


@pytest.mark.parametrize(
    "resume", ["--resume last.pt", "--resume=out/last.pt", "--resume checkpoints/", "--resume *.pt", "last", ""]
)
def test_a_file_elsewhere_is_refused(resume: str) -> None:
    with pytest.raises(
        ValueError, match=r"must name a file in the trial's folder, such as '--resume \{folder\}/last.pt'"
    ):
        Script("python train.py", metric="loss", mode="min", horizon=1, resume=resume)
