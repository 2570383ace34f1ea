"""The reason of a script's failure is its error, whatever a framework, a launcher or another language puts around it."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from tests.scripting import assigned, script, trained
from trainables.scripts.channels import ScriptFailed
from trainables.scripts.errors import error_line
from trainables.workloads.script import Script

HINT = "\n\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\n"
TRACE = 'Traceback (most recent call last):\n  File "/a/train.py", line 9, in <module>\n    main()\n'
HYDRA = {
    "unknown key": (
        "/a/b.py:3: UserWarning: no GPU\n  warnings.warn(\nCould not override 'optim.lrr'.\nTo append to your config use +optim.lrr=0.1\n"
        f"Key 'lrr' is not in struct\n    full_key: optim.lrr\n    object_type=dict{HINT}",
        "Could not override 'optim.lrr'. To append to your config use +optim.lrr=0.1; Key 'lrr' is not in struct: full_key: optim.lrr; object_type=dict",
    ),
    "wrong type": (
        f"Error merging override lr=abc\nValue 'abc' of type 'str' could not be converted to Float\n    full_key: lr{HINT}",
        "Error merging override lr=abc; Value 'abc' of type 'str' could not be converted to Float: full_key: lr",
    ),
    "wrong group": (
        f"In 'config': Could not find 'model/resnt'\n\nAvailable options in 'model':\n\tresnet\n\tvit{HINT}",
        "In 'config': Could not find 'model/resnt'; Available options in 'model': resnet; vit",
    ),
    "instantiation": (
        f"Error executing job with overrides: ['lr=0.1']\nError in call to target 'torch.optim.Adam':\nTypeError(\"no 'momentum'\"){HINT}",
        "Error in call to target 'torch.optim.Adam': TypeError(\"no 'momentum'\")",
    ),
    "syntax": (f"mismatched input '=' expecting <EOF>{HINT}", "mismatched input '=' expecting <EOF>"),
    "unknown to us": (f"Bad configuration.\nGradients vanish.{HINT}", "Bad configuration. Gradients vanish."),
    "own exception": (f"Error executing job with overrides: ['lr=3']\n{TRACE}ValueError: lr 3 is too large{HINT}", "ValueError: lr 3 is too large"),
}  # fmt: skip
TORCHRUN = f"""W1129 21:37:49.313000 11380 torch/distributed/run.py:874] Setting OMP_NUM_THREADS environment variable
{{child}}E1129 21:37:49.527000 11380 torch/distributed/elastic/multiprocessing/api.py:1002] failed (exitcode: 3) local_rank: 1 (pid: 11388)
{TRACE}torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n======
train.py FAILED
------
Failures:
[1]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 11387)  (SIGTERM)
  traceback : Signal 15 (SIGTERM) received by PID 11387
------
Root Cause (first observed failure):
[0]:
  rank      : 1 (local_rank: 1)
  exitcode  : -11 (pid: 11388)  (SIGSEGV)
  traceback : Signal 11 (SIGSEGV) received by PID 11388
======
"""
CHAIN = f"{TRACE}KeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\n{TRACE}ValueError: no a\n"
LAUNCHED = {
    "torchrun": (TORCHRUN.format(child=f"[rank1]: {TRACE}[rank1]: ValueError: rank 1 broke\n"), "ValueError: rank 1 broke"),
    "torchrun, a chain, then another rank": (TORCHRUN.format(child=f"{CHAIN}{TRACE}RuntimeError: connection closed\n"), "ValueError: no a"),
    "torchrun, a message": (TORCHRUN.format(child="the data are empty\n"), "the data are empty"),
    "torchrun, a segfault": (TORCHRUN.format(child=""), "rank 1 (local_rank: 1) ended with exit code -11 (pid: 11388) (SIGSEGV)"),
    "accelerate": (
        "The following values were not passed to `accelerate launch` and had defaults used instead:\n\t`--num_machines` was set to a "
        "value of `1`\nTo avoid this warning pass in values for each of the problematic parameters or run `accelerate config`.\n"
        f"the data are empty\n{TRACE}subprocess.CalledProcessError: Command '['python', 'train.py']' returned non-zero exit status 3.",
        "the data are empty",
    ),
    "subprocess": (
        f"usage: a.py [--lr LR]\na.py: error: argument --lr: invalid int value: 'x'\n{TRACE}subprocess.CalledProcessError: Command 'a' died",
        "a.py: error: argument --lr: invalid int value: 'x'",
    ),
    "subprocess, nothing else": (f"{TRACE}subprocess.CalledProcessError: Command 'a' died with <Signals.SIGSEGV: 11>.",
        "subprocess.CalledProcessError: Command 'a' died with <Signals.SIGSEGV: 11>."),
    "spawn": (f"{TRACE}torch.multiprocessing.spawn.ProcessRaisedException: \n\n-- Process 1 terminated with the following error:\n{TRACE}ValueError: bad\n",
        "ValueError: bad"),
    "a command failed early, and this is not why": (
        f"{TRACE}subprocess.CalledProcessError: Command '['git']' returned non-zero exit status 128.\nError: out of luck",
        "Error: out of luck",
    ),
    "srun": (f"{TRACE}ValueError: bad lr\nsrun: error: node1: task 0: Exited with exit code 1", "ValueError: bad lr"),
    "make": (f"{TRACE}ValueError: bad lr\nmake: *** [Makefile:2: train] Error 1", "ValueError: bad lr"),
}  # fmt: skip
BOX = "╭─ Error ─────╮\n│ Invalid value for '--lr': no     │\n│ integer      │\n╰──────────╯\n"
OTHERS = {
    "typer": (f"Usage: a.py [OPTIONS]\nTry 'a.py --help' for help.\n{BOX}", "Error: Invalid value for '--lr': no integer"),
    "click": ("Usage: a.py [OPTIONS]\nTry 'a.py --help' for help.\n\nError: Invalid value for '--lr': 'x' is not a valid integer.",
        "Error: Invalid value for '--lr': 'x' is not a valid integer."),
    "group": ("  + Exception Group Traceback (most recent call last):\n  |   File \"a.py\", line 1, in <module>\n  | ExceptionGroup: two (2 sub-exceptions)\n"
        "  +-+---------------- 1 ----------------\n    | ValueError: a\n    +---------------- 2 ----------------\n    | KeyError: 'b'\n"
        "    +------------------------------------", "ValueError: a"),
    "difference": ("AssertionError: lists differ\n  - a\n  + b", "AssertionError: lists differ: - a; + b"),
    "memory": (f"{TRACE}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB."),
    "argparse": ("usage: a.py [-h] [--rate RATE]\na.py: error: unrecognized arguments: --optim.lr=1 --optim=sgd", "a.py: error: unrecognized arguments: --optim.lr=1 --optim=sgd"),
    "Hydra": ("usage: train.py [--help] [--hydra-help] [--version]\ntrain.py: error: unrecognized arguments: --optim.lr=1 --optim=sgd",
        'train.py: error: unrecognized arguments: --optim.lr=1 --optim=sgd For a Hydra app, which takes no flags, write Script(…, flag="{name}={value}").'),
    "make's usage": ("make: unrecognized option '--DEPTH=3'\nmake: unrecognized option '--wd=0'\nUsage: make [options] [target] ...\nOptions:\n"
        "  -k, --keep-going            Keep going after an error.\n\nThis program built for x86_64-pc-linux-gnu\nReport bugs to <bug-make@gnu.org>",
        "make: unrecognized option '--DEPTH=3'"),
    "Go's usage": ("flag provided but not defined: -lr\nUsage of ./train:\n  -rate float\n    \tlearning rate\nexit status 2", "flag provided but not defined: -lr"),
    "cobra": ("Error: unknown flag: --lr\nUsage:\n  train [flags]\n\nFlags:\n  -h, --help   help for train, also after an error\n\nunknown flag: --lr", "Error: unknown flag: --lr"),
    "usage first": ("Usage: a.py [OPTIONS]\nOptions:\n  --lr  rate, else an error\na.py: lr is too large", "a.py: lr is too large"),
    "bash": ("a.sh: line 3: pythn: command not found", "a.sh: line 3: pythn: command not found"),
    "uv": ("error: Failed to spawn: `a.py`\n  Caused by: No such file or directory (os error 2)", "error: Failed to spawn: `a.py`: Caused by: No such file or directory (os error 2)"),
    "Java": ('Exception in thread "main" java.lang.Bad: lr is 3\n\tat Train.main(Train.java:1)\nCaused by: java.io.IOException: disk is full\n'
        "\tat Train.check(Train.java:2)\n\t... 1 more", 'Exception in thread "main" java.lang.Bad: lr is 3; Caused by: java.io.IOException: disk is full'),
    "JavaScript": ("/a/t.js:1\nthrow new TypeError('lr is 3')\n^\n\nTypeError: lr is 3\n    at f (/a/t.js:1:28)\n    at Object.<anonymous> (/a/t.js:3:1)\n\nNode.js v20",
        "TypeError: lr is 3"),
    "Julia": ("ERROR: LoadError: DomainError with -1.0:\nsqrt was called with a negative number.\nStacktrace:\n [1] f(x::Float64)\n   @ Base ./math.jl:33",
        "ERROR: LoadError: DomainError with -1.0: sqrt was called with a negative number."),
    "R": ("Error in fit(lr) : the learning rate is too large\nCalls: main -> fit\nExecution halted", "Error in fit(lr) : the learning rate is too large"),
    "Go": ("panic: lr is 3\n\ngoroutine 1 [running]:\nmain.main()\n\t/a/x.go:4 +0x25\nexit status 2", "panic: lr is 3"),
    "Rust": ("thread 'main' panicked at src/main.rs:4:5:\nlr is 3\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        "thread 'main' panicked at src/main.rs:4:5: lr is 3"),
    "C++": ("terminate called after throwing an instance of 'std::runtime_error'\n  what():  lr is 3", "terminate called after throwing an instance of 'std::runtime_error': what(): lr is 3"),
}  # fmt: skip
SHOWN = HYDRA | LAUNCHED | OTHERS


@pytest.mark.parametrize("name", SHOWN)
def test_the_reason_is_the_error_itself(name: str) -> None:
    errors, reason = SHOWN[name]
    assert error_line("", "epoch 1: loss=0.5\n") == "its last line was: epoch 1: loss=0.5"
    assert error_line(errors, "epoch 1: loss=0.5\n") == reason
    if name not in ("unknown to us", "torchrun, a message", "accelerate"):  # only the stream tells that it is an error
        assert error_line("", f"epoch 1: loss=0.5\n{errors}") == reason


def test_what_a_script_printed_before_a_segfault_is_no_reason(tmp_path: Path) -> None:
    text = "import os, signal\nprint('epoch 1: distance=0.5', flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)"
    with pytest.raises(ScriptFailed, match=r"^killed by SIGSEGV after step 1 of 6: it printed no reason$"):
        trained(script(tmp_path, text), assigned(tmp_path))


@pytest.mark.slow
def test_the_reason_of_a_rank_is_found_under_the_true_torchrun(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(textwrap.dedent("""
        import os, sys, time
        if os.environ["LOCAL_RANK"] == "1": sys.exit("the data are empty")
        time.sleep(30)
    """))  # fmt: skip
    command = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2 {tmp_path / 'train.py'}"
    workload = Script(command, metric="distance", mode="min", horizon=6, flag="--{name}={value}")
    with pytest.raises(ScriptFailed, match=r"^the data are empty \(exit code 1"):
        trained(workload, assigned(tmp_path))


def test_the_error_below_long_output_is_told(tmp_path: Path) -> None:
    text = "import sys\nsys.stderr.write(('x' * 98 + '\\n') * 82_000)\nraise RuntimeError('CUDA out of memory')\n"
    with pytest.raises(ScriptFailed, match="RuntimeError: CUDA out of memory"):
        trained(script(tmp_path, text), assigned(tmp_path))
