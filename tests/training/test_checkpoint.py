"""Checkpoints: what comes back, and what is said of damaged ones."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from st_ray.core.errors import OutputError
from st_ray.training.checkpoint import Best, State, load_weights, read_state, weights_of, write_state
from st_ray.training.history import Record
from st_ray.training.step import adamw
from tests.training.toys import ToyNetwork, equal_weights


def state_after_a_step(step: int = 7, best: Best | None = None) -> State:
    network = ToyNetwork()
    optimizer = adamw(network, 0.1)
    sum(parameter.square().sum() for parameter in network.parameters()).backward()
    optimizer.step()
    history = (
        Record(3, 0.5, 0.25, 1e-3, 2.0, 10.0, 1.5e9, {"spearman": 0.1}),
        Record(7, 1.5, 0.125, 1e-4, 1.0, 11.0, 1.6e9, {"spearman": math.nan}),
    )
    facts = {"loss": "bce", "lr": 1e-3, "grouped": True, "best_by": None}
    return State(step, facts, network.state_dict(), optimizer.state_dict(), history, best)


@pytest.mark.parametrize("best_step", [None, 3, 7])
def test_what_was_written_comes_back(tmp_path: Path, best_step: int | None) -> None:
    other = ToyNetwork(seed=5)
    state = state_after_a_step()
    if best_step is not None:
        weights = dict(state.network) if best_step == 7 else weights_of(other)
        state = state_after_a_step(best=Best(best_step, 0.75, weights))
    write_state(tmp_path / "new" / "7", state)
    assert (tmp_path / "new" / "7" / "best.safetensors").exists() == (best_step == 3)
    found = read_state(tmp_path / "new" / "7")
    assert (found.step, found.facts, found.history[0]) == (7, state.facts, state.history[0])
    assert math.isnan(found.history[1].metrics["spearman"])
    network = ToyNetwork(seed=2)
    load_weights(network, found.network)
    assert equal_weights(network, _with(state.network))
    optimizer = adamw(network, 0.1)
    optimizer.load_state_dict(found.optimizer)
    mine, theirs = optimizer.state_dict(), state.optimizer
    assert mine["param_groups"] == theirs["param_groups"]
    assert all(
        torch.equal(mine["state"][number][name], value)
        for number, values in theirs["state"].items()
        for name, value in values.items()
    )
    if best_step is None:
        assert found.best is None
    else:
        assert found.best and (found.best.step, found.best.value) == (best_step, 0.75)
        assert equal_weights(_with(found.best.weights), other if best_step == 3 else _with(state.network))


def test_weights_that_share_memory_are_kept(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.one, self.other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            self.other.weight = self.one.weight

    tied = Tied(0)
    write_state(tmp_path, State(1, {}, tied.state_dict(), {"state": {}, "param_groups": []}))
    again = Tied(1)
    load_weights(again, read_state(tmp_path).network)
    assert torch.equal(again.other.weight, tied.one.weight)
    assert again.one.weight is again.other.weight


@pytest.mark.parametrize("name", ["state.json", "network.safetensors", "optimizer.pt", "best.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "other"])
def test_damage_is_named(tmp_path: Path, name: str, damage: str) -> None:
    write_state(tmp_path, state_after_a_step(best=Best(3, 0.5, weights_of(ToyNetwork(seed=1)))))
    file = tmp_path / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "half": content[: len(content) // 2], "other": b"[1, 2]"}[damage])
    with pytest.raises(OutputError, match=f"{name} is {'missing' if damage == 'missing' else 'damaged'}") as caught:
        read_state(tmp_path)
    assert "--overwrite" in caught.value.remedy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "has the version 2, not 1"),
        ({"step": "x"}, "damaged"),
        ({"history": [{"step": 1}]}, "damaged"),
        ({"best": {"step": 7}}, "damaged"),
        ({"facts": None}, "damaged"),
    ],
)
def test_a_state_that_says_something_else_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_state(tmp_path, state_after_a_step())
    file = tmp_path / "state.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(OutputError, match=rf"state\.json .*{message}"):
        read_state(tmp_path)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    write_state(tmp_path, state_after_a_step())
    torch.save({"state": Evil()}, tmp_path / "optimizer.pt")
    with pytest.raises(OutputError, match=r"optimizer\.pt is damaged"):
        read_state(tmp_path)
    assert not (tmp_path / "ran").exists()


def _with(weights: object) -> ToyNetwork:
    network = ToyNetwork(seed=8)
    load_weights(network, weights)  # type: ignore[arg-type]
    return network
