"""What one who stands by learns of agents, held to what the leader knows of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.calls import Calls
from bridge.core.following import Follower
from bridge.messages.commands import MakeCall
from bridge.messages.envelope import Envelope
from bridge.messages.events import Event
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import reread, understand

BEGIN = datetime(2026, 11, 22, 12, tzinfo=UTC)
FRAMES = (
    b"<jose><A><1><0><9988><85><40050500><Cobranca><rec><a=b>$",
    b"<jose><R><0><85><988887777><0><3001><---><>$",
    b"<jose><G></gravacoes/1.wav>$",
    b"<jose><G></gravacoes/2.wav>$",
    b"<jose><EndCall>$",
    b"<jose><S><3>$",
    b"<jose><S><1>$",
    b"<ana><S><2>$",
    b"<ana><R><0><85><988887777><0><3001><---><>$",
    b"<ana><NEW><1>$",
)


def calls() -> Calls:
    ids = (f"call-{number}" for number in range(1, 10_000))
    return Calls(lambda: next(ids), reread)


def said(frames: list[bytes], leader: Calls) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield what a leader publishes of frames, as JSON, with its trace."""
    envelope = Envelope(site="main", journal_id="J")
    for number, raw in enumerate(frames, 1):
        at = BEGIN + timedelta(seconds=number)
        for piece in Decoder().feed(raw):
            assert isinstance(piece, Frame)
            events: list[Event] = leader.hear(understand(piece), at)
            for event in events:
                sealed = envelope.seal(event, number, at, 1)
                yield orjson.loads(sealed.body), sealed.trace


def known(of: Calls) -> dict[str, Any]:
    """Return all that is known, but for what each bridge notes for itself."""
    states = {name: orjson.loads(state) for name, state in of.states()}
    for state in states.values():
        for call in (state["call"], state["last_call"]):
            if call is not None:
                call.pop("raw")
                call["recordings"] = list(dict.fromkeys(call["recordings"]))  # one said twice
    return states


@given(st.lists(st.sampled_from(FRAMES), max_size=30))
def test_who_follows_knows_what_the_leader_knows(frames: list[bytes]) -> None:
    """From the first event on: the agents, their calls, with ids, recordings and times."""
    leader, standby = calls(), calls()
    follower = Follower(standby)
    for message, trace in said(frames, leader):
        follower.follow(message, trace)
    assert known(standby) == known(leader)


@given(st.lists(st.sampled_from(FRAMES), max_size=20), st.integers(0, 20))
def test_agents_told_in_between_are_no_harm(frames: list[bytes], told: int) -> None:
    """The leader tells its agents while events are under way that they know of already."""
    leader, standby = calls(), calls()
    messages = list(said(frames, leader))
    follower = Follower(standby)
    for number, (message, trace) in enumerate(messages):
        if number == min(told, len(messages) - 1):
            follower.begin_to_be_told()
            follower.adopt(dict(leader.states()))
            follower.was_told_all()
        follower.follow(message, trace)
    for name, state in known(leader).items():
        assert known(standby)[name]["call"] == state["call"]
        assert known(standby)[name]["code"] == state["code"]


def test_a_call_that_was_asked_for_is_not_expected_twice() -> None:
    """Its context comes with its arrival; the next call to that number is another."""
    leader, standby = calls(), calls()
    command = MakeCall(agent="jose", phone="40050500", context={"order": "A-77"})
    leader.expect(command, "7", None, BEGIN)
    standby.adopt(leader.take_changes())
    follower = Follower(standby)
    for message, trace in said([FRAMES[0]], leader):
        follower.follow(message, trace)
    assert known(standby) == known(leader)
    assert known(standby)["jose"]["call"]["context"] == {"order": "A-77"}
    assert not known(standby)["jose"]["expected"]


def test_a_telling_that_breaks_off_forgets_nobody() -> None:
    """Whom the leader does not know is forgotten when it has told all, and not before."""
    leader, standby = calls(), calls()
    follower = Follower(standby)
    for message, trace in said([b"<jose><S><1>$", b"<ana><S><1>$"], leader):
        follower.follow(message, trace)
    state = dict(leader.states())
    follower.begin_to_be_told()
    follower.adopt({"ana": state["ana"]})
    assert set(standby.names()) == {"ana", "jose"}
    follower.begin_to_be_told()
    follower.adopt({"ana": state["ana"]})
    for message, trace in said([b"<rui><S><1>$"], leader):
        follower.follow(message, trace)
    follower.was_told_all()
    assert set(standby.names()) == {"ana", "rui"}


def test_what_is_told_late_says_nothing_against_what_was_heard_since() -> None:
    """A note that is told once more brings the agents of before."""
    leader, standby = calls(), calls()
    follower = Follower(standby)
    messages = list(said([b"<jose><S><1>$"], leader))
    before = dict(leader.states())
    messages += said([b"<ana><S><1>$", b"<jose><S><3>$"], leader)
    for message, trace in messages:
        follower.follow(message, trace)
    follower.adopt(before)
    assert known(standby)["jose"]["code"] == 3


def test_a_newer_version_may_say_more_of_a_call() -> None:
    leader, standby = calls(), calls()
    ((message, trace),) = said([FRAMES[0]], leader)
    message["data"]["mood"] = "good"
    Follower(standby).follow(message, trace)
    assert known(standby)["jose"]["call"]["id"] == message["data"]["call_id"]
