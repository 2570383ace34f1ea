"""Exports for other programs: the best configuration as YAML, the whole record as rows."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from orchestrator.console.own_commands import orchestrator_line
from orchestrator.console.typed_command import in_folder
from orchestrator.driving.places import Places
from orchestrator.errors import BadInput, StorageError
from orchestrator.reading.own_files import scripts_own
from orchestrator.reading.scores import rests_on
from orchestrator.reading.spending import NOT_CONFIRMED, observations
from orchestrator.reading.summary import description, fork_words, no_result, summary, turned_words
from orchestrator.reading.trained_on import IN_NOTEBOOK, is_of_notebook, train_again, train_on
from orchestrator.reading.trial_table import costed_rows
from orchestrator.record.encoding import to_json
from orchestrator.record.ledger import Ledger
from orchestrator.record.schema import RECORDS
from orchestrator.reporting import FOLDER as TRIAL_FOLDER
from search.records import Status
from search.work import CONFIG, FOLDER, SEED

_FIRST = "The score with which the trial was found. It was chosen for it, so it promises too much."
_OTHER = "Another training: these values from the first step on. train_again repeats the recorded one."
_FRESH = "The trainings on fresh seeds, the best first. Of these models, too, the best one's value promises too much."
_FOUND = (
    "What the training found by itself. To train again with the same policy, use config alone: it has the starting value.\n"
    "Without the policy, this value in its place comes near it; what the policy did besides (averages, a falling rate) is then\n"
    "missing. `{}` has its changes, step by step."
)


def best_as_yaml(ledger: Ledger) -> str:
    """The best configuration with everything needed to continue training from it."""
    facts = summary(ledger)
    best = facts["best"]
    if best is None:
        raise BadInput(f"{ledger.folder}: nothing to export, {no_result(facts)}.")
    number = best["trial"]
    content: dict[str, Any] = {
        "run": ledger.folder.name,
        "trial": number,
        "metric": facts["metric"],
        "value": best["value"],
        **({"confirmed": best["confirmed"], "first": best["first"]} if best["confirmed"] else {}),
        **({"test": best["test"]} if best["test"] else {}),
        "step": best["step"],
        "config": best["config"],
        **({"found": best["found"]} if best["found"] else {}),
        **({"checkpoint": best["checkpoint"]} if best["checkpoint"] else {}),
    }
    if any(run["checkpoint"] for run in best["fresh"]):
        content["fresh"] = best["fresh"]
    begun = ledger.rows("suggestion", "WHERE trial = :trial ORDER BY seq LIMIT 1", trial=number)[0]
    code = _code(ledger, begun["seq"])
    if begun["command"]:
        content["files"], reported = scripts_own(ledger.folder, number, best["step"])
        trial = Places(ledger.folder.absolute()).trial(number)
        line = by_hand(begun["command"], trial, begun["seed"], description(ledger)["horizon"], reported)
        place = code.get("folder")  # always named: the line is kept, and pasted elsewhere
        content["command"] = in_folder(place, line) if line and place else line
        if place and _takes_no_flags(begun["command"], Path(place)):
            del content["command"]
        if reported:
            content["checkpoint"] = reported
    elif best["checkpoint"] and best["status"] == Status.COMPLETED.value and description(ledger).get("trains_on"):
        horizon = description(ledger)["horizon"]
        if line := train_on(ledger, number, max(best["step"], horizon) + horizon):
            content["train_on"] = line
    content["train_again"] = train_again(ledger, number)
    remarks = {
        "found": _FOUND.format(orchestrator_line("export", ledger.folder, "--schedule")),
        "first": _FIRST,
        "fresh": _FRESH,
    }
    if "recorded_in" in code:
        remarks["command"] = f"In the project beside the run. It was recorded in {code['recorded_in']}."
    if is_of_notebook(ledger):
        remarks["train_again"] = IN_NOTEBOOK
    elif begun["command"] and "command" not in content:
        remarks["train_again"] = "The script gets its parameters from the sweep, not from flags."
    outside = f"Note: {facts['outside']}." if facts["outside"] else ""
    if words := [*filter(None, (fork_words(best, ledger.folder), turned_words(best, ledger.folder), outside))]:
        remarks["config"] = "\n".join(words)
    if step := best["other_step"]:
        remarks["checkpoint"] = f"{step.capitalize()}."
    if best["forked"]:
        remarks["command"] = "\n".join([_OTHER, *filter(None, [remarks.get("command")])])
    if facts["depends_on_seed"] is False:
        remarks["value"] = NOT_CONFIRMED.replace(". ", ".\n")
    elif basis := rests_on(best):
        remarks["value"] = f"{basis.capitalize()}."
        own = f"Of the first training: its own score is {best['first']}."
        remarks["checkpoint"] = "\n".join([own, *filter(None, [remarks.get("checkpoint")])])
        remarks["command"] = "\n".join(
            ["With the seed of the first training.", *filter(None, [remarks.get("command")])]
        )
    return yaml_text(content, remarks)


def _takes_no_flags(words: Sequence[str], folder: Path) -> bool:
    """Whether the command's Python script reads its parameters only from the sweep that runs it, by its source."""
    path = folder / next((word for word in words if word.endswith(".py")), "")
    text = path.read_text(errors="replace") if path.is_file() else ""
    return bool(_FROM_SWEEP.search(text)) and not _FROM_FLAGS.search(text)


def _code(ledger: Ledger, seq: int) -> Mapping[str, Any]:
    """What ran the trials that began at this record: its "folder" and more."""
    before = [row for row in ledger.sweeps() if row["seq"] < seq]
    return before[-1]["code"] if before else {}


_FROM_SWEEP = re.compile(r"\bparameters\(\)|\bwandb\.config\b|\brun\.config\b")
_FROM_FLAGS = re.compile(
    r"\b(?:\w*argparse|\w*ArgumentParser|argv|click|typer|absl|fire|hydra|tyro|simple_parsing|docopt|\w*CLI)\b"
)


def by_hand(
    words: Sequence[str], trial: Path, seed: int, horizon: int, kept: str | None, *, copied: Path | None = None
) -> str | None:
    """The line for a shell that trains a script's configuration again; None if its config file is gone.

    `words`: of the recorded command, with its placeholders. `trial`: the trial's folder, which keeps the config file.
    `kept`: what the script has kept in its TRIAL_FOLDER. A script that uses that folder gets a new
    one, so that the trial's checkpoints stay as they are, and it finds none of an earlier training by hand; pasted twice, the
    line stops at `mkdir`. `copied`: the folder of files from which it goes on there.
    """
    text, config = " ".join(words), next(trial.glob("config.*"), None)
    again = next(
        place
        for count in itertools.count(1)
        if not (place := trial / f"again{f'-{count}' if count > 1 else ''}").exists()
    )
    if f"{{{CONFIG}}}" in text and config is None:
        return None
    environment = [f"TRIAL_SEED={seed}"]
    needs_folder = kept is not None or f"{{{FOLDER}}}" in text or TRIAL_FOLDER in text
    if needs_folder:
        environment.append(f"{TRIAL_FOLDER}={again}")
    if "TRIAL_STEPS" in text:
        environment.append(f"TRIAL_STEPS={horizon}")
    for name, value in ((CONFIG, config), (FOLDER, again), (SEED, seed)):
        words = [word.replace(f"{{{name}}}", str(value)) for word in words]
    made = shlex.join(["mkdir", str(again)]) + " && " if needs_folder else ""
    if copied is not None:  # without the hidden folder of the sweep's messages
        made += f"cp -R {shlex.quote(str(copied))}/* {shlex.quote(str(again))} && "
    return made + shlex.join(["env", *environment, *words])


def yaml_text(content: Mapping[str, Any], remarks: Mapping[str, str] | None = None) -> str:
    """YAML 1.2 that reads back as the same values; `remarks`: the comments above keys."""

    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        """Writes None as null, not as nothing."""

    Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null"))
    yaml = YAML()
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.width = 4096
    stream = io.StringIO()
    document = CommentedMap(content)
    for key, remark in (remarks or {}).items():
        if key in document:
            document.yaml_set_comment_before_after_key(key, before=remark)
    yaml.dump(document, stream)
    return stream.getvalue()


def records(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Every record in the order of writing, as flat dicts with `kind, trial, step, value, time`."""
    with ledger.snapshot():
        about = observations(ledger)
        rows = [(row["seq"], table, row) for table in RECORDS for row in ledger.rows(table)]
    for seq, table, row in sorted(rows, key=lambda item: item[0]):
        value: Any = row.get("value")
        if table == "report" and row["kind"] != "number":
            value = row["kind"]
        record = {
            "seq": seq,
            "kind": table,
            "trial": row.get("trial"),
            "step": row.get("step"),
            "value": value,
            "time": row["time"],
        }
        if table == "report" and seq in about:
            task, paid = about[seq]
            record |= {"task": task, "paid": str(paid), "resumed": paid.how in ("went on", "forked")}
        renamed = {"kind": {"suggestion": "does", "event": "event"}.get(table, "")}
        for name, content in row.items():
            name = renamed.get(name, name)
            if name and name not in record and content is not None:
                record[name] = content
        yield record


def write_record(ledger: Ledger, form: str, target: IO[str] | Path) -> None:
    """Write `records` as jsonl (to a stream or file), csv or parquet (to a file)."""
    if form == "parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise BadInput("--parquet needs pyarrow: pip install pyarrow.") from error
        import pandas as pd

        flat = [_flat(record) for record in records(ledger)]
        frame = pd.DataFrame(flat)
        mixed = [name for name in frame if frame[name].map(type).nunique() > 1]
        frame[mixed] = frame[mixed].map(lambda item: None if item is None or item != item else str(item))
        with writing(target):
            frame.to_parquet(target)
        return
    if form == "csv":
        _write_csv([_flat(record) for record in records(ledger)], target)
        return
    with _stream(target) as stream:
        for record in records(ledger):
            stream.write(to_json(record) + "\n")


def write_trials(ledger: Ledger, target: IO[str] | Path) -> None:
    """Write a row for each trial as CSV."""
    _write_csv(costed_rows(ledger), target)


def _write_csv(rows: Sequence[Mapping[str, Any]], target: IO[str] | Path) -> None:
    """A parameter that is None becomes null; the cell of one that is not active stays empty."""
    with _stream(target) as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {**row} | {name: "null" for name in row if name.startswith("config.") and row[name] is None}
            )


@contextlib.contextmanager
def _stream(target: IO[str] | Path) -> Iterator[IO[str]]:
    """The stream itself, or that of a file, which is closed afterwards."""
    if not isinstance(target, Path):
        yield target
        return
    with writing(target):
        stream = target.open("w", newline="")
    with stream:
        yield stream


@contextlib.contextmanager
def writing(target: object) -> Iterator[None]:
    """Turn an error of writing a file into one sentence with a remedy."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{target}: cannot be written: {error.strerror}. Name another file with --output."
        ) from error


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, content in record.items():
        if name in ("config", "metrics", "before", "after") and isinstance(content, Mapping):
            flat |= {f"{name}.{inner}": value for inner, value in content.items()}
        else:
            flat[name] = to_json(content) if isinstance(content, (dict, list)) else content
    return flat
