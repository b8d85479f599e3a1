"""Patterns of routing keys, as a topic exchange reads them: `*` a word, `#` any number."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_WORD = r"[^.]*"


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return what says whether a key matches one of the patterns."""
    either = "|".join(f"(?:{_expression(pattern)})" for pattern in patterns)
    found = re.compile(either, re.DOTALL)
    # Each word of a key is followed by a dot here, so that any number of them is easy to say.
    return lambda key: found.fullmatch(f"{key}.") is not None


def _expression(pattern: str) -> str:
    words = {"*": rf"{_WORD}\.", "#": rf"(?:{_WORD}\.)*"}
    return "".join(words.get(word, rf"{re.escape(word)}\.") for word in pattern.split("."))
