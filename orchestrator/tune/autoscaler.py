"""Find out whether a Ray cluster can grow: whether an autoscaler, as that of `ray up` or KubeRay, adds nodes to it."""

from __future__ import annotations

import json
import time
from collections.abc import Collection

from orchestrator.tune import settings  # isort: skip  # noqa: F401 - before Ray
import ray
from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
from ray.autoscaler._private.util import format_readonly_node_type
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import internal_kv_get_gcs_client

from orchestrator.tune.keeper import LOOPBACK

FIRST_REPORT_SECONDS = 30.0  # within which an autoscaler reports that starts after the head, as KubeRay's sidecar does
POLL_SECONDS = 0.5
GROUP = "ray.io/node-group"  # a label: `ray up` and KubeRay give it to their nodes, `ray start` does not


def can_grow(patience: float = 0.0) -> bool:
    """Whether the cluster that this process is connected to has an autoscaler that adds nodes.

    `patience`: seconds to wait for its first report. A plain `ray start` has nothing to wait for.
    """
    if ray.get_runtime_context().gcs_address.rpartition(":")[0] == LOOPBACK:
        return False
    end = time.monotonic() + patience
    while (types := _node_types()) is None and _has_groups() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    # The monitor of a plain `ray start` reports as well, but adds nothing: it calls each node a type of its own.
    return any(not name.startswith(format_readonly_node_type("")) for name in types or ())


def _node_types() -> Collection[str] | None:
    """The types of the nodes, by the autoscaler's report; None while there is none."""
    gcs = internal_kv_get_gcs_client()
    if is_autoscaler_v2(fetch_from_server=True, gcs_client=gcs):
        status = get_cluster_status(gcs.address)
        reports = int(status.stats.autoscaler_version or 0)
        return [node.ray_node_type_name for node in (*status.active_nodes, *status.idle_nodes)] if reports else None
    report = json.loads(gcs.internal_kv_get(DEBUG_AUTOSCALING_STATUS.encode(), None) or "{}").get("autoscaler_report")
    return None if report is None else list(report["active_nodes"])


def _has_groups() -> bool:
    return any(node["Alive"] and GROUP in node["Labels"] for node in ray.nodes())
