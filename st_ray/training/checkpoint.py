"""A training as it stands after a step, as a folder that it goes on from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from st_ray.core.errors import OutputError
from st_ray.training.history import Record

_VERSION = 1
_STATE, _NETWORK, _OPTIMIZER, _BEST = "state.json", "network.safetensors", "optimizer.pt", "best.safetensors"
_REMEDY = "remove this checkpoint to go on from the one before, or start again with --overwrite"


@dataclass(frozen=True)
class Best:
    """The weights that an evaluation found best.

    Attributes:
        step: steps taken by then.
        value: of the metric that decides.
        weights: by name, on the CPU.
    """

    step: int
    value: float
    weights: Mapping[str, Tensor]


@dataclass(frozen=True)
class State:
    """A training after some steps.

    Attributes:
        step: how many.
        facts: what the weights depend on; see `Settings.facts`.
        network: weights by name.
        optimizer: its state_dict.
        history: the records so far.
        best: None where no evaluation has named a best one.
    """

    step: int
    facts: Mapping[str, object]
    network: Mapping[str, Tensor]
    optimizer: Mapping[str, Any]
    history: tuple[Record, ...] = ()
    best: Best | None = None


def write_state(folder: Path, state: State) -> None:
    """Write `state` into `folder`, which may exist; `state.json` comes last."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(_apart(state.network), folder / _NETWORK)
    torch.save(dict(state.optimizer), folder / _OPTIMIZER)
    best = state.best
    if best and best.step != state.step:
        save_file(_apart(best.weights), folder / _BEST)
    found = {
        "version": _VERSION,
        "step": state.step,
        "facts": dict(state.facts),
        "history": [record.to_json() for record in state.history],
        "best": best and {"step": best.step, "value": best.value},
    }
    (folder / _STATE).write_text(json.dumps(found, indent=1), encoding="utf-8")


def read_state(folder: Path) -> State:
    """The state that `write_state` wrote, with its tensors on the CPU.

    Raises:
        OutputError: a file is missing or damaged, or of another version.
    """
    found = _read(folder / _STATE, _json)
    if found.get("version") != _VERSION:
        raise OutputError(f"{folder / _STATE} has the version {found.get('version')}, not {_VERSION}", _REMEDY)
    network = _read(folder / _NETWORK, _tensors)
    optimizer = _read(folder / _OPTIMIZER, _pickled)
    try:
        step, best = int(found["step"]), found["best"]
        history = tuple(map(Record.from_json, found["history"]))
        if best:
            weights = network if best["step"] == step else _read(folder / _BEST, _tensors)
            best = Best(int(best["step"]), float(best["value"]), weights)
        return State(step, dict(found["facts"]), network, optimizer, history, best)
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{folder / _STATE} is damaged: {type(error).__name__}: {error}", _REMEDY) from error


def require_same_run(state: State, facts: Mapping[str, object]) -> None:
    """Raise OutputError, naming what differs, where `state` is of a training with other `facts`."""
    names = sorted({*state.facts, *facts})
    differing = [name for name in names if state.facts.get(name) != facts.get(name)]
    if differing:
        raise OutputError(
            f"the checkpoint of step {state.step} is of another training:\n     "
            + "\n     ".join(f"{name}: {state.facts.get(name)!r} there, {facts.get(name)!r} now" for name in differing),
            "repeat the run with the settings it was begun with, or start again with --overwrite",
        )


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give `network` these weights, all of them.

    Raises:
        OutputError: they are of another network.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise OutputError(f"the checkpoint's weights are of another network: {error}", _REMEDY) from error


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in network.state_dict().items()}


def _apart(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, none of them sharing memory with another: the file format has no way to say so."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in weights.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.detach().clone() if place in seen else tensor.detach().contiguous()
        seen.add(place)
    return apart


def _read(file: Path, parse: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    try:
        return parse(file)
    except FileNotFoundError as error:
        raise OutputError(f"{file} is missing", _REMEDY) from error
    except Exception as error:  # the readers raise whatever the bytes lead them to
        raise OutputError(f"{file} is damaged: {type(error).__name__}: {error}", _REMEDY) from error


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_bytes()))


def _tensors(file: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(file))


def _pickled(file: Path) -> dict[str, Any]:
    return dict(torch.load(file, map_location="cpu", weights_only=True))
