"""Tune your training script as it is, in any language: it gets its parameters and reports its metrics.

    Script("python train.py --epochs 20", metric="valid_loss", mode="min", horizon=20)

runs, for each trial, `python train.py --epochs 20 --learning-rate=0.01 --batch-size=64`. The script has four ways to
report its metrics; the first is exact:

    report(3, valid_loss=0.52)           `from orchestrator import report`; returns whether to continue
    print("epoch 3: valid_loss=0.52")    any line that a person can read (docs/printed_lines.md)
    wandb.log({"valid_loss": 0.52})      or MLflow's and TensorBoard's functions, if no line is printed
    a file in its TRIAL_FOLDER           Script(..., file="metrics.csv"): CSV, JSON lines, TensorBoard's events

Steps are the script's own: horizon=20 with lines `epoch 3: …`, horizon=3000 with `step 300: …`. They count from 1;
counting from 0 also works, with a horizon of 20 for epochs 0 … 19. Lines that name no step are counted if horizon is at most
10,000; an interrupted trial can then continue only if the script starts over.

The script finds these variables in its environment:
    TRIAL_FOLDER   this trial's own folder, which outlives interruptions: the place for its checkpoints
    TRIAL_SEED     a seed, the same at each start of the trial
    TRIAL_ID       a name that no other trial has, the same at each start
    TRIAL_STEPS    the step at which the trial pauses; the script is then ended, unless this is its last step
The worker ends the script and all processes that it started with SIGTERM, ten seconds later with SIGKILL.
docs/own_script.md has the details.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.records import Config
from search.wording import shown
from search.work import CONFIG, FOLDER, SEED, Assignment
from trainables.contract import CommandLine
from trainables.scripts import base_config, config_file
from trainables.scripts.asking import ask, asked, mistyped_subcommand, surely, why_unanswered
from trainables.scripts.command_flags import wrong_flag
from trainables.scripts.entry_point import entry_point
from trainables.scripts.flags import (
    Flag,
    command_words,
    filled,
    find,
    listed,
    may_be_of_any_class,
    names_in,
    nearest,
    shell_sign,
    variable_in,
)
from trainables.scripts.hydra_apps import shared_outputs, without_overrides
from trainables.scripts.launchers import fixed_port, more_processes
from trainables.scripts.option_values import unsaid_none, wrong_value
from trainables.scripts.pattern import refuse_pattern
from trainables.scripts.printed import measured as measured
from trainables.scripts.programs import no_program, refuse_missing_module, refused_by_make, why_not_started
from trainables.scripts.runners import container_doubt, detaches, import_remedy, withholds_output
from trainables.scripts.shared_files import IN_OWN_FOLDER, has_checkpoint
from trainables.scripts.shell_scripts import lost_parameter, starts_a_shell
from trainables.scripts.source_names import never_prints
from trainables.scripts.started_files import started_files

if TYPE_CHECKING:
    from search.space import Space
    from trainables.scripts.run import ScriptRun

_REPORTS = re.compile(
    r"\borchestrator\b[\w. ]*\bimport\b[^\n]*(?:\n[ ,\w]*)*?\breport\b|\borchestrator\.(?:report\(|integrations\b)"
)
_WORD = r"--?[A-Za-z][\w.-]*(?:[ =][\w-]+)?|[\w.+-]+=[\w-]+"  # --resume, --init_from=resume, ckpt.resume=auto
_ELSEWHERE = {  # programs whose words name files of a container or of another machine
    "docker", "docker-compose", "podman", "nerdctl", "singularity", "apptainer", "enroot", "kubectl", "ssh",
}  # fmt: skip
_WRITES = re.compile(r"-+(?:\w*[_-])?(?:out(?:put)?|save|export|dump|write|log|dest)(?:[_-][\w-]*)?")  # --export net.py
_RESUME = re.compile(rf"[^*]*\{{folder\}}[^*]*|{_WORD}")


@dataclass(frozen=True)
class Script(CommandLine):
    """Runs `command`, which reports `metric` up to its step `horizon`.

    `metrics`: others to record. `file`: read the metrics there and not from the output; a path relative to
    TRIAL_FOLDER, wildcards allowed. `step`: the script's word for its steps, if its lines name several. `pattern`: a
    regular expression with the groups `step` and `value`, if lines can be read by no other rule. `flag`: how to
    pass a parameter that the command does not name, such as "{name}={value}" for Hydra; None: as the script's --help
    says, else --name=value. `config`: "json", "yaml", "toml", or a file to start from: the worker writes the parameters
    to a file, whose name replaces {config} in the command. {folder} and {seed} stand for TRIAL_FOLDER and TRIAL_SEED.
    `resume`: words such as "--resume {folder}/last.pt", added when the trial starts again and that file exists; or words
    without a file, "--resume" or "--init_from=resume", added when it starts again and has a checkpoint in its folder.

    >>> workload = Script("python train.py --epochs 20", metric="valid_loss", mode="min", horizon=20)
    """

    command: str
    metric: str
    mode: str
    horizon: int
    metrics: tuple[str, ...] = ()
    file: str | None = None
    flag: str | None = None
    baseline: Mapping[str, Any] | None = None
    step: str | None = None
    config: str | None = None
    resume: str | None = None
    pattern: str | None = None

    takes_policy = False
    why_no_forks = "does not call report(), which alone tells where the checkpoint of a step is"
    has_own_process = True

    def __post_init__(self) -> None:
        self._check_words()
        if not self.metric.strip():
            raise ValueError("Script(metric=''): must be the name that the script prints, such as 'valid_loss'.")
        metrics = (self.metrics,) if isinstance(self.metrics, str) else self.metrics
        object.__setattr__(self, "metrics", tuple(dict.fromkeys((self.metric, *metrics))))
        refuse_pattern(self.pattern, self.metrics, {"file": self.file, "step": self.step})
        for text in (self.command, self.resume or ""):
            if (variable := variable_in(text)) is not None:
                raise ValueError(
                    f"Script({text!r}): no shell runs the command, so the script would get the letters {variable}. Write "
                    "{folder} for the trial's own folder, {seed} for its seed; for other variables, sh -c '…'."
                )
        if self.resume is not None and not _RESUME.fullmatch(self.resume):
            raise ValueError(
                f"Script(resume={self.resume!r}): must name a file in the trial's folder, such as "
                "'--resume {folder}/last.pt' (wildcards are not replaced), or name no file, such as '--resume' or "
                "'--init_from=resume'."
            )
        if self.config is not None:
            config_file.kind_of(self.config)
            if CONFIG not in names_in(self.command):
                raise ValueError(
                    f"Script({self.command!r}, config={self.config!r}): the command must say where the file goes; "
                    f"write '{self.command} --config {{config}}'."
                )

    def _check_words(self) -> None:
        """Raise ValueError if `command` or `resume` cannot be split into words, or needs a shell."""
        if not isinstance(self.command, str):
            words = " ".join(map(str, self.command)) if isinstance(self.command, (list, tuple)) else "python train.py"
            raise ValueError(f"Script(command={self.command!r}): must be one string, such as {words!r}.")
        for text in (self.command, self.resume or ""):
            try:
                shlex.split(text)
            except ValueError as error:
                raise ValueError(f"Script({text!r}): {str(error).lower()}; each quote needs its second one.") from None
        words = shlex.split(self.command)
        if not words:
            raise ValueError("Script(command=''): must be a command, such as 'python train.py'.")
        if (sign := shell_sign(self.command)) is not None:
            shell = "bash" if "source" in words else "sh"  # which has no such word
            raise ValueError(
                f"Script({self.command!r}): no shell runs the command, so {words[0]!r} would get the word {sign!r}. Write {shell} -c "
                "'…' around the command. Its output needs no file: it is in the trial's log."
            )
        if re.match(r"[A-Za-z_]\w*=", words[0]):
            raise ValueError(
                f"Script({self.command!r}): no shell runs the command, so {words[0]!r} is no variable. Write 'env {self.command}'."
            )

    @property
    def reports(self) -> bool:
        """Whether the script's text imports report(); if so, its output is for people only."""
        return bool(_REPORTS.search(self._text))

    @property
    def forks(self) -> bool:  # type: ignore[override]
        """Whether a trial may continue from another's checkpoint: unless neither the script nor what it imports names report()."""
        entry = entry_point(shlex.split(self.command))
        if entry is None or not entry.text:
            return True
        return any(re.search(r"\breport\b", text) for text in entry.texts)

    @property
    def ignores_seed(self) -> bool:
        return bool(self._text) and "TRIAL_SEED" not in self._text and "seed" not in names_in(self.command)

    @property
    def _text(self) -> str:
        """The text of the Python script in the command; empty if there is none."""
        entry = entry_point(shlex.split(self.command))
        return "" if entry is None else entry.text

    def known_flags(self) -> Mapping[str, Flag]:
        """The flags that the script's --help lists; empty if it cannot be asked."""
        return {} if self.flag is not None or self.config is not None else ask(self.command)

    @surely
    def check(self) -> None:
        """Raise ValueError if the program, the script or the config file is missing, or the command has a wrong flag."""
        refuse_pattern(self.pattern, self.metrics, {"report() in the script": self.reports})
        program, *rest = shlex.split(self.command)
        if wrong := why_not_started(program):
            raise ValueError(wrong)
        if shutil.which(program) is None:
            raise ValueError(no_program(program))
        here = list(takewhile(lambda word: Path(word).name not in _ELSEWHERE, [program, *rest]))
        for before, word in pairwise(here):
            flag, _, name = word.rpartition("=")
            is_read = not _WRITES.fullmatch(flag or before)
            if is_read and re.fullmatch(r"\S+\.(?:py|sh)", name) and not names_in(name) and not os.path.isfile(name):
                raise ValueError(
                    f"there is no file {name!r} in {Path.cwd()}; give its path relative to that folder, or the full path."
                )
        refuse_missing_module(here)
        if detached := detaches(self.command):
            raise ValueError(detached)
        if self.config is not None and "." in self.config:
            if not Path(self.config).is_file():
                raise ValueError(f"Script(config={self.config!r}): there is no such file in {Path.cwd()}.")
            config_file.read(Path(self.config))
        if wrong := mistyped_subcommand(self.command):
            raise ValueError(f"{self.command!r}: {wrong}")
        if self.flag is None and (wrong := wrong_flag(self.command, self.resume or "", *asked(self.command))):
            raise ValueError(wrong)
        self._check_resume()

    def _check_resume(self) -> None:
        """Raise ValueError if the script's --help says that `resume` is a switch, or that it is none."""
        word, *value = re.split(r"[\s=]+", (self.resume or "").strip())
        may_have_none = re.search(r"nargs\s*=\s*['\"][?*]", self._text)  # --resume or --resume last.pt
        if not word.startswith("--") or len(value) > 1 or may_have_none:
            return
        flag = find(word, self.known_flags())
        if flag is not None and flag.takes_value != bool(value):
            right = f"takes a value: '{word} {{folder}}/last.pt'" if flag.takes_value else f"is a switch: {word!r}"
            raise ValueError(f"resume={self.resume!r}: the script's {word} {right}.")

    def doubt(self) -> str:
        program, *_ = shlex.split(self.command)
        named = {*names_in(self.command), *names_in(self.resume or "{folder}")}
        if not {FOLDER, CONFIG} & named and self._text and "TRIAL_FOLDER" not in self._text:
            return (
                f"resume={self.resume!r} is added once a checkpoint is in the trial's folder, and neither the command nor the "
                "script names that folder; tell the script to save there, with {folder} in the command."
            )
        if self.file is None and not self.reports and (withheld := withholds_output(self.command)):
            return withheld
        if trains_on := container_doubt(self.command):
            return trains_on
        error = "" if self.known_flags() else why_unanswered(self.command)
        where = "" if "/" in program else f" ({program!r} is {shutil.which(program)} here)"
        return (
            error
            and f"{self.command!r} cannot be asked for its flags: {error}{where}. {import_remedy(error, self.command)}".rstrip()
        )

    def space_doubt(self, space: Space) -> str:
        if wrong := base_config.wrong_key(self.command, self.flag, self.config, space.names):
            return wrong
        added = [name for name in space.names if name not in names_in(self.command)]
        if self.flag is None and self.config is None and added and starts_a_shell(self.command):
            flags = ", ".join(f"--{name}" for name in added)
            return f"a shell starts the training, so it is not checked that the training takes {flags}"
        if self.flag is not None and self.config is None and added and base_config.is_unknown(self.command, self.flag):
            words = ", ".join(self.flag.partition("{value}")[0].replace("{name}", name).rstrip() for name in added)
            return f"flag={self.flag!r}: it is not checked that the training takes {words}"
        return ""

    def warnings(self, space: Space, resources: Mapping[str, Any], max_concurrent: int | None) -> list[str]:
        doubts = (
            unsaid_none(self.command, self.flag, self.config, self.known_flags(), space),
            shared_outputs(self.command),
            fixed_port(self.command, max_concurrent),
            more_processes(self.command, resources),
        )
        return [text for text in doubts if text]

    def files(self) -> list[Path]:
        own = [Path(self.config)] if self.config is not None and Path(self.config).is_file() else []
        return [*started_files(self.command), *own, *base_config.files(self.command)]

    @surely
    def check_space(self, space: Space) -> None:
        """Raise ValueError if the command names a parameter that the space lacks, or the script or its config
        file has no place for one, or its flag does not take a value of the space."""
        own = {FOLDER, SEED} if self.config is None else {FOLDER, SEED, CONFIG}
        named = names_in(self.command)
        for text, names in ((self.command, named), (self.resume, names_in(self.resume or ""))):
            _refuse_unknown(str(text), names - own, set(space.names))
        if self.config is not None and "." in self.config and Path(self.config).is_file():
            for name in (name for name in space.names if name not in named):
                config_file.refuse_unknown(Path(self.config), name, space.parameters[name].values(3))
        added = [] if self.config is not None else [each for each in space.names if each not in named]
        wrong = refused_by_make(self.command, added) or without_overrides(self.command, added)
        if lost := lost_parameter(self.command, added) or ("" if self.flag else wrong):
            raise ValueError(lost)
        known = self.known_flags()
        if not known:
            return
        taken: dict[str, str] = {}  # flag → parameter
        for name, parameter in space.parameters.items():
            if name in named:
                continue
            flag = find(name, known)
            if flag is None and find(f"no-{name}", known) is None and not may_be_of_any_class(name, known):
                raise ValueError(f"{self.command!r} has no flag --{name}; {_instead(name, known, space.names)}")
            if flag is not None and (twin := taken.setdefault(flag.name, name)) != name:
                raise ValueError(
                    f"{self.command!r}: the parameters {twin!r} and {name!r} are both its flag --{flag.name}; leave one out."
                )
            values = parameter.values(3)
            if flag is not None and not flag.takes_value and not all(isinstance(v, bool) or v is None for v in values):
                raise ValueError(
                    f"{self.command!r}: --{flag.name} is a switch and takes no value, but {name!r} is {parameter!r}; "
                    "tune it as choice([True, False])."
                )
            if flag is not None and flag.is_on and not flag.off and not all(values):
                raise ValueError(
                    f"{self.command!r}: --{flag.name} is on unless the script is told otherwise, so it would be on for "
                    f"{name}=False, too; let the script take --no-{flag.name}, too, as with argparse's action=BooleanOptionalAction."
                )
        if wrong := wrong_value(self.command, known, space):
            raise ValueError(wrong)

    def run(self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> ScriptRun:
        """Raises ValueError for a policy, which could not reach the knobs."""
        from trainables.scripts.channels import Program
        from trainables.scripts.run import ScriptRun

        if policy is not None:
            raise ValueError(
                f"{self!r} sets its own learning rate and batch size; leave out Sweep(policy={shown(policy)})."
            )
        program = Program(
            self.metric, self.metrics, self.horizon, self.arguments, self.reports, self.command, self.file, self.step, self.config,
            self.known_flags, self.never_prints, self.missing_checkpoint, self.pattern,
        )  # fmt: skip
        return ScriptRun(program, assignment, should_pause)

    def test(self, assignment: Assignment) -> Mapping[str, float]:
        return {}

    def never_prints(self, name: str, others: Sequence[str]) -> bool:
        """Whether the script's source holds the `others`, and no such `name`; False if nobody can tell."""
        entry = entry_point(shlex.split(self.command))
        return entry is not None and never_prints(name, others, entry.path, self.command)

    def missing_checkpoint(self, folder: Path) -> str:
        """The file that `resume` names, if it is not there, or the checkpoint that other words need; else empty."""
        if self.resume is None:
            return ""
        files = _files_below(folder, filled(self.resume, {FOLDER: str(folder)}))
        if not files:
            return "" if has_checkpoint(folder) else f"checkpoint ({', '.join(IN_OWN_FOLDER[:3])}, …)"
        return next((str(path.relative_to(folder)) for path in files if not path.exists()), "")

    def arguments(self, config: Config, places: Mapping[str, Any] | None = None) -> list[str]:
        names = (FOLDER, SEED) if self.config is None else (FOLDER, SEED, CONFIG)
        given = {name: f"{{{name}}}" for name in names} if places is None else places
        words = command_words(self.command, config, self.flag, self.known_flags(), given)
        if self.resume is not None and places is not None:
            more, folder = filled(self.resume, {**config, **given}), Path(given[FOLDER])
            files = _files_below(folder, more)
            if any(path.exists() for path in files) or (not files and has_checkpoint(folder)):
                words += more
        return words


def _files_below(folder: Path, words: Sequence[str]) -> list[Path]:
    """The files in `folder` that words name; the folder itself is none."""
    found = [Path(word[word.index(str(folder)) :]) for word in words if str(folder) in word]
    return [path for path in found if path != folder]


def _instead(name: str, known: Mapping[str, Flag], names: Sequence[str]) -> str:
    """What to do about a parameter without a flag."""
    near = nearest(name, known)
    if near is None:
        return f"it has {listed(known)}."
    for other in names:
        if other != name and (flag := find(other, known)) is not None and flag.name == near:
            return f"its --{near} is the parameter {other!r} already: leave {name!r} out."
    return f"it has --{near}: name the parameter {near.replace('-', '_')!r}."


def _refuse_unknown(command: str, named: set[str], there: set[str]) -> None:
    unknown = sorted(named - there)
    if unknown:
        raise ValueError(
            f"{command!r}: {{{unknown[0]}}} is no parameter; the space has {', '.join(sorted(there)) or 'none'}. "
            "{folder} and {seed} are the trial's own. Write {{…}} for literal braces."
        )
