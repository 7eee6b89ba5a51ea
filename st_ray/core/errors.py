"""The one exception family of the project: what is wrong, where, and what to do about it."""

from __future__ import annotations

import re

_USER = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/?#'\"<>]*@", re.IGNORECASE)
"""Who a URL says to be, with the password."""


class StRayError(Exception):
    """An error a user can act on.

    Causes may quote what was set for an endpoint or a proxy: a password in a URL is not repeated.

    Args:
        message: what was found, where (file, row, flag), and what was expected.
        remedy: what to do now; one imperative sentence, or empty.

    Attributes:
        details: a traceback from the place it happened, shown with `--debug` only.
    """

    details: str = ""

    def __init__(self, message: str, remedy: str = "") -> None:
        message, remedy = masked(message), masked(remedy)
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  -> {self.remedy}" if self.remedy else self.message


class ConfigError(StRayError):
    """A flag or a key of the job's configuration cannot be honoured."""


class InputError(StRayError):
    """The input data is missing, unreadable or not what was described."""


class ModelError(StRayError):
    """A model folder is missing, damaged or holds something that is not supported."""


class OutputError(StRayError):
    """The output folder cannot be used: foreign, locked, or made by a different run."""


class StoreError(StRayError):
    """An object store refuses, or does not answer, however often it is asked."""


class ResourceError(StRayError):
    """The machine or the cluster lacks what the job asked for."""


class ShardError(StRayError):
    """One shard of work failed; the message names it."""


class LostError(ShardError):
    """Processes or machines were lost that had a share in some work; it can be done again as it is."""


def masked(text: str) -> str:
    """The text, with `***` for the user and the password in any URL, `http://***@host`."""
    return _USER.sub(r"\1***@", text)


def reason_of(error: BaseException) -> str:
    """The first line of what an error of some library says."""
    return (str(error).strip() or repr(error)).splitlines()[0]
