"""Scores of pairs are the peer's: from tiny folders of every kind it reads or writes, and from two real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_ray import CrossEncoder
from st_ray.models.source import resolve_model
from tests.conftest import DATA
from tests.models.tiny_models import ODD_TEXTS, TEXTS, save_tiny_classifier
from tests.parity.folders import save_with_random_head

PAIRS = [(first, second) for first in TEXTS for second in ODD_TEXTS if len(first) + len(second) < 90_000]
VARIANTS: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"architecture": "roberta"},
    "electra, three labels": {"architecture": "electra", "labels": 3},
    "distilbert": {"architecture": "distilbert", "labels": 2},
    "named activation": {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}},
    "named activation, older": {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Tanh"},
}


def peer_of(folder: Path | str, **arguments: Any) -> Any:
    from sentence_transformers import CrossEncoder as Peer

    return Peer(str(folder), device="cpu", **arguments)


@pytest.mark.parametrize("name", VARIANTS)
def test_tiny_folders(name: str, tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "plain", **VARIANTS[name])
    peer = peer_of(folder)
    peer.save_pretrained(str(tmp_path / "saved"))
    ours = CrossEncoder(folder)
    assert ours.num_labels == peer.num_labels
    np.testing.assert_allclose(ours.predict(PAIRS), peer.predict(PAIRS), atol=1e-5)
    np.testing.assert_array_equal(CrossEncoder(tmp_path / "saved").predict(PAIRS), ours.predict(PAIRS))
    for options in ({"apply_softmax": True}, {"activation_fn": torch.nn.Tanh()}, {"prompt": "the query: "}):
        np.testing.assert_allclose(ours.predict(PAIRS, **options), peer.predict(PAIRS, **options), atol=1e-5)
    shorter, peer_shorter = CrossEncoder(folder, max_length=11), peer_of(folder, max_length=11)
    np.testing.assert_allclose(shorter.predict(PAIRS[::7]), peer_shorter.predict(PAIRS[::7]), atol=1e-5)


def test_prompts_of_the_folder(tmp_path: Path) -> None:
    peer = peer_of(save_tiny_classifier(tmp_path / "plain"), prompts={"find": "find the: "}, default_prompt_name="find")
    peer.save_pretrained(str(tmp_path / "saved"))
    ours = CrossEncoder(tmp_path / "saved")
    np.testing.assert_allclose(ours.predict(PAIRS), peer.predict(PAIRS), atol=1e-5)
    assert ours.predict(PAIRS)[3] != ours.predict(PAIRS, prompt="")[3]


def test_shapes_and_ranks(tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path)
    ours, peer = CrossEncoder(folder), peer_of(folder)
    assert ours.predict(PAIRS[0]).shape == peer.predict(PAIRS[0]).shape
    assert ours.predict([]).shape == peer.predict([]).shape
    documents = list(dict.fromkeys(text for text in TEXTS if len(text) < 10_000))
    for options in ({}, {"top_k": 3}, {"return_documents": True, "top_k": 2}):
        found, expected = ours.rank("the cat", documents, **options), peer.rank("the cat", documents, **options)
        assert [hit["corpus_id"] for hit in found] == [hit["corpus_id"] for hit in expected]
        np.testing.assert_allclose([hit["score"] for hit in found], [hit["score"] for hit in expected], atol=1e-5)
        assert [set(hit) for hit in found] == [set(hit) for hit in expected]


def compare_on_real_pairs(folder: Path) -> None:
    from benchmarks.sts_cross_encoder import read_pairs

    if not (DATA / "stsb").is_dir():
        pytest.skip(f"no data at {DATA}/stsb")
    pairs = read_pairs(DATA / "stsb" / "dev.csv")[0][:150]
    pairs += [(first * 8, second * 20) for first, second in pairs[:10]]  # some are cut
    expected = peer_of(folder).predict(pairs)
    assert expected.std() > 0.001
    np.testing.assert_allclose(CrossEncoder(folder).predict(pairs), expected, atol=1e-5)
    np.testing.assert_allclose(CrossEncoder(folder, backend="openvino").predict(pairs), expected, atol=1e-5)
    half = CrossEncoder(folder, backend="openvino", dtype="bfloat16").predict(pairs)
    assert np.corrcoef(half, expected)[0, 1] > 0.999


def test_a_seeded_head_on_the_real_model(tmp_path: Path, minilm: str) -> None:
    compare_on_real_pairs(save_with_random_head(resolve_model(minilm), tmp_path))


@pytest.mark.slow
def test_a_trained_cross_encoder(tmp_path: Path, minilm: str) -> None:
    from benchmarks.sts_cross_encoder import read_pairs, train

    if not (DATA / "stsb").is_dir():
        pytest.skip(f"no data at {DATA}/stsb")
    pairs, labels = read_pairs(DATA / "stsb" / "train.csv")
    model, tokenizer = train(pairs, labels, epochs=0.1, base=minilm)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    compare_on_real_pairs(tmp_path)
