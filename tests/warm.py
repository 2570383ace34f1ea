"""Scripts in processes of their own that need not import torch and matplotlib: forks of one that has.

`run_script` and `orchestrator` do what those in tests/support.py do. Ours are imported by each process for itself. What
is only true of a process from its very start (what is imported, how long that takes) is for the others.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support import ENVIRONMENT, ROOT


class Parent:
    """The process that forks; it starts when the first script does."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def run(self, arguments: list[str], cwd: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.warm"], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
            )  # fmt: skip
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with TemporaryDirectory() as folder:
            out, err = (Path(folder, name) for name in ("out", "err"))
            job = [arguments, str(cwd), os.environ | environment, str(out), str(err)]
            print(json.dumps(job), file=self.process.stdin, flush=True)
            code = json.loads(self.process.stdout.readline())
            return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())

    def end(self) -> None:
        """Other tests count the children of this process."""
        if self.process is not None:
            self.process.communicate()
            self.process = None


PARENT = Parent()


def run_script(script: Path | str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return PARENT.run([str(script), *arguments], cwd, ENVIRONMENT | environment)


def orchestrator(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return PARENT.run(["-m", "orchestrator", *arguments], cwd, {**ENVIRONMENT, "PYTHONPATH": str(ROOT)})


def serve() -> None:
    """Fork for each line of the input, and answer with the exit code. A fork returns from here as its script ends."""
    import matplotlib.pyplot
    import torch

    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])  # the first optimiser imports half of torch
    matplotlib.pyplot.close(matplotlib.pyplot.figure())
    gc.freeze()  # a collection in a fork would copy all of it
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            begin(*json.loads(line))
            break
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def begin(arguments: list[str], cwd: str, environment: dict[str, str], out: str, err: str) -> None:
    """Become `python *arguments`."""
    for descriptor, path in enumerate((os.devnull, out, err)):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.orig_argv[1:] = arguments
    if arguments[0] == "-m":
        sys.argv, sys.path[0] = arguments[1:], cwd
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        script = os.path.abspath(arguments[0])
        sys.argv, sys.path[0] = arguments, os.path.dirname(script)
        runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    serve()
