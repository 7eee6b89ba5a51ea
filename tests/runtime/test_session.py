"""Signals stop a job, also where a library swallows what their handler raises."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from st_ray.runtime.session import Stopped, raise_if_stopped, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_swallowed_signal_is_raised_again(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals():
        raise_if_stopped()
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), number)
        with pytest.raises(Stopped):
            raise_if_stopped()
    assert signal.getsignal(number) is before
    raise_if_stopped()


def test_an_inner_stop_does_not_linger() -> None:
    with stop_on_signals():
        with stop_on_signals(), contextlib.suppress(Stopped):
            os.kill(os.getpid(), signal.SIGTERM)
        raise_if_stopped()
