"""A bar over texts or pairs, for the in-memory API."""

from __future__ import annotations


class ProgressBar:
    """A bar on standard error, or nothing."""

    def __init__(self, total: int, unit: str, shown: bool) -> None:
        from huggingface_hub.utils import tqdm

        self._bar = tqdm(total=total, unit=unit, disable=not shown)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def update(self, rows: int, tokens: int = 0, places: int = 0) -> None:
        """`rows` more are done."""
        self._bar.update(rows)
