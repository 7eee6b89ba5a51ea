"""What a result says of how its texts were read: outputs made before there were value columns must still resume."""

from __future__ import annotations

from st_ray.runtime.corpus import reading_lineage
from st_ray.store.lineage import lineage_digest
from st_ray.store.readers import ReadSpec, ValueColumn

BEFORE = {"id_column": "id", "text_columns": ["a", "b"], "columns": [], "quotes": True, "on_bad_row": "skip"}


def test_values_are_named_where_there_are_any() -> None:
    plain = ReadSpec("id", ("a", "b"))
    assert reading_lineage(plain, "skip") == BEFORE
    values = (ValueColumn("c", "text"), ValueColumn("label", "class", 3))
    lineage = reading_lineage(ReadSpec("id", ("a", "b"), values=values), "skip")
    assert lineage == {**BEFORE, "values": [["c", "text", None], ["label", "class", 3]]}
    assert lineage_digest(lineage) != lineage_digest(BEFORE)
