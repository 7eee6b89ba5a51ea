"""Tiny model folders saved by the peer itself, and the same in the layout of its older generation."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.models.tiny_models import FLAGS, HIDDEN, Variant, read_json, save_tiny_backbone, write_json


def save_with_peer(folder: Path, cased: bool = False, **variant: Any) -> Path:
    """A folder of the peer's present generation, written by its own `save`."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    wanted = Variant(**variant)
    backbone = save_tiny_backbone(folder.with_name(f"{folder.name}-backbone"), wanted.architecture, cased=cased)
    transformer = modules.Transformer(
        str(backbone), max_seq_length=wanted.max_seq_length, do_lower_case=wanted.do_lower_case
    )
    chain = [transformer, modules.Pooling(HIDDEN, wanted.pooling, include_prompt=wanted.include_prompt)]
    width = HIDDEN * len(wanted.pooling)
    if wanted.dense:
        chain.append(modules.Dense(width, wanted.dense))
        width = wanted.dense
    if wanted.layer_norm:
        chain.append(modules.LayerNorm(width))
    if wanted.normalize:
        chain.append(modules.Normalize())
    settings = ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
    model = SentenceTransformer(
        modules=chain, device="cpu", **{name: getattr(wanted, name) or None for name in settings}
    )
    model.save(str(folder), create_model_card=False)
    return folder


def save_with_random_head(base: Path, folder: Path) -> Path:
    """A cross-encoder with one label: the transformer in `base`, and a seeded head."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(7)
    AutoModelForSequenceClassification.from_pretrained(base, num_labels=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def as_old_generation(new: Path, old: Path, **variant: Any) -> Path:
    """A copy of `new` as version 3 would have written it."""
    wanted = Variant(**variant)
    shutil.copytree(new, old)
    entries = read_json(old / "modules.json")
    for entry in entries:
        entry["type"] = f"sentence_transformers.models.{entry['type'].rpartition('.')[2]}"
    write_json(old / "modules.json", entries)
    (old / "sentence_bert_config.json").unlink()
    length = {"max_seq_length": wanted.max_seq_length, "do_lower_case": wanted.do_lower_case}
    name = "roberta" if wanted.architecture == "roberta" else "bert"
    write_json(old / f"sentence_{name}_config.json", length)
    flags = {flag: mode in wanted.pooling for mode, flag in FLAGS.items()}
    pooling = {"word_embedding_dimension": HIDDEN, **flags, "include_prompt": wanted.include_prompt}
    write_json(old / "1_Pooling" / "config.json", pooling)
    for entry in entries:
        if entry["type"].endswith(".Normalize"):
            shutil.rmtree(old / entry["path"])
    return old
