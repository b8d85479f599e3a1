"""A call center as Tactium sees it: agents, their states, their calls. Pure.

No I/O and no clock: whoever runs it passes `now`, in Unix seconds, which never
goes back. Everything by chance comes from the given `rng`, so the same seed and
the same questions give the same answers. The rules:

- An agent with a call is busy; one who was told to dial is busy from then on.
- A call that ends is followed by wrap-up, or by logged out where that ended it.
- A recording comes during its call or soon after it, never after the next began.
- People act by themselves only in a center that has calls of its own: with
  `calls_per_minute` 0, an agent who was logged off or paused stays so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from math import inf
from random import Random
from typing import NamedTuple

from bridge.errors import SettingsError
from bridge.messages.commands import (
    EndWrapUp,
    GetCurrentCall,
    GetStatus,
    HangUp,
    Logoff,
    Logon,
    MakeCall,
    Pause,
    Resume,
    ScheduleCallback,
    SetDisposition,
    WireCommand,
)
from bridge.simulator.agents import Agent, Status, hire
from bridge.simulator.habits import Answers, Habits
from bridge.simulator.traffic import Call, Traffic
from bridge.wire.grammar import CONFIRMED, DISPOSITIONS, ENDED, RECORDED, STATUS, Form

MOST_CALLS_PER_MINUTE = 1_000_000.0
"""Far over what any center takes: a bound on what one second can ask of the processor."""

_ERROR = Form("<{agent}><ERRO><{reason}>$")  # not in the manual: see Answers
_DIALLED = re.compile(r"[0-9+*#]{1,32}", re.ASCII)
_DATE = "%d/%m/%Y %H:%M"  # dd/MM/yyyy HH:mm (§4.7)
_DISPOSITIONS = {spelling.casefold() for spelling in DISPOSITIONS.values()}
_RECORDED_AFTER_SECONDS = (0.5, 3.0)


class Said(NamedTuple):
    """One frame of Tactium's, and for whom it is. `agent` is the casefolded login.

    An event is for every connection that is bound to the agent, an answer for
    the one that asked; the `EndCall` that answers a `hang_up` is both.
    """

    agent: str
    text: str
    to_asker: bool
    to_bound: bool


class ContactCenter:
    """Some agents and the calls that reach them.

    `agents` are logins, spelt as answers shall spell them; they compare without
    regard to case. `calls_per_minute` arrive at the center as a whole, by
    chance; one that finds nobody available is lost. `attach_info`: see `Traffic`.

    Raises `SettingsError` for a login that no frame can hold, for one given
    twice, for none at all, and for a rate that is negative or beyond all reason.
    """

    def __init__(
        self,
        agents: Sequence[str],
        *,
        rng: Random,
        calls_per_minute: float = 0.0,
        attach_info: bool = False,
        habits: Habits | None = None,
        answers: Answers | None = None,
    ) -> None:
        if not 0 <= calls_per_minute <= MOST_CALLS_PER_MINUTE:
            reason = f"must be from 0 to {MOST_CALLS_PER_MINUTE:.0f}"
            raise SettingsError(f"calls_per_minute is {calls_per_minute}, {reason}")
        self._agents = hire(agents)
        self._rng = rng
        self._per_second = calls_per_minute / 60
        self._arrival_at = inf
        self._traffic = Traffic(rng, attach_info=attach_info)
        self._habits = habits or Habits()
        self._answers = answers or Answers()
        self._orders: dict[type[WireCommand], _Order] = {
            Logon: self._logon,
            Logoff: self._logoff,
            Pause: self._pause,
            Resume: self._resume,
            EndWrapUp: self._end_wrap_up,
            GetStatus: self._get_status,
            ScheduleCallback: self._schedule_callback,
            SetDisposition: self._set_disposition,
            MakeCall: self._make_call,
            HangUp: self._hang_up,
            GetCurrentCall: self._get_current_call,
        }

    def __repr__(self) -> str:
        states = ", ".join(f"{a.login} {a.status.name.lower()}" for a in self._agents.values())
        return f"<ContactCenter: {states}>"

    @property
    def logins(self) -> list[str]:
        """The agents' logins, as the center spells them."""
        return [agent.login for agent in self._agents.values()]

    def maybe_status(self, login: str) -> Status | None:
        """Return what an agent is doing, None for one who is not known here."""
        agent = self._agents.get(login.casefold())
        return agent.status if agent else None

    def maybe_call(self, login: str) -> Call | None:
        """Return the call that an agent is in, if any."""
        agent = self._agents.get(login.casefold())
        return agent.call if agent else None

    def next_at(self) -> float:
        """Return when something will happen by itself; infinity where nothing is planned."""
        return min(self._arrival_at, *(agent.due_at for agent in self._agents.values()))

    def run_until(self, now: float) -> list[Said]:
        """Let everything happen that is due by `now`, and return what is heard of it."""
        if self._per_second and self._arrival_at == inf:
            self._arrival_at = now + self._rng.expovariate(self._per_second)
        said: list[Said] = []
        while (due := self.next_at()) <= now:
            if self._arrival_at == due:
                self._arrival_at += self._rng.expovariate(self._per_second)
                said += self._arrive(due)
                continue
            agent = next(agent for agent in self._agents.values() if agent.due_at == due)
            said += self._hand_over(agent) if agent.recorded_at == due else self._turn(agent, due)
        return said

    def obey(self, command: type[WireCommand], values: Mapping[str, str], now: float) -> list[Said]:
        """Run one command as it came off the wire, and return what is heard of it.

        `values` are the fields of its form (§4) by name, never None. What was
        due before comes first. Never raises: what cannot be done is answered as
        `Answers` says.
        """
        said = self.run_until(now)
        agent = self._agents.get(values["agent"].casefold())
        if agent is None:
            if self._answers.unknown_agent == "error":
                said.append(_error(values["agent"], "agente desconhecido"))
            return said
        try:
            said += self._orders[command](agent, values, now)
        except _Impossible as impossible:
            if self._answers.impossible == "error":
                said.append(_error(agent.login, str(impossible)))
        return said

    def begin_call(self, login: str, call: Call, now: float, *, seconds: float = inf) -> list[Said]:
        """Let exactly this call arrive; it lasts until ended, or for `seconds`.

        It is not recorded by itself. Raises `ValueError` for an agent who is
        unknown or has a call already.
        """
        said = self.run_until(now)
        agent = self._agent(login)
        if agent.call or agent.dialling:
            raise ValueError(f"{agent.login} has a call already")
        return said + self._begin(agent, call, now, seconds)

    def end_call(self, login: str, now: float) -> list[Said]:
        """Let the other side hang up. Raises `ValueError` for an agent without a call."""
        said = self.run_until(now)
        agent = self._agent(login)
        if agent.call is None:
            raise ValueError(f"{agent.login} has no call")
        return said + self._end(agent, now)

    def record(self, login: str, path: str, now: float) -> list[Said]:
        """Say where a recording lies (§5.3). Raises `ValueError` for an unknown agent."""
        agent = self._agent(login)
        return [*self.run_until(now), _event(agent, RECORDED, path=path)]

    def set_status(self, login: str, status: Status, now: float) -> list[Said]:
        """Put an agent in a status, to stay until something else is said.

        Raises `ValueError` for an agent who is unknown or has a call.
        """
        said = self.run_until(now)
        agent = self._agent(login)
        if agent.call or agent.dialling:
            raise ValueError(f"{agent.login} has a call")
        agent.enter(status)
        return said

    def _agent(self, login: str) -> Agent:
        agent = self._agents.get(login.casefold())
        if agent is None:
            raise ValueError(f"there is no agent {login}")
        return agent

    def _after(self, now: float, span: tuple[float, float]) -> float:
        return now + self._rng.uniform(*span)

    def _arrive(self, now: float) -> list[Said]:
        free = [a for a in self._agents.values() if a.status is Status.AVAILABLE]
        if not free:
            return []
        agent = self._rng.choice(free)
        dialled = self._rng.random() < self._habits.dialer_share
        call = self._traffic.from_dialer() if dialled else self._traffic.inbound()
        return self._begin_recorded(agent, call, now)

    def _turn(self, agent: Agent, now: float) -> list[Said]:
        """Let an agent's status pass into what follows it by itself."""
        if agent.dialling:
            return self._begin_recorded(agent, agent.dialling, now)
        if agent.call:
            return self._end(agent, now)
        wrapped_up = agent.status is Status.WRAP_UP
        agent.enter(Status.AVAILABLE)
        if wrapped_up and self._per_second:
            chance = self._rng.random()
            if chance < self._habits.pause_share:
                agent.enter(Status.PAUSED, self._after(now, self._habits.pause_seconds))
            elif chance < self._habits.pause_share + self._habits.away_share:
                agent.enter(Status.LOGGED_OUT, self._after(now, self._habits.away_seconds))
        return []

    def _begin_recorded(self, agent: Agent, call: Call, now: float) -> list[Said]:
        seconds = self._rng.uniform(*self._habits.call_seconds)
        said = self._begin(agent, call, now, seconds)
        if self._rng.random() < self._habits.recorded_share:
            agent.recording = self._traffic.recording_path(agent.extension, now)
            # What the end of the call finds waiting comes soon after it: one in two.
            agent.recorded_at = now + self._rng.uniform(0, 2 * seconds)
        return said

    def _begin(self, agent: Agent, call: Call, now: float, seconds: float) -> list[Said]:
        said = self._hand_over(agent)
        agent.enter(Status.BUSY, now + seconds)
        agent.call, agent.dialling = call, None
        return [*said, Said(agent.name, call.spell(agent.login), to_asker=False, to_bound=True)]

    def _end(self, agent: Agent, now: float, *, to_asker: bool = False) -> list[Said]:
        agent.last_call, agent.call = agent.call, None
        agent.enter(Status.WRAP_UP, self._after(now, self._habits.wrap_up_seconds))
        if agent.recording:
            agent.recorded_at = self._after(now, _RECORDED_AFTER_SECONDS)
        return [_event(agent, ENDED)._replace(to_asker=to_asker)]

    def _hand_over(self, agent: Agent) -> list[Said]:
        """Say where the recording lies that is waiting, if any."""
        path, agent.recording, agent.recorded_at = agent.recording, "", inf
        return [_event(agent, RECORDED, path=path)] if path else []

    def _logon(self, agent: Agent, _values: Mapping[str, str], _now: float) -> list[Said]:
        """Confirm; that the connection is bound by it is its owner's business (§4.1)."""
        _demand(agent.status is not Status.LOGGED_OUT, "agente deslogado")
        return [_answer(agent, CONFIRMED)]

    def _logoff(self, agent: Agent, _values: Mapping[str, str], now: float) -> list[Said]:
        _demand(agent.status is not Status.LOGGED_OUT, "agente deslogado")
        said = self._end(agent, now) if agent.call else []
        away = self._after(now, self._habits.away_seconds) if self._per_second else inf
        agent.enter(Status.LOGGED_OUT, away)
        return [*said, _answer(agent, CONFIRMED)]

    def _pause(self, agent: Agent, values: Mapping[str, str], _now: float) -> list[Said]:
        _demand(agent.status is not Status.LOGGED_OUT, "agente deslogado")
        _demand(agent.status is not Status.BUSY, "agente ocupado")
        _demand(values["code"], "motivo de pausa inválido")
        agent.enter(Status.PAUSED)
        return [_answer(agent, CONFIRMED)]

    def _resume(self, agent: Agent, _values: Mapping[str, str], _now: float) -> list[Said]:
        _demand(agent.status in (Status.PAUSED, Status.WRAP_UP), "agente não está em pausa")
        agent.enter(Status.AVAILABLE)
        return [_answer(agent, CONFIRMED)]

    def _end_wrap_up(self, agent: Agent, _values: Mapping[str, str], _now: float) -> list[Said]:
        _demand(agent.status is Status.WRAP_UP, "agente não está em pós-atendimento")
        agent.enter(Status.AVAILABLE)
        return [_answer(agent, CONFIRMED)]

    def _get_status(self, agent: Agent, _values: Mapping[str, str], _now: float) -> list[Said]:
        return [_answer(agent, STATUS, code=str(agent.status.value))]

    def _schedule_callback(
        self, agent: Agent, values: Mapping[str, str], _now: float
    ) -> list[Said]:
        """Note a callback, and restart who is in wrap-up (§4.7). Nobody calls back later."""
        _demand(agent.has_dialer_call, "não há ligação do discador")
        _demand(_is_date(values["at"]), "data inválida")
        if agent.status is Status.WRAP_UP:
            agent.enter(Status.AVAILABLE)
        return [_answer(agent, CONFIRMED)]

    def _set_disposition(self, agent: Agent, values: Mapping[str, str], _now: float) -> list[Said]:
        _demand(agent.has_dialer_call, "não há ligação do discador")
        _demand(values["disposition"].casefold() in _DISPOSITIONS, "situação inválida")
        return [_answer(agent, CONFIRMED)]

    def _make_call(self, agent: Agent, values: Mapping[str, str], now: float) -> list[Said]:
        area_code, phone = values["area_code"], values["phone"]
        _demand(agent.status is Status.AVAILABLE, "agente não está disponível")
        _demand(_DIALLED.fullmatch(phone), "telefone inválido")
        _demand(not area_code or _DIALLED.fullmatch(area_code), "DDD inválido")
        agent.enter(Status.BUSY, self._after(now, self._habits.dial_seconds))
        agent.dialling = Call(
            "outbound",
            origin=str(agent.extension),
            destination_area_code=area_code,
            destination=phone,
        )
        return [_answer(agent, CONFIRMED)] if self._answers.make_call == "ok" else []

    def _hang_up(self, agent: Agent, _values: Mapping[str, str], now: float) -> list[Said]:
        """End the call, or give up one that is being dialled, after which is no wrap-up."""
        if agent.dialling:
            agent.enter(Status.AVAILABLE)
            return [_event(agent, ENDED)._replace(to_asker=True)]
        _demand(agent.call is not None, "não há ligação")
        return self._end(agent, now, to_asker=True)

    def _get_current_call(
        self, agent: Agent, _values: Mapping[str, str], _now: float
    ) -> list[Said]:
        if agent.call is None:
            raise _Impossible("não há ligação")
        return [Said(agent.name, agent.call.spell(agent.login), to_asker=True, to_bound=False)]


class _Impossible(Exception):
    """A command that the agent's status does not allow; its text is the reason."""


_Order = Callable[[Agent, Mapping[str, str], float], list[Said]]


def _demand(condition: object, reason: str) -> None:
    if not condition:
        raise _Impossible(reason)


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, _DATE)  # noqa: DTZ007 - wall-clock time at the server
    except ValueError:
        return False
    return True


def _event(agent: Agent, form: Form, **values: str) -> Said:
    text = form.write({"agent": agent.login, **values})
    return Said(agent.name, text, to_asker=False, to_bound=True)


def _answer(agent: Agent, form: Form, **values: str) -> Said:
    return _event(agent, form, **values)._replace(to_asker=True, to_bound=False)


def _error(login: str, reason: str) -> Said:
    text = _ERROR.write({"agent": login, "reason": reason})
    return Said(login.casefold(), text, to_asker=True, to_bound=False)
