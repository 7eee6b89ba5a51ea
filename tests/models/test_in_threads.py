"""Items that threads share out among themselves."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from st_ray.models.in_threads import share_out


def numbers(count: int) -> Generator[int, None, None]:
    yield from range(count)


@pytest.mark.parametrize("workers", [1, 3])
def test_each_item_is_done_once_and_told_of(workers: int) -> None:
    done: list[list[int]] = [[] for _ in range(workers)]
    told: list[int] = []
    share_out(numbers(100), [each.append for each in done], told.append)
    assert sorted(number for each in done for number in each) == list(range(100))
    assert sorted(told) == list(range(100))


def test_one_worker_works_in_the_thread_of_the_caller() -> None:
    threads: set[int] = set()
    share_out(numbers(3), [lambda _: threads.add(threading.get_ident())])
    assert threads == {threading.get_ident()}


def test_workers_are_at_work_at_once() -> None:
    together = threading.Barrier(3, timeout=30)  # each item waits for two others

    def meet(_: int) -> None:
        together.wait()

    share_out(numbers(3), [meet] * 3)


def test_an_error_ends_the_others_and_is_raised() -> None:
    failed = threading.Event()

    def fail(_: int) -> None:
        failed.set()
        raise ValueError("no room")

    def wait(_: int) -> None:
        failed.wait(30)

    with pytest.raises(ValueError, match="no room"):
        share_out(numbers(10**9), [fail, wait, wait])  # which would take an hour


def test_an_error_of_what_makes_the_items_is_raised() -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        share_out(broken(), [lambda _: None] * 2)
