"""Output that comes in pieces: a line counts once it is whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scripting import assigned, script, trained
from trainables.scripts.output_stream import CHUNK, OutputStream


def told(stream: OutputStream) -> list[tuple[dict[str, float], float]]:
    """What the new lines of a stream tell, until it has no more."""
    found = []
    while True:
        lines = stream.poll()[1]
        found += [(dict(line.steps), value.number) for line in lines if (value := line.value("ppl")) is not None]
        if not stream.has_more:
            return found


@pytest.mark.parametrize("shift", range(40))
def test_a_drawn_state_is_never_cut_where_a_megabyte_ends(shift: int, tmp_path: Path) -> None:
    """A piece of a megabyte counted as a line: its last state, cut anywhere, had 41 in place of 414.99."""
    path = tmp_path / "output.txt"
    state = "\rstep 50000/60000 ppl 414.99".ljust(40)
    path.write_bytes((" " * shift + state * (3 * CHUNK // len(state))).encode())
    stream = OutputStream(path, ("ppl",), 60000)
    assert told(stream) == [], "all states but the last are overwritten"
    assert [line.value("ppl").number for line in stream.rest()[1]] == [414.99]  # type: ignore[union-attr]


@pytest.mark.parametrize("sign", ["\r", "\b" * 30])
def test_the_line_behind_a_megabyte_of_drawn_states_is_read(sign: str, tmp_path: Path) -> None:
    path = tmp_path / "output.txt"
    path.write_text(f"{sign}step 5 ppl 414.99" * (CHUNK // 10) + f"{sign}step 6 ppl 300.5\r\nstep 7 ppl 200.5\n")
    assert told(OutputStream(path, ("ppl",), 60000)) == [({"step": 6}, 300.5), ({"step": 7}, 200.5)]


@pytest.mark.parametrize("length", [CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17])
def test_the_end_of_a_line_that_is_too_long_is_no_line(length: int, tmp_path: Path) -> None:
    path = tmp_path / "output.txt"
    path.write_text("x" * length + " step 5 ppl 414.99\nstep 6 ppl 300.5\n")
    stream = OutputStream(path, ("ppl",), 60000)
    stream.poll()
    again = OutputStream(path, ("ppl",), 60000, stream.settled)
    for each in (stream, again):
        assert told(each) == [({"step": 6}, 300.5)]
        assert each.settled == path.stat().st_size


def test_a_script_that_only_draws_tells_its_last_state(tmp_path: Path) -> None:
    body = "import sys\nfor n in range(1, 40001): sys.stdout.write(f'\\rstep {n}/40000 ppl {n / 8:<20}')"
    items = trained(script(tmp_path, body, metric="ppl", horizon=40000), assigned(tmp_path, until=40000))
    assert [(item.step, item.metrics["ppl"]) for item in items if item.kind == "report"] == [(40000, 5000.0)]
