"""What it means that a script ended before its trial's last step."""

from __future__ import annotations

from search.work import Ended, Killed
from trainables.killed import exit_in_words, signal_of
from trainables.scripts.channels import Channels, Program
from trainables.scripts.errors import error_line, killed_in_words, raised_at_the_end
from trainables.scripts.hydra_apps import shared_outputs
from trainables.scripts.printed import visible
from trainables.scripts.shared_files import with_others
from trainables.scripts.starting_over import with_remedy
from trainables.scripts.step_count import COUNTED, StepCount
from trainables.scripts.trial_folder import ERRORS, OUTPUT, TrialFolder

HIDDEN = (
    "let the command pass on the exit code of the training (in bash: set -o pipefail in front of a pipe, and wait for each process "
    "that runs in the background)."
)


def ended(
    code: int,
    step: int,
    until: int,
    *,
    script: Program,
    folder: TrialFolder,
    channels: Channels,
    count: StepCount,
) -> Ended:
    """The end of a script with exit `code` after `step` of `until`. Raises Killed or ScriptFailed unless it ended properly."""
    errors, output = folder.tail(ERRORS), folder.tail(OUTPUT)
    if why := killed_in_words(code, errors, output):  # a shell may end with code 0 after it
        raise Killed(why)
    if code:
        told = "" if signal_of(code) else output  # what a killed script printed last is its progress
        said = error_line(errors, told, script.known_flags(), script.command) or "it printed no reason"
        said = with_remedy(said, folder.path, script.command)
        where = f"after step {step} of {until}"
        if signal_of(code):
            raise script.failure(f"{exit_in_words(code)} {where}: {said}")
        said = with_others(said, folder, count.memory) if script.command else said
        raise script.failure(f"{said} ({exit_in_words(code)} {where})")
    end = "the script ended with exit code 0" if script.command else "the function returned"
    if not step:
        last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
        said = f" Its last line: {visible(last)[:120]!r}." if last else ""
        why = f"{end}; {channels.why_silent()}{said}"
        raise script.failure(with_others(why, folder, count.memory) if script.command else why)
    if doubt := channels.missing.doubt_at_the_end:
        raise script.failure(f"{end} after step {step} of {until}, but {doubt}")
    is_closing_line = count.kind == COUNTED and count.counted == 1
    advice = (
        channels.missing.curve if is_closing_line else shared_outputs(script.command) or count.may_be_at_the_horizon
    )
    if script.command and (said := raised_at_the_end(errors, output)):
        if "ChildFailedError" in errors + output:  # of torchrun, which then never ends with code 0
            where = f"exit code 0 after step {step} of {until}"
            raise script.failure(f"{said} (it ended the output, with {where}); {HIDDEN}")
        advice = f"But its output ends with an error: {said}. If that ended it, {HIDDEN}"
    return Ended(step=step, text=end, advice=advice)
