from typing import Any

import pytest

from bridge.errors import SettingsError
from bridge.simulator.habits import Habits


@pytest.mark.parametrize(
    "wrong",
    [{"call_seconds": (5, 1)}, {"wrap_up_seconds": (-1, 1)}, {"dial_seconds": (0, float("inf"))},
     {"recorded_share": 2}, {"pause_seconds": (float("nan"), 1)}],
)  # fmt: skip
def test_wrong_habits_are_named(wrong: dict[str, Any]) -> None:
    """What cannot be is refused, and the message says what."""
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        Habits(**wrong)
