"""What is in a mirror, read by the tool that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

METRIC = "loss"


class Seen(NamedTuple):
    """A trial in a mirror."""

    config: dict[str, Any]
    steps: list[tuple[int, float]]  # each point of the metric, in order; one that is there twice is here twice
    status: str  # running, failed or done
    test: float | None = None


def tensorboard(output: Path, name: str) -> dict[int, Seen]:
    """Through TensorBoard's HParams plugin and its reader of events."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    events = plugin_event_multiplexer.EventMultiplexer(size_guidance={"tensors": 0})
    events.AddRunsFromDirectory(str(output))
    events.Reload()
    provider = data_provider.MultiplexerDataProvider(events, str(output))
    plugin = backend_context.Context(TBContext(data_provider=provider, logdir=str(output)))
    context = RequestContext()
    experiment = get_experiment.Handler(context, plugin, "", api_pb2.GetExperimentRequest()).run()
    request = api_pb2.ListSessionGroupsRequest(
        start_index=0,
        slice_size=1000,
        allowed_statuses=[
            api_pb2.STATUS_UNKNOWN,
            api_pb2.STATUS_RUNNING,
            api_pb2.STATUS_FAILURE,
            api_pb2.STATUS_SUCCESS,
        ],
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
    )
    groups = list_session_groups.Handler(context, plugin, "", request).run().session_groups
    states = {api_pb2.STATUS_FAILURE: "failed", api_pb2.STATUS_SUCCESS: "done"}
    found = {}
    for group in groups:
        (session,) = group.sessions
        if not session.name.startswith(f"{name}/"):
            continue

        def points(tag: str, run: str = session.name) -> list[tuple[int, float]]:
            runs = events.Runs()[run]["tensors"]
            return (
                [(e.step, round(float(e.tensor_proto.float_val[0]), 6)) for e in events.Tensors(run, tag)]
                if tag in runs
                else []
            )

        tested = points(f"test/{METRIC}")
        config = {key: getattr(value, value.WhichOneof("kind")) for key, value in group.hparams.items()}
        number = int(session.name.rpartition("-")[2])
        found[number] = Seen(
            config, points(METRIC), states.get(session.status, "running"), tested[0][1] if tested else None
        )
    return found


def mlflow(output: Path, name: str) -> dict[int, Seen]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(name)
    states = {"RUNNING": "running", "FAILED": "failed", "FINISHED": "done"}
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        if "mlflow.parentRunId" not in run.data.tags:
            continue
        history = client.get_metric_history(run.info.run_id, METRIC)
        number = int(run.data.tags["orchestrator.trial"].rpartition("-")[2])
        assert number not in found
        steps = sorted((metric.step, metric.value) for metric in history)
        found[number] = Seen(run.data.params, steps, states[run.info.status], run.data.metrics.get(f"test_{METRIC}"))
    return found


def trackio(output: Path, name: str) -> dict[int, Seen]:
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    states = {"running": "running", "failed": "failed", "diverged": "failed"}
    found = {}
    for run in Api().runs(name):
        logs = SQLiteStorage.get_logs(name, run.name, run_id=run.id)
        tested = [row[f"test/{METRIC}"] for row in logs if f"test/{METRIC}" in row]
        steps = [(row["step"], float(row[METRIC])) for row in logs if METRIC in row]
        number = int(run.name.split()[-1])
        assert number not in found
        found[number] = Seen(
            run.config,
            sorted(steps),
            states.get(run.config["orchestrator"]["status"], "done"),
            tested[0] if tested else None,
        )
    return found


def wandb(output: Path, name: str) -> dict[int, Seen]:
    """From the files that `wandb sync` uploads."""
    import json

    from wandb.proto import wandb_internal_pb2

    found = {}
    for path in (output / "wandb").glob("offline-run-*/run-*.wandb"):
        config: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        steps, code, project = [], None, ""
        for data in _leveldb(path.read_bytes()[7:]):
            record = wandb_internal_pb2.Record.FromString(data)
            kind = record.WhichOneof("record_type")
            if kind == "run":
                project = record.run.project
                config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            elif kind == "history":
                row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                steps.append((record.history.step.num, float(row[METRIC])))
            elif kind == "summary":
                summary |= {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in record.summary.update}
            elif kind == "exit":
                code = record.exit.exit_code
        if project != name:
            continue
        status = summary["status"]
        assert code == (1 if status in ("failed", "diverged") else 0)
        number = int(path.stem.rpartition("-")[2])
        assert number not in found
        states = {"running": "running", "failed": "failed", "diverged": "failed"}
        found[number] = Seen(config, steps, states.get(status, "done"), summary.get(f"test/{METRIC}"))
    return found


def _leveldb(data: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format, in which W&B writes: blocks of 32 KiB, the header of the file counted."""
    block, place, parts = 32768, 7, b""
    data = b"\0" * 7 + data
    while place + 7 <= len(data):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield parts
            parts = b""
