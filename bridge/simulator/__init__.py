"""Tactium's side of the wire as a real program, for the demo, the tests and who has no Tactium."""

from bridge.simulator.agents import Status
from bridge.simulator.contact_center import ContactCenter, Said
from bridge.simulator.faults import Faults
from bridge.simulator.habits import Answers, Habits
from bridge.simulator.program import DEFAULT_PORT, SimulatorOptions, open_simulator, simulate
from bridge.simulator.server import Simulator
from bridge.simulator.traffic import Call

__all__ = [
    "DEFAULT_PORT",
    "Answers",
    "Call",
    "ContactCenter",
    "Faults",
    "Habits",
    "Said",
    "Simulator",
    "SimulatorOptions",
    "Status",
    "open_simulator",
    "simulate",
]
