"""cluster.yaml is a valid `ray up` file and stays closed: each way to open it again is caught."""

from __future__ import annotations

import copy
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ruamel.yaml import YAML

Config = dict[str, Any]

CLUSTER = Path(__file__).parent.parent / "cluster.yaml"
TOKEN_MOUNT = "/home/ubuntu/.ray/auth_token"
SECRETS = re.compile(r"RAY_AUTH_TOKEN=|AKIA[0-9A-Z]{16}|-----BEGIN|\b[0-9a-f]{32,}\b")


@pytest.fixture
def cluster() -> Config:
    return YAML(typ="safe").load(CLUSTER)


def findings(cluster: Config) -> list[str]:
    """What is wrong with a cluster file, as `ray up` will run it: after Ray has filled in its defaults."""
    try:
        filled = prepare_config(copy.deepcopy(cluster))
        validate_config(filled)
    except (jsonschema.ValidationError, ValueError) as error:
        return [f"Ray refuses it: {str(error).splitlines()[0]}"]
    return [*_network_findings(filled), *_token_findings(filled)]


def _network_findings(cluster: Config) -> Iterator[str]:
    for name, node_type in cluster["available_node_types"].items():
        node = node_type["node_config"]
        if not node.get("SecurityGroupIds"):
            yield f"{name}: no SecurityGroupIds; Ray would make a group with port 22 open to the world"
        if node.get("MetadataOptions", {}).get("HttpTokens") != "required":
            yield f"{name}: MetadataOptions.HttpTokens must be required"
        if not node.get("SubnetIds"):
            yield f"{name}: no SubnetIds; Ray would take subnets of the default VPC, which give public addresses"
        if name == cluster["head_node_type"] and not node.get("IamInstanceProfile"):
            yield f"{name}: no IamInstanceProfile; Ray would give the head full rights on EC2 and S3"
    if not cluster["provider"].get("use_internal_ips"):
        yield "provider: use_internal_ips must be true"
    if any("0.0.0.0" in text for text in _texts(cluster)):
        yield "0.0.0.0: something listens on every address or admits every address"
    if "--dashboard-host=127.0.0.1" not in _start_command(cluster["head_start_ray_commands"]):
        yield "head_start_ray_commands: the web page must stay on 127.0.0.1"


def _token_findings(cluster: Config) -> Iterator[str]:
    for role in ("head_start_ray_commands", "worker_start_ray_commands"):
        if "RAY_AUTH_MODE=token ray start" not in _start_command(cluster[role]):
            yield f"{role}: ray start without RAY_AUTH_MODE=token"
    if TOKEN_MOUNT not in cluster["file_mounts"]:
        yield f"file_mounts: no {TOKEN_MOUNT}"
    if not any("chmod 600 ~/.ray/auth_token" in command for command in cluster["setup_commands"]):
        yield "setup_commands: the token is left readable to all users; chmod 600 it"
    if any(SECRETS.search(text) for text in _texts(cluster)):
        yield "a secret is written in the file"


def _start_command(commands: list[str]) -> str:
    return next((command for command in commands if "ray start" in command), "")


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
    else:
        yield str(node)


def _replace(section: str, old: str, new: str) -> Callable[[Config], None]:
    def change(cluster: Config) -> None:
        changed = [command.replace(old, new) for command in cluster[section]]
        assert changed != cluster[section], f"{section} has no {old!r} left to replace"
        cluster[section] = changed

    return change


def _drop(*path: str) -> Callable[[Config], None]:
    def change(cluster: Config) -> None:
        for key in path[:-1]:
            cluster = cluster[key]
        del cluster[path[-1]]

    return change


def _set(value: object, *path: str) -> Callable[[Config], None]:
    def change(cluster: Config) -> None:
        for key in path[:-1]:
            cluster = cluster[key]
        cluster[path[-1]] = value

    return change


HEAD, WORKER = (("available_node_types", name, "node_config") for name in ("head", "gpu_spot"))
OPENED = {
    "web page on every address": _replace("head_start_ray_commands", "=127.0.0.1", "=0.0.0.0"),
    "web page on every IPv6 address": _replace("head_start_ray_commands", "=127.0.0.1", "=::"),
    "web page left to Ray": _replace("head_start_ray_commands", "--dashboard-host=127.0.0.1", ""),
    "head start left to Ray": _drop("head_start_ray_commands"),
    "worker start left to Ray": _drop("worker_start_ray_commands"),
    "head without token": _replace("head_start_ray_commands", "RAY_AUTH_MODE=token", ""),
    "worker without token": _replace("worker_start_ray_commands", "RAY_AUTH_MODE=token", ""),
    "authentication disabled": _replace("head_start_ray_commands", "MODE=token", "MODE=disabled"),
    "no token on the nodes": _drop("file_mounts", TOKEN_MOUNT),
    "token readable to all": _replace("setup_commands", "chmod 600", "chmod 644"),
    "setup left to Ray": _drop("setup_commands"),
    "token in a command": _replace("head_start_ray_commands", "ray start", "RAY_AUTH_TOKEN=abc ray start"),
    "token as text": _set(["echo 0123456789abcdef0123456789abcdef"], "worker_setup_commands"),
    "head group made by Ray": _drop(*HEAD, "SecurityGroupIds"),
    "worker group made by Ray": _drop(*WORKER, "SecurityGroupIds"),
    "empty list of groups": _set([], *WORKER, "SecurityGroupIds"),
    "world-wide rule": _set({"IpPermissions": [{"CidrIp": "0.0.0.0/0"}]}, "provider", "security_group"),
    "public addresses": _set(False, "provider", "use_internal_ips"),
    "head subnet chosen by Ray": _drop(*HEAD, "SubnetIds"),
    "worker subnet chosen by Ray": _drop(*WORKER, "SubnetIds"),
    "role made by Ray": _drop(*HEAD, "IamInstanceProfile"),
    "old metadata service": _drop(*WORKER, "MetadataOptions"),
    "unknown key": _set(1, "max_wrokers"),
    "unknown head type": _set("haed", "head_node_type"),
    "more workers than the limit": _set(9, "available_node_types", "gpu_spot", "min_workers"),
}


def test_cluster_file_is_valid_and_closed(cluster: Config) -> None:
    assert findings(cluster) == []


@pytest.mark.parametrize("change", OPENED.values(), ids=OPENED)
def test_an_opened_copy_is_caught(cluster: Config, change: Callable[[Config], None]) -> None:
    change(cluster)
    assert len(findings(cluster)) > 0


def test_trials_run_on_gpu_spot_workers_only(cluster: Config) -> None:
    types = cluster["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert types["gpu_spot"]["min_workers"] == 0


def test_nodes_install_the_pinned_versions(cluster: Config) -> None:
    installs = [
        command
        for section in ("setup_commands", "head_setup_commands", "worker_setup_commands")
        for command in cluster[section]
        if "pip install" in command
    ]
    assert len(installs) > 0
    assert all("-c constraints.txt" in command for command in installs)


def test_what_must_be_filled_in_is_marked(cluster: Config) -> None:
    for node_type in cluster["available_node_types"].values():
        node = node_type["node_config"]
        for value in (node["ImageId"], *node["SubnetIds"], *node["SecurityGroupIds"]):
            assert "REPLACE" in value
    assert "REPLACE" in cluster["available_node_types"]["head"]["node_config"]["IamInstanceProfile"]["Arn"]
    assert "REPLACE" in cluster["file_mounts"]["/home/ubuntu/project"]


def test_a_set_up_that_stopped_half_way_is_repeated(cluster: Config, tmp_path: Path) -> None:
    """`python3 -m venv` leaves a folder without pip if python3-venv is missing, and the next `ray up` passed over it."""
    (command,) = [each for each in cluster["setup_commands"] if "venv --clear" in each]
    (tmp_path / "venv").mkdir()
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sudo", "python3"):
        (tools / name).write_text(f'#!/bin/sh\necho {name} "$@" >> {tmp_path}/asked\n')
        (tools / name).chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tools}:/bin:/usr/bin"}
    subprocess.run(["sh", "-c", command], env=environment, check=True)
    assert (tmp_path / "asked").read_text().splitlines()[-2:] == [
        "sudo apt-get -o DPkg::Lock::Timeout=300 -qy install python3-venv",
        f"python3 -m venv --clear {tmp_path}/venv",
    ]
