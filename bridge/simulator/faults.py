"""What goes wrong at a Tactium in the field, as options: pure, and by chance from a seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import inf
from random import Random

from bridge.errors import SettingsError
from bridge.simulator.habits import check_share

_GARBAGE = bytes(byte for byte in range(0x21, 0x100) if byte not in b"<>$")
_EMPTY_PAIR = "<><>"


@dataclass(frozen=True, slots=True)
class Faults:
    """Which faults, and how often: shares are from 0 to 1, times in seconds; none by default.

    Raises `SettingsError` for a share outside 0 to 1 and for a negative time.
    """

    delay_seconds: float = 0.0  # a command is taken up after a random time up to this
    unanswered: float = 0.0  # share of the commands that run, and whose answer never comes
    mangled: float = 0.0  # share of the events that lose a bracket, as the manual's examples do
    garbage: float = 0.0  # share of the frames that have stray bytes in front of them
    line_breaks: bool = False  # a CR LF behind each frame
    single_bytes: bool = False  # each byte in a write of its own
    drop_every_seconds: float = 0.0  # all connections are cut this often; 0: never

    def __post_init__(self) -> None:
        for name in ("unanswered", "mangled", "garbage"):
            check_share(name, getattr(self, name))
        for name in (field.name for field in fields(self) if field.name.endswith("_seconds")):
            value = getattr(self, name)
            if not 0 <= value < inf:
                raise SettingsError(f"{name} is {value}, must be a time and not negative")


class Mischief:
    """Decides by chance where a fault strikes."""

    def __init__(self, faults: Faults, rng: Random) -> None:
        self._faults = faults
        self._rng = rng

    def delay_seconds(self) -> float:
        """Return how long the next command has to wait."""
        return self._rng.uniform(0, self._faults.delay_seconds)

    def swallows_answer(self) -> bool:
        """Return whether the next command's answer is lost."""
        return self._strikes(self._faults.unanswered)

    def spoil(self, text: str, *, event: bool) -> str:
        """Return a frame's text as it goes out; only an event is ever mangled."""
        return self._mangle(text) if event and self._strikes(self._faults.mangled) else text

    def surround(self, frame: bytes) -> bytes:
        """Return a frame with what stands around it. No frame is lost by that."""
        before = b""
        if self._strikes(self._faults.garbage):
            # On a line of its own, or it would hide the end of a mangled frame before it.
            before = b"\n" + bytes(self._rng.choices(_GARBAGE, k=self._rng.randint(1, 8)))
        return before + frame + (b"\r\n" if self._faults.line_breaks else b"")

    def chop(self, data: bytes) -> Iterable[bytes]:
        """Return what to write, one after another."""
        if not self._faults.single_bytes:
            return (data,)
        return (data[at : at + 1] for at in range(len(data)))

    def _strikes(self, share: float) -> bool:
        return self._rng.random() < share

    def _mangle(self, text: str) -> str:
        """Lose a `<` as the example of §5.1 does, or break the end as its form does: `><$`."""
        if _EMPTY_PAIR in text and self._strikes(0.5):
            return text.replace(_EMPTY_PAIR, "<>>", 1)
        return f"{text.removesuffix('$')}<$"
