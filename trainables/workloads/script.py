"""Your training script as it is: it reads flags, and prints its metrics or appends them to a file.

    Script("python train.py --epochs 20", metric="valid_loss", mode="min", horizon=20)

starts, for each trial, `python train.py --epochs 20 --learning_rate=0.01 --batch_size=64`; a command with `{names}` gets
the values there instead. Every line with the tuned metric is a step: `epoch 3: valid_loss=0.52 accuracy: 0.81`, or a
JSON object. If lines carry a `step` or an `epoch` (from 1 on), a script that was interrupted may go on from where it
was; one that starts over is not counted twice.

The script finds in its environment
    TRIAL_FOLDER   a folder of this trial's own that outlives interruptions: the place for its checkpoints
    TRIAL_SEED     a seed, the same each time the trial is started
    TRIAL_STEPS    the step at which the trial is to rest; it is ended then, unless this is its last
It is ended with SIGTERM, ten seconds later with SIGKILL.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import IO, TYPE_CHECKING, Any, ClassVar

from search.trial import Config
from search.work import Assignment

if TYPE_CHECKING:
    from trainables.run import Run

_PAIR = re.compile(
    r"([A-Za-z_][\w/.-]*)[\"']?\s*[=:]\s*([-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|nan|inf))\b", re.I
)
_STEPS = ("step", "epoch")
_GRACE = 10.0  # seconds to end, once asked
_POLL = 0.05


@dataclass(frozen=True)
class Script:
    """`command` reports `metric` `horizon` times: on its standard output, or in `file` within its TRIAL_FOLDER."""

    command: str
    metric: str
    mode: str
    horizon: int
    metrics: tuple[str, ...] = ()  # others that are recorded too
    file: str | None = None
    flag: str = "--{name}={value}"
    baseline: Mapping[str, Any] | None = None

    takes_policy: ClassVar[bool] = False
    forks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not shlex.split(self.command):
            raise ValueError("Script(command=''): must be a command, such as 'python train.py'.")
        object.__setattr__(self, "metrics", tuple(dict.fromkeys((self.metric, *self.metrics))))

    def check(self) -> None:
        """Raise ValueError if the program or the script is not there."""
        program, *rest = shlex.split(self.command)
        if shutil.which(program) is None:
            raise ValueError(f"there is no program {program!r} to run.")
        for word in rest:
            if word.endswith((".py", ".sh")) and not Path(word).is_file():
                raise ValueError(
                    f"there is no file {word!r} in {Path.cwd()}; name it from there, or with its whole path."
                )

    def prepare(self, folder: Path) -> None:
        """Nothing is shared."""

    def run(self, policy: Any, assignment: Assignment, should_pause: Callable[[], bool] | None = None) -> Run:
        """Raises ValueError for a policy: it could not reach the knobs."""
        from trainables.run import Run
        from trainables.yielding import Yielding

        if policy is not None:
            raise ValueError(f"{self!r} turns its own knobs; leave out Sweep(policy={policy!r}).")
        if assignment.parent is not None:
            raise ValueError(
                f"{self!r} cannot take over the state of another trial; use a searcher that does not fork."
            )

        def steps(config: Config, state: Any) -> Iterator[Any]:
            return self._steps(config, 0 if state is None else state["step"], assignment)

        return Run(
            lambda: Yielding(steps, self.metric, assignment.config, seed=assignment.seed, until=assignment.until),
            assignment,
            should_pause,
        )

    def test(self, assignment: Assignment) -> Mapping[str, float]:
        return {}

    def arguments(self, config: Config) -> list[str]:
        """The command for a configuration, word by word; raises ValueError for a {name} that is no parameter."""
        named = {name for _, name, _, _ in Formatter().parse(self.command) if name}
        if unknown := sorted(named - set(config)):
            raise ValueError(
                f"{self.command!r}: {{{unknown[0]}}} is no parameter; there are {', '.join(sorted(config))}."
            )
        words = [word.format(**config) for word in shlex.split(self.command)]
        flags = [self.flag.format(name=name, value=value) for name, value in config.items() if name not in named]
        return [*words, *flags]

    def _steps(self, config: Config, done: int, assignment: Assignment) -> Iterator[Any]:
        """Start the script; what it reports beyond the step `done`, with the step as the state."""
        own = assignment.folder / "script"
        own.mkdir(parents=True, exist_ok=True)
        source = own / (self.file or "stdout.txt")
        if source.exists() and not all(map(_step_of, self._reports(source))):
            source.unlink()  # nobody can tell which steps those were: the script starts over
        environment = os.environ | {
            "TRIAL_FOLDER": str(own), "TRIAL_SEED": str(assignment.seed), "TRIAL_STEPS": str(assignment.until),
            "OMP_NUM_THREADS": str(assignment.threads), "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        with open(own / "stderr.txt", "ab") as errors, open(own / "stdout.txt", "ab") as output:
            process = subprocess.Popen(
                self.arguments(config), env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )  # fmt: skip
            finished = False
            try:
                counted = 0
                for line in _lines(source, process):
                    metrics = measured(line)
                    if self.metric not in metrics:
                        continue
                    counted += 1
                    step = _step_of(metrics) or counted
                    if step <= done:
                        continue
                    if step != done + 1:
                        raise RuntimeError(f"after step {done} the script reported step {step}: {line.strip()!r}")
                    done, finished = step, step >= self.horizon
                    yield {name: metrics[name] for name in self.metrics if name in metrics}, {"step": step}
                raise RuntimeError(_last_words(process, own, done, assignment.until))
            finally:
                _end(process, patiently=finished)

    def _reports(self, path: Path) -> list[dict[str, float]]:
        """What was reported in an earlier start, line by line."""
        found = [measured(line) for line in path.read_text(errors="replace").splitlines()]
        return [metrics for metrics in found if self.metric in metrics]


def measured(line: str) -> dict[str, float]:
    """The numbers with names in a line: of a JSON object, or pairs such as `loss=0.1` and `loss: 0.1`."""
    try:
        found = json.loads(line)
    except ValueError:
        return {name: float(value) for name, value in _PAIR.findall(line)}
    if not isinstance(found, dict):
        return {}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def _step_of(metrics: Mapping[str, float]) -> int:
    """The step that a line names; 0 if it names none."""
    return next((int(metrics[name]) for name in _STEPS if name in metrics), 0)


def _lines(path: Path, process: subprocess.Popen[bytes]) -> Iterator[str]:
    """The whole lines of a file that is being appended to, until the process has ended."""
    position = 0
    while True:
        ended = process.poll() is not None  # asked before reading: what was written before is read
        if path.exists():
            with open(path, "rb") as file:
                position, lines = _new_lines(file, position, ended)
            yield from lines
        if ended:
            return
        time.sleep(_POLL)


def _new_lines(file: IO[bytes], position: int, ended: bool) -> tuple[int, list[str]]:
    file.seek(position)
    data = file.read()
    whole = data if ended else data[: data.rfind(b"\n") + 1]
    return position + len(whole), whole.decode(errors="replace").splitlines()


def _last_words(process: subprocess.Popen[bytes], own: Path, done: int, until: int) -> str:
    tail = (own / "stderr.txt").read_text(errors="replace").strip().splitlines()[-5:]
    said = "".join(f"\n    {line}" for line in tail)
    return f"the script ended with code {process.returncode} after step {done} of {until}{said}"


def _end(process: subprocess.Popen[bytes], *, patiently: bool) -> None:
    """Let a script that is through come to its end; ask another to end; kill what does not."""
    if not patiently:
        process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_with_parent() -> None:
    """In the child: a worker that is killed takes its script with it."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
