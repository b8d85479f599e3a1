"""What can be chosen about a simulated call center: its people, and what the manual leaves open."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from bridge.errors import SettingsError

Span = tuple[float, float]
"""The shortest and the longest of something, in seconds; drawn evenly between them."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How long things take, in seconds, and how often they happen, as shares from 0 to 1.

    Raises `SettingsError` for a span that is empty or negative, and for a share
    outside 0 to 1.
    """

    call_seconds: Span = (10.0, 60.0)
    wrap_up_seconds: Span = (3.0, 15.0)
    dial_seconds: Span = (0.2, 1.5)  # from `make_call` to the call's arrival
    pause_seconds: Span = (20.0, 90.0)
    away_seconds: Span = (60.0, 300.0)  # logged off
    dialer_share: float = 0.5  # of the calls; the rest is inbound
    recorded_share: float = 0.8  # of the calls
    pause_share: float = 0.1  # of the wrap-ups, after which an agent takes a pause
    away_share: float = 0.02  # of the wrap-ups, after which an agent logs off for a while

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self)):
            value = getattr(self, name)
            if name.endswith("_share"):
                check_share(name, value)
            elif not 0 <= value[0] <= value[1] < float("inf"):
                raise SettingsError(f"{name} is {value}, must be a shortest and a longest time")


@dataclass(frozen=True, slots=True)
class Answers:
    """What Tactium says where the manual does not tell.

    `make_call`: to a call that it is going to make. `impossible`: to a command
    that the agent's status does not allow (to hang up without a call).
    `unknown_agent`: to a command for a login that it does not know. An `error`
    is `<login><ERRO><reason>$`, the simulator's own invention.
    """

    make_call: Literal["silence", "ok"] = "silence"
    impossible: Literal["silence", "error"] = "silence"
    unknown_agent: Literal["silence", "error"] = "silence"


def check_share(name: str, value: float) -> None:
    """Raise `SettingsError` unless `value` is from 0 to 1."""
    if not 0 <= value <= 1:
        raise SettingsError(f"{name} is {value}, must be from 0 to 1")
