"""`--reuse`: the same store as a full run makes, for the price of what is new."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.encode.job import encode
from st_ray.search.drift import DriftSettings, drift
from st_ray.store.embeddings import embedding_array
from st_ray.store.reuse import made_by
from tests.ray.corpora import assert_holds, config_for, part_bytes_of, table_of, texts_of, write_jsonl
from tests.stubs import StubLoader

pytestmark = pytest.mark.usefixtures("local_ray")


def changed(texts: list[str]) -> list[str]:
    """Some changed, some new, some gone, the rest in another order."""
    rng = random.Random(3)
    kept = [text for number, text in enumerate(texts) if number % 10]
    rng.shuffle(kept)
    return [*kept[:20], "quite new", *kept[20:], kept[0], "new again", "quite new"]


def encoded(folder: Path, texts: list[str], name: str, loader: Any = None, **changes: Any) -> Any:
    source = write_jsonl(folder / f"{name}.jsonl", texts)
    return encode(config_for(source, folder / name, **changes), loader or StubLoader())


@pytest.mark.parametrize("bucket_rows", [4_000_000, 15])
def test_the_result_is_that_of_a_full_run(bucket_rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("st_ray.runtime.matching.BUCKET_ROWS", bucket_rows)
    before, after = texts_of(60), changed(texts_of(60))
    old = encoded(tmp_path, before, "old", shard_rows=13)
    encoded(tmp_path, after, "full")
    result = encoded(tmp_path, after, "out", reuse=str(tmp_path / "old"))
    assert_holds(tmp_path / "out", after)
    assert part_bytes_of(tmp_path / "out") == part_bytes_of(tmp_path / "full")
    run = result.manifest.run
    assert (run["rows"], run["reused"], run["gone"], run["repeated_texts"]) == (len(after), 55, 6, 0)
    assert sum(entry.figures["reused"] for entry in result.manifest.entries) == 55
    assert not (tmp_path / "out" / "staging").exists()
    assert made_by(old.manifest.lineage) == made_by(result.manifest.lineage)
    assert {"model", "prompt", "precision", "dtype"} <= set(made_by(old.manifest.lineage))


def test_nothing_and_everything(tmp_path: Path) -> None:
    texts = texts_of(25)
    encoded(tmp_path, texts, "old")
    for name, now, reused in (("same", texts, 25), ("other", [f"other {text}" for text in texts], 0)):
        run = encoded(tmp_path, now, name, reuse=str(tmp_path / "old")).manifest.run
        assert_holds(tmp_path / name, now)
        assert (run["reused"], run["gone"], run["tokens"] == 0) == (reused, 25 - reused, reused == 25)
        found = drift(str(tmp_path / "old"), str(tmp_path / name), DriftSettings())
        assert (found.unchanged, found.added, found.gone, found.switch.rows) == (reused, 25 - reused, 25 - reused, 0)
        if found.movement is not None and found.overlap is not None:
            assert (found.movement.identical, found.movement.max_difference, found.overlap.mean) == (25, 0.0, 1.0)


def test_it_goes_on_where_it_was_cut_short(tmp_path: Path) -> None:
    before, after = texts_of(60), changed(texts_of(60))
    encoded(tmp_path, before, "old")
    encoded(tmp_path, after, "out", reuse=str(tmp_path / "old"))
    whole = part_bytes_of(tmp_path / "out")
    for gone in ("manifest.json", "commits/part-00001.json", "data/part-00004.parquet"):
        (tmp_path / "out" / gone).unlink()
    run = encoded(tmp_path, after, "out", reuse=str(tmp_path / "old")).manifest.run
    assert part_bytes_of(tmp_path / "out") == whole
    assert (run["shards_done_before"], run["rows"], run["gone"]) == (4, 20, None)
    (tmp_path / "out" / "manifest.json").unlink()
    run = encoded(tmp_path, after, "out", reuse=str(tmp_path / "old")).manifest.run
    assert (run["shards_done_before"], run["rows"], run["reused"]) == (6, 0, 0)


def test_bad_rows_do_not_shift_the_others(tmp_path: Path) -> None:
    before = texts_of(30)
    after: list[Any] = [*before[:7], None, *before[7:20], 5, "new", *before[20:]]
    encoded(tmp_path, before, "old")
    result = encoded(tmp_path, after, "out", reuse=str(tmp_path / "old"), on_bad_row="skip")
    good = [text for text in after if isinstance(text, str)]
    found = embedding_array(table_of(tmp_path / "out")["embedding"])
    encoded(tmp_path, good, "full")
    np.testing.assert_array_equal(found, embedding_array(table_of(tmp_path / "full")["embedding"]))
    assert (result.manifest.run["reused"], sum(result.manifest.dropped.values())) == (30, 2)


@pytest.mark.parametrize("precision", ["int8", "binary", "float16"])
def test_stored_bits_are_copied_and_new_ones_share_their_ranges(precision: str, tmp_path: Path) -> None:
    before = texts_of(40)
    old = encoded(tmp_path, before, "old", precision=precision).manifest
    after = ["new and much longer than the others " * 5, *before[5:]]
    new = encoded(tmp_path, after, "out", precision=precision, reuse=str(tmp_path / "old")).manifest
    assert new.about["ranges"] == old.about["ranges"]
    found, known = (embedding_array(table_of(tmp_path / name)["embedding"]) for name in ("out", "old"))
    assert found.dtype == known.dtype
    np.testing.assert_array_equal(found[1:], known[5:])


def test_what_cannot_be_reused_is_refused(tmp_path: Path) -> None:
    texts = texts_of(20)
    encoded(tmp_path, texts, "old")
    old = str(tmp_path / "old")
    for changes, loader, part in (
        ({"prompt": "query: "}, None, "prompt: '' before, 'query: ' now"),
        ({"precision": "int8"}, None, "precision: 'float32' before, 'int8' now"),
        ({}, StubLoader(dimension=4), "model: "),
    ):
        with pytest.raises(InputError, match=rf"made in another way:\n +{part}[\s\S]*leave out --reuse"):
            encoded(tmp_path, texts, "out", loader, reuse=old, **changes)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"nowhere has no manifest\.json"):
        encoded(tmp_path, texts, "out", reuse=str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="names the output itself"):
        encoded(tmp_path, texts, "old", reuse=old)


def test_a_damaged_old_part_is_named(tmp_path: Path) -> None:
    texts = texts_of(40)
    encoded(tmp_path, texts, "old")
    part = tmp_path / "old" / "data" / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:200])
    with pytest.raises(InputError, match=r"cannot read .*part-00002\.parquet"):
        encoded(tmp_path, [*texts, "new"], "out", reuse=str(tmp_path / "old"))
