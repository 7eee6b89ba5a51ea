"""Which processes train with which CPUs and GPUs, and how the progress line reads."""

from __future__ import annotations

from typing import Any

import pytest

from st_ray.core.errors import ConfigError, ResourceError
from st_ray.runtime import compute
from st_ray.runtime.meter import ELAPSED
from st_ray.runtime.resources import Node
from st_ray.runtime.training.config import TrainBiEncoderConfig
from st_ray.runtime.training.machines import Machines, choose_dtype, plan_machines
from st_ray.runtime.training.trainer import training_line


def config_of(**changes: Any) -> TrainBiEncoderConfig:
    return TrainBiEncoderConfig(**{"base_model": "m", "data": ("a",), "output": "o", **changes})


@pytest.mark.parametrize(
    ("workers", "nodes", "expected"),
    [
        (1, [Node(2, 0)], Machines(1, 1.0, 0.0, 2)),
        (2, [Node(2, 0)], Machines(2, 1.0, 0.0, 1)),
        (1, [Node(16, 0)], Machines(1, 15.0, 0.0, 16)),
        (2, [Node(16, 0), Node(16, 0)], Machines(2, 15.0, 0.0, 16)),
        (4, [Node(16, 0), Node(16, 0)], Machines(4, 7.0, 0.0, 8)),
        (2, [Node(16, 4)], Machines(2, 1.0, 1.0, 1)),
    ],
)
def test_processes_share_the_machines(workers: int, nodes: list[Node], expected: Machines) -> None:
    found = plan_machines(config_of(workers=workers), nodes, can_grow=False)
    assert found == expected
    assert found.resources == {"CPU": expected.cpus, **({"GPU": 1.0} if expected.gpus else {})}


def test_flags_win() -> None:
    config = config_of(cpus_per_actor=3.0, gpus_per_actor=0.0)
    assert plan_machines(config, [Node(16, 4)], can_grow=False) == Machines(1, 3.0, 0.0, 3)
    with pytest.raises(ConfigError, match="--cpus-per-actor -1 must be above 0"):
        plan_machines(config_of(cpus_per_actor=-1.0), [Node(2, 0)], can_grow=False)


def test_processes_that_do_not_fit() -> None:
    with pytest.raises(ResourceError, match="--workers 4 of 1 CPUs do not fit: 2 do"):
        plan_machines(config_of(workers=4), [Node(2, 0)], can_grow=False)
    assert plan_machines(config_of(workers=4), [Node(2, 0)], can_grow=True).workers == 4


def test_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(compute, "cpu_has_bfloat16", lambda has=has: has)
        assert choose_dtype(config_of(), False, [Node(2, 0)]) == ("bfloat16" if has else "float32")
    assert choose_dtype(config_of(), True, [Node(2, 1, accelerator="H100")]) == "bfloat16"
    assert choose_dtype(config_of(), True, [Node(2, 1, accelerator="T4")]) == "float32"
    assert choose_dtype(config_of(dtype="float32"), True, [Node(2, 1)]) == "float32"


def test_the_line_tells_loss_speed_and_the_time_left() -> None:
    assert training_line({}, 360, "spearman").text == "train  0/360 steps (0%)  starting"
    now = {ELAPSED: 60.0, "step": 120, "steps": 120, "rows": 3840, "tokens": 96_000, "loss": 0.51234}
    line = training_line(now, 360, "spearman")
    assert line.text == "train  120/360 steps (33%)  loss 0.5123  64 examples/s  1,600 tokens/s  ETA 2m00s"
    assert line.figures == {
        **{"stage": "train", "steps": 120, "steps_total": 360, "rate": 64.0, "tokens_per_second": 1600.0},
        **{"eta_seconds": 120.0, "loss": 0.51234},
    }
    assert "spearman 0.8321" in training_line({**now, "eval spearman": 0.8321}, 360, "spearman").text
    # A resumed run counts its own steps for the time that is left.
    assert training_line({**now, "step": 240}, 360, None).text.endswith("ETA 1m00s")
