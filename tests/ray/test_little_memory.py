"""A real model whose process gets less memory from its system than a batch asks for."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.source import model_digest
from st_ray.models.torch_backend import TorchBackend
from st_ray.models.within_memory import is_out_of_memory
from st_ray.runtime.encode.job import encode
from st_ray.runtime.encode.model import ModelLoader
from st_ray.runtime.encode.steps import TokenEncoder
from st_ray.store.embeddings import embedding_array
from tests.models.tiny_models import save_tiny_model
from tests.ray.corpora import config_for, table_of, write_jsonl

pytestmark = pytest.mark.usefixtures("local_ray")
# Room for batches of some 40,000 tokens.
ROOM = 200 << 20
ROWS, TOKENS = 6000, 60


@dataclass(frozen=True)
class LittleMemory(ModelLoader):
    """Once the model is loaded, its process may grow by `ROOM` bytes.

    Attributes:
        failures: a file with a line for every batch that memory has not held.
    """

    failures: str = ""

    def encoder(self, threads: int | None) -> TokenEncoder:
        embed, failures = TorchBackend.embed, self.failures

        def noting(*arguments: Any) -> np.ndarray:
            try:
                return embed(*arguments)
            except Exception as error:
                with Path(failures).open("a") as stream:
                    stream.write(f"{is_out_of_memory(error)}\n")
                raise

        TorchBackend.embed = noting  # type: ignore[method-assign]
        made = super().encoder(threads)
        most = psutil.Process().memory_info().vms + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
        return made


def test_batches_become_smaller_until_memory_holds_them(tmp_path: Path) -> None:
    model, failures = save_tiny_model(tmp_path / "model"), tmp_path / "failures"
    texts = [" ".join("abcdefghij"[digit] for digit in map(int, f"{row:0{TOKENS}d}")) for row in range(ROWS)]
    loader = LittleMemory(str(model), model_digest(model), None, None, False, False, failures=str(failures))
    config = config_for(
        write_jsonl(tmp_path / "c.jsonl", texts), tmp_path / "out", shard_rows=ROWS // 2, batch_tokens=ROWS * TOKENS
    )
    encode(config, loader)
    noted = failures.read_text().split()
    assert noted and set(noted) == {"True"}
    found = embedding_array(table_of(config.output)["embedding"])
    np.testing.assert_allclose(found, BiEncoder(model, device="cpu").encode(texts), atol=1e-5)
