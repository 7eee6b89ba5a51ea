"""Whether queries and a corpus may be compared: both of one model, alike in what changes an embedding."""

from __future__ import annotations

from st_ray.core.errors import InputError
from st_ray.scoring.vectors import StoredVectors


def check_comparable(
    queries: StoredVectors, corpus: StoredVectors, similarity: str, sides: tuple[str, str] = ("queries", "corpus")
) -> None:
    """Raise InputError, naming what differs, unless embeddings of the one mean something beside those of the other.

    Prompts, stored precision and arithmetic may differ. Whether embeddings are normalised does not matter for cosine.

    Args:
        sides: what the one and the other are called in the message.
    """
    first, second = sides
    differences = []
    if queries.dimension != corpus.dimension:
        differences.append(f"dimension: {queries.dimension} of the {first}, {corpus.dimension} of the {second}")
    parts = ["model", "truncate_dim", *([] if similarity == "cosine" else ["normalize"])]
    for part in parts:
        one, other = queries.lineage.get(part), corpus.lineage.get(part)
        if part in queries.lineage and part in corpus.lineage and one != other:
            differences.append(f"{part}: {one!r} of the {first}, {other!r} of the {second}")
    if differences:
        raise InputError(
            f"the {first} in {queries.folder} cannot be compared with the {second} in {corpus.folder}:\n     "
            + "\n     ".join(differences),
            "encode both with the same model and settings",
        )
    if queries.is_binary and not corpus.is_binary:
        raise InputError(
            f"{queries.folder} holds bits, {corpus.folder} does not", "encode the queries with --precision float32"
        )
