"""Parts of examples: any of them by their numbers, as the tokenizer itself makes their inputs."""

from __future__ import annotations

import functools
import itertools
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from st_ray.core.errors import InputError
from st_ray.models.folder import read_model_folder
from st_ray.models.pair_folder import read_pair_folder
from st_ray.models.pair_tokenizer import PairTokenizer
from st_ray.models.tokenizer import TextTokenizer
from st_ray.training.example_part import ExamplePart, examples_bytes
from st_ray.training.examples import Block, Examples, count_mixed
from tests.models.tiny_models import (
    read_json,
    save_tiny_classifier,
    save_tiny_model,
    write_json,
)
from tests.stubs import StubPairTokenizer, StubTokenizer

WORDS = st.lists(st.sampled_from(["a", "cat", "the", "dogs", "x", "漢"]), max_size=20).map(" ".join)


def pair_part(
    tokenizer: Any,
    examples: Sequence[Sequence[str]],
    labels: np.ndarray,
    prompt: str = "",
    keys: Sequence[int] | None = None,
) -> bytes:
    """Of examples of a first text and k others; every text is distinct, as far as the part knows."""
    width = len(examples[0]) if examples else 2
    first = [example[0] for example in examples]
    others = [text for example in examples for text in example[1:]]
    none = np.zeros(0, np.int32)
    rows = np.arange(len(examples), dtype=np.int32)
    members = np.concatenate([rows[:, None], np.arange(len(others), dtype=np.int32).reshape(-1, width - 1)], axis=1)
    numbers = np.array(range(len(examples)) if keys is None else keys, np.int64)
    return examples_bytes(tokenizer.tokenize(first, others, none, none, prompt), members, labels, numbers)


def text_part(tokenizer: Any, examples: Sequence[Sequence[str]], labels: np.ndarray, prompt: str = "") -> bytes:
    """Of examples of k texts."""
    texts = [text for example in examples for text in example]
    members = np.arange(len(texts), dtype=np.int32).reshape(len(examples), -1 if examples else 2)
    return examples_bytes(tokenizer.tokenize(texts, prompt), members, labels)


def opened(folder: Path, parts: Sequence[bytes]) -> Examples:
    urls = [str(folder / f"{number}.arrow") for number in range(len(parts))]
    for url, data in zip(urls, parts, strict=True):
        Path(url).write_bytes(data)
    return Examples.open(urls, "")


def rows_of(block: Block) -> list[tuple[list[int], list[int]]]:
    """Token and type ids of each input, in their order."""
    rows = []
    for row, length in enumerate(block.tokens.lengths.tolist()):
        ids, types = block.tokens.padded(np.array([row]), max(length, 1), 0)
        kinds = np.zeros_like(ids) if types is None else types
        rows.append((ids[0, :length].tolist(), kinds[0, :length].tolist()))
    return rows


def cut(items: Sequence[Any], cuts: list[int]) -> list[Sequence[Any]]:
    bounds = [0, *sorted(place % (len(items) + 1) for place in cuts), len(items)]
    return [items[low:high] for low, high in itertools.pairwise(bounds)]


def check_any_cut(
    make: Callable[..., bytes],
    expected: Callable[[Sequence[str]], list[Any]],
    examples: list[list[str]],
    cuts: list[int],
    wanted: list[int],
) -> None:
    labels = np.arange(len(examples) * 2, dtype=np.float32).reshape(-1, 2) / 8
    with tempfile.TemporaryDirectory() as folder:
        parts = cut(list(zip(examples, labels, strict=True)), cuts)
        found = opened(
            Path(folder),
            [make([e for e, _ in part], np.float32([label for _, label in part]).reshape(-1, 2)) for part in parts],
        )
        assert (len(found), found.labels) == (len(examples), 2)
        rows = np.array([row % len(examples) for row in wanted], np.int64)
        block = found.take(rows)
        inputs = [expected(examples[row]) for row in rows.tolist()]
        columns = [example[column] for column in range(found.inputs) for example in inputs]
        assert rows_of(block) == columns
        assert block.labels.tolist() == labels[rows].tolist()
        longest = [max(len(ids) for ids, _ in example) for example in inputs]
        assert block.lengths.tolist() == longest and block.lengths.dtype == np.int64
        assert block.tokens.lengths.tolist() == [len(ids) for ids, _ in columns]


@pytest.fixture(scope="module", params=["right", "left"])
def pair_texts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    path = save_tiny_classifier(tmp_path_factory.mktemp("pairs"))
    write_json(
        path / "tokenizer_config.json",
        read_json(path / "tokenizer_config.json") | {"truncation_side": request.param},
    )
    return TextTokenizer(read_pair_folder(path).model, 12)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3).flatmap(lambda k: st.lists(st.lists(WORDS, min_size=k + 1, max_size=k + 1), min_size=1)),
    st.lists(st.integers(0, 99), max_size=4),
    st.lists(st.integers(0, 99), max_size=9),
    st.sampled_from(["", "the cat: "]),
)
def test_pairs_are_those_of_the_tokenizer(
    pair_texts: TextTokenizer, examples: list[list[str]], cuts: list[int], wanted: list[int], prompt: str
) -> None:
    tokenizer = PairTokenizer(pair_texts)

    def expected(example: Sequence[str]) -> list[Any]:
        first, *others = example
        return [(pair.ids, pair.types) for pair in pair_texts.encode_pairs([(prompt + first, o) for o in others])]

    # An empty part has examples of no shape of its own.
    width = len(examples[0])

    def make(part: Sequence[Sequence[str]], labels: np.ndarray) -> bytes:
        if not part:
            none = np.zeros(0, np.int32)
            return examples_bytes(
                tokenizer.tokenize([], [], none, none), np.zeros((0, width), np.int32), np.zeros((0, 2))
            )
        return pair_part(tokenizer, part, labels, prompt)

    check_any_cut(make, expected, examples, cuts, wanted)


@pytest.fixture(scope="module", params=["bert", "xlnet"])
def texts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    folder = save_tiny_model(tmp_path_factory.mktemp("texts"), architecture=request.param, max_seq_length=9)
    return TextTokenizer(read_model_folder(folder))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(WORDS, min_size=2, max_size=2), min_size=1),
    st.lists(st.integers(0, 99), max_size=4),
    st.lists(st.integers(0, 99), max_size=9),
    st.sampled_from(["", "the cat: "]),
)
def test_texts_are_those_of_the_tokenizer(
    texts: TextTokenizer, examples: list[list[str]], cuts: list[int], wanted: list[int], prompt: str
) -> None:
    def expected(example: Sequence[str]) -> list[Any]:
        tokens = texts.tokenize(list(example), prompt)
        types = tokens.type_ids if tokens.type_ids is not None else np.zeros_like(tokens.flat)
        bounds = np.cumsum(tokens.lengths)[:-1]
        pieces = np.split(tokens.flat, bounds), np.split(types, bounds)
        return [(ids.tolist(), kinds.tolist()) for ids, kinds in zip(*pieces, strict=True)]

    check_any_cut(functools.partial(text_part, texts, prompt=prompt), expected, examples, cuts, wanted)


def test_a_prompt_is_remembered(texts: TextTokenizer, tmp_path: Path) -> None:
    part = text_part(texts, [["hello", "the cat"]], np.zeros((1, 1)), "the cat: ")
    block = opened(tmp_path, [part]).take(np.array([0]))
    assert block.tokens.prompt_length == texts.tokenize(["a"], "the cat: ").prompt_length > 0


STUB_LABELS = np.float32([[0.5], [1.0]])
STUB = [["a", "bc"], ["d", "e"]]


def stub_part() -> bytes:
    return pair_part(StubPairTokenizer(), STUB, STUB_LABELS)


def test_parts_stay_on_disk(tmp_path: Path) -> None:
    """What is read of a part is the file itself, and no number of parts exhausts the files of a process."""
    before = len(os.listdir("/proc/self/fd"))
    examples = opened(tmp_path, [stub_part()] * 50)
    assert len(os.listdir("/proc/self/fd")) == before
    mapped = Path("/proc/self/maps").read_text()
    assert all(str(tmp_path / f"{number}.arrow") in mapped for number in range(50))
    part = ExamplePart(str(tmp_path / "0.arrow"))
    assert not part.texts.tokens.flags.owndata and not part.texts.tokens.flags.writeable
    assert rows_of(examples.take(np.array([99, 0])))[1][0] == [256, ord("a"), 257, *b"bc", 258]


def test_keys_tell_first_texts_apart(tmp_path: Path) -> None:
    kept = [[3, -(2**63)], [], [2**63 - 1, 3]]
    parts = [pair_part(StubPairTokenizer(), STUB[: len(keys)], STUB_LABELS[: len(keys)], keys=keys) for keys in kept]
    examples = opened(tmp_path, parts)
    assert examples.keys().tolist() == [3, -(2**63), 2**63 - 1, 3] and examples.keys().dtype == np.int64
    assert examples.mixed() == 1  # 3 has the labels 0.5 and 1
    assert len(opened(tmp_path, [text_part(StubTokenizer(), STUB, STUB_LABELS)]).keys()) == 0


@pytest.mark.parametrize(
    ("keys", "labels", "mixed"),
    [([], [], 0), ([1, 1], [1, 1], 0), ([1, 1], [0, 0], 0), ([2, 1, 2, 1, 3, 3], [1, 0, 0.5, 1, 0, 0], 2)],
)
def test_mixed_keys(keys: list[int], labels: list[float], mixed: int) -> None:
    assert count_mixed(np.array(keys, np.int64), np.float32(labels)) == mixed


def test_the_same_examples_make_the_same_bytes() -> None:
    assert stub_part() == stub_part()
    assert text_part(StubTokenizer(), STUB, STUB_LABELS) == text_part(StubTokenizer(), STUB, STUB_LABELS)


def test_numbers_that_are_not_there(tmp_path: Path) -> None:
    examples = opened(tmp_path, [stub_part()])
    for row in (-1, 2):
        with pytest.raises(IndexError, match="examples are 0 to 1"):
            examples.take(np.array([row]))
    nothing = examples.take(np.array([], np.int64))
    assert (len(nothing), nothing.lengths.tolist(), len(nothing.tokens)) == (0, [], 0)


def test_files_that_are_no_parts(tmp_path: Path) -> None:
    data = stub_part()
    for name, content in (("cut", data[:-20]), ("none", b""), ("text", b"hello " * 100)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: cannot be read"):
            Examples.open([str(tmp_path / name)], "")
    with pytest.raises(InputError, match="no such file"):
        Examples.open([str(tmp_path / "absent")], "")
    (tmp_path / "other").write_bytes(data.replace(b'"version": 2', b'"version": 7'))
    with pytest.raises(InputError, match="holds no examples that this release can read"):
        Examples.open([str(tmp_path / "other")], "")
    with pytest.raises(InputError, match=r"1\.arrow and .*0\.arrow hold examples of different kinds"):
        opened(tmp_path, [data, text_part(StubTokenizer(), STUB, STUB_LABELS)])


def test_remote_parts_are_fetched_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ST_RAY_CACHE", str(tmp_path))
    memory: Any = fsspec.filesystem("memory")
    urls = [f"memory://examples/data/part-{number}.arrow" for number in range(3)]
    for url in urls:
        memory.pipe_file(url, stub_part())
    memory.pipe_file(urls[1], stub_part()[:-20])
    with pytest.raises(InputError, match="cannot be read"):
        Examples.open(urls, "one")
    memory.pipe_file(urls[1], stub_part())
    fetched = Examples.open(urls, "one")
    memory.rm("examples", recursive=True)
    again = Examples.open(urls, "one")
    for examples in (fetched, again):
        assert rows_of(examples.take(np.arange(6))) == rows_of(fetched.take(np.array([0, 1] * 3)))
    with pytest.raises(InputError, match="no such file"):
        Examples.open(urls, "another")
