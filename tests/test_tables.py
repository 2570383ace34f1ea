"""Tables of results between two rules: each is one record, with the step that stands in any of its rows."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from search.work import Assignment
from tests.scripting import assigned, curve, killed_after, script, texts, trained
from trainables.carry_out import carry_out
from trainables.scripts.line import Line
from trainables.scripts.output_stream import OutputStream
from trainables.scripts.reading import Refused, TrainsOn
from trainables.scripts.tables import Tables, count_in

RULE = "-" * 33
TABLE = [
    "| rollout/           |          |",
    "|    distance        | {d}     |",
    "| time/              |          |",
    "|    iterations      | {i}        |",
    "|    total_timesteps | {n}      |",
]
ROLLOUTS = """
import json, os, pathlib, sys
place, width = pathlib.Path(os.environ["TRIAL_FOLDER"], "mine.json"), {width}
done = json.loads(place.read_text()) if place.exists() else 0
for iteration, total in enumerate(range(done + width, {end} + width, width), start=1):
    table = {table!r}.format(d=round(1 / total, 4), i=iteration, n=total)
    print(table, flush=True)
    place.write_text(str(total))
"""


def rollouts(width: int = 512, end: int = 2048, rows: list[str] = TABLE) -> str:
    return ROLLOUTS.format(width=width, end=end, table="\n".join([RULE, *rows, RULE]))


def lines_of(text: str, folder: Path, *names: str, horizon: int = 8192, ended: bool = True) -> list[Line]:
    path = folder / "output.txt"
    path.write_text(text)
    stream = OutputStream(path, names, horizon)
    return [line for line in [*stream.poll()[1], *(stream.rest()[1] if ended else [])] if line.values]


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("more", [{}, {"step": "total_timesteps"}, {"step": "time/total_timesteps"}])
def test_the_step_of_a_table_counts_wherever_it_stands(
    order: tuple[int, ...], more: dict[str, str], tmp_path: Path
) -> None:
    rows = [[TABLE[0], TABLE[1]], [TABLE[2], TABLE[4]], [TABLE[2], TABLE[3]]]
    table = [row for place in order for row in rows[place]]
    workload = script(tmp_path, rollouts(rows=table), horizon=2048, **more)
    assert list(curve(trained(workload, assigned(tmp_path, until=2048)))) == [512, 1024, 1536, 2048]


@pytest.mark.parametrize("row", ["|    損失            | 0.5     |", "    損失              0.5"])
def test_the_names_of_a_table_may_be_of_any_alphabet(row: str, tmp_path: Path) -> None:
    rule = RULE if "|" in row else "-------------------  -----"
    step = "| total_timesteps | 512      |" if "|" in row else "total_timesteps      512"
    (line,) = lines_of(f"{rule}\n{row}\n{step}\n{rule}\n", tmp_path, "損失")
    value = line.value("損失")
    assert value is not None
    assert (value.number, line.steps["total_timesteps"]) == (0.5, 512)


def test_a_training_of_one_rollout_is_at_its_end_with_the_first_table(tmp_path: Path) -> None:
    workload = script(tmp_path, rollouts(width=2048), horizon=2048)
    assert list(curve(trained(workload, assigned(tmp_path, until=2048)))) == [2048]


def test_all_trials_count_what_the_first_counts(tmp_path: Path) -> None:
    """The second trial's first rollout passes the horizon, and its iterations, which do not, would be taken for its steps."""
    found = []
    for number, width in enumerate([512, 4096]):
        workload = script(tmp_path / str(number), rollouts(width), horizon=2048)
        folder = tmp_path / "trials" / f"{number:05d}" / "checkpoints"
        run = carry_out(workload, None, Assignment(number, {"rate": 0.1}, 7, until=2048, folder=folder))
        if number:
            with pytest.raises(TrainsOn, match="total_timesteps 4096, beyond"):
                list(run)
        else:
            found = [item.step for item in run if item is not None and item.kind == "report"]
    assert found == [512, 1024, 1536, 2048]


def test_a_first_rollout_beyond_the_horizon_is_told(tmp_path: Path) -> None:
    (told,) = texts(trained(script(tmp_path, rollouts(4096), horizon=2048), assigned(tmp_path, until=2048)))
    assert (
        "ended at iteration 1 and total_timesteps 4096, and the horizon is 2048: write Script(step='total_timesteps')"
        in told
    )


def test_a_killed_training_goes_on_at_the_step_of_its_table(tmp_path: Path) -> None:
    """Its tables were counted, and the trial failed, as nobody knew at which step a script with a checkpoint goes on."""
    text = rollouts() + "    import time; time.sleep(0.3)\n"
    before = killed_after(tmp_path, text, 512, horizon=2048)
    after = curve(trained(script(tmp_path, text, horizon=2048), assigned(tmp_path, until=2048, recorded=max(before))))
    assert sorted({*before, *after}) == [512, 1024, 1536, 2048]


def test_rows_without_the_rule_below_them_say_nothing_yet(tmp_path: Path) -> None:
    text = "\n".join([RULE, *TABLE]).format(d=0.5, i=1, n=512) + "\n"
    assert lines_of(text, tmp_path, ended=False) == []
    (line,) = lines_of(text, tmp_path)  # a script that has ended prints no more rules
    assert line.steps["total_timesteps"] == 512


def test_a_blank_line_ends_a_table(tmp_path: Path) -> None:
    (line,) = lines_of("\n".join([RULE, *TABLE, "", "done"]).format(d=0.5, i=1, n=512) + "\n", tmp_path, ended=False)
    assert line.steps["total_timesteps"] == 512


def test_a_table_that_is_being_read_is_not_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.scripts.output_stream.GIVEN_BACK", 10)
    path = tmp_path / "output.txt"
    path.write_text("\n".join([RULE, *TABLE[:2]]).format(d=0.5) + "\n")
    stream = OutputStream(path, (), 2048)
    stream.poll()
    assert (stream.settled, stream.is_long()) == (0, False)
    with open(path, "a") as file:
        file.write("\n".join([*TABLE[2:], RULE]).format(i=1, n=512) + "\n")
    (line,) = stream.poll()[1]
    assert stream.is_long()
    assert stream.settled == path.stat().st_size - len(RULE) - 1, "the rule may be that above the next table"
    assert line.steps == {"iteration": 1, "total_timesteps": 512}


@pytest.mark.parametrize(
    "text",
    [
        "-----\n| end of epoch   1 | time: 38.12s | valid loss  5.95 |\n-----",  # not two columns
        "+-------+------+\n| split | loss |\n+-------+------+\n",  # no number
        "-----\n| loss | 0.5 |\n\nepoch 2\n",  # no rule below
        "====\nloss   0.5\n====\n",  # one rule over all: columns of text
    ],
)
def test_other_lines_between_rules_are_given_back_as_they_are(text: str) -> None:
    tables, lines = Tables(), text.split("\n")
    assert [part for line in lines for part in tables.take(line)] + tables.rest() == lines


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("total_timesteps", "total_timesteps"),
        ("time/total_timesteps", "total_timesteps"),
        ("TimestepsSoFar", "timesteps"),
        ("TotalEnvInteracts", "env_steps"),
        ("TotalEnvSteps", "env_steps"),
        ("Evaluation/Iteration", "iteration"),
        ("iterations", "iteration"),
        ("Epoch", "epoch"),
        ("n_updates", ""),
        ("ep_len_mean", ""),
        ("time_elapsed", ""),
    ],
)
def test_a_row_counts_steps_by_its_name(name: str, word: str) -> None:
    assert count_in(name) == word


def test_a_table_that_cannot_be_read_names_the_file_that_can(tmp_path: Path) -> None:
    text = """
import os
with open(os.environ["TRIAL_FOLDER"] + "/progress.csv", "w") as file:
    print("time/iterations,rollout/distance,time/total_timesteps", file=file)
print("-" * 30, "| distance   | 0.5  |", "saving the model", "| total_timesteps | 512  |", "-" * 30, sep="\\n", flush=True)
"""
    told = (
        r"Print the step in each line \(step=300\), or write Script\(pattern=…\)\. Or read the file that the script writes: Script\(…, file='progress.csv', "
        r"metric='rollout/distance', step='time/total_timesteps'\)\.$"
    )
    with pytest.raises(Refused, match=told):
        trained(script(tmp_path, text, horizon=20_480), assigned(tmp_path, until=20_480))


def test_a_script_in_colours_prints_tables_too(tmp_path: Path) -> None:
    table = "\n".join(f"\x1b[32m{row}\x1b[0m" for row in [RULE, *TABLE, RULE]).format(d=0.5, i=1, n=512)
    (line,) = lines_of(table + "\n", tmp_path)
    assert line.steps["total_timesteps"] == 512
    assert line.text == "rollout/distance=0.5, time/iterations=1, time/total_timesteps=512"
