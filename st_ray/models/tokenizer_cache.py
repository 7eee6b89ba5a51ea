"""Built tokenizers, kept on this machine: the next process has one at once, and without the transformers library."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

from st_ray.models.cache import CacheError, cached_folder
from st_ray.models.folder import ModelFolder
from st_ray.models.tokenizer import TextTokenizer

_FILE = "tokenizer.json"
_RECIPE = 2
"""Number of this way of building and writing; part of a kept tokenizer's key."""


def cached_tokenizer(
    folder: ModelFolder, digest: str, max_seq_length: int | None, trust_remote_code: bool
) -> TextTokenizer:
    """The tokenizer of `folder`, from the cache, or built now; see `TextTokenizer`.

    Args:
        digest: of the folder's content.
    """
    versions = [importlib.metadata.version(package) for package in ("tokenizers", "transformers")]
    key = [digest, str(max_seq_length), str(trust_remote_code), str(_RECIPE), *versions]
    name = hashlib.sha256("\0".join(key).encode()).hexdigest()[:32]
    built: list[TextTokenizer] = []

    def make(target: Path) -> None:
        built.append(TextTokenizer(folder, max_seq_length, trust_remote_code))
        text = built[0].to_json()
        if text is not None:
            (target / _FILE).write_text(text, encoding="utf-8")

    try:
        file = cached_folder("tokenizers", name, make) / _FILE
    except CacheError:
        file = None  # it only saves time
    if built:
        return built[0]
    if file is not None and file.exists():
        return TextTokenizer.from_json(file.read_text(encoding="utf-8"))
    # Written in Python, it cannot be kept; or there is nowhere to keep it.
    return TextTokenizer(folder, max_seq_length, trust_remote_code)
