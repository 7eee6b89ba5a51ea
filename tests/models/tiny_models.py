"""Model folders a few kilobytes large, made offline in milliseconds: random weights, a vocabulary of characters.

Only `transformers` is needed. Two generations of the folder layout are written by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

HIDDEN = 32
POSITIONS = 64
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("the", "query", "passage", "hello", "world", "cat", "dog", "sat", "ran", "##ing", "##ed")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = (*SPECIAL, *LETTERS, *(f"##{letter}" for letter in LETTERS), *LETTERS.upper(), *WORDS, ":", ".", ",", "!")

# What real corpora hold sooner or later.
ODD_TEXTS = (
    "",
    "a",
    " ",
    "word " * 10_000,
    "😀 smile 👩‍👩‍👧",
    "שלום עולם مرحبا بالعالم",
    "a\x00b",
    "  spaces around\t",
    "two\nlines\r\nhere",
    "[SEP] a [CLS] special [PAD]",
    "Mixed CASE Text",
    "漢字かな交じり文",
    "cafe\u0301 café ﬁ",
    "\u200b\ufeff",
)
TEXTS = (
    "the cat sat",
    "a dog ran, hello world!",
    "hello",
    "query: the dogs",
    "the cat the cat the cat the cat the cat the cat",
    *ODD_TEXTS,
)


@dataclass(frozen=True)
class Variant:
    """What a tiny model is made of; the defaults are a BERT with mean pooling."""

    architecture: str = "bert"  # bert, roberta, xlnet, llama, llama-lm, t5, byt5
    pooling: tuple[str, ...] = ("mean",)
    include_prompt: bool = True
    dense: int = 0
    layer_norm: bool = False
    normalize: bool = False
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity_fn_name: str | None = None
    truncate_dim: int | None = None
    max_seq_length: int | None = None
    do_lower_case: bool = False


def save_tiny_model(folder: Path, generation: int = 6, seed: int = 0, **variant: Any) -> Path:
    """Write a whole model folder in the layout of generation 3 or 6; `variant` as in `Variant`."""
    wanted = Variant(**variant)
    save_tiny_backbone(folder, wanted.architecture, seed=seed)
    modules = [_entry(0, "", "Transformer", generation)]
    settings = {"max_seq_length": wanted.max_seq_length, "do_lower_case": wanted.do_lower_case}
    if generation == 6:
        settings |= {
            "transformer_task": "feature-extraction",
            "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            "module_output_name": "token_embeddings",
        }
    write_json(folder / "sentence_bert_config.json", settings)
    for name, config, weights in _heads(wanted, generation, np.random.default_rng(seed)):
        path = f"{len(modules)}_{name}"
        modules.append(_entry(len(modules), path, name, generation))
        (folder / path).mkdir()
        if config:
            write_json(folder / path / "config.json", config)
        if weights:
            from safetensors.numpy import save_file

            save_file(weights, folder / path / "model.safetensors")
    write_json(folder / "modules.json", modules)
    write_json(folder / "config_sentence_transformers.json", _settings(wanted))
    return folder


def save_tiny_classifier(
    folder: Path, architecture: str = "bert", labels: int = 1, seed: int = 0, **settings: Any
) -> Path:
    """Write a plain sequence classification model, with `settings` added to its config.json."""
    import torch
    import transformers

    tokenizer = _tokenizer(architecture, cased=False)
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(tokenizer),
        "initializer_range": 0.3,
        "pad_token_id": tokenizer.pad_token_id,
        "num_labels": labels,
        "max_position_embeddings": POSITIONS,
    }
    bert = {"hidden_size": HIDDEN, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if architecture == "bert":
        model: Any = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, **bert))
    elif architecture == "electra":
        model = transformers.ElectraForSequenceClassification(
            transformers.ElectraConfig(**sizes, **bert, embedding_size=16)
        )
    elif architecture == "roberta":
        sizes |= {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1}
        model = transformers.RobertaForSequenceClassification(transformers.RobertaConfig(**sizes, **bert))
    elif architecture == "distilbert":
        config = transformers.DistilBertConfig(**sizes, dim=HIDDEN, hidden_dim=64, n_layers=2, n_heads=2)
        model = transformers.DistilBertForSequenceClassification(config)
    elif architecture == "llama":
        model = transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**sizes, **bert))
    else:
        raise ValueError(architecture)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    write_json(folder / "config.json", read_json(folder / "config.json") | settings)
    return folder


def save_tiny_static(folder: Path, dimension: int = 16, seed: int = 0) -> Path:
    """Write a folder of one StaticEmbedding."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = wordpiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(seed).normal(size=(tokenizer.get_vocab_size(), dimension)).astype(np.float32)
    save_file({"embedding.weight": table}, folder / "model.safetensors")
    write_json(folder / "modules.json", [_entry(0, "", "StaticEmbedding", 6)])
    return folder


def save_tiny_backbone(folder: Path, architecture: str = "bert", seed: int = 0, cased: bool = False) -> Path:
    """Write a plain transformers folder: model and tokenizer."""
    import torch
    import transformers

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(architecture, cased)
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(tokenizer), "initializer_range": 0.3, "pad_token_id": tokenizer.pad_token_id}
    bert = sizes | {
        "hidden_size": HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": POSITIONS,
    }
    if architecture == "bert":
        model: Any = transformers.BertModel(transformers.BertConfig(**bert))
    elif architecture == "roberta":
        model = transformers.RobertaModel(
            transformers.RobertaConfig(**bert | {"max_position_embeddings": POSITIONS + 2, "type_vocab_size": 1})
        )
    elif architecture == "llama":
        model = transformers.LlamaModel(transformers.LlamaConfig(**bert))
    elif architecture == "llama-lm":
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**bert))
    elif architecture == "xlnet":
        model = transformers.XLNetModel(
            transformers.XLNetConfig(**sizes, d_model=HIDDEN, n_layer=2, n_head=2, d_inner=64)
        )
    elif architecture in ("t5", "byt5"):
        config = transformers.T5Config(**sizes, d_model=HIDDEN, d_kv=16, d_ff=64, num_layers=2, num_heads=2)
        model = transformers.T5Model(config)
    else:
        raise ValueError(architecture)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def wordpiece(cased: bool = False) -> Tokenizer:
    """A BERT-like tokenizer over `VOCABULARY`."""
    from tokenizers import normalizers

    vocabulary = {token: index for index, token in enumerate(VOCABULARY)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def write_json(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")


def read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _tokenizer(architecture: str, cased: bool) -> Any:
    import transformers

    if architecture in ("bert", "electra", "distilbert"):
        backend = wordpiece(cased)
        vocabulary = backend.get_vocab()
        return transformers.BertTokenizer(vocab=vocabulary, do_lower_case=not cased, model_max_length=POSITIONS)
    if architecture == "byt5":
        return transformers.ByT5Tokenizer(model_max_length=POSITIONS)  # written in Python
    backend = _byte_pairs()
    ids = {token: backend.token_to_id(token) for token in SPECIAL}
    templates = {
        "roberta": ("[CLS] $A [SEP]", "right"),
        "llama": ("$A [SEP]", "left"),
        "llama-lm": ("$A", "left"),
        "xlnet": ("$A:0 [SEP]:0 [CLS]:2", "left"),
        "t5": ("$A [SEP]", "right"),
    }
    single, side = templates[architecture]
    used = [(token, ids[token]) for token in ("[CLS]", "[SEP]") if token in single]
    pair = "[CLS] $A [SEP] [SEP] $B [SEP]" if architecture == "roberta" else "$A:0 $B:1"
    backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=used)
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if architecture == "xlnet" else [])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        padding_side=side,
        model_max_length=POSITIONS,
        model_input_names=names,
    )


def _byte_pairs() -> Tokenizer:
    """Every byte a token, and a few merges: no text is unknown to it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("c", "a"), ("ca", "t"), ("Ġ", "the")]
    tokens = [*SPECIAL, *alphabet, *(left + right for left, right in merges)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


_NEW_TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Dense": "sentence_transformers.base.modules.dense.Dense",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "LayerNorm": "sentence_transformers.sentence_transformer.modules.layer_norm.LayerNorm",
    "StaticEmbedding": "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding",
}
FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


def _entry(index: int, path: str, name: str, generation: int) -> dict[str, Any]:
    kind = _NEW_TYPES[name] if generation == 6 else f"sentence_transformers.models.{name}"
    return {"idx": index, "name": str(index), "path": path, "type": kind}


def _settings(wanted: Variant) -> dict[str, Any]:
    named = ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim")
    return {name: getattr(wanted, name) for name in named if getattr(wanted, name) is not None}


def _heads(wanted: Variant, generation: int, rng: np.random.Generator) -> list[tuple[str, dict[str, Any], Any]]:
    """Name, configuration and weights of every module behind the transformer."""
    if generation == 6:
        pooling: dict[str, Any] = {"embedding_dimension": HIDDEN, "pooling_mode": list(wanted.pooling)}
    else:
        flags = {flag: mode in wanted.pooling for mode, flag in FLAGS.items()}
        pooling = {"word_embedding_dimension": HIDDEN, **flags}
    heads: list[tuple[str, dict[str, Any], Any]] = [
        ("Pooling", {**pooling, "include_prompt": wanted.include_prompt}, None)
    ]
    width = HIDDEN * len(wanted.pooling)
    if wanted.dense:
        config = {"in_features": width, "out_features": wanted.dense, "bias": True}
        activation = {"activation_function": "torch.nn.modules.activation.Tanh"}
        weights = {
            "linear.weight": rng.normal(size=(wanted.dense, width)),
            "linear.bias": rng.normal(size=wanted.dense),
        }
        heads.append(("Dense", config | activation, {k: v.astype(np.float32) for k, v in weights.items()}))
        width = wanted.dense
    if wanted.layer_norm:
        weights = {"norm.weight": rng.normal(size=width), "norm.bias": rng.normal(size=width)}
        heads.append(("LayerNorm", {"dimension": width}, {k: v.astype(np.float32) for k, v in weights.items()}))
    if wanted.normalize:
        heads.append(("Normalize", {}, None))
    return heads
