"""faiss, imported when it is first needed, and the layers that an index of its factory is made of."""

from __future__ import annotations

from typing import Any

from st_ray.core.errors import ResourceError


def load_faiss() -> Any:
    """The module. Raises ResourceError where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise ResourceError(
            f"an index needs faiss, which cannot be imported: {error}",
            "pip install 'st-ray[cpu]' (or 'st-ray[gpu]' on machines with NVIDIA GPUs)",
        ) from error
    return faiss


def layers(index: Any) -> list[Any]:
    """The index and what it wraps, outermost first: id map, vector transform, refinement, and what holds the codes.

    Each has its own class (faiss hands out inner ones as their base class), and lives no longer than `index`.
    """
    found: list[Any] = []
    inner: Any = index
    while inner is not None:
        found.append(downcast(inner))
        inner = getattr(found[-1], "index", None) or getattr(found[-1], "base_index", None)
    return found


def ivf_layer(index: Any) -> Any:
    """The layer of `index` that has inverted lists; None if there is none."""
    faiss = load_faiss()
    innermost = layers(index)[-1]
    return innermost if isinstance(innermost, (faiss.IndexIVF, faiss.IndexBinaryIVF)) else None


def is_binary(index: Any) -> bool:
    """Whether `index` holds bits, and compares them by their Hamming distance."""
    return isinstance(index, load_faiss().IndexBinary)


def downcast(index: Any) -> Any:
    """`index` with its own class."""
    faiss = load_faiss()
    return faiss.downcast_IndexBinary(index) if is_binary(index) else faiss.downcast_index(index)


def reason(error: BaseException) -> str:
    """What an exception of faiss says, without the C++ function, source line and condition it comes from."""
    said = str(error).rsplit(".cpp:", 1)[-1].partition(": ")[2]
    return said.partition("' failed: ")[2].strip() or said.strip() or str(error)
