"""How long to wait before each next try: exponential, with full jitter.

Full jitter draws each delay evenly between zero and a ceiling that doubles, so
that many clients of one server that has just come back spread themselves out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

FIRST_SECONDS = 0.25
LONGEST_SECONDS = 2.0


def delays(
    first_seconds: float = FIRST_SECONDS,
    longest_seconds: float = LONGEST_SECONDS,
    *,
    rng: random.Random | None = None,
) -> Iterator[float]:
    """Yield the delay before each try, in seconds, without end.

    The n-th is drawn from 0 to `first_seconds` * 2**n, never more than
    `longest_seconds`. Take a new iterator after each success.
    """
    draw = (rng or random).uniform
    ceiling = first_seconds
    while True:
        yield draw(0.0, min(ceiling, longest_seconds))
        ceiling = min(ceiling * 2, longest_seconds)
