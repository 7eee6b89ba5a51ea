"""Loading a model whole or not at all, and encoding with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from st_ray.core.errors import ConfigError, InputError, ModelError
from st_ray.models.bi_encoder import BiEncoder
from st_ray.models.tokens import TokenizedTexts
from st_ray.scoring.quantization import quantize_embeddings
from tests.models.tiny_models import HIDDEN, POSITIONS, TEXTS, save_tiny_backbone, save_tiny_model, save_tiny_static


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("tiny") / "model", dense=8, layer_norm=True)


@pytest.fixture(scope="module")
def model(tiny: Path) -> BiEncoder:
    return BiEncoder(tiny, device="cpu")


def rewrite(file: Path, **changes: Any) -> None:
    weights = {**load_file(file), **changes}
    save_file({name: value for name, value in weights.items() if value is not None}, file, {"format": "pt"})


def test_shapes(model: BiEncoder) -> None:
    assert model.dimension == 8
    assert model.encode("the cat").shape == (8,)
    assert model.encode(["the cat"]).shape == (1, 8)
    assert model.encode([]).shape == (0, 8)
    assert model.encode(np.array(["the cat", "a dog"])).shape == (2, 8)
    assert model.encode(["the cat"], truncate_dim=3).shape == (1, 3)
    assert model.encode(["the cat"], convert_to_tensor=True).shape == (1, 8)
    assert [tuple(row.shape) for row in model.encode(["the cat", "a"], convert_to_numpy=False)] == [(8,), (8,)]


def test_read_only_arrays_and_progress(model: BiEncoder) -> None:
    tokens = model.tokenizer.tokenize(TEXTS)
    tokens.flat.flags.writeable = tokens.lengths.flags.writeable = False
    done: list[tuple[int, int, int]] = []
    found = model.encode_tokenized(tokens, batch_tokens=70, on_batch=lambda *counts: done.append(counts))
    assert np.allclose(found, model.encode(TEXTS), atol=1e-5)
    assert len(done) > 2
    rows, count, places = np.sum(done, axis=0).tolist()
    assert (rows, count) == (len(TEXTS), len(tokens.flat))
    assert count < places <= 70 * len(done)


def test_precisions(model: BiEncoder) -> None:
    full = model.encode(TEXTS)
    for precision, dtype, columns in (("float16", "float16", 8), ("uint8", "uint8", 8), ("binary", "int8", 1)):
        found = model.encode(TEXTS, precision=precision)
        assert (found.dtype, found.shape) == (np.dtype(dtype), (len(TEXTS), columns))
        np.testing.assert_array_equal(found, quantize_embeddings(full, precision))
    assert model.encode(TEXTS, precision="int8", convert_to_tensor=True).shape == (len(TEXTS), 8)


def test_normalised_after_truncation(tiny: Path) -> None:
    short = BiEncoder(tiny, device="cpu", truncate_dim=3)
    assert short.dimension == 3
    found = short.encode_tokenized(short.tokenizer.tokenize(TEXTS), normalize=True)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert BiEncoder(tiny, device="cpu", truncate_dim=99).dimension == 8


def test_rows_without_tokens_become_zeros(tmp_path: Path) -> None:
    poolings = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
    folder = save_tiny_model(tmp_path / "model", pooling=poolings)
    model = BiEncoder(folder, device="cpu")
    one = model.tokenizer.tokenize(["the cat"])
    tokens = TokenizedTexts(one.flat, np.array([0, len(one.flat), 0], np.int32))
    found = model.encode_tokenized(tokens)
    assert np.isfinite(found).all()
    assert (found[[0, 2]] == 0).all()
    assert np.allclose(found[1], model.encode_tokenized(one)[0], atol=1e-6)
    assert (model.encode_tokenized(TokenizedTexts(one.flat[:0], np.zeros(2, np.int32))) == 0).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str, tiny: Path, model: BiEncoder) -> None:
    half = BiEncoder(tiny, device="cpu", dtype=dtype).encode(TEXTS)
    full = model.encode(TEXTS)
    assert half.dtype == np.float32
    assert not np.array_equal(half, full)
    assert np.abs(half - full).max() < 0.2


def test_static_model_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = BiEncoder(save_tiny_static(tmp_path / "static"), device="cpu")
    whole = model.encode(TEXTS)
    monkeypatch.setattr("st_ray.models.torch_backend._STATIC_TOKENS", 3)
    assert np.allclose(model.encode(TEXTS), whole)
    assert (whole[TEXTS.index("")] == 0).all()


def test_model2vec_layout(tmp_path: Path) -> None:
    folder = save_tiny_static(tmp_path / "static")
    table = load_file(folder / "model.safetensors")["embedding.weight"]
    rows = np.arange(len(table))[::-1].copy()
    weights = np.linspace(0.5, 2, len(table), dtype=np.float32)
    plain = BiEncoder(folder, device="cpu").encode(TEXTS)
    folded = {"embeddings": (table / weights[:, None])[rows], "mapping": rows, "weights": weights}
    save_file(folded, folder / "model.safetensors")
    assert np.allclose(BiEncoder(folder, device="cpu").encode(TEXTS), plain, atol=1e-5)


def test_pickled_weights_need_the_flag(tmp_path: Path, model: BiEncoder) -> None:
    import torch

    folder = save_tiny_model(tmp_path / "model", dense=8, layer_norm=True)
    for part in (folder, folder / "2_Dense"):
        state = {name: torch.from_numpy(value) for name, value in load_file(part / "model.safetensors").items()}
        torch.save(state, part / "pytorch_model.bin")
        (part / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="only in pickled form"):
        BiEncoder(folder, device="cpu")
    found = BiEncoder(folder, device="cpu", allow_pickle=True).encode(TEXTS)
    assert np.allclose(found, model.encode(TEXTS), atol=1e-6)


def test_missing_weights_are_an_error(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    rewrite(folder / "model.safetensors", **{"encoder.layer.1.output.dense.weight": None})
    with pytest.raises(ModelError, match=r"lack 1 tensors.*encoder\.layer\.1\.output\.dense\.weight"):
        BiEncoder(folder, device="cpu")


def test_missing_pooler_and_extra_weights_are_fine(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    expected = BiEncoder(folder, device="cpu").encode(TEXTS)
    changes = {"pooler.dense.weight": None, "pooler.dense.bias": None, "cls.bias": np.zeros(3, np.float32)}
    rewrite(folder / "model.safetensors", **changes)
    assert np.array_equal(BiEncoder(folder, device="cpu").encode(TEXTS), expected)


def test_weights_of_another_shape(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", dense=8)
    rewrite(folder / "2_Dense" / "model.safetensors", **{"linear.weight": np.zeros((8, 5), np.float32)})
    with pytest.raises(ModelError, match=r"2_Dense do not fit its config\.json"):
        BiEncoder(folder, device="cpu")
    folder = save_tiny_model(tmp_path / "other")
    wrong = {"encoder.layer.0.output.dense.weight": np.zeros((HIDDEN, 5), np.float32)}
    rewrite(folder / "model.safetensors", **wrong)
    with pytest.raises(
        ModelError, match=r"other lack 0 tensors and have 1 of another shape.*encoder\.layer\.0\.output\.dense\.weight"
    ):
        BiEncoder(folder, device="cpu")


def test_modules_that_do_not_fit_together(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", dense=8)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": ["cls", "mean"]}')
    with pytest.raises(ModelError, match="cannot be run through the modules"):
        BiEncoder(folder, device="cpu")


def test_arguments_that_cannot_be_honoured(tiny: Path, model: BiEncoder) -> None:
    for arguments, message in (
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"device": "cuda:77"}, "no device 'cuda:77'"),
        ({"device": "quantum"}, "no device 'quantum'"),
        ({"truncate_dim": 0}, "truncate_dim is 0"),
        ({"max_seq_length": POSITIONS + 1}, f"max_seq_length is {POSITIONS + 1}.* {POSITIONS} positions"),
    ):
        with pytest.raises(ConfigError, match=message):
            BiEncoder(tiny, **{"device": "cpu", **arguments})
    with pytest.raises(ConfigError, match="no prompt named 'nope'"):
        model.encode(["the cat"], prompt_name="nope")
    with pytest.raises(ConfigError, match="no precision 'int4'"):
        model.encode(["the cat"], precision="int4")
    with pytest.raises(ConfigError, match="no backend 'tvm'"):
        BiEncoder(tiny, device="cpu", backend="tvm")
    with pytest.raises(ConfigError, match="batch_tokens is 0"):
        model.encode(["the cat"], batch_tokens=0)
    with pytest.raises(InputError, match="text 1 is int"):
        model.encode(["the cat", 5])  # type: ignore[list-item]


def test_tokens_of_another_tokenizer(model: BiEncoder) -> None:
    with pytest.raises(ModelError, match="token 4000 is not in the vocabulary"):
        model.encode_tokenized(TokenizedTexts(np.array([4000], np.int32), np.ones(1, np.int32)))
    long = TokenizedTexts(np.zeros(POSITIONS + 1, np.int32), np.array([POSITIONS + 1], np.int32))
    with pytest.raises(ModelError, match=f"{POSITIONS + 1} tokens, .* {POSITIONS} positions"):
        model.encode_tokenized(long)


def test_positions_behind_the_padding_index(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "roberta", "roberta")
    model = BiEncoder(folder, device="cpu")
    assert model.encode("x" * 500).shape == (HIDDEN,)
    # The table has two rows more, of which the one of the padding, and those before it, are no positions.
    with pytest.raises(ConfigError, match=f"{POSITIONS + 1} positions"):
        BiEncoder(folder, device="cpu", max_seq_length=POSITIONS + 2)


def test_a_folder_in_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    half, full = save_tiny_model(tmp_path / "half"), save_tiny_model(tmp_path / "full")
    weights = {name: value.astype(np.float16) for name, value in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors", {"format": "pt"})
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps({**config, "dtype": "float16", "torch_dtype": "float16"}))
    rewrite(full / "model.safetensors", **{name: value.astype(np.float32) for name, value in weights.items()})
    np.testing.assert_allclose(BiEncoder(half).encode(TEXTS), BiEncoder(full).encode(TEXTS), atol=1e-6)
