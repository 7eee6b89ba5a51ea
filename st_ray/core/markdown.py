"""Texts that come from elsewhere, in Markdown: none of them is HTML, or ends a line or a table's cell."""

from __future__ import annotations


def plain(text: str) -> str:
    """As text on one line."""
    return _inline(text).replace("<", "&lt;")


def code(text: str) -> str:
    """As code on one line, also in a table."""
    return text and f"`{_inline(text).replace('`', chr(39))}`"


def _inline(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
