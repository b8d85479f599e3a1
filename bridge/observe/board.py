"""What the live page shows: tiles of agents, lights, the latest events; as JSON.

Nearly nothing is done while nobody looks: an agent's tile is made when it is asked
for, and a message is read when it is shown.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from importlib.metadata import version
from itertools import islice
from typing import Any, Protocol

import orjson

from bridge.core.journal import Depth
from bridge.messages.envelope import Sealed, timestamp
from bridge.messages.kinds import OWN
from bridge.observe.masking import command_name, short_type, shown
from bridge.observe.status import Status

MOST_TILES = 5_000
MOST_SHOWN = 30
MOST_GAPS = 10
RATE_SECONDS = 60
_COMMAND = f"{OWN}command."
_GAP = f"{OWN}gap"


class Agents(Protocol):
    """Who knows every agent."""

    def names(self) -> Collection[str]:
        """Return the names of all agents of whom Tactium has spoken."""

    def maybe_tile(self, agent: str) -> dict[str, Any] | None:
        """Return what is known of an agent, None where it is forgotten."""


class Board:
    """The page's content. `update` tells what changed since the last one."""

    def __init__(
        self,
        *,
        site: str,
        mask: bool,
        status: Status,
        agents: Agents,
        clock: Callable[[], datetime],
    ) -> None:
        self._site = site
        self._mask = mask
        self._status = status
        self._agents = agents
        self._clock = clock
        self._shown: set[str] = set()  # the agents who have a tile
        self._changed: set[str] = set()
        self._events = _Latest(MOST_SHOWN)
        self._commands = _Latest(MOST_SHOWN)
        self._gaps = _Latest(MOST_GAPS)
        self._rate: deque[int] = deque([0] * RATE_SECONDS, RATE_SECONDS)
        self._count = 0  # events in this second
        self._seconds = 0  # whole ones since the last update

    def __repr__(self) -> str:
        return f"<Board: {len(self._shown)} tiles>"

    def committed(
        self, messages: Sequence[Sealed], own: Sequence[Sealed], agents: Iterable[str]
    ) -> None:
        """Note what was taken in, the bridge's `own` with it, and whose state changed by it."""
        self._changed.update(agents)
        self._count += len(messages)
        # What is older than the latest few is not shown anyway.
        latest = messages[-MOST_SHOWN:]
        self._events.add(*([each for each in latest if each.stream == "events"] if own else latest))
        for message in own:
            self._took_own(message)

    def second(self) -> None:
        """Note that a whole second is over."""
        self._rate.append(self._count)
        self._count = 0
        self._seconds += 1

    def snapshot(self, depth: Depth, dropped: int) -> bytes:
        """Return everything."""
        self._shown = set(islice(self._agents.names(), MOST_TILES))
        tiles = map(self._agents.maybe_tile, sorted(self._shown))
        return orjson.dumps(
            {
                "site": self._site,
                "version": version("tactium-bridge"),
                "masked": self._mask,
                **self._always(depth, dropped),
                "rate": list(self._rate),
                "agents": [tile for tile in tiles if tile is not None],
                **self._lists(latest=True),
            }
        )

    def update(self, depth: Depth, dropped: int) -> bytes:
        """Return what changed since the last time; all viewers have seen the same."""
        free = max(0, MOST_TILES - len(self._shown))
        self._shown.update(islice(self._changed - self._shown, free))
        tiles = {name: self._agents.maybe_tile(name) for name in self._changed & self._shown}
        gone = [name for name, tile in tiles.items() if tile is None]
        self._shown.difference_update(gone)
        passed = min(self._seconds, RATE_SECONDS)
        told = {
            **self._always(depth, dropped),
            "rate": list(self._rate)[RATE_SECONDS - passed :],
            "agents": [tile for tile in tiles.values() if tile is not None],
            "gone": gone,
            **self._lists(latest=False),
        }
        self.forget()
        return orjson.dumps(told)

    def forget(self) -> None:
        """Count what changes from now on: nobody looks, or all have been told."""
        self._changed.clear()
        self._seconds = 0
        for latest in (self._events, self._commands, self._gaps):
            latest.fresh.clear()

    def _took_own(self, message: Sealed) -> None:
        if message.type.startswith(_COMMAND):
            self._commands.add(message)
        elif message.type == _GAP:
            self._gaps.add(message)
        else:
            self._events.add(message)

    def _always(self, depth: Depth, dropped: int) -> dict[str, Any]:
        return {
            "now": timestamp(self._clock()),
            "ready": self._status.is_ready,
            "role": self._status.role,
            "parts": self._status.parts(),
            "journal": {
                "events": depth.messages + depth.waiting,
                "bytes": depth.bytes,
                "dropped": dropped,
            },
            "hidden_agents": self._hidden(),
        }

    def _hidden(self) -> int:
        """Return how many agents have no tile, as there are too many."""
        is_full = len(self._shown) >= MOST_TILES
        return max(0, len(self._agents.names()) - MOST_TILES) if is_full else 0

    def _lists(self, *, latest: bool) -> dict[str, Any]:
        return {
            "events": [self._event(each) for each in self._events.tell(latest=latest)],
            "commands": [_command(each) for each in self._commands.tell(latest=latest)],
            "gaps": [_data(each) for each in self._gaps.tell(latest=latest)],
        }

    def _event(self, message: Sealed) -> dict[str, Any]:
        kind, data = short_type(message.type), _data(message)
        return {
            "time": timestamp(message.time),
            "type": kind,
            "agent": data.get("agent"),
            "data": shown(kind, data, mask=self._mask),
        }


class _Latest:
    """The latest messages of a kind, and those of them that were not told yet."""

    def __init__(self, most: int) -> None:
        self.all: deque[Sealed] = deque(maxlen=most)
        self.fresh: deque[Sealed] = deque(maxlen=most)

    def add(self, *messages: Sealed) -> None:
        self.all.extend(messages)
        self.fresh.extend(messages)

    def tell(self, *, latest: bool) -> deque[Sealed]:
        return self.all if latest else self.fresh


def _command(message: Sealed) -> dict[str, Any]:
    data = _data(message)
    return {
        "time": timestamp(message.time),
        "command": command_name(data["command"]),
        **{name: data[name] for name in ("agent", "user", "outcome")},
        "seconds": data["duration_seconds"],
    }


def _data(message: Sealed) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(message.body)["data"]
    return data
