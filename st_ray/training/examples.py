"""Tokenized examples on storage: any of them at once, by their numbers, as the inputs of a network."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from st_ray.core.errors import InputError
from st_ray.models.batching import Tokens
from st_ray.models.cache import held_folder
from st_ray.store.fs import is_local, open_fs
from st_ray.store.readers.files import reading
from st_ray.training.example_part import ExamplePart, Texts, inputs_of, joined_texts


@dataclass(frozen=True)
class Block:
    """n examples in memory.

    Attributes:
        tokens: n * k inputs, column after column: input j of example i is row `j * n + i`.
        labels: float32 `[n, m]`.
        inputs: of an example, k.
    """

    tokens: Tokens
    labels: np.ndarray
    inputs: int

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of the longest input of each example, int64 `[n]`."""
        columns = self.tokens.lengths.reshape(self.inputs, len(self.labels))
        return columns.max(axis=0).astype(np.int64)


class Examples:
    """All parts of a folder of examples, which are numbered through. They stay on disk; see `ExamplePart`.

    Attributes:
        inputs: of an example, k.
        labels: of an example, m.
    """

    def __init__(self, parts: Sequence[ExamplePart]) -> None:
        """Those in `parts`, at least one, which have the same shape."""
        self._parts = parts
        self._shape = parts[0].shape
        # Where each part begins; of parts that begin at the same example, all but the last are empty.
        self._firsts = np.cumsum([0, *map(len, parts)])
        self.inputs = self._shape.inputs
        self.labels = self._shape.labels

    @classmethod
    def open(cls, urls: Sequence[str], digest: str) -> Examples:
        """Those in the files at `urls`, in this order.

        Local files are mapped where they lie. Others are fetched into this machine's cache, once for all processes.

        Args:
            digest: of the content of all files: the name of their copy.

        Raises:
            InputError: a file is missing, damaged or of another kind, or they do not belong together.
        """
        parts = [ExamplePart(path) for path in _local_paths(urls, digest)]
        for url, part in zip(urls, parts, strict=True):
            if part.shape != parts[0].shape:
                raise InputError(
                    f"{url} and {urls[0]} hold examples of different kinds", "prepare all examples in one run"
                )
        return cls(parts)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def take(self, rows: np.ndarray) -> Block:
        """The examples of these numbers, int `[n]`, in this order. Memory: their own tokens, a few times over.

        Raises:
            IndexError: there is no example of such a number.
        """
        rows = np.asarray(rows, np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"examples are 0 to {len(self) - 1}; asked for {rows.min()} to {rows.max()}")
        members = np.empty((len(rows), self._shape.members), np.int64)
        labels = np.empty((len(rows), self.labels), np.float32)
        pieces: list[Texts] = []
        seen = 0
        for number, here in self._by_part(rows):
            part, own = self._parts[number], rows[here] - self._firsts[number]
            wanted, which = np.unique(part.members[own], return_inverse=True)
            members[here] = which.reshape(len(here), -1) + seen
            labels[here] = part.labels[own]
            pieces.append(part.texts.take(wanted))
            seen += len(wanted)
        texts = joined_texts(pieces, self._shape.typed)
        return Block(inputs_of(texts, members, self._shape), labels, self.inputs)

    def keys(self) -> np.ndarray:
        """Of all examples, int64 `[n]`: equal where the first texts are; `[0]` where inputs are single texts."""
        return np.concatenate([part.keys for part in self._parts])

    def mixed(self) -> int:
        """How many first texts have examples of label 1 and others; no text is read for it."""
        return count_mixed(self.keys(), np.concatenate([part.labels[:, 0] for part in self._parts]))

    def _by_part(self, rows: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Number of each part that any of the rows is in, and their places in `rows`."""
        part_of = np.searchsorted(self._firsts, rows, side="right") - 1
        order = np.argsort(part_of, kind="stable")
        numbers, starts = np.unique(part_of[order], return_index=True)
        return list(zip(numbers.tolist(), np.split(order, starts[1:]), strict=False))


def count_mixed(keys: np.ndarray, labels: np.ndarray) -> int:
    """How many keys, of int64 `[n]`, have labels, of `[n]`, that are 1 and others that are not."""
    relevant = labels == 1
    return len(np.intersect1d(keys[relevant], keys[~relevant]))


def _local_paths(urls: Sequence[str], digest: str) -> list[str]:
    """Where the files lie on this machine; those that are elsewhere are fetched, to stay while this process lives."""
    filesystem, _ = open_fs(urls[0])
    paths = [open_fs(url)[1] for url in urls]
    if is_local(filesystem):
        return paths
    names = [f"{number:05d}.arrow" for number in range(len(urls))]

    def fetch(target: Path) -> None:
        copies = [str(target / name) for name in names]
        with reading(posixpath.dirname(urls[0])):
            filesystem.get(paths, copies)
        for copy in copies:
            ExamplePart(copy)  # what was cut short must not stay in the cache

    folder = held_folder("examples", digest, fetch)
    return [str(folder / name) for name in names]
