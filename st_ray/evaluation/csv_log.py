"""The CSV files of evaluators: a row an evaluation, under a header that is written once."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def append_row(folder: str | Path, name: str, header: Sequence[str], row: Sequence[Any]) -> None:
    """Append to the file `name` of `folder`, which is made where there is none; lines end as RFC 4180 has it."""
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(header)
        writer.writerow(row)
