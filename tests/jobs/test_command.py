"""The command line that a report gives for a config is that config's, for every job."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
import types
import typing
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from jobs._cli import parse
from st_ray.core.errors import ConfigError
from st_ray.runtime.config import Names
from st_ray.runtime.report.command import command_of, job_of
from tests.conftest import ROOT

JOBS = sorted(path.stem for path in (ROOT / "jobs").glob("*.py") if path.stem[0] != "_" and path.stem != "status")
NEEDED: dict[str, dict[str, Any]] = {
    "evaluate_cross_encoder": {"data": ("d",), "cross_encoder": "c", "text_columns": Names("ab")},
    "evaluate_similarity": {"data": ("d",), "text_columns": Names("ab")},
    "fuse": {"hits": ("a", "b")},
    "mine_paraphrases": {"embeddings": "e"},
    "search": {"embeddings": "e"},
    "train_bi_encoder": {},
    "train_cross_encoder": {},
}
"""Flags that a job cannot do without, though they have defaults."""

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
    lambda text: text not in ("None", "--config") and not text.startswith("--config=")
)


def config_type(job: str) -> type[Any]:
    module = importlib.import_module(f"jobs.{job}")
    (found,) = (value for name, value in vars(module).items() if name.endswith("Config"))
    return found


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a flag's type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return st.one_of(*map(values_of, typing.get_args(hint)))
    if typing.get_origin(hint) is Literal:
        return st.sampled_from(typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        # Only the first of several words can be told from a flag.
        return (
            st.lists(values_of(typing.get_args(hint)[0]), min_size=1, max_size=3)
            .map(tuple)
            .filter(lambda found: not any(str(one).startswith("-") for one in found[1:]))
        )
    name = st.text(st.characters(exclude_categories=["Cs", "Z", "C"], exclude_characters=",\0"), min_size=1)
    return {
        type(None): st.none(),
        bool: st.booleans(),
        int: st.integers(-3, 10**6),
        float: st.floats(-2, 1e3),
        str: words,
        Names: st.lists(name, min_size=1, max_size=3).map(Names),
    }[hint]


@st.composite
def configs(draw: st.DrawFn) -> Any:
    job = draw(st.sampled_from(JOBS))
    kind = config_type(job)
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    changed = draw(st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True))
    needed = NEEDED.get(job, {})
    asked = {name for name in [*required, *changed] if name not in needed}
    try:
        return kind(**needed, **{name: draw(values_of(hints[name]), label=name) for name in sorted(asked)})
    except ConfigError:
        reject()


@given(configs())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
def test_the_command_gives_the_config(config: Any) -> None:
    python, how, module, *arguments = shlex.split(command_of(config))
    assert (python, how, module) == ("python", "-m", f"jobs.{job_of(type(config))}")
    found = parse(type(config), arguments)
    assert dataclasses.asdict(found) == dataclasses.asdict(config)


@pytest.mark.parametrize("job", JOBS)
def test_configs_are_called_as_their_jobs(job: str) -> None:
    assert job_of(config_type(job)) == job


def test_defaults_are_left_out() -> None:
    kind = config_type("encode")
    config = kind(input=("a b", "c"), model="m", output="s3://b/o", quotes=False, prompt="- q", columns=Names("xy"))
    assert command_of(config) == (
        "python -m jobs.encode --output s3://b/o --input 'a b' c --model m '--prompt=- q' --columns x,y --no-quotes"
    )
