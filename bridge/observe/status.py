"""Whether the parts of a bridge are well, since when, and why not (contract.md §8); pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from bridge.core.ports import Part
from bridge.messages.envelope import timestamp

Role = Literal["leader", "standby"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class Light:
    """One part: whether it is well, since when that is so, and what was last said of it.

    `ok` is None for what this bridge need not have.
    """

    ok: bool | None
    since: datetime
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return it as people and programs get it."""
        return {"ok": self.ok, "since": timestamp(self.since), "reason": self.reason}


class Status:
    """The lights of one bridge."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self.role: Role = "standby"
        self._leader = ""
        self._contested: Light | None = None
        self._hindered: dict[Part, Light] = {}
        self._lights = {part: Light(ok=False, since=clock(), reason="starting") for part in PARTS}

    def __repr__(self) -> str:
        return f"<Status: {self}>"

    def __str__(self) -> str:
        dark = [f"{part} ({self[part].reason})" for part in PARTS if self[part].ok is False]
        if dark:
            return f"waits for {', '.join(dark)}"
        return "all is well" if self.role == "leader" else f"on standby: {self._leader} leads"

    def __getitem__(self, part: Part) -> Light:
        """Return a part's light; one that is there and does not do its work is not well."""
        light = self._lights[part]
        if part == "link" and self.role == "standby" and self._leader:
            return Light(None, light.since, f"{self._leader} leads")
        if part == "broker" and self._contested is not None:
            return self._contested
        return self._hindered.get(part, light) if light.ok else light

    @property
    def is_ready(self) -> bool:
        """Whether all parts are well; one who stands by has no link to Tactium."""
        return all(self[part].ok is not False for part in PARTS)

    def is_hindered(self, part: Part) -> bool:
        """Return whether a part does not do its work, though it may be there."""
        return part in self._hindered

    @property
    def is_connected(self) -> bool:
        """Whether there are connections to the broker, whatever it takes."""
        return bool(self._lights["broker"].ok)

    def lead(self, *, leads: bool, instance: str) -> None:
        """Note whether this bridge leads, and who does."""
        role: Role = "leader" if leads else "standby"
        if role != self.role or not self._leader:
            self._lights["link"] = Light(ok=False, since=self._clock(), reason="starting")
        self.role, self._leader = role, instance

    def change(self, part: Part, *, ok: bool, reason: str) -> bool:
        """Note how a part is; return whether that is a change from well to ill or back."""
        before = self._lights[part]
        has_changed = ok != before.ok
        since = self._clock() if has_changed else before.since
        self._lights[part] = Light(ok, since, reason)
        return has_changed

    def hinder(self, part: Part, reason: str | None) -> bool:
        """Note why a part does not do its work, None when it does; return whether that is new."""
        if (reason is not None) == self.is_hindered(part):
            return False
        if reason is None:
            del self._hindered[part]
        else:
            self._hindered[part] = Light(ok=False, since=self._clock(), reason=reason)
        return True

    def contest(self, site: str | None) -> bool:
        """Note whose bridge leads under this one's prefix; return whether that is new."""
        is_new = (site is None) != (self._contested is None)
        if site is not None and is_new:
            reason = f"a bridge of site {site!r} leads under the prefix of this one"
            self._contested = Light(ok=False, since=self._clock(), reason=reason)
        elif site is None:
            self._contested = None
        return is_new

    def parts(self) -> dict[str, Any]:
        """Return all lights."""
        return {part: self[part].as_json() for part in PARTS}

    def as_json(self) -> dict[str, Any]:
        """Return the answer of `/readyz`."""
        return {"ready": self.is_ready, "role": self.role, **self.parts()}
