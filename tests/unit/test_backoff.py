"""Delays before each next try: full jitter under a ceiling that doubles."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.backoff import delays


class Highest(Random):
    """Draws the most that it may."""

    def random(self) -> float:
        """Return the top of the range."""
        return 1.0


@pytest.mark.parametrize(
    ("first", "longest", "ceilings"),
    [
        (0.25, 2.0, [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]),
        (1.0, 10.0, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]),
        (3.0, 2.0, [2.0, 2.0, 2.0]),
    ],
)
def test_the_ceiling_doubles_up_to_the_longest(
    first: float, longest: float, ceilings: list[float]
) -> None:
    """The first delay's ceiling is the first one given, no delay's is over the longest."""
    drawn = delays(first, longest, rng=Highest())
    assert [next(drawn) for _ in ceilings] == pytest.approx(ceilings)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_first_try_comes_soon_and_none_waits_long(rng: Random) -> None:
    """Unless told otherwise: the first within a second, no two more than two seconds apart."""
    first, *others = islice(delays(rng=rng), 40)
    assert 0 <= first <= 1
    assert all(0 <= delay <= 2 for delay in others)


def test_delays_are_spread_over_the_whole_range() -> None:
    """Full jitter: many clients that lost one server do not come back all at once."""
    settled = [next(islice(delays(rng=Random(seed)), 10, None)) for seed in range(2000)]
    shares = [sum(low <= delay < low + 0.5 for delay in settled) for low in (0, 0.5, 1, 1.5)]
    assert min(shares) > 400


def test_it_never_ends_and_never_overflows() -> None:
    """However long a server is away."""
    assert 0 <= next(islice(delays(rng=Random(1)), 5000, None)) <= 2


def test_an_iterator_of_its_own_begins_anew() -> None:
    """After a success one takes a new one, and the next failure is tried again soon."""
    used = delays(rng=Highest())
    list(islice(used, 10))
    assert next(delays(rng=Highest())) < next(used)


def test_without_a_random_source_it_has_its_own() -> None:
    """The delays of two clients differ."""
    assert list(islice(delays(), 10)) != list(islice(delays(), 10))
