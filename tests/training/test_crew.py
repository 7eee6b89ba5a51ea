"""Several processes train together: three over gloo, in one start, since each takes seconds to come up."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from st_ray.training.checkpoint import read_state
from st_ray.training.crew import Crew
from st_ray.training.loop import StoppedError
from tests.training.toys import Remember, ToyNetwork, distance, run, toy_examples

WORLD = 3
# Of 13 examples, the last batch of an epoch has one: two processes have none.
RUNS: dict[str, dict[str, Any]] = {
    "bce": {"loss": "bce"},
    "margin-mse": {"loss": "margin-mse", "micro_batch_size": 1},
    "cosent": {"loss": "cosent"},
    "angle": {"loss": "angle", "micro_batch_size": 1},
}
LARGE: dict[str, Any] = {"loss": "bce", "dropout": 0.2, "checkpoint_steps": 3, "log_steps": 1}
"""With a network so large that its gradients are exchanged in several pieces."""


def large_network(seed: int) -> ToyNetwork:
    return ToyNetwork(dropout=0.2, hidden=700, seed=seed)


def work(rank: int, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD)
    crew = Crew.current()
    found: dict[str, Any] = {"crew": (crew.rank, crew.world)}
    for total in range(8):
        rows = torch.arange(2.0 * total).reshape(total, 2)
        found[f"gathered {total}"] = crew.gather(crew.share(rows), total)
    found["sum"] = crew.sum(torch.tensor(10.0**rank))
    for name, settings in RUNS.items():
        network, outcome = run(**settings, crew=crew, log_steps=1)
        found[name] = network.state_dict()
        found[f"{name} losses"] = [(record.loss, record.gradient_norm) for record in outcome.history]
    hooks = Remember(folder if crew.is_first else None)
    whole, _ = run(**LARGE, network=large_network(0), crew=crew, hooks=hooks)
    # Only the first process has the right weights; the others get them from the checkpoint.
    distributed.barrier()
    resumed, _ = run(**LARGE, network=large_network(rank + 5), crew=crew, start=read_state(folder / "3"))
    found["whole"], found["resumed"] = whole.state_dict(), resumed.state_dict()
    found["stopped"] = _stopped(crew)
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


def _stopped(crew: Crew) -> list[int]:
    examples = toy_examples("mse")
    examples.labels[4] = np.nan
    with pytest.raises(StoppedError) as caught:
        run("mse", examples=examples, crew=crew)
    return [caught.value.step]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """What each process found out."""
    folder = tmp_path_factory.mktemp("crew")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (folder, port), nprocs=WORLD)
    yield [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def test_what_was_shared_comes_together_again(found: list[dict[str, Any]]) -> None:
    assert [one["crew"] for one in found] == [(0, 3), (1, 3), (2, 3)]
    for one in found:
        for total in range(8):
            assert torch.equal(one[f"gathered {total}"], torch.arange(2.0 * total).reshape(total, 2))
        assert float(one["sum"]) == 111.0


@pytest.mark.parametrize("name", sorted(RUNS))
def test_three_processes_train_as_one_does(found: list[dict[str, Any]], name: str) -> None:
    alone, outcome = run(**RUNS[name], log_steps=1)
    for one in found:
        assert distance(one[name], alone.state_dict()) < 1e-6
        assert distance(one[name], found[0][name]) == 0
        wanted = [(record.loss, record.gradient_norm) for record in outcome.history]
        assert np.allclose(one[f"{name} losses"], wanted, rtol=1e-5, atol=1e-6)


def test_resumed_processes_end_as_those_that_were_not_interrupted(found: list[dict[str, Any]]) -> None:
    for one in found:
        assert distance(one["whole"], one["resumed"]) == 0
        assert distance(one["whole"], large_network(0).state_dict()) > 1e-3


def test_all_processes_stop_at_the_same_step(found: list[dict[str, Any]]) -> None:
    assert len({tuple(one["stopped"]) for one in found}) == 1


def test_a_process_alone_is_the_whole_crew() -> None:
    crew = Crew.current()
    rows = torch.arange(5)
    assert crew == Crew(0, 1) and crew.is_first
    assert torch.equal(crew.gather(crew.share(rows), 5), rows)
    network = ToyNetwork()
    assert crew.wrap(network, torch.device("cpu")) is network
    with crew.no_sync(network):
        pass
