"""The people of a simulated call center: their logins, and the states they are in (§4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import inf

from pydantic import TypeAdapter, ValidationError

from bridge.errors import SettingsError
from bridge.messages.commands import Login
from bridge.simulator.traffic import Call

_LOGIN: TypeAdapter[str] = TypeAdapter(Login)
_FIRST_EXTENSION = 7016
_NAMES = (
    *("ana", "bruno", "carla", "jose", "daniela", "maria.souza", "joão", "fernanda", "gustavo"),
    *("helena", "igor", "júlia", "luiz.antônio", "marcos", "natália", "otávio", "paula", "rafael"),
    *("sandra", "tiago"),
)


class Status(IntEnum):
    """What an agent is doing (§4.6)."""

    LOGGED_OUT = 0
    AVAILABLE = 1
    PAUSED = 2
    BUSY = 3
    WRAP_UP = 4


@dataclass(slots=True)
class Agent:
    """One agent as the contact center keeps book of them. Moments are Unix seconds."""

    login: str
    extension: int
    status: Status = Status.AVAILABLE
    turns_at: float = inf  # when the status passes into the next by itself
    call: Call | None = None
    last_call: Call | None = None
    dialling: Call | None = None  # asked for, and not there yet
    recording: str = ""  # a path that is still to be said
    recorded_at: float = inf

    @property
    def name(self) -> str:
        """The canonical login: the casefolded one."""
        return self.login.casefold()

    @property
    def due_at(self) -> float:
        """When something will happen by itself; infinity where nothing is planned."""
        return min(self.turns_at, self.recorded_at)

    @property
    def has_dialer_call(self) -> bool:
        """Whether the call, or the one that the wrap-up is about, is the dialer's."""
        call = self.last_call if self.status is Status.WRAP_UP else self.call
        return call is not None and call.from_dialer

    def enter(self, status: Status, until: float = inf) -> None:
        """Put the agent in a status; whatever was being dialled is given up."""
        self.status, self.turns_at, self.dialling = status, until, None


def hire(logins: Sequence[str]) -> dict[str, Agent]:
    """Return an agent for each login, by canonical login.

    Raises `SettingsError` for a login that no frame can hold, for one given
    twice, and for none at all.
    """
    agents: dict[str, Agent] = {}
    for extension, login in enumerate(logins, _FIRST_EXTENSION):
        try:
            agent = Agent(_LOGIN.validate_python(login), extension)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise SettingsError(f"agents: {login!r} {reason}") from None
        if agent.name in agents:
            raise SettingsError(f"agents: {login!r} is given twice")
        agents[agent.name] = agent
    if not agents:
        raise SettingsError("agents: there must be at least one")
    return agents


def invent_logins(number: int) -> list[str]:
    """Return so many different logins: common names first, numbered ones after them."""
    numbered = (f"agente{place:03d}" for place in range(len(_NAMES) + 1, number + 1))
    return [*_NAMES, *numbered][: max(number, 0)]
