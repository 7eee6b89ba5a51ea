"""Examples by id on a real Ray: many tasks of MS MARCO's formats, cut short and resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from st_ray.core.errors import InputError
from st_ray.runtime.session import data_context
from st_ray.runtime.training.ids.prepare import NO_DOCUMENT
from st_ray.runtime.training.ids.recipe import id_recipe
from tests.runtime.test_id_rows import Case, Sizes, expected, together

pytestmark = pytest.mark.usefixtures("local_ray")


def test_many_tasks_resumed_and_bad_ids(tmp_path: Path) -> None:
    data_context()
    queries = {str(number): f"query {number}" for number in range(20)}
    corpus = {str(number * 3): f"text {number}" for number in range(50)}
    rows = [(n / 4, -n / 8, n % 20, 3 * (7 * n % 50), 3 * (11 * n % 50) if n != 30 else "nowhere") for n in range(45)]
    sizes = Sizes(files=3, zipped=True, shard_examples=10, text_shard_rows=7, bucket_rows=40, text_rows=9)
    case = Case(id_recipe("teacher", "margin-mse", label_scale=2.0), rows, queries, corpus, "fail", sizes)
    with pytest.raises(InputError, match=r"data-2\.tsv\.gz, row 1: document 'nowhere' has no text"):
        case.prepare(tmp_path)
    case = Case(case.recipe, rows, queries, corpus, "skip", sizes)
    first = case.prepare(tmp_path)
    assert together(first) == expected(case) and len(first.tasks) == 5
    assert first.dropped == {NO_DOCUMENT: 1} and len(together(first)) == 44
    folder = tmp_path / "ids"
    parts = {path: path.read_bytes() for path in folder.glob("*/data/*")}
    assert len(parts) > 15
    for gone in ("manifest.json", "plan.json", "commits/part-00001.json", "data/part-00003.parquet"):
        (folder / "texts" / gone).unlink()
    assert case.prepare(tmp_path) == first
    assert {path: path.read_bytes() for path in folder.glob("*/data/*")} == parts
