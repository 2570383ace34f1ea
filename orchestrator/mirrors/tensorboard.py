"""TensorBoard: an events file for each trial, with its scalars and its HParams.

The files are written here and not by a SummaryWriter, because TensorBoard's own writers cannot continue a file: a step
that is in the file already is left out, so nothing is there twice after a kill.
"""

from __future__ import annotations

import json
import os
import shlex
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from orchestrator.errors import BadInput
from orchestrator.mirrors.contract import Mirror, MirroredRun, MirroredTrial, Step
from orchestrator.record.storage import replace_file

try:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.summary.writer.record_writer import RecordWriter
except ImportError as error:
    raise BadInput("--to tensorboard needs TensorBoard: pip install tensorboard.") from error

END = metadata.SESSION_END_INFO_TAG
TEST = "test/"  # before the names of metrics on the test part


@dataclass
class _File:
    """A trial's events file, as far as it is written."""

    path: Path
    step: int = 0  # the last one in it
    ended: int | None = None  # the status with which the session ends in it
    is_tested: bool = False


class TensorBoard(Mirror):
    """`output/RUN/trial-00000/events.out.tfevents…`."""

    def __init__(self, output: Path, project: str) -> None:
        super().__init__(output, project)
        if project:
            raise BadInput(f"--project {project}: TensorBoard has no projects; name a folder with --output.")
        self._files: dict[int, _File] = {}

    def start(self, run: MirroredRun) -> None:
        self._run = run

    def begin(self, trial: MirroredTrial) -> None:
        folder = self.output / self._run.name / trial.label
        path = folder / f"events.out.tfevents.{trial.began:.0f}.{self._run.id}"
        folder.mkdir(parents=True, exist_ok=True)
        self._files[trial.number] = file = _found(path)
        if not path.exists() or not path.stat().st_size:
            shown = hparams_pb(_plain(trial), trial_id=f"{trial.number} {self._run.name}", start_time_secs=trial.began)
            _append(
                file.path, [Event(wall_time=trial.began, file_version="brain.Event:2"), _event(shown, 0, trial.began)]
            )

    def log(self, trial: MirroredTrial, steps: Sequence[Step]) -> None:
        file = self._files[trial.number]
        new = [step for step in steps if step.step > file.step]
        if not new:
            return
        self._reopen(file)
        _append(file.path, [_event(_scalars(step.metrics), step.step, step.time) for step in new])
        file.step = new[-1].step

    def end(self, trial: MirroredTrial) -> None:
        file = self._files[trial.number]
        status = None if trial.ending is None else api_pb2.STATUS_FAILURE if trial.failed else api_pb2.STATUS_SUCCESS
        if status != file.ended:
            self._reopen(file)
        if status is not None and file.ended is None:
            assert trial.ending is not None
            about = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=trial.ending.time))
            value = Summary.Value(
                tag=END, metadata=metadata.create_summary_metadata(about), tensor=metadata.NULL_TENSOR
            )
            _append(file.path, [_event(Summary(value=[value]), file.step, trial.ending.time)])
            file.ended = status
        if trial.test is not None and not file.is_tested:
            named = {f"{TEST}{name}": value for name, value in trial.test.items()}
            _append(file.path, [_event(_scalars(named), file.step, trial.began)])
            file.is_tested = True

    def finish(self, run: MirroredRun) -> None:
        pass

    def shown_by(self) -> str:
        return f"tensorboard --logdir {shlex.quote(str(self.output))}"

    def _reopen(self, file: _File) -> None:
        """Take the end of the session away, if the file has one: TensorBoard reads only the first."""
        if file.ended is not None:
            kept = [data for data, event in _events(file.path) if not any(v.tag == END for v in event.summary.value)]
            replace_file(file.path, b"".join(kept))
            file.ended = None


def _found(path: Path) -> _File:
    """What a file holds; what a kill has cut off at its end is removed."""
    file = _File(path)
    if path.exists():
        whole = 0
        for data, event in _events(path):
            whole += len(data)
            file.step = max(file.step, event.step)
            for value in event.summary.value:
                file.is_tested |= value.tag.startswith(TEST)
                if value.tag == END:
                    about = metadata.parse_session_end_info_plugin_data(value.metadata.plugin_data.content)
                    file.ended = about.status
        if whole < path.stat().st_size:
            os.truncate(path, whole)
    return file


def _events(path: Path) -> Iterator[tuple[bytes, Any]]:
    """The complete records of a file, each as its bytes and as the event in it.

    A record: length (8 bytes), its checksum (4), that many bytes, their checksum (4).
    """
    data, place = path.read_bytes(), 0
    while place + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        if place + 16 + length > len(data):
            return
        yield data[place : place + 16 + length], Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length


def _append(path: Path, events: Sequence[Any]) -> None:
    stream = BytesIO()
    records = RecordWriter(stream)
    for event in events:
        records.write(event.SerializeToString())
    with path.open("ab") as file:
        file.write(stream.getvalue())


def _event(summary: Any, step: int, time: float) -> Any:
    return Event(wall_time=time, step=step, summary=summary)


def _scalars(metrics: Any) -> Any:
    return Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()])


def _plain(trial: MirroredTrial) -> dict[str, bool | float | str]:
    """The configuration in the types that HParams knows; with the task, if it is not the full training."""
    task = {} if trial.task == "full" else {"task": trial.task}
    return {
        name: value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
        for name, value in (task | dict(trial.config)).items()
    }
