"""Raise the failure that a script's exit code stands for, with the reason that the script printed."""

from __future__ import annotations

from search.work import Killed
from trainables.killed import exit_in_words, signal_of
from trainables.scripts.channels import Program, failure_of
from trainables.scripts.errors import error_line, killed_in_words
from trainables.scripts.starting_over import with_remedy
from trainables.scripts.trial_folder import ERRORS, OUTPUT, TrialFolder


def raise_for(code: int, script: Program, folder: TrialFolder, where: str) -> None:
    """Raise Killed or ScriptFailed unless the script ended properly; `where`: words such as `after step 3 of 10`."""
    errors, output = folder.tail(ERRORS), folder.tail(OUTPUT)
    if why := killed_in_words(code, errors, output):  # a shell may end with code 0 after it
        raise Killed(why)
    if not code:
        return
    told = "" if signal_of(code) else output  # what a killed script printed last is its progress
    said = error_line(errors, told, script.known_flags(), script.command) or "it printed no reason"
    said = with_remedy(said, folder.path, script.command)
    if signal_of(code):
        raise failure_of(script)(f"{exit_in_words(code)} {where}: {said}")
    raise failure_of(script)(f"{said} ({exit_in_words(code)} {where})")
