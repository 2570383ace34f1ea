"""A cluster that starts without room for a trial: one that can grow is waited for, any other is refused at once."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support import ROOT, recorded

SCRIPT = ROOT / "tests" / "sweeps" / "steady.py"
HOST = "127.0.0.1"
HEAD, WORKERS, WORKER = "headgroup", "workers", "workers-pod-1"  # KubeRay's names of groups, and of a pod
AUTOSCALER = (
    "from ray.autoscaler._private.kuberay.run_autoscaler import run_kuberay_autoscaler as run; "
    "import sys; run('cluster', 'default', sys.argv[1])"
)


@pytest.fixture(params=["0", "1"], ids=["v1", "v2"])
def start(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[..., psutil.Process]]:
    """Starts a process that ends with the test, and so does all that it has started."""
    monkeypatch.setenv("RAY_enable_autoscaler_v2", request.param)
    monkeypatch.setenv("AUTOSCALER_UPDATE_INTERVAL_S", "1")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started: list[psutil.Process] = []

    def start(*command: str, **environment: str) -> psutil.Process:
        with (tmp_path / f"process{len(started)}.log").open("w") as log:
            process = psutil.Popen(command, stdout=log, stderr=log, env=os.environ | environment)
        started.append(process)
        return process

    yield start
    for process in started:
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def ray_start(*options: str) -> list[str]:
    return [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--min-worker-port=0", "--max-worker-port=0", *options
    ]  # fmt: skip


def head(start: Callable[..., psutil.Process], temp: Path, *options: str, **environment: str) -> str:
    """Starts a head that trains nothing; returns its address once it answers."""
    from ray.util import get_node_ip_address

    address = f"{get_node_ip_address()}:{(port := free_port())}"
    start(*ray_start("--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", f"--temp-dir={temp}",
                     f"--ray-client-server-port={free_port()}", *options), **environment)  # fmt: skip
    health = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    deadline = time.monotonic() + 60
    while subprocess.run(health, capture_output=True).returncode:
        assert time.monotonic() < deadline, "the head has not come up"
    return address


class Kubernetes(ThreadingHTTPServer):
    """As much of a Kubernetes API and of KubeRay's operator as Ray's autoscaler asks for: a cluster of one worker at most."""

    def __init__(self, folder: Path, ip: str, add_worker: Callable[[], object]) -> None:
        super().__init__((HOST, 0), Api)
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key, "-out", self.certificate,
             "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}"], check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.cluster = {
            "metadata": {"name": "cluster", "namespace": "default", "resourceVersion": "1"},
            "spec": {
                "headGroupSpec": _group(HEAD, "0"),
                "workerGroupSpecs": [_group(WORKERS, "1") | {"replicas": 0, "minReplicas": 0, "maxReplicas": 1}],
            },
        }
        self.pods = [_pod("head-pod", "head", HEAD, ip)]
        self._ip, self._add_worker = ip, add_worker

    def scale(self, replicas: int) -> None:
        self.cluster["spec"]["workerGroupSpecs"][0]["replicas"] = replicas  # type: ignore[index]
        if replicas and len(self.pods) == 1:
            self.pods.append(_pod(WORKER, "worker", WORKERS, self._ip))
            self._add_worker()


class Api(BaseHTTPRequestHandler):
    server: Kubernetes

    def do_GET(self) -> None:
        pods = {"metadata": {"resourceVersion": "1"}, "items": self.server.pods}
        self._answer(pods if "/pods" in self.path else self.server.cluster)

    def do_PATCH(self) -> None:
        for change in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            if change["path"].endswith("/replicas"):
                self.server.scale(change["value"])
        self._answer(self.server.cluster)

    def _answer(self, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


def _group(name: str, cpus: str) -> dict[str, Any]:
    container = {"resources": {"limits": {"cpu": cpus, "memory": "1Gi"}}}
    return {
        "groupName": name,
        "rayStartParams": {"num-cpus": cpus},
        "template": {"spec": {"containers": [container]}},
    }


def _pod(name: str, kind: str, group: str, ip: str) -> dict[str, Any]:
    labels = {"ray.io/node-type": kind, "ray.io/group": group}
    status = {"podIP": ip, "containerStatuses": [{"state": {"running": {}}}]}
    return {"metadata": {"name": name, "labels": labels}, "status": status}


def tuned(runs: Path, address: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--runs", str(runs), "--address", address, "--num-samples", "2"]
    return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=300)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_kuberay_adds_the_worker_that_a_sweep_waits_for(
    start: Callable[..., psutil.Process], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pod = {"RAY_NODE_TYPE_NAME": HEAD, "RAY_CLOUD_INSTANCE_ID": "head-pod"}  # as KubeRay sets them, autoscaler or not
    address = head(start, tmp_path_factory.mktemp("r"), "--no-monitor", **pod)

    def add_worker() -> None:
        worker = {"RAY_NODE_TYPE_NAME": WORKERS, "RAY_CLOUD_INSTANCE_ID": WORKER}
        start(*ray_start("--address", address, "--num-cpus=1"), **worker)

    with Kubernetes(tmp_path, address.rpartition(":")[0], add_worker) as kubernetes:
        threading.Thread(target=kubernetes.serve_forever, daemon=True).start()
        start(sys.executable, "-c", AUTOSCALER, address, RAY_HEAD_POD_NAME="head-pod",
              KUBERNETES_SERVICE_HOST=HOST, KUBERNETES_SERVICE_PORT_HTTPS=str(kubernetes.server_address[1]),
              RAY_KUBERAY_CLIENT_CERT_PATH=str(kubernetes.certificate), RAY_KUBERAY_CLIENT_KEY_PATH=str(kubernetes.key),
              RAY_KUBERAY_CA_CERT_PATH=str(kubernetes.certificate))  # fmt: skip
        done = tuned(tmp_path / "runs", address)  # at once: the autoscaler has not reported yet
        kubernetes.shutdown()
    assert done.returncode == 0, done.stderr
    assert len(kubernetes.pods) == 2
    assert len({row["trial"] for row in recorded(tmp_path / "runs" / "steady", "report")}) == 2


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kuberay", [{}, {"RAY_NODE_TYPE_NAME": HEAD}], ids=["machines", "kuberay"])
def test_a_cluster_that_nothing_adds_nodes_to_is_refused(
    start: Callable[..., psutil.Process],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    kuberay: dict[str, str],
) -> None:
    address = head(start, tmp_path_factory.mktemp("r"), **kuberay)
    done = tuned(tmp_path / "runs", address)
    assert done.returncode == 2, done.stderr
    assert "one trial asks for more than the cluster has on any node (cpu: 0)" in done.stderr
