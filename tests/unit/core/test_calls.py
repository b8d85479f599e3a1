"""What the bridge makes of what it hears of each agent (protocol.md §5, contract.md §2)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from bridge.core.calls import Calls
from bridge.messages.commands import GetAgents, MakeCall, WireCommand, parse
from bridge.messages.events import CallEnded, CallStarted, Event
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import reread, understand

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

CALL = "<jose><A><15068><0><9988><0><40050500><><><>$"
MANGLED_CALL = "<JOSE><a><15068><0><9988><0><40050500><>><>$"  # the same in every field
OTHER_CALL = "<jose><R><><85><988887777><><3001><---><>$"
END = "<jose><EndCall>$"


class Story:
    """Calls, told frame by frame; each frame comes a second after the one before."""

    def __init__(self) -> None:
        ids = (f"call-{n}" for n in range(1, 1000))
        self.calls = Calls(lambda: next(ids), reread)
        self.calls.reconnected()
        self.now = START

    def hear(self, text: str, *, answers: str | None = None) -> list[Event]:
        """Return all that a frame brings about."""
        (frame,) = Decoder().feed(text.encode())
        assert isinstance(frame, Frame)
        at, self.now = self.now, self.now + timedelta(seconds=1)
        return self.calls.hear(understand(frame), at, answers=self._command(answers))

    def told(self, text: str, *, answers: str | None = None) -> list[tuple[str, dict[str, Any]]]:
        """Return the same, each by its type and its data."""
        events = self.hear(text, answers=answers)
        return [(event.type, json.loads(orjson.dumps(event))) for event in events]

    def one(self, text: str, *, answers: str | None = None) -> dict[str, Any]:
        """Return the data of the one event that a frame brings about."""
        ((_, data),) = self.told(text, answers=answers)
        return data

    def known(self, agent: str | None = None) -> list[dict[str, Any]]:
        """Return what is known, as JSON."""
        known: list[dict[str, Any]] = json.loads(orjson.dumps(list(self.calls.known(agent))))
        return known

    @staticmethod
    def _command(name: str | None) -> WireCommand | None:
        if name is None:
            return None
        rest = {"make_call": {"phone": "40050500"}, "pause": {"code": "1"}}.get(name, {})
        command = parse(json.dumps({"command": name, "agent": "jose", **rest}).encode())
        assert not isinstance(command, GetAgents)
        return command


@pytest.fixture
def story() -> Story:
    return Story()


def time(second: int) -> str:
    return f"2026-11-22T12:00:{second:02}.000000Z"


# --- one call -------------------------------------------------------------------


def test_a_call_from_arrival_to_its_late_recording(story: Story) -> None:
    """One id throughout; the end knows direction, start, duration and the recordings so far."""
    started = story.one(CALL)
    assert started["call_id"] == "call-1"
    assert story.one("<jose><G><a.wav>$")["call_id"] == "call-1"
    assert story.one("<jose><G><b.wav>$")["call_id"] == "call-1"
    assert story.one(END) == {
        "agent": "jose",
        "call_id": "call-1",
        "direction": "outbound",
        "started_at": time(0),
        "duration_seconds": 3.0,
        "recordings": ["a.wav", "b.wav"],
        "context": None,
        "repeated": False,
        "inferred": False,
        "raw": END,
    }
    assert story.one("<jose><G><c.wav>$") == {
        "agent": "jose",
        "call_id": "call-1",
        "path": "c.wav",
        "context": None,
        "raw": "<jose><G><c.wav>$",
    }


def test_a_repeated_end_is_the_last_calls(story: Story) -> None:
    """No call was open, so it says so; the rest is the last call's, its duration unchanged."""
    story.hear(CALL)
    first = story.one(END)
    story.hear("<jose><G><late.wav>$")
    second = story.one(END.lower())
    assert second == {**first, "repeated": True, "recordings": ["late.wav"], "raw": END.lower()}


def test_an_end_of_nothing_is_repeated_and_null(story: Story) -> None:
    """For an agent never seen in a call there is nothing to say, also after other news."""
    story.hear("<jose><S><1>$")
    assert story.one(END) == {
        "agent": "jose",
        "call_id": None,
        "direction": None,
        "started_at": None,
        "duration_seconds": None,
        "recordings": None,
        "context": None,
        "repeated": True,
        "inferred": False,
        "raw": END,
    }


def test_a_recording_without_a_call_is_told_all_the_same(story: Story) -> None:
    """Enrichment never holds an event back."""
    data = story.one("<jose><G><a.wav>$")
    assert (data["call_id"], data["path"]) == (None, "a.wav")


def test_a_recording_after_the_next_arrival_is_the_next_calls(story: Story) -> None:
    """The last call's ends with the arrival of another."""
    story.hear(CALL)
    story.hear(END)
    story.hear(OTHER_CALL)
    assert story.one("<jose><G><a.wav>$")["call_id"] == "call-2"
    assert story.one(END)["recordings"] == ["a.wav"]


def test_a_new_call_closes_the_open_one_first(story: Story) -> None:
    """Tactium never said the end: it is inferred, without a frame, and comes before the arrival."""
    story.hear(CALL)
    story.hear("<jose><G><a.wav>$")
    (ended, end), (started, start) = story.told(OTHER_CALL)
    assert (ended, started) == ("call.ended", "call.started")
    assert end == {
        "agent": "jose",
        "call_id": "call-1",
        "direction": "outbound",
        "started_at": time(0),
        "duration_seconds": 2.0,
        "recordings": ["a.wav"],
        "context": None,
        "repeated": False,
        "inferred": True,
        "raw": None,
    }
    assert (start["call_id"], start["direction"]) == ("call-2", "inbound")
    assert story.one(END)["call_id"] == "call-2"


def test_the_same_frame_again_is_another_call(story: Story) -> None:
    """Unasked for, an arrival is an arrival: a frame has no id to say that it is the same."""
    story.hear(CALL)
    events = story.told(CALL)
    assert [kind for kind, _ in events] == ["call.ended", "call.started"]
    assert events[1][1]["call_id"] == "call-2"


def test_agents_are_told_apart_and_spelt_alike(story: Story) -> None:
    """Each has a call of its own; the case of a login makes no other agent."""
    story.hear(CALL)
    story.hear(CALL.replace("jose", "ana"))
    assert story.one("<JOSE><EndCall>$")["call_id"] == "call-1"
    assert story.one("<Ana><EndCall>$")["call_id"] == "call-2"
    assert [entry["agent"] for entry in story.known()] == ["jose", "ana"]


def test_an_event_is_not_changed_by_what_comes_later(story: Story) -> None:
    """What was given out to be published stays as it was when it was given out."""
    events = story.hear(CALL) + story.hear("<jose><G><a.wav>$") + story.hear(END)
    before = [orjson.dumps(event) for event in events]
    story.hear("<jose><G><b.wav>$")
    story.hear(END)
    story.hear(OTHER_CALL)
    assert [orjson.dumps(event) for event in events] == before


# --- what an answer is besides --------------------------------------------------


@pytest.mark.parametrize("frame", ["<jose><OK>$", "<jose><Erro>$"])
def test_an_ok_or_a_refusal_is_an_event_only_where_nobody_asked(story: Story, frame: str) -> None:
    """As an answer it is the asker's alone; otherwise it is a frame that fits nothing."""
    assert story.told(frame, answers="pause") == []
    ((kind, data),) = story.told(frame)
    assert kind == "frame.unknown"
    assert data == {"agent": "jose", "fields": frame[1:-2].split("><"), "raw": frame}


@pytest.mark.parametrize("answers", [None, "get_status"])
def test_a_status_is_always_told(story: Story, answers: str | None) -> None:
    """Whoever asked."""
    assert story.told("<jose><S><4>$", answers=answers) == [
        ("agent.status", {"agent": "jose", "code": 4, "status": "wrap_up", "raw": "<jose><S><4>$"})
    ]


def test_the_answer_to_hang_up_is_the_calls_end(story: Story) -> None:
    """It is the event as well, with all that an end knows."""
    story.hear(CALL)
    ((kind, data),) = story.told("<Jose><EndCall>$", answers="hang_up")
    assert (kind, data["call_id"], data["repeated"]) == ("call.ended", "call-1", False)


def test_the_answer_to_make_call_is_the_calls_arrival(story: Story) -> None:
    """It is the event as well."""
    ((kind, data),) = story.told(CALL, answers="make_call")
    assert (kind, data["call_id"]) == ("call.started", "call-1")


# --- the current call, asked for ------------------------------------------------


def test_the_call_that_is_known_is_no_new_one(story: Story) -> None:
    """Equal in every field: only the reply, published as `call.current` with its id."""
    started = story.one(CALL)
    assert story.told(CALL, answers="get_current_call") == [("call.current", started)]
    assert story.one(END)["call_id"] == "call-1"


def test_the_frame_of_the_reply_is_carried(story: Story) -> None:
    """Equal in every field but not in every byte: `raw` is the frame that was heard."""
    started = story.one(CALL)
    assert story.told(MANGLED_CALL, answers="get_current_call") == [
        ("call.current", {**started, "raw": MANGLED_CALL})
    ]


@pytest.mark.parametrize(
    "other",
    [
        OTHER_CALL,
        CALL.replace("<A>", "<R>"),
        CALL.replace("15068", "15069"),
        CALL.replace("<9988>", "<9989>"),
        CALL.replace("40050500", "40050501"),
        CALL.replace("<>$", "<x=1>$"),
        CALL.replace("><>$", ">$"),
    ],
)
def test_a_call_that_differs_is_a_new_one(story: Story, other: str) -> None:
    """In a single field: the open one ended unheard, and this is an arrival and the reply."""
    story.hear(CALL)
    (ended, end), (started, start) = story.told(other, answers="get_current_call")
    assert (ended, end["call_id"], end["inferred"]) == ("call.ended", "call-1", True)
    assert (started, start["call_id"], start["raw"]) == ("call.started", "call-2", other)


def test_a_call_of_an_agent_never_seen_in_one_is_current(story: Story) -> None:
    """It began before the link came up: no arrival, and its start is not known."""
    story.hear("<jose><S><3>$")
    ((kind, data),) = story.told(CALL, answers="get_current_call")
    assert (kind, data["call_id"], data["raw"]) == ("call.current", "call-1", CALL)
    end = story.one(END)
    assert (end["call_id"], end["direction"]) == ("call-1", "outbound")
    assert (end["started_at"], end["duration_seconds"]) == (None, None)
    assert end["repeated"] is False


def test_a_call_found_by_asking_is_known_from_then_on(story: Story) -> None:
    """Asked again it is the same one, and its recordings are its own."""
    (_, first), *_ = story.told(CALL, answers="get_current_call")
    story.hear("<jose><G><a.wav>$")
    assert story.told(CALL, answers="get_current_call") == [("call.current", first)]
    assert story.one(END)["recordings"] == ["a.wav"]


def test_a_call_after_one_that_was_seen_to_end_is_new(story: Story) -> None:
    """The link heard the last one's whole life, so this one began while it listened."""
    story.hear(CALL)
    story.hear(END)
    ((kind, data),) = story.told(CALL, answers="get_current_call")
    assert (kind, data["call_id"]) == ("call.started", "call-2")
    assert story.one(END)["started_at"] == time(2)


def test_after_a_reconnection_nothing_was_seen_yet(story: Story) -> None:
    """A call that ended on the old link says nothing of what began while nobody heard."""
    story.hear(CALL)
    story.hear(END)
    story.calls.reconnected()
    ((kind, data),) = story.told(OTHER_CALL, answers="get_current_call")
    assert (kind, data["call_id"]) == ("call.current", "call-2")


def test_a_call_held_over_a_reconnection_is_the_same(story: Story) -> None:
    """Where it equals what is asked for; where it differs, it ended unheard."""
    story.hear(CALL)
    story.calls.reconnected()
    ((kind, data),) = story.told(CALL, answers="get_current_call")
    assert (kind, data["call_id"]) == ("call.current", "call-1")
    story.calls.reconnected()
    (ended, end), (started, start) = story.told(OTHER_CALL, answers="get_current_call")
    assert (ended, end["call_id"], end["inferred"]) == ("call.ended", "call-1", True)
    assert (started, start["call_id"]) == ("call.started", "call-2")


def test_a_call_seen_to_end_on_this_link_was_seen_on_it(story: Story) -> None:
    """It began on the old link and ended on this one, so what follows began while it listened."""
    story.hear(CALL)
    story.calls.reconnected()
    story.hear(END)
    ((kind, _),) = story.told(OTHER_CALL, answers="get_current_call")
    assert kind == "call.started"


def test_a_recording_alone_is_no_call_that_was_seen(story: Story) -> None:
    """It may be of the very call that began before the link came up, so that one is no arrival."""
    story.hear("<jose><G><a.wav>$")
    ((kind, _),) = story.told(CALL, answers="get_current_call")
    assert kind == "call.current"


def test_reconnecting_keeps_what_is_known(story: Story) -> None:
    """An end on the new link is that of the call that began on the old one."""
    story.hear(CALL)
    story.calls.reconnected()
    end = story.one(END)
    assert (end["call_id"], end["started_at"], end["repeated"]) == ("call-1", time(0), False)


# --- what is known --------------------------------------------------------------


def test_the_status_is_known_since_it_changed(story: Story) -> None:
    """Hearing the same one again does not make it younger."""
    story.hear("<jose><S><1>$")
    story.hear("<jose><S><1>$")
    assert story.known() == [
        {"agent": "jose", "code": 1, "status": "available", "since": time(0), "call": None}
    ]
    story.hear("<jose><S><3>$")
    assert story.known("jose")[0] | {"call": None} == {
        "agent": "jose",
        "code": 3,
        "status": "busy",
        "since": time(2),
        "call": None,
    }
    story.hear("<jose><S><1>$")
    assert story.known("jose")[0]["since"] == time(3)


def test_the_call_is_known_while_it_lasts(story: Story) -> None:
    """As the data of its `call.started`, also where it was found by asking."""
    started = story.one(CALL)
    assert story.known() == [
        {"agent": "jose", "code": None, "status": None, "since": None, "call": started}
    ]
    story.hear(END)
    assert story.known()[0]["call"] is None
    story.calls.reconnected()
    current = story.one(OTHER_CALL, answers="get_current_call")
    assert story.known()[0]["call"] == current


@pytest.mark.parametrize("frame", [END, CALL, "<jose><G><x>$", "<jose><OK>$", "<jose>$"])
def test_every_agent_whom_tactium_named_is_known(story: Story, frame: str) -> None:
    """Whatever the frame; and nobody else is."""
    story.hear(frame)
    assert [entry["agent"] for entry in story.known()] == ["jose"]
    assert story.known("ana") == []
    assert [entry["agent"] for entry in story.known("jose")] == ["jose"]


def test_durations_are_never_negative(story: Story) -> None:
    """A clock that was set back makes no call shorter than nothing."""
    story.hear(CALL)
    story.now = START - timedelta(hours=1)
    assert story.one(END)["duration_seconds"] == 0.0


# --- what a reading found ---------------------------------------------------------


def test_an_arrival_that_comes_before_the_answer_which_says_the_same(story: Story) -> None:
    """One call: the question was answered by the event, and the answer is no second call."""
    first = story.told(CALL, answers="get_current_call")
    again = story.told(CALL)
    assert [kind for kind, _ in [*first, *again]] == ["call.current", "call.current"]
    assert first[0][1]["call_id"] == again[0][1]["call_id"]
    story.hear(END)
    started = story.told(CALL, answers="get_current_call")
    again = story.told(CALL)
    assert [kind for kind, _ in [*started, *again]] == ["call.started", "call.current"]
    assert story.told(CALL)[0][0] == "call.ended"  # a third one is another call


def test_whoever_tactium_spoke_of_is_asked_after(story: Story) -> None:
    """In a call first; by the login that Tactium spells; not who was only mangled or refused."""
    for frame in ("<Weiß><S><1>$", CALL, "<ana><G><a.wav>$", "<ghost><x>$"):
        story.hear(frame)
    story.hear("<nobody><ERRO>$", answers="pause")
    story.hear("<ended><EndCall>$")
    assert story.calls.to_ask() == [
        ("jose", "jose"),
        ("ana", "ana"),
        ("ended", "ended"),
        ("weiss", "Weiß"),
    ]


def make_call(phone: str = "40050500", **given: Any) -> MakeCall:
    return MakeCall(agent="jose", phone=phone, **given)


def test_each_call_that_was_asked_for_is_its_own_commands(story: Story) -> None:
    """The first that arrives is the first command's, and only that command is answered by it."""
    story.calls.expect(make_call(), "1", None, START)
    story.calls.expect(make_call(context={"n": 2}), "2", "trace", START)
    (frame,) = Decoder().feed(CALL.encode())
    assert isinstance(frame, Frame)
    assert story.calls.maybe_wanted_by(understand(frame), START) == "1"
    assert story.one(CALL)["context"] is None
    assert story.calls.maybe_wanted_by(understand(frame), START) == "2"
    ended, started = story.hear(CALL)
    assert isinstance(started, CallStarted)
    assert (started.context, started.trace) == ({"n": 2}, "trace")
    assert isinstance(ended, CallEnded)
    assert ended.context is None


def test_a_call_that_is_refused_takes_no_other_commands_context(story: Story) -> None:
    """Each expectation goes with its own command."""
    story.calls.expect(make_call(context={"n": 1}), "1", None, START)
    story.calls.expect(make_call(), "2", None, START)
    story.calls.expect_no_more("jose", "2")
    assert story.one(CALL)["context"] == {"n": 1}


def test_what_is_known_outlives_the_process(story: Story) -> None:
    """All of it, as the journal keeps it; what cannot be read is passed over and named."""
    story.calls.expect(make_call("1", context={"n": 1}), "1", None, START)
    for frame in (CALL, "<jose><G><a.wav>$", "<jose><S><3>$", "<Weiß><S><1>$"):
        story.hear(frame)
    states = story.calls.take_changes()
    again = Story()
    kept = [(name, state) for name, state in states.items() if state is not None]
    unreadable = [("x", b"{"), ("y", b"{}"), ("z", b"[]"), ("w", b'{"code":1}')]
    assert again.calls.restore([*kept, *unreadable]) == ["x", "y", "z", "w"]
    assert [*again.known("jose"), *again.known("weiss")] == story.known()
    assert again.calls.to_ask() == story.calls.to_ask()
    again.now = story.now
    assert again.one(END) == story.one(END)
    assert again.one("<jose><A><1><0><9><0><1><><><>$")["context"] == {"n": 1}


def test_agents_are_forgotten(story: Story) -> None:
    """After their time; and those of whom nothing was ever heard when nothing is expected."""
    story.hear("<ana><S><1>$")
    story.calls.expect(make_call(context={"n": 1}), "1", None, START)
    story.calls.take_changes()
    story.calls.forget(START + timedelta(seconds=30))
    assert story.calls.take_changes() == {}
    story.calls.forget(START + timedelta(days=1))
    assert story.calls.take_changes() == {"jose": None}
    story.calls.forget(START + timedelta(days=8))
    assert story.calls.take_changes() == {"ana": None}
    assert story.known() == []
