"""What errors show."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from st_ray.core.errors import InputError, StoreError, masked

# What else a URL has to spell with %.
PASSWORDS = st.text(st.characters(codec="utf-8", exclude_characters="/?#'\"<>", exclude_categories=["Z", "C"]))


@given(PASSWORDS, st.sampled_from(["http", "https", "s3", "socks5h"]))
def test_no_password_of_a_url_is_shown(password: str, scheme: str) -> None:
    secret = f"~{password}~"
    error = StoreError(f'cannot reach "{scheme}://me:{secret}@host:9000/bucket?list", try {scheme}://me:{secret}@other')
    for shown in (str(error), repr(error), error.message, str(pickle.loads(pickle.dumps(error)))):
        assert secret not in shown
        assert f'"{scheme}://***@host:9000/bucket?list"' in shown.replace("\\", "")
        assert f"{scheme}://***@other" in shown
    assert secret not in str(InputError("wrong", f"check {scheme}://{secret}@host"))


@pytest.mark.parametrize(
    "text",
    ["s3://bucket/a@b.jsonl", "http://host?to=me@here", "me@here", "'s3://a' or 'b@c'", "s3://a b@c", "arn:aws:s3:a@b"],
)
def test_what_is_no_password_stays(text: str) -> None:
    assert masked(text) == text
