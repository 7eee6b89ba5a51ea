"""The processes that train one network together: who does what of a batch, and how their results come together."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Crew:
    """The processes of a training; with more than one, torch.distributed's default group holds them.

    Attributes:
        rank: number of this process.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> Crew:
        """The processes of torch.distributed's default group; this one alone where there is none."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, rows: np.ndarray) -> np.ndarray:
        """This process's part of `rows`: each belongs to one process, and neighbours to different ones."""
        return rows[self.rank :: self.world]

    def gather(self, own: Tensor, total: int) -> Tensor:
        """The rows `[total, ...]` of all processes in the order they had before `share`; all must call it.

        Args:
            own: a value for each row of this process's share, `[len(share), ...]`.
            total: rows of all shares.
        """
        if self.world == 1:
            return own
        most = -(-total // self.world)
        padded = own.new_zeros(most, *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded)
        return torch.stack(parts, dim=1).flatten(0, 1)[:total]

    def sum(self, value: Tensor) -> Tensor:
        """Sum of a value of each process, of any shape: the same bits in all of them; all must call it."""
        return self.gather(value[None], self.world).sum(dim=0)

    def wrap(self, network: nn.Module, device: torch.device) -> nn.Module:
        """`network`, or what runs it so that a backward pass leaves the mean of all processes' gradients.

        All processes begin with the first one's weights.
        """
        if self.world == 1:
            return network
        devices = None if device.type == "cpu" else [device]
        # Buffers are not for exchanging: processes differ in how often they run. Newer versions of torch renamed it.
        known = inspect.signature(DistributedDataParallel).parameters
        buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        return DistributedDataParallel(network, device_ids=devices, gradient_as_bucket_view=True, **{buffers: False})

    def no_sync(self, model: nn.Module) -> AbstractContextManager[None]:
        """Where a forward and backward pass only adds to this process's gradients; `model` is what `wrap` gave."""
        return model.no_sync() if isinstance(model, DistributedDataParallel) else nullcontext()
