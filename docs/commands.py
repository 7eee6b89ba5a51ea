"""The commands of a shell block, read without running them: which jobs they start, with which flags."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator

_HEREDOC = re.compile(r"<<'?(\w+)'?(.*?)\n.*?^\1$", re.DOTALL | re.MULTILINE)
_SUBSTITUTION = re.compile(r"\$\([^)]*\)")
_OPERATORS = frozenset("();<>|&")


def commands_of(script: str) -> list[list[str]]:
    """The words of each command; what heredocs hold is left out, and each `$(...)` is a word of its own."""
    numbers = itertools.count(1)
    script = _SUBSTITUTION.sub(lambda _: f"substituted-{next(numbers)}", _HEREDOC.sub(r"\2", script))
    commands: list[list[str]] = []
    for words in _lines(script.replace("\\\n", " ")):
        command: list[str] = []
        for word in [*words, ";"]:
            if not _OPERATORS.issuperset(word):
                command.append(word)
            elif command:
                commands.append(command)
                command = []
    return commands


def module_of(command: list[str]) -> tuple[str, list[str]] | None:
    """The module that a command runs with `-m`, and its arguments; None where it runs none."""
    if "-m" not in command[:-1]:
        return None
    at = command.index("-m") + 1
    return command[at], command[at + 1 :]


def _lines(script: str) -> Iterator[list[str]]:
    """The words of each line; a quoted text may go on in the next."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        lexer = shlex.shlex(pending, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:
            continue
        yield words
        pending = ""
    if pending:
        raise ValueError(f"a quote is not closed: {pending}")
