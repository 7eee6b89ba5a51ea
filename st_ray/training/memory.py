"""Memory that a step has freed stays with the process, for the next step to use."""

from __future__ import annotations

import ctypes

# From malloc.h.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory; whether it could be told.

    Training on a CPU frees and allocates the same large arrays in each step. By default glibc hands them back to the
    system, which then clears every page anew: a seventh to a quarter of a step. For a process that does nothing but
    train: it holds on to the most memory that it ever had.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return False
    return bool(set_option(_MMAP_MAX, 0) and set_option(_TRIM_THRESHOLD, 2**31 - 1))
