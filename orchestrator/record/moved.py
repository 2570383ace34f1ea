"""Where a run's program lies now: of a project that was moved or copied with its runs, beside the run and not where it was."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def with_present_places(row: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The record of an invocation of the run in `folder`, with its program and its working folder where they are now.

    If its project has moved, `code` also says where it was ("recorded_in").
    """
    code, words = row["code"], row["command"]
    program, place = code.get("program"), code.get("folder")
    if not program or not place:
        return dict(row)
    before = code.get("run") or os.path.join(place, "runs", folder.name)  # older records do not say it

    def now(path: str) -> str:
        return os.path.normpath(folder.absolute() / os.path.relpath(path, before))

    if not os.path.isfile(now(program)) or os.path.realpath(now(program)) == os.path.realpath(program):
        return dict(row)
    there = {"program": now(program), "folder": now(place), "recorded_in": place}
    is_script = words and os.path.isabs(words[0])
    return {**row, "code": {**code, **there}, "command": [now(words[0]), *words[1:]] if is_script else words}


def places_told(row: Mapping[str, Any], folder: Path) -> str:
    """Which code is used, in a sentence, if the run does not lie where it was recorded; else empty."""
    code = row["code"]
    if "recorded_in" in code:
        return f"The project was recorded in {code['recorded_in']}; this uses the one beside the run, {code['folder']}."
    before = code.get("run")
    if before and os.path.realpath(before) != os.path.realpath(folder) and code.get("program"):
        return f"The run was recorded in {before}; this uses the code in {code['folder']}."
    return ""
