"""What of a stage needs no Ray."""

from __future__ import annotations

import pytest

from st_ray.runtime.stage import block_count


@pytest.mark.parametrize(
    ("shards", "rows", "blocks"),
    [
        (1, 4, 1),
        (300, 4, 300),
        (512, 1, 512),
        (20_000, 4, 512),
        (200_000, 4, 3125),
        (20_000, 50_000, 20_000),
        (9, 0, 9),
    ],
)
def test_small_shards_share_blocks_where_there_are_many(shards: int, rows: int, blocks: int) -> None:
    assert block_count([rows] * shards) == blocks
