"""`--plan`: what a run would do, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from st_ray.core.errors import ConfigError, InputError
from st_ray.runtime.encode import plan as planning
from st_ray.runtime.encode.plan import plan_encode
from st_ray.runtime.encode.summary import plan_summary
from tests.ray.corpora import config_for, texts_of, write_jsonl
from tests.stubs import StubLoader

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PROBE_SECONDS", 0.5)


def planned(folder: Path, texts: list[Any], loader: StubLoader | None = None, **flags: Any) -> planning.EncodePlan:
    source = write_jsonl(folder / "c.jsonl", texts)
    return plan_encode(config_for(source, folder / "out", plan=True, **flags), loader or StubLoader())


def test_counts_and_nothing_written(tmp_path: Path) -> None:
    texts = texts_of(95)
    plan = planned(tmp_path, texts, actors="1:40", price_per_hour=2.0)
    assert (plan.rows, plan.shards, plan.actors, len(plan.probes)) == (95, 10, 10, 3)
    assert plan.tokens == sum(1 + len(text) for text in texts)
    assert plan.cost == pytest.approx(2.0 * 10 * plan.seconds / 3600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.jsonl"]
    shown = plan_summary(plan)
    assert "95 in 10 shards" in shown
    assert "cost" in shown


def test_a_slower_model_takes_longer(tmp_path: Path) -> None:
    texts = texts_of(50)
    fast = planned(tmp_path, texts)
    slow = planned(tmp_path, texts, StubLoader(seconds=1.0))
    assert slow.rate < fast.rate / 10
    # Each probe call takes a second, whatever it holds; a run's estimate is tokens by rate.
    assert slow.seconds == pytest.approx(slow.tokens / slow.rate * 1.05, abs=1.0)


def test_a_sample_stands_for_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "SAMPLE_TEXTS", 200)
    texts = texts_of(4000)
    plan = planned(tmp_path, texts, shard_rows=1000)
    assert len(plan.lengths) == 200
    assert plan.tokens == pytest.approx(sum(1 + len(text) for text in texts), rel=0.15)


def test_mistakes_show_as_in_the_job(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rows that cannot be used: 1"):
        planned(tmp_path, ["a", None])
    assert planned(tmp_path, ["a", None], on_bad_row="skip").bad_rows == 1
    with pytest.raises(ConfigError, match="--price-per-hour"):
        planned(tmp_path, ["a"], price_per_hour=-1.0)
