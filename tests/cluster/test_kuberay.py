"""The manifests for KubeRay: structure, versions, and commands that the job understands."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml

from jobs._cli import parse
from st_ray.runtime.reembed.config import ReembedConfig
from st_ray.runtime.resources import Node, plan_actors
from tests.conftest import ROOT

FOLDER = ROOT / "cluster"
JOB_FIELDS = {
    "entrypoint": str,
    "backoffLimit": int,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "preRunningDeadlineSeconds": int,
    "rayClusterSpec": dict,
}
CLUSTER_FIELDS = {
    "rayVersion": str,
    "authOptions": dict,
    "enableInTreeAutoscaling": bool,
    "autoscalerOptions": dict,
    "headGroupSpec": dict,
    "workerGroupSpecs": list,
}
GROUP_FIELDS = {
    "groupName": str,
    "replicas": int,
    "minReplicas": int,
    "maxReplicas": int,
    "rayStartParams": dict,
    "template": dict,
}


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayJob")
    return document["spec"]


@pytest.fixture(scope="module")
def nightly() -> dict[str, Any]:
    document = yaml.safe_load((FOLDER / "raycronjob.yaml").read_text())
    assert (document["apiVersion"], document["kind"]) == ("ray.io/v1", "RayCronJob")
    assert set(document["spec"]) == {"schedule", "jobTemplate"}
    assert len(document["spec"]["schedule"].split()) == 5
    return document["spec"]["jobTemplate"]


def _has(fields: dict[str, type], found: dict[str, Any]) -> bool:
    return set(found) == set(fields) and all(isinstance(found[name], kind) for name, kind in fields.items())


def test_the_fields_are_those_of_the_custom_resources(job: dict[str, Any]) -> None:
    cluster = job["rayClusterSpec"]
    assert _has(JOB_FIELDS, job)
    assert _has(CLUSTER_FIELDS, cluster)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        (container,) = group["template"]["spec"]["containers"]
        assert {"requests", "limits"} == set(container["resources"])
    for group in cluster["workerGroupSpecs"]:
        assert _has(GROUP_FIELDS, group)
        assert (group["replicas"], group["minReplicas"]) == (0, 0)


def test_every_night_is_such_a_job(job: dict[str, Any], nightly: dict[str, Any]) -> None:
    assert nightly == job


def test_the_command_is_understood(job: dict[str, Any]) -> None:
    python, flag, module, *arguments = shlex.split(job["entrypoint"])
    assert (python, flag, module) == ("python", "-m", "jobs.reembed")
    config = parse(ReembedConfig, arguments)
    assert (config.input, config.output) == (("s3://my-bucket/corpus/",), "s3://my-bucket/nightly")
    assert (config.actors, config.gpus_per_actor) == ("0:16", 1.0)


def test_the_workers_hold_the_actors(job: dict[str, Any]) -> None:
    groups = {group["groupName"]: group for group in job["rayClusterSpec"]["workerGroupSpecs"]}
    nodes = {}
    for name, group in groups.items():
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        nodes[name] = Node(float(limits["cpu"]), float(limits.get("nvidia.com/gpu", 0)))
    plan = plan_actors([nodes["gpu"]] * 4, shards=100)
    assert (plan.maximum, plan.gpus, plan.reader_cpus) == (4, 1.0, 1.0)
    assert plan_actors([nodes["cpu"]], shards=100).maximum == 8


def test_ray_has_the_pinned_version(job: dict[str, Any]) -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert job["rayClusterSpec"]["rayVersion"] == pinned[1]
    assert set(re.findall(r"rayproject/ray:([\d.]+)", (FOLDER / "Dockerfile").read_text())) == {pinned[1]}
