"""OpenVINO: the embeddings of torch, from a graph that is converted once a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray.core.errors import ConfigError, ModelError
from st_ray.models import openvino_backend
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.openvino_graph import compiled_requests
from st_ray.models.options import LoadOptions
from st_ray.scoring.agreement import cosines
from tests.models.tiny_models import LETTERS, TEXTS, save_tiny_model, save_tiny_static

ALL = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
VARIANTS: dict[str, dict[str, Any]] = {
    "all poolings": {"pooling": ALL},
    "without prompt": {"pooling": ALL, "include_prompt": False, "prompts": {"query": "query: "}},
    "all heads": {"pooling": ("cls", "mean"), "dense": 24, "layer_norm": True, "normalize": True},
    "roberta": {"architecture": "roberta"},
    "llama": {"architecture": "llama", "pooling": ("lasttoken",)},
    "t5": {"architecture": "t5"},
}
LOAD = "import sys; from st_ray import BiEncoder; e = BiEncoder(sys.argv[1], backend='openvino'); "


def converted(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "openvino").iterdir() if not path.name.startswith("."))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", VARIANTS)
def test_embeddings_are_those_of_torch(name: str, tmp_path: Path, cache: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", **VARIANTS[name])
    options: dict[str, Any] = {"prompt_name": "query"} if "prompts" in VARIANTS[name] else {}
    expected = BiEncoder(folder, device="cpu").encode(TEXTS, **options)
    encoder = BiEncoder(folder, backend="openvino")
    for batch_tokens in (None, 40):
        found = encoder.encode(TEXTS, batch_tokens=batch_tokens, **options)
        assert cosines(found, expected).min() > 0.999999
        np.testing.assert_allclose(found, expected, atol=2e-5)
    short = encoder.encode(TEXTS, truncate_dim=5, normalize_embeddings=True, **options)
    np.testing.assert_allclose(
        short,
        BiEncoder(folder, device="cpu").encode(TEXTS, truncate_dim=5, normalize_embeddings=True, **options),
        atol=2e-5,
    )
    assert encoder.encode([]).shape == (0, encoder.dimension)
    assert len(converted(cache)) == 1


@pytest.mark.parametrize("architecture", ["bert", "roberta", "t5"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_batches_without_padding_need_no_mask(
    architecture: str, dtype: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[bool | None] = []

    def compiling(path: Path, options: LoadOptions, *, masked: bool | None = None) -> Any:
        compiled.append(masked)
        return compiled_requests(path, options, masked=masked)

    monkeypatch.setattr(openvino_backend, "compiled_requests", compiling)
    monkeypatch.setattr(openvino_backend, "_WORTH_A_COPY", 300)
    folder = save_tiny_model(tmp_path / "model", architecture=architecture)
    texts = [f"{first} {second} the cat" for first in LETTERS[:20] for second in LETTERS[:5]] + list(TEXTS)
    encoder = BiEncoder(folder, backend="openvino", dtype=dtype)
    encoder.encode(texts[:20])
    assert compiled == ([None] if architecture == "t5" else [True])
    found = encoder.encode(texts, batch_tokens=40)
    assert compiled == ([None] if architecture == "t5" else [True, False])
    expected = BiEncoder(folder, device="cpu").encode(texts)
    assert cosines(found, expected).min() > {"float32": 0.999999, "bfloat16": 0.999}[dtype]


def test_threads_share_the_batches_out(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_backend, "_WORTH_A_COPY", 300)
    folder = save_tiny_model(tmp_path / "model")
    texts = [f"{first} {second} the cat" for first in LETTERS[:20] for second in LETTERS[:5]] + list(TEXTS)
    alone = BiEncoder(folder, backend="openvino", threads=1).encode(texts, batch_tokens=40)
    told: list[int] = []
    several = BiEncoder(folder, backend="openvino", threads=3)
    tokens = several.tokenizer.tokenize(texts)
    found = several.encode_tokenized(tokens, batch_tokens=40, on_batch=lambda rows, *_: told.append(rows))
    np.testing.assert_array_equal(found, alone)
    assert sum(told) == len(texts)
    assert len(told) > 3


def test_the_real_model_in_float32_and_bfloat16(minilm: str) -> None:
    expected = BiEncoder(minilm, device="cpu").encode(TEXTS)
    assert cosines(BiEncoder(minilm, backend="openvino").encode(TEXTS), expected).min() > 0.999999
    half = BiEncoder(minilm, backend="openvino", dtype="bfloat16").encode(TEXTS)
    assert cosines(half, expected).min() > 0.9995
    assert half.dtype == np.float32


def test_a_converted_model_needs_no_torch(tmp_path: Path, cache: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    BiEncoder(folder, backend="openvino")
    check = LOAD + "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check, str(folder)], check=False).returncode == 0


def test_two_processes_convert_one_model_once(tmp_path: Path, cache: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    command = [sys.executable, "-c", LOAD + "print(e.dimension)", str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == [b"32", b"32"]
    (only,) = converted(cache)
    assert {path.name for path in only.iterdir()} == {"facts.json", "model.xml", "model.bin"}


def test_another_model_has_another_graph(tmp_path: Path, cache: Path) -> None:
    for name, heads in (("one", {}), ("other", {"dense": 8})):
        folder = save_tiny_model(tmp_path / name, **heads)
        assert BiEncoder(folder, backend="openvino").dimension == (8 if heads else 32)
    assert len(converted(cache)) == 2


def test_what_it_cannot_do(tmp_path: Path, cache: Path) -> None:
    static = save_tiny_static(tmp_path / "static")
    with pytest.raises(ConfigError, match="table of embeddings"):
        BiEncoder(static, backend="openvino")
    assert BiEncoder(static, backend="auto").encode("the cat").shape == (16,)
    folder = save_tiny_model(tmp_path / "model")
    with pytest.raises(ConfigError, match="float16"):
        BiEncoder(folder, backend="openvino", dtype="float16")
    with pytest.raises(ConfigError, match="not on 'cuda'"):
        BiEncoder(folder, backend="openvino", device="cuda")
    xlnet = save_tiny_model(tmp_path / "xlnet", architecture="xlnet")
    with pytest.raises(ModelError, match="--backend torch"):
        BiEncoder(xlnet, backend="openvino").encode(TEXTS)


def test_a_failed_conversion_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model")
    monkeypatch.setattr("st_ray.models.openvino_conversion.same_direction", lambda found, expected: False)
    with pytest.raises(ModelError, match=r"other results"):
        BiEncoder(folder, backend="openvino")
    assert converted(cache) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot write to the cache folder .*file[\s\S]*ST_RAY_CACHE"):
        BiEncoder(save_tiny_model(tmp_path / "model"), backend="openvino")
