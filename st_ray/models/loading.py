"""What is loaded by one thread of a process at a time."""

from __future__ import annotations

import threading

LOADING = threading.RLock()
"""Held while a model, or a tokenizer of the transformers library, is loaded.

That library imports its parts when they are asked for; of two threads that ask at once, one may find a part half made.
"""
