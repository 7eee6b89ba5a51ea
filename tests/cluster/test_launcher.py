"""cluster.yaml by Ray's own schema, and as Ray resolves it on a server that speaks AWS on loopback."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.commands import _bootstrap_config
from ray.autoscaler._private.util import prepare_config, validate_config

from st_ray.runtime.resources import Node, plan_actors
from tests.conftest import ROOT

CLUSTER = ROOT / "cluster.yaml"


@pytest.fixture(scope="module")
def resolved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What `ray up` makes of the file, in an account that has the roles of cluster/aws-roles.yaml and nothing else."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # a key for ssh is written there
        config = yaml.safe_load(CLUSTER.read_text())
        region = config["provider"]["region"]
        boto3.client("cloudformation", region).create_stack(
            StackName="st-ray",
            TemplateBody=(ROOT / "cluster" / "aws-roles.yaml").read_text(),
            Capabilities=["CAPABILITY_NAMED_IAM"],
            Parameters=[{"ParameterKey": "Bucket", "ParameterValue": "bucket"}],
        )
        yield _bootstrap_config(config, no_config_cache=True)
    server.stop()


def _start_commands(config: dict[str, Any]) -> str:
    return " ".join(config["head_start_ray_commands"])


def test_the_file_is_valid_and_its_head_is_closed() -> None:
    config = prepare_config(yaml.safe_load(CLUSTER.read_text()))
    validate_config(config)
    assert "--dashboard-host=127.0.0.1" in _start_commands(config)
    assert "RAY_AUTH_MODE=token" in _start_commands(config)
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"


def test_machines_are_what_the_actors_ask_for(resolved: dict[str, Any]) -> None:
    types = resolved["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    for name in ("gpu", "gpu-spot"):
        resources = types[name]["resources"]
        assert resources["GPU"] == 1
        node = Node(resources["CPU"], resources["GPU"], resources["memory"])
        plan = plan_actors([node] * 4, shards=100)
        assert (plan.maximum, plan.gpus, plan.reader_cpus) == (4, 1.0, 1.0)
    assert plan_actors([Node(types["cpu"]["resources"]["CPU"], 0)], shards=100).maximum == 16


def test_machines_can_be_started_and_have_their_roles(resolved: dict[str, Any]) -> None:
    import boto3
    from ray.autoscaler._private.providers import _get_node_provider

    region = resolved["provider"]["region"]
    ec2 = boto3.client("ec2", region)
    image = ec2.describe_images()["Images"][0]["ImageId"]  # that server knows no names of images
    provider = _get_node_provider(resolved["provider"], resolved["cluster_name"])
    for name, kind in resolved["available_node_types"].items():
        provider.create_node({**copy.deepcopy(kind["node_config"]), "ImageId": image}, {"type": name}, 1)
    found = {}
    for reservation in ec2.describe_instances()["Reservations"]:
        for machine in reservation["Instances"]:
            tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
            profile = machine["IamInstanceProfile"]["Arn"].rpartition("/")[2]
            found[tags["type"]] = machine["InstanceType"], machine.get("InstanceLifecycle", "on demand"), profile
    gpu, lifecycle, profile = found["gpu"]
    assert (lifecycle, profile) == ("on demand", "st-ray-worker")
    assert found["gpu-spot"] == (gpu, "spot", "st-ray-worker")
    assert found["head"][1:] == ("on demand", "st-ray-head")
    assert found["cpu"][1:] == ("on demand", "st-ray-worker")


@pytest.mark.parametrize(
    ("wanted", "failed", "expected"),
    [
        ({"CPU": 1, "GPU": 1}, {}, "gpu-spot"),
        ({"CPU": 1, "GPU": 1}, {"gpu-spot": 0.0}, "gpu"),
        ({"CPU": 0.75}, {}, "cpu"),
    ],
)
def test_spot_machines_first_and_no_gpu_for_nothing(
    resolved: dict[str, Any], wanted: dict[str, float], failed: dict[str, float], expected: str
) -> None:
    from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    config = AutoscalingConfig(copy.deepcopy(resolved), skip_content_hash=True)
    reply = ResourceDemandScheduler(None).schedule(
        SchedulingRequest(
            node_type_configs=config.get_node_type_configs(),
            max_num_nodes=config.get_max_num_nodes(),
            resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(wanted)]),
            recoverable_resource_availabilities=failed,
            disable_launch_config_check=True,
        )
    )
    assert [request.instance_type for request in reply.to_launch if request.instance_type != "head"] == [expected]
