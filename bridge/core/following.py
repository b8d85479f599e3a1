"""What one who stands by learns of agents from what the leader publishes; pure.

A message may come that is older than what is known already, since the leader tells
how its agents are in between: a call that is known is not begun again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge.core.agents import MOST_RECORDINGS, Agent, Call
from bridge.core.calls import CALL_FIELDS, Calls
from bridge.messages.events import (
    AgentStatus,
    CallCurrent,
    CallEnded,
    CallRecorded,
    CallStarted,
    FrameUnknown,
)
from bridge.messages.kinds import OWN, PREFIX

_CALL_ARRIVES = (f"{PREFIX}{CallStarted.type}", f"{PREFIX}{CallCurrent.type}")
_RECORDED = f"{PREFIX}{CallRecorded.type}"
_ENDED = f"{PREFIX}{CallEnded.type}"
_STATUS = f"{PREFIX}{AgentStatus.type}"
_UNKNOWN = f"{PREFIX}{FrameUnknown.type}"


class Follower:
    """Lets `calls` know what events say."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._untold: set[str] = set()  # agents who are known, and not to the leader perhaps

    def begin_to_be_told(self) -> None:
        """Keep in mind who is known: the leader is about to tell all whom it knows."""
        self._untold = set(self._calls.names())

    def adopt(self, states: Mapping[str, bytes | None]) -> None:
        """Take the states that the leader has, None to forget an agent."""
        self._untold -= states.keys()
        self._calls.adopt(states)

    def was_told_all(self) -> None:
        """Forget whom the leader does not know."""
        self._calls.adopt(dict.fromkeys(self._untold))
        self._untold = set()

    def follow(self, message: Mapping[str, Any], trace: str | None) -> datetime | None:
        """Take in one message; return when Tactium was heard by it, None where it was not."""
        kind: str = message["type"]
        if kind.startswith(OWN):
            return None
        at = datetime.fromisoformat(message["time"])
        data = message["data"]
        agent = self._calls.followed(data["agent"], data.get("raw"), at)
        self._untold.discard(data["agent"])
        agent.is_real = agent.is_real or kind != _UNKNOWN
        if kind in _CALL_ARRIVES:
            _arrived(agent, data, message["time"] if kind == _CALL_ARRIVES[0] else None, trace, at)
        elif kind == _RECORDED:
            _recorded(agent, data)
        elif kind == _ENDED:
            _ended(agent, data, at)
        elif kind == _STATUS and data["code"] != agent.code:
            agent.code, agent.since = data["code"], at.timestamp()
        return at


def _arrived(
    agent: Agent, data: dict[str, Any], started_at: str | None, trace: str | None, at: datetime
) -> None:
    calls = (agent.call, agent.last_call)
    if data["call_id"] in [call.id for call in calls if call is not None]:
        return
    known = {name: data[name] for name in CALL_FIELDS if name in data}
    expected = agent.maybe_expected(CallStarted(**known), at)
    agent.expected = tuple(each for each in agent.expected if each is not expected)
    agent.call = Call(
        data["call_id"], data["direction"], started_at, data["raw"], data["context"], trace
    )


def _recorded(agent: Agent, data: dict[str, Any]) -> None:
    call, path = agent.call or agent.last_call, data["path"]
    if call is not None and call.id == data["call_id"] and path not in (None, *call.recordings):
        call.recordings = (*call.recordings, path)[-MOST_RECORDINGS:]


def _ended(agent: Agent, data: dict[str, Any], at: datetime) -> None:
    if agent.call is not None and agent.call.id == data["call_id"]:
        agent.last_call, agent.call = agent.call.ended(at), None
