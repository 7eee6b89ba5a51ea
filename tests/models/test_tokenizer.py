"""Token ids without padding, as the transformers tokenizer of the folder gives them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from st_ray.core.errors import ConfigError, InputError, ModelError
from st_ray.models.folder import read_model_folder
from st_ray.models.tokenizer import TextTokenizer
from st_ray.models.tokenizer_cache import cached_tokenizer
from st_ray.models.tokens import TokenizedTexts
from tests.models.tiny_models import (
    POSITIONS,
    TEXTS,
    VOCABULARY,
    read_json,
    save_tiny_backbone,
    save_tiny_model,
    save_tiny_static,
    write_json,
)


def rows(tokens: TokenizedTexts) -> list[list[int]]:
    return [part.tolist() for part in np.split(tokens.flat, np.cumsum(tokens.lengths)[:-1])]


def tokenizer_of(folder: Path, max_seq_length: int | None = None) -> TextTokenizer:
    return TextTokenizer(read_model_folder(folder), max_seq_length)


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "xlnet", "t5", "byt5"])
def test_ids_are_those_of_transformers(architecture: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = save_tiny_backbone(tmp_path / "model", architecture)
    ours = tokenizer_of(folder)
    tokens = ours.tokenize(TEXTS)
    theirs = AutoTokenizer.from_pretrained(folder)(list(TEXTS), truncation=True, max_length=ours.max_seq_length)
    assert rows(tokens) == theirs["input_ids"]
    assert tokens.flat.dtype == tokens.lengths.dtype == np.int32
    if architecture == "xlnet":
        assert tokens.type_ids is not None
        assert tokens.type_ids.tolist() == [kind for row in theirs["token_type_ids"] for kind in row]
    else:
        assert tokens.type_ids is None


def test_blocks_of_texts_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tokenizer_of(save_tiny_backbone(tmp_path / "model"))
    whole = ours.tokenize(TEXTS)
    monkeypatch.setattr("st_ray.models.tokenizer._TEXTS_AT_ONCE", 2)
    parts = ours.tokenize(TEXTS)
    assert parts.flat.tolist() == whole.flat.tolist()
    assert parts.lengths.tolist() == whole.lengths.tolist()


def test_no_texts(tmp_path: Path) -> None:
    tokens = tokenizer_of(save_tiny_backbone(tmp_path / "model")).tokenize([])
    assert len(tokens) == len(tokens.flat) == 0


def test_length_limits(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model", max_seq_length=9)
    assert tokenizer_of(folder).tokenize(["the " * 50]).lengths.tolist() == [9]
    assert tokenizer_of(folder, max_seq_length=20).tokenize(["the " * 50]).lengths.tolist() == [20]
    plain = save_tiny_backbone(tmp_path / "plain")
    settings = read_json(plain / "tokenizer_config.json")
    write_json(plain / "tokenizer_config.json", settings | {"model_max_length": 10**9})
    assert tokenizer_of(plain).max_seq_length == POSITIONS
    with pytest.raises(ConfigError, match="no room for text"):
        tokenizer_of(folder, max_seq_length=2)
    with pytest.raises(ConfigError, match="max_seq_length is 0"):
        tokenizer_of(folder, max_seq_length=0)


@pytest.mark.parametrize(("architecture", "tokens"), [("bert", 3), ("roberta", 8), ("llama", 7)])
def test_prompt_is_put_before_and_measured(architecture: str, tokens: int, tmp_path: Path) -> None:
    ours = tokenizer_of(save_tiny_backbone(tmp_path / "model", architecture))
    prompted = ours.tokenize(["the cat"], prompt="query: ")
    assert rows(prompted) == rows(ours.tokenize(["query: the cat"]))
    assert prompted.prompt_length == tokens
    assert ours.tokenize(["the cat"]).prompt_length == 0


def test_static_adds_no_special_tokens(tmp_path: Path) -> None:
    ours = tokenizer_of(save_tiny_static(tmp_path / "static"))
    tokens = ours.tokenize(["the cat", "", "cat " * 1000], prompt="the ")
    assert rows(tokens)[0] == [VOCABULARY.index(word) for word in ("the", "the", "cat")]
    assert tokens.lengths.tolist() == [3, 1, 1001]
    assert tokens.prompt_length == 0


@pytest.mark.parametrize("bad", [None, 3, b"bytes", "half \ud800 pair"], ids=repr)
@pytest.mark.parametrize("architecture", ["bert", "byt5"])
def test_a_bad_text_is_named(architecture: str, bad: object, tmp_path: Path) -> None:
    ours = tokenizer_of(save_tiny_backbone(tmp_path / "model", architecture))
    for prompt in ("", "query: "):
        with pytest.raises(InputError, match=r"^text 1 "):
            ours.tokenize(["fine", bad, "fine"], prompt=prompt)  # type: ignore[list-item]
    with pytest.raises(InputError, match="one string"):
        ours.tokenize("not a list")


def test_a_kept_tokenizer_needs_neither_transformers_nor_torch(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "model")
    program = (
        "import sys\n"
        "from st_ray.models.folder import read_model_folder\n"
        "from st_ray.models.tokenizer_cache import cached_tokenizer\n"
        "tokenizer = cached_tokenizer(read_model_folder(sys.argv[1]), 'digest', 6, False)\n"
        "print(tokenizer.tokenize(['the cat', '[SEP]', 'a a a a a a a a']).flat.tolist(), tokenizer.max_seq_length)\n"
        "print('torch' in sys.modules or 'transformers' in sys.modules)\n"
    )
    environment = os.environ | {"ST_RAY_CACHE": str(tmp_path / "cache")}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program, str(folder)], check=True, capture_output=True, text=True, env=environment
        ).stdout.splitlines()
        for _ in range(2)
    )
    assert first[0] == second[0]
    assert first[0] == f"{tokenizer_of(folder, 6).tokenize(['the cat', '[SEP]', 'a a a a a a a a']).flat.tolist()} 6"
    assert [first[1], second[1]] == ["True", "False"]


@pytest.mark.parametrize("architecture", ["bert", "roberta", "llama", "xlnet", "t5", "byt5"])
def test_a_kept_tokenizer_is_the_same(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path / "cache"))
    folder = read_model_folder(save_tiny_backbone(tmp_path / "model", architecture))
    ours = tokenizer_of(folder.path)
    for _ in range(2):
        kept = cached_tokenizer(folder, "digest", None, False)
        for prompt in ("", "query: "):
            expected, found = ours.tokenize(TEXTS, prompt), kept.tokenize(TEXTS, prompt)
            assert rows(found) == rows(expected)
            assert found.prompt_length == expected.prompt_length
            assert (found.type_ids is None) == (expected.type_ids is None)
    assert len(list((tmp_path / "cache" / "tokenizers").iterdir())) == 1


def test_a_cache_that_cannot_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path / "file"))
    folder = read_model_folder(save_tiny_backbone(tmp_path / "model"))
    expected = rows(tokenizer_of(folder.path).tokenize(TEXTS))
    assert rows(cached_tokenizer(folder, "digest", None, False).tokenize(TEXTS)) == expected


def test_damaged_tokenizer(tmp_path: Path) -> None:
    folder = save_tiny_backbone(tmp_path / "model", "roberta")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"the tokenizer in .* cannot be loaded"):
        tokenizer_of(folder)
    static = save_tiny_static(tmp_path / "static")
    (static / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json cannot be loaded"):
        tokenizer_of(static)
