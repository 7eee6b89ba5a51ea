"""Batches shrink to what memory holds; a row that is too large alone is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from st_ray.models.batching import Tokens, padded_batches
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.options import EmbedOptions, Progress
from st_ray.models.tokens import TokenizedTexts
from st_ray.models.torch_backend import TorchBackend
from st_ray.models.within_memory import BatchBudget, OutOfMemoryError, is_out_of_memory
from tests.models.tiny_models import TEXTS, save_tiny_model

LENGTHS = np.array([3, 9, 1, 12, 12, 5, 2, 7], np.int32)
TOKENS = TokenizedTexts(np.arange(LENGTHS.sum(), dtype=np.int32), LENGTHS)


class Machine:
    """Embeds a text as the sum of its ids, and holds so many tokens of a batch."""

    def __init__(self, holds: int) -> None:
        self.holds = holds
        self.batches: list[int] = []

    def embed(self, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        assert options.batch_tokens is not None
        out = np.empty((len(tokens), 1), np.float32)
        for batch in padded_batches(tokens, options.batch_tokens, 0, options.batch_rows):
            self.batches.append(batch.ids.size)
            if batch.ids.size > self.holds:
                raise MemoryError("no room")
            out[batch.rows, 0] = batch.ids.sum(axis=1)
            if on_batch is not None:
                on_batch(len(batch.rows), int(batch.lengths.sum()), batch.ids.size)
        return out


@pytest.mark.parametrize("holds", [1000, 36, 30, 12])
def test_batches_shrink_to_what_memory_holds(holds: int) -> None:
    machine, budget, told = Machine(holds), BatchBudget(usual=1024), []
    found = budget.run(machine.embed, TOKENS, EmbedOptions(1), lambda *counts: told.append(counts))
    np.testing.assert_array_equal(found, Machine(1000).embed(TOKENS, EmbedOptions(1, batch_tokens=1024)))
    assert np.sum(told, axis=0)[:2].tolist() == [len(LENGTHS), LENGTHS.sum()]
    before = len(machine.batches)
    budget.run(machine.embed, TOKENS, EmbedOptions(1))
    assert max(machine.batches[before:]) <= holds  # what was learned is kept
    machine.batches.clear()
    budget.run(machine.embed, TOKENS, EmbedOptions(1, batch_tokens=14, batch_rows=2))
    assert max(machine.batches) <= min(14, holds)


def test_a_row_that_is_too_large_alone_is_named() -> None:
    with pytest.raises(OutOfMemoryError, match=r"row 3 with its 12 tokens: no room[\s\S]*--max-seq-length") as caught:
        BatchBudget(1024).run(Machine(11).embed, TOKENS, EmbedOptions(1))
    assert caught.value.row == 3
    assert "id 'x' with its 12 tokens: no room" in str(caught.value.of("id 'x'"))


_NO_MEMORY_FOR_A_KERNEL = """
import resource
from threading import Thread
import numpy as np, psutil, torch
from st_ray.models.options import EmbedOptions
from st_ray.models.tokens import TokenizedTexts
from st_ray.models.within_memory import BatchBudget

lengths = np.full(8, 6, np.int32)
tokens = TokenizedTexts(np.arange(48, dtype=np.int32), lengths)
errors, found = [], []

def embed(tokens, options, on_batch):
    rows, usual = torch.ones(options.batch_tokens, 32), resource.getrlimit(resource.RLIMIT_AS)
    if not errors:
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms, usual[1]))
    try:
        return torch.nn.functional.gelu(rows).numpy()
    except RuntimeError as error:
        errors.append(str(error))
        raise
    finally:
        resource.setrlimit(resource.RLIMIT_AS, usual)

def run():
    found.append(BatchBudget(48).run(embed, tokens, EmbedOptions(1)))
    found.append(embed(tokens, EmbedOptions(1, batch_tokens=13), None))

thread = Thread(target=run)
thread.start()
thread.join()
print([rows.shape for rows in found], errors)
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_a_thread_in_which_a_kernel_had_no_memory_is_left() -> None:
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", _NO_MEMORY_FOR_A_KERNEL], capture_output=True, text=True, env=alone)
    # With half the tokens it works at once; the thread that failed goes on failing, with memory to spare.
    assert done.stdout.strip() == "[(24, 32)] ['could not create a primitive', 'could not create a primitive']", done


def test_which_errors_are_a_lack_of_memory() -> None:
    lacking = [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("Exception from src/inference: std::bad_alloc"),
        RuntimeError("could not create a primitive"),
        RuntimeError("can't start new thread"),
        RuntimeError("Non-zero status code: bad allocation: Failed to allocate memory for requested buffer"),
    ]
    assert all(map(is_out_of_memory, lacking))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for the matmul primitive."))
    assert not is_out_of_memory(ValueError("out of memory"))

    def embed(tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None) -> np.ndarray:
        raise RuntimeError("index out of range")

    with pytest.raises(RuntimeError, match="index out of range"):
        BatchBudget(1024).run(embed, TOKENS, EmbedOptions(1))


def test_a_model_goes_on_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = BiEncoder(save_tiny_model(tmp_path / "model"), device="cpu")
    expected, embed = encoder.encode(TEXTS), TorchBackend.embed

    def tight(
        self: TorchBackend, tokens: Tokens, options: EmbedOptions, on_batch: Progress | None = None
    ) -> np.ndarray:
        # What a real allocator says that is asked for more than there is.
        torch.empty(1 << 62 if (options.batch_tokens or 1024) > 100 else 1, dtype=torch.uint8)
        return embed(self, tokens, options, on_batch)

    monkeypatch.setattr(TorchBackend, "embed", tight)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)


def test_nothing_to_embed() -> None:
    nothing = TokenizedTexts(np.empty(0, np.int32), np.empty(0, np.int32))
    assert BatchBudget(1024).run(Machine(1).embed, nothing, EmbedOptions(1)).shape == (0, 1)
