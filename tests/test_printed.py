"""Lines of training scripts, read as a person reads them: docs/printed_lines.md is the table, each line of it is run."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import pytest

from search.work import Assignment
from tests.support import ROOT
from trainables.printed import Reader, Value, likeliest, read, visible
from trainables.script_run import ScriptFailed
from trainables.step_count import Refused
from trainables.workloads.script import Script

PAGE = (ROOT / "docs" / "printed_lines.md").read_text()
SHOWN = re.findall(r"^### ([^\n]+)\n\n```text\n(.*?)\n```\n\n((?:- [^\n]*\n)+)", PAGE, re.M | re.S)
CASES = [
    (source, lines.replace("␛", "\x1b").replace("␍", "\r"), *asked)
    for source, lines, told in SHOWN
    for asked in re.findall(r"- `(.+?)`, horizon (\d+): (.*)", told)
]


def test_the_page_shows_at_least_forty_ways_to_print() -> None:
    assert len(SHOWN) >= 40
    assert PAGE.count("\n### ") == len(SHOWN)
    assert sum(len(told.splitlines()) for _, _, told in SHOWN) == len(CASES)


@pytest.mark.parametrize(
    ("source", "lines", "metric", "horizon", "told"), CASES, ids=[f"{c[0]}: {c[2]}" for c in CASES]
)
def test_a_line_is_read_as_the_page_says(
    source: str, lines: str, metric: str, horizon: str, told: str, tmp_path: Path
) -> None:
    (tmp_path / "output.txt").write_text(lines + "\n")
    program = f"{sys.executable} -S -c 'import sys; sys.stdout.write(open(sys.argv[1], newline=chr(10)).read())'"
    workload = Script(f"{program} {tmp_path / 'output.txt'}", metric=metric, mode="min", horizon=int(horizon))
    items = workload.run(None, Assignment(0, {}, 7, until=int(horizon), folder=tmp_path / "trial" / "checkpoints"))
    if told.startswith("refused: "):
        with pytest.raises((Refused, ScriptFailed), match=re.escape(told.removeprefix("refused: "))):
            list(items)
        return
    found = {item.step: item.metrics[metric] for item in items if item is not None and item.kind == "report"}
    assert found == {int(step): float(value) for step, value in re.findall(r"(\d+) = ([-\d.e]+)", told)}
