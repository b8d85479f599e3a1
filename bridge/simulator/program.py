"""The simulator as a program: all its options in one place, running until it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from bridge.errors import SettingsError
from bridge.simulator.agents import invent_logins
from bridge.simulator.contact_center import ContactCenter
from bridge.simulator.faults import Faults
from bridge.simulator.habits import Answers, Habits
from bridge.simulator.server import Encoding, Handshake, Simulator

DEFAULT_PORT = 34025
"""Tactium's own `Socket.ServerPort` (§3.1)."""


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """What a user may choose.

    `agents` are logins, or how many to invent. `calls_per_minute` are those of
    the whole center; more than its agents can take are lost. `attach_info` is
    Tactium's `Socket.SendAttachInfo` (§5.1). The same `seed` gives the same
    calls and the same faults; None is another one each time. With a `database_url`
    Tactium's tables are spoken to instead of a port.

    Raises `SettingsError` for a port that cannot be.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    agents: int | Sequence[str] = 8
    calls_per_minute: float = 10.0
    attach_info: bool = False
    seed: int | None = None
    encoding: Encoding = "cp1252"
    handshake: Handshake = "both"
    answers: Answers = field(default_factory=Answers)
    habits: Habits = field(default_factory=Habits)
    faults: Faults = field(default_factory=Faults)
    database_url: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise SettingsError(f"port is {self.port}, must be from 0 to 65535")


def open_simulator(options: SimulatorOptions) -> Simulator:
    """Return a simulator that is ready to start, as an `async with` or by `start`.

    Raises `SettingsError` for logins or a rate that the contact center refuses.
    """
    agents = options.agents
    center = ContactCenter(
        invent_logins(agents) if isinstance(agents, int) else agents,
        rng=Random(options.seed),
        calls_per_minute=options.calls_per_minute,
        attach_info=options.attach_info,
        habits=options.habits,
        answers=options.answers,
    )
    simulator = Simulator(
        center,
        host=options.host,
        port=options.port,
        encoding=options.encoding,
        handshake=options.handshake,
        faults=options.faults,
        rng=Random(options.seed),
    )
    simulator.database_url = options.database_url
    return simulator


async def simulate(options: SimulatorOptions) -> None:
    """Run a simulator until cancelled.

    Raises `SettingsError` for wrong options, and `BridgeError` where the port
    cannot be had.
    """
    async with open_simulator(options):
        await asyncio.Event().wait()
