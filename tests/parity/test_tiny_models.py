"""Every supported module and setting gives the peer's embeddings, from folders of both generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from st_ray.models.bi_encoder import BiEncoder
from tests.models.tiny_models import (
    FLAGS,
    TEXTS,
    Variant,
    save_tiny_backbone,
    save_tiny_model,
    save_tiny_static,
)
from tests.parity.compare import assert_close, assert_same, peer_model
from tests.parity.folders import as_old_generation, save_with_peer

PROMPTS = {"query": "query: ", "passage": "the passage : "}
# The older generation stores flags, so that its concatenations come in one order only.
VARIANTS: dict[str, dict[str, Any]] = {
    **{mode: {"pooling": (mode,)} for mode in FLAGS},
    **{
        f"{mode} without prompt": {
            "pooling": (mode,),
            "include_prompt": False,
            "prompts": PROMPTS,
            "default_prompt_name": "query",
        }
        for mode in FLAGS
    },
    "two": {"pooling": ("cls", "mean")},
    "all": {"pooling": ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")},
    "dense": {"dense": 24},
    "layer norm": {"layer_norm": True},
    "all heads": {"pooling": ("cls", "mean"), "dense": 24, "layer_norm": True, "normalize": True},
    "normalize": {"normalize": True},
    "prompt": {"prompts": PROMPTS, "default_prompt_name": "passage"},
    "short": {"max_seq_length": 7},
    "truncated": {"truncate_dim": 8, "normalize": True, "similarity_fn_name": "dot"},
    "roberta": {"architecture": "roberta"},
    "roberta cls": {"architecture": "roberta", "pooling": ("cls",), "max_seq_length": 33},
    "llama": {"architecture": "llama", "pooling": ("lasttoken",)},
    "llama weighted": {
        "architecture": "llama",
        "pooling": ("weightedmean",),
        "include_prompt": False,
        "prompts": PROMPTS,
        "default_prompt_name": "query",
    },
    "llama cls": {"architecture": "llama", "pooling": ("cls", "max")},
    "xlnet": {"architecture": "xlnet", "pooling": ("mean", "lasttoken")},
    "t5": {"architecture": "t5"},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_both_generations(name: str, tmp_path: Path) -> None:
    variant = VARIANTS[name]
    new = save_with_peer(tmp_path / "new", **variant)
    assert_same(new, TEXTS)
    old = as_old_generation(new, tmp_path / "old", **variant)
    assert_same(old, TEXTS)


@pytest.mark.parametrize("generation", [3, 6])
def test_folder_written_without_the_peer(generation: int, tmp_path: Path) -> None:
    variant = {"pooling": ("cls", "mean"), "dense": 12, "layer_norm": True, "normalize": True, "prompts": PROMPTS}
    folder = save_tiny_model(tmp_path / "model", generation=generation, **variant)
    assert_same(folder, TEXTS, prompt_name="query")


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "llama-lm", "t5", "byt5"])
def test_plain_transformers_folder(architecture: str, tmp_path: Path) -> None:
    assert_same(save_tiny_backbone(tmp_path / "plain", architecture), TEXTS)


def test_lower_casing_of_a_cased_model(tmp_path: Path) -> None:
    folder = save_with_peer(tmp_path / "new", cased=True)
    old = as_old_generation(folder, tmp_path / "old", do_lower_case=True)
    assert_same(old, TEXTS)
    lowered, kept = BiEncoder(old, device="cpu"), BiEncoder(folder, device="cpu")
    assert (lowered.encode("HELLO") == lowered.encode("hello")).all()
    assert not (kept.encode("HELLO") == kept.encode("hello")).all()


def test_static_embedding(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    from tests.models.tiny_models import wordpiece

    model = SentenceTransformer(modules=[StaticEmbedding(wordpiece(), embedding_dim=16), Normalize()], device="cpu")
    model.save(str(tmp_path / "saved"), create_model_card=False)
    assert_same(tmp_path / "saved", TEXTS)
    assert_same(save_tiny_static(tmp_path / "hand"), TEXTS, prompt="the ")


@pytest.mark.parametrize(
    "options",
    [
        {"normalize_embeddings": True},
        {"truncate_dim": 5},
        {"truncate_dim": 5, "normalize_embeddings": True},
        {"truncate_dim": 500},
        {"prompt": "hello "},
        {"prompt": ""},
        {"prompt_name": "query"},
        {"prompt_name": "document"},
        {"batch_size": 3},
    ],
    ids=str,
)
def test_options_of_encode(options: dict[str, Any], tmp_path: Path) -> None:
    folder = save_with_peer(tmp_path / "new", normalize=True, prompts=PROMPTS, default_prompt_name="passage")
    assert_same(folder, TEXTS, **options)


def test_one_text_queries_and_documents(tmp_path: Path) -> None:
    folder = save_with_peer(tmp_path / "new", prompts=PROMPTS)
    peer, ours = peer_model(folder), BiEncoder(folder, device="cpu")
    assert_close(ours.encode("hello"), peer.encode("hello"))
    assert_close(ours.encode_query(["hello"]), peer.encode_query(["hello"]))
    assert_close(ours.encode_document(["hello"]), peer.encode_document(["hello"]))
    assert ours.dimension == peer.get_embedding_dimension()
    assert ours.similarity_fn_name == peer.similarity_fn_name


def test_settings_are_the_peers(tmp_path: Path) -> None:
    folder = save_with_peer(tmp_path / "new", truncate_dim=8, similarity_fn_name="euclidean", prompts=PROMPTS)
    peer, ours = peer_model(folder), BiEncoder(folder, device="cpu")
    assert ours.dimension == peer.get_embedding_dimension() == 8
    assert ours.similarity_fn_name == peer.similarity_fn_name == "euclidean"
    assert dict(ours.folder.prompts) == peer.prompts
    assert ours.tokenizer.max_seq_length == peer.max_seq_length


def test_batches_change_nothing(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", **vars(Variant(pooling=("cls", "max", "lasttoken"))))
    model = BiEncoder(folder, device="cpu")
    together = model.encode(TEXTS, batch_tokens=100_000)
    one_by_one = model.encode(TEXTS, batch_tokens=1)
    assert_close(together, one_by_one)
