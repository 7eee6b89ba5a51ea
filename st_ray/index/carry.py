"""Codes of vectors, taken out of one index and put into another of the same training: nothing is coded again."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from st_ray.index.files import index_from_bytes
from st_ray.index.library import is_binary, ivf_layer, layers, load_faiss


@dataclass(frozen=True)
class Coded:
    """n vectors as an index keeps them.

    Attributes:
        ids: int64 `[n]`.
        lists: the inverted list of each, int64 `[n]`; 0 where there are none.
        codes: uint8 `[n, bytes of a code]`.
    """

    ids: np.ndarray
    lists: np.ndarray
    codes: np.ndarray

    def renamed(self, old: np.ndarray, new: np.ndarray) -> Coded:
        """The vectors with the ids `old`, each as often as it stands there, under the ids `new`; both int64 `[m]`.

        Raises:
            KeyError: there is no vector with one of these ids.
        """
        order = np.argsort(self.ids, kind="stable")
        at = np.searchsorted(self.ids[order], old)
        rows = order[np.minimum(at, len(order) - 1)] if len(order) else np.empty(0, np.int64)
        if len(rows) != len(old) or (self.ids[rows] != old).any():
            raise KeyError("an id is not among those of the index")
        return Coded(new, self.lists[rows], self.codes[rows])


def take_codes(index: Any) -> Coded:
    """The vectors of an index whose traits say `carries_codes`, in no order; a copy of all its codes."""
    faiss = load_faiss()
    ivf = ivf_layer(index)
    if ivf is None:
        codes = faiss.vector_to_array(_flat_codes(index)).reshape(index.ntotal, layers(index)[-1].code_size)
        return Coded(faiss.vector_to_array(index.id_map), np.zeros(index.ntotal, np.int64), codes)
    inverted = ivf.invlists
    sizes = np.array([inverted.list_size(number) for number in range(ivf.nlist)], np.int64)
    ids, codes = np.empty(sizes.sum(), np.int64), np.empty((sizes.sum(), ivf.code_size), np.uint8)
    first = 0
    for number in np.flatnonzero(sizes).tolist():
        size = int(sizes[number])
        ids[first : first + size] = faiss.rev_swig_ptr(inverted.get_ids(number), size)
        listed = faiss.rev_swig_ptr(inverted.get_codes(number), size * ivf.code_size)
        codes[first : first + size] = listed.reshape(size, -1)
        first += size
    return Coded(ids, np.repeat(np.arange(ivf.nlist), sizes), codes)


def put_codes(trained: bytes, pieces: Sequence[Coded]) -> Any:
    """A copy of the empty index `trained` with the vectors of all pieces, in the order of their ids.

    That is, to the byte, the index that `fill` makes of the same vectors.

    Args:
        trained: `index_bytes` of what the codes were made with; its traits say `carries_codes`.
        pieces: one at least; memory is theirs twice.
    """
    faiss = load_faiss()
    index = index_from_bytes(trained, "the trained index")
    ids, lists = (np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("ids", "lists"))
    order = np.lexsort((ids, lists))
    ids, lists, codes = ids[order], lists[order], _gathered(pieces, order)
    ivf = ivf_layer(index)
    if ivf is None:
        faiss.copy_array_to_vector(ids, index.id_map)
        faiss.copy_array_to_vector(codes.reshape(-1), _flat_codes(index))
    else:
        bounds = np.searchsorted(lists, np.arange(ivf.nlist + 1)).tolist()
        for number, (low, high) in enumerate(itertools.pairwise(bounds)):
            if low < high:
                listed = faiss.swig_ptr(ids[low:high]), faiss.swig_ptr(codes[low:high])
                ivf.invlists.add_entries(number, high - low, *listed)
    for layer in layers(index):
        layer.ntotal = len(ids)
    return index


def _gathered(pieces: Sequence[Coded], order: np.ndarray) -> np.ndarray:
    """The codes of all pieces in that order, without a copy of them in their own."""
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    codes, first = np.empty((len(order), pieces[0].codes.shape[1]), np.uint8), 0
    for piece in pieces:
        codes[places[first : first + len(piece.ids)]] = piece.codes
        first += len(piece.ids)
    return codes


def _flat_codes(index: Any) -> Any:
    """The vector of bytes in which an index without inverted lists keeps its codes."""
    stored = layers(index)[-1]
    return stored.xb if is_binary(index) else stored.codes
