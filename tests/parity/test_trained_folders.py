"""Folders that training writes give the same numbers in the peer, whatever the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from st_ray import BiEncoder, CrossEncoder
from st_ray.models.source import resolve_model
from tests.models.tiny_models import read_json, save_tiny_backbone, save_tiny_classifier, save_tiny_model
from tests.parity.compare import peer_model
from tests.parity.folders import save_with_peer
from tests.training.networks import LINES, PAIRS, move_transformer
from tests.training.test_folder import PROMPTS, TEXTS, TINY, assert_same, retrained, retrained_pairs


def peer_of_pairs(folder: Path) -> Any:
    from sentence_transformers import CrossEncoder as Peer

    return Peer(str(folder), device="cpu", local_files_only=True)


def compare_texts(folder: Path, expected: np.ndarray, tolerance: float = TINY) -> None:
    peer = peer_model(folder)
    assert {tensor.dtype for tensor in peer.parameters()} == {torch.float32}
    found = peer.encode(list(LINES))
    assert_same(found, expected[:, : found.shape[1]], tolerance)
    ours = BiEncoder(folder)
    assert_same(ours.encode(LINES), found, tolerance)
    assert (ours.tokenizer.max_seq_length, dict(ours.folder.prompts)) == (peer.max_seq_length, peer.prompts)


def compare_pairs(folder: Path, expected: np.ndarray, tolerance: float = TINY) -> None:
    peer = peer_of_pairs(folder)
    found = peer.predict(list(PAIRS))
    assert_same(found.reshape(expected.shape), expected, tolerance)
    ours = CrossEncoder(folder)
    assert_same(ours.predict(PAIRS), found, tolerance)
    assert (ours.tokenizer.max_length, dict(ours.folder.model.prompts)) == (peer.max_seq_length, peer.prompts)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_from_folders_by_the_peer(name: str, tmp_path: Path) -> None:
    folder = save_with_peer(tmp_path / "base", **TEXTS[name])
    compare_texts(tmp_path / "trained", retrained(folder, tmp_path / "trained"))


def test_texts_from_an_old_folder(tmp_path: Path) -> None:
    variant: dict[str, Any] = {"dense": 8, "layer_norm": True, "normalize": True, "prompts": PROMPTS}
    folder = move_transformer(save_tiny_model(tmp_path / "base", 3, **variant, max_seq_length=9))
    compare_texts(tmp_path / "trained", retrained(folder, tmp_path / "trained"))


@pytest.mark.parametrize("architecture", ["bert", "llama-lm", "t5"])
def test_texts_from_a_transformer(architecture: str, tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "base", architecture)
    compare_texts(tmp_path / "trained", retrained(folder, tmp_path / "trained", max_length=10))


def test_a_student_of_texts(tmp_path: Path) -> None:
    folder = save_with_peer(tmp_path / "base", max_seq_length=30, normalize=True)
    compare_texts(tmp_path / "trained", retrained(folder, tmp_path / "trained", keep_layers=[1], max_length=10))


@pytest.mark.parametrize("activation", ["identity", "sigmoid"])
@pytest.mark.parametrize(
    ("architecture", "labels"),
    [("bert", 1), ("bert", 3), ("roberta", 1), ("electra", 2), ("distilbert", 1), ("llama", 1)],
)
def test_pairs(architecture: str, labels: int, activation: str, tmp_path: Path) -> None:
    folder = save_tiny_classifier(tmp_path / "base", architecture, labels)
    logits = retrained_pairs(folder, tmp_path / "trained", activation, max_length=13)
    compare_pairs(tmp_path / "trained", logits if activation == "identity" else 1 / (1 + np.exp(-logits)))


def test_pairs_with_prompts_from_a_folder_by_the_peer(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder as Peer

    plain = save_tiny_classifier(tmp_path / "plain", labels=2, id2label={"0": "other", "1": "same"})
    prompts = {"find": "find the: "}
    Peer(str(plain), device="cpu", prompts=prompts, default_prompt_name="find").save_pretrained(str(tmp_path / "base"))
    compare_pairs(tmp_path / "trained", retrained_pairs(tmp_path / "base", tmp_path / "trained"))
    assert peer_of_pairs(tmp_path / "trained").prompts == prompts
    assert read_json(tmp_path / "trained" / "config.json")["id2label"]["1"] == "same"


def test_a_student_with_a_new_head(tmp_path: Path) -> None:
    folder = save_with_peer(tmp_path / "base", dense=8, max_seq_length=20)
    compare_pairs(tmp_path / "trained", retrained_pairs(folder, tmp_path / "trained", labels=2, keep_layers=[1]))


def test_the_real_model(minilm: str, tmp_path: Path) -> None:
    folder = resolve_model(minilm)
    compare_texts(tmp_path / "texts", retrained(folder, tmp_path / "texts", keep_layers=[0, 5]), 1e-6)
    compare_pairs(tmp_path / "pairs", retrained_pairs(folder, tmp_path / "pairs", keep_layers=[0, 5]), 1e-6)
