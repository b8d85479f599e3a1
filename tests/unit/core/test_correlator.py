"""Each command against each possible answer (protocol.md §5)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bridge.core import correlator as module
from bridge.core.correlator import TRANSITIONS, Answer, Correlator, Late, State, Step
from bridge.messages.commands import GetAgents, WireCommand, parse
from bridge.messages.events import Heard
from bridge.messages.replies import Outcome
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import understand

CONFIRMED_BY_OK: list[dict[str, Any]] = [
    {"command": "logon"},
    {"command": "logoff"},
    {"command": "pause", "code": "1"},
    {"command": "resume"},
    {"command": "end_wrap_up"},
    {"command": "schedule_callback", "at": "2010-08-17T15:00"},
    {"command": "set_disposition", "disposition": "fax"},
]
GET_STATUS = {"command": "get_status"}
MAKE_CALL = {"command": "make_call", "phone": "40050500"}
HANG_UP = {"command": "hang_up"}
GET_CURRENT_CALL = {"command": "get_current_call"}
ALL = [*CONFIRMED_BY_OK, GET_STATUS, MAKE_CALL, HANG_UP, GET_CURRENT_CALL]

OK = "<jose><OK>$"
STATUS = "<jose><S><3>$"
END = "<jose><EndCall>$"
RECORDING = "<jose><G><a.wav>$"
CALL_TO_THE_PHONE = "<jose><A><><><7016><><40050500><><><>$"
CALL_TO_THE_PHONE_WITH_PREFIX = "<jose><A><><><7016><><08540050500><><><>$"
CALL_ELSEWHERE = "<jose><A><15068><0><9988><0><7017><><><>$"
CALL_BEHIND_THE_PHONE = "<jose><A><><><7016><><405005001><><><>$"
CALL_WITHOUT_DESTINATION = "<jose><A>$"
CALL_FROM_THE_PHONE = "<jose><R><><85><40050500><><7016><---><>$"
CALL_IN_TO_THE_PHONE = "<jose><R><><85><988887777><><40050500><---><>$"

OUTBOUND = [
    CALL_TO_THE_PHONE,
    CALL_TO_THE_PHONE_WITH_PREFIX,
    CALL_ELSEWHERE,
    CALL_BEHIND_THE_PHONE,
    CALL_WITHOUT_DESTINATION,
]
CALLS = [*OUTBOUND, CALL_FROM_THE_PHONE, CALL_IN_TO_THE_PHONE]
EVENTS = [*CALLS, RECORDING, END]
REFUSALS = [
    "<jose>$",
    "<jose><ERRO>$",
    "<jose><Erro><agente não logado>$",
    "<jose><OK><mais>$",
    "<jose><S>$",
    "<jose><S><ocupado>$",
    "<jose><>$",
    "<jose><AC>$",
]

ANSWERED_OK_BY: dict[str, list[str]] = {
    **{command["command"]: [OK] for command in CONFIRMED_BY_OK},
    "get_status": [STATUS],
    "make_call": [OK, CALL_TO_THE_PHONE, CALL_TO_THE_PHONE_WITH_PREFIX],
    "hang_up": [END],
    "get_current_call": CALLS,
}


def command_for(given: dict[str, Any], agent: str = "jose") -> WireCommand:
    command = parse(json.dumps({**given, "agent": agent}).encode())
    assert not isinstance(command, GetAgents)
    return command


def heard(text: str) -> Heard:
    (frame,) = Decoder().feed(text.encode())
    assert isinstance(frame, Frame)
    return understand(frame)


def by_name(given: dict[str, Any]) -> str:
    return str(given["command"])


@pytest.mark.parametrize("frame", [OK, STATUS, *EVENTS, *REFUSALS])
@pytest.mark.parametrize("given", ALL, ids=by_name)
def test_each_command_against_each_answer(given: dict[str, Any], frame: str) -> None:
    """Its own shape is `ok`; an event, a status or an `OK` of no use is nothing; the rest refuses.

    What it was not answered by leaves it waiting, so its own answer still finds it.
    """
    correlator = Correlator()
    command = command_for(given)
    correlator.send("jose", command, "1")
    expected = None
    if frame in ANSWERED_OK_BY[given["command"]]:
        expected = Answer(command, Outcome.OK)
    elif frame in REFUSALS:
        expected = Answer(command, Outcome.REJECTED)
    assert correlator.hear(heard(frame)) == expected

    own = heard(ANSWERED_OK_BY[given["command"]][0])
    still_waiting = None if expected else Answer(command, Outcome.OK)
    assert correlator.hear(own) == still_waiting


@pytest.mark.parametrize("given", ALL, ids=by_name)
def test_another_agents_frames_answer_nothing(given: dict[str, Any]) -> None:
    """Replies carry the login and nothing else, so it decides."""
    correlator = Correlator()
    command = command_for(given)
    correlator.send("jose", command, "1")
    for frame in [OK, STATUS, *EVENTS, *REFUSALS]:
        assert correlator.hear(heard(frame.replace("<jose>", "<ana>"))) is None
    answer = heard(ANSWERED_OK_BY[given["command"]][0])
    assert correlator.hear(answer) == Answer(command, Outcome.OK)


@pytest.mark.parametrize("given", ALL, ids=by_name)
def test_an_answer_may_spell_the_login_otherwise(given: dict[str, Any]) -> None:
    """§4.10 answers `jose` as `Jose`: the canonical login is what counts."""
    correlator = Correlator()
    command = command_for(given, agent="JOSE")
    correlator.send("jose", command, "1")
    answer = ANSWERED_OK_BY[given["command"]][0].replace("<jose>", "<JoSe>")
    assert correlator.hear(heard(answer)) == Answer(command, Outcome.OK)


@pytest.mark.parametrize("frame", [OK, STATUS, *EVENTS, *REFUSALS])
def test_with_nothing_in_flight_nothing_is_an_answer(frame: str) -> None:
    """Before the first command, and after one that was ended from outside."""
    correlator = Correlator()
    assert correlator.hear(heard(frame)) is None
    correlator.send("jose", command_for(GET_STATUS), "1")
    correlator.reset("jose")
    correlator.reset("jose")
    assert correlator.hear(heard(frame)) is None


def test_agents_wait_side_by_side() -> None:
    """Each agent's answer finds that agent's command, in whatever order they come."""
    correlator = Correlator()
    agents = [f"agent{n}" for n in range(10)]
    commands = {agent: command_for({"command": "resume"}, agent) for agent in agents}
    for agent, command in commands.items():
        correlator.send(agent, command, "1")
    for agent in reversed(agents):
        assert correlator.hear(heard(f"<{agent}><OK>$")) == Answer(commands[agent], Outcome.OK)
        assert correlator.hear(heard(f"<{agent}><OK>$")) is None


def test_one_command_at_a_time() -> None:
    """A second one in flight for an agent would make its answers a guess: it is a bug."""
    correlator = Correlator()
    correlator.send("jose", command_for(HANG_UP), "1")
    with pytest.raises(RuntimeError):
        correlator.send("jose", command_for(GET_STATUS), "1")
    assert correlator.hear(heard(END)) == Answer(command_for(HANG_UP), Outcome.OK)
    correlator.send("jose", command_for(GET_STATUS), "1")


LATE_BY: dict[str, list[str]] = {
    **ANSWERED_OK_BY,
    "make_call": [],  # its call is an event whenever it comes
}


@pytest.mark.parametrize("fenced", [False, True])
@pytest.mark.parametrize("frame", [OK, STATUS, *EVENTS, *REFUSALS])
@pytest.mark.parametrize("given", ALL, ids=by_name)
def test_each_command_given_up_against_each_answer(
    given: dict[str, Any], frame: str, *, fenced: bool
) -> None:
    """What can be its answer is late; only a status clears the agent, and only the fence's."""
    correlator = Correlator()
    command = command_for(given)
    correlator.send("jose", command, "1")
    correlator.give_up("jose")
    if fenced:
        correlator.fence("jose")
    expected: Answer | Late | None = None
    if fenced and frame == STATUS:
        expected = Answer(command, Outcome.OK)
    elif frame == OK or frame in [*REFUSALS, *LATE_BY[given["command"]]]:
        expected = Late(command, "1")
    assert correlator.hear(heard(frame)) == expected
    cleared = fenced and frame == STATUS
    assert (correlator.state("jose") is State.IDLE) is cleared
    if not cleared:
        if not fenced:
            correlator.fence("jose")
        assert isinstance(correlator.hear(heard(STATUS)), Answer)
    correlator.send("jose", command, "2")


ACTS: dict[Step, Callable[[Correlator], object]] = {
    Step.SEND: lambda correlator: correlator.send("jose", command_for(GET_STATUS), "1"),
    Step.ANSWER: lambda correlator: correlator.hear(heard(STATUS)),
    Step.GIVE_UP: lambda correlator: correlator.give_up("jose"),
    Step.FENCE: lambda correlator: correlator.fence("jose"),
}
WAYS = {
    State.IDLE: [],
    State.AWAITING: [Step.SEND],
    State.LATE: [Step.SEND, Step.GIVE_UP],
    State.FENCED: [Step.SEND, Step.GIVE_UP, Step.FENCE],
}


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", State)
def test_every_step_from_every_state(state: State, step: Step) -> None:
    """Where the table has it, it leads where the table says; where not, it is a bug and raises."""
    correlator = Correlator()
    for way in WAYS[state]:
        ACTS[way](correlator)
    assert correlator.state("jose") is state
    if (state, step) in TRANSITIONS:
        ACTS[step](correlator)
        assert correlator.state("jose") is TRANSITIONS[state, step]
    elif step is Step.ANSWER:  # what nobody waits for is no answer
        assert not isinstance(correlator.hear(heard(STATUS)), Answer)
        assert correlator.state("jose") is state
    else:
        with pytest.raises(RuntimeError, match=f"is {state.value}"):
            ACTS[step](correlator)


def test_a_lost_link_owes_nothing() -> None:
    """A new connection starts clean, for everybody."""
    correlator = Correlator()
    correlator.send("jose", command_for(GET_STATUS), "1")
    correlator.send("ana", command_for(GET_STATUS, "ana"), "2")
    correlator.give_up("ana")
    correlator.reset_but(set())
    assert {correlator.state("jose"), correlator.state("ana")} == {State.IDLE}


def test_those_who_owe_an_answer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has owed it longest is forgiven; who awaits one never is."""
    monkeypatch.setattr(module, "MOST_LATE", 3)
    correlator = Correlator()
    correlator.send("waiting", command_for(GET_STATUS, "waiting"), "0")
    for n in range(10):
        correlator.send(f"a{n}", command_for(GET_STATUS, f"a{n}"), "1")
        correlator.give_up(f"a{n}")
    assert correlator.state("waiting") is State.AWAITING
    late = [n for n in range(10) if correlator.state(f"a{n}") is State.LATE]
    assert late == [8, 9]
