"""Work shared out among threads, item by item."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")


def share_out(
    items: Generator[Item, None, None],
    workers: Sequence[Callable[[Item], None]],
    on_done: Callable[[Item], None] = lambda _: None,
) -> None:
    """Give each item to a worker that has none. Every worker has a thread of its own, a single one the caller's.

    Where one raises, or the caller is interrupted, the others end with the item that they have.

    Args:
        items: made when they are wanted, by one thread at a time.
        workers: at least one; best such as wait outside of Python.
        on_done: called after each item, by one thread at a time.
    """
    lock = threading.Lock()

    def work(worker: Callable[[Item], None]) -> None:
        while True:
            with lock:
                item = next(items, None)
            if item is None:
                return
            worker(item)
            with lock:
                on_done(item)

    if len(workers) == 1:
        work(workers[0])
        return
    with ThreadPoolExecutor(len(workers)) as pool:
        at_work = [pool.submit(work, worker) for worker in workers]
        try:
            ended, _ = wait(at_work, return_when=FIRST_EXCEPTION)
        finally:
            with lock:
                items.close()
    for future in ended:
        future.result()
