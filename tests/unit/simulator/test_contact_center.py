import re
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import SettingsError
from bridge.simulator import Answers, Call, ContactCenter, Habits, Status
from bridge.simulator.contact_center import Said
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import maybe_command

DIALER_CALL = Call("outbound", dial_item_id="15068", origin="9988", destination="40050500")
INBOUND_CALL = Call("inbound", origin_area_code="85", origin="40050501", destination="4000")
ARRIVED = "<jose><A><15068><0><9988><0><40050500><><><>$"
CALLBACK = "<jose><TR><17/08/2010 15:00><40050500><jose>$"
FAX = "<jose><C><S><Fax>$"
DIALLING = None  # told to make a call that has not arrived yet
STATES = [*Status, DIALLING]

HABITS = Habits(
    call_seconds=(30, 30), wrap_up_seconds=(10, 10), dial_seconds=(1, 1), recorded_share=0
)


def make(agents: Sequence[str] = ("jose",), **options: Any) -> ContactCenter:
    defaults: dict[str, Any] = {"rng": Random(1), "habits": HABITS}
    return ContactCenter(agents, **(defaults | options))


def ask(center: ContactCenter, text: str, now: float = 0.0) -> list[str]:
    """Let the center obey one frame and return all that is heard of it."""
    (frame,) = Decoder().feed(text.encode())
    assert isinstance(frame, Frame)
    understood = maybe_command(frame)
    assert understood is not None
    return [said.text for said in center.obey(*understood, now)]


def texts(all_said: list[Said]) -> list[str]:
    return [said.text for said in all_said]


def put(center: ContactCenter, state: Status | None) -> None:
    """Bring jose into a state; where there can be a call, it is the dialer's."""
    if state is DIALLING:
        ask(center, "<jose><A><><40050500><>$")
    elif state in (Status.BUSY, Status.WRAP_UP):
        center.begin_call("jose", DIALER_CALL, 0.0)
        if state is Status.WRAP_UP:
            center.end_call("jose", 0.0)
    else:
        center.set_status("jose", state, 0.0)


OK = ["<jose><OK>$"]
ENDED = ["<jose><EndCall>$"]
OUT, FREE, PAUSED, BUSY, WRAP_UP = Status
ALLOWED: dict[str, dict[Status | None, tuple[list[str], Status]]] = {
    "<jose><L><ON>$": {state: (OK, state) for state in (FREE, PAUSED, BUSY, WRAP_UP)}
    | {DIALLING: (OK, BUSY)},
    "<jose><L><OFF>$": {
        FREE: (OK, OUT),
        PAUSED: (OK, OUT),
        BUSY: (ENDED + OK, OUT),
        WRAP_UP: (OK, OUT),
        DIALLING: (OK, OUT),
    },
    "<jose><P><ON><1>$": dict.fromkeys((FREE, PAUSED, WRAP_UP), (OK, PAUSED)),
    "<jose><P><OFF>$": {PAUSED: (OK, FREE), WRAP_UP: (OK, FREE)},
    "<jose><POS><OFF>$": {WRAP_UP: (OK, FREE)},
    "<jose><S>$": {state: ([f"<jose><S><{state.value}>$"], state) for state in Status}
    | {DIALLING: (["<jose><S><3>$"], BUSY)},
    CALLBACK: {BUSY: (OK, BUSY), WRAP_UP: (OK, FREE)},
    FAX: {BUSY: (OK, BUSY), WRAP_UP: (OK, WRAP_UP)},
    "<jose><A><85><40050500><>$": {FREE: ([], BUSY)},
    "<jose><D>$": {BUSY: (ENDED, WRAP_UP), DIALLING: (ENDED, FREE)},
    "<jose><AC>$": {BUSY: ([ARRIVED], BUSY)},
}
EACH = [(frame, state) for frame in ALLOWED for state in STATES]


@pytest.mark.parametrize(("frame", "state"), EACH)
@pytest.mark.parametrize("impossible", ["silence", "error"])
def test_each_command_in_each_state(frame: str, state: Status | None, impossible: Any) -> None:
    """A command is answered as §4 says and moves the agent, or changes nothing at all."""
    center = make(answers=Answers(impossible=impossible))
    put(center, state)
    before = center.maybe_status("jose")
    said = ask(center, frame)
    if state in ALLOWED[frame]:
        assert (said, center.maybe_status("jose")) == ALLOWED[frame][state]
        return
    assert center.maybe_status("jose") is before
    if impossible == "silence":
        assert said == []
    else:
        assert len(said) == 1
        assert said[0].startswith("<jose><ERRO><")


@pytest.mark.parametrize(
    "frame",
    [
        "<jose><TR><31/02/2010 15:00><><>$",
        "<jose><TR><amanhã><><>$",
        "<jose><C><S><Nonsense>$",
    ],
)
def test_a_value_that_makes_no_sense_is_impossible(frame: str) -> None:
    """A date that is none and a disposition outside §4.8 are not confirmed."""
    center = make()
    center.begin_call("jose", DIALER_CALL, 0.0)
    assert ask(center, frame) == []


@pytest.mark.parametrize(
    "frame", ["<jose><A><85><abc><>$", "<jose><A><x><1><>$", "<jose><P><ON><>$"]
)
def test_an_empty_code_and_a_phone_without_digits_are_impossible(frame: str) -> None:
    """The agent stays available."""
    center = make()
    assert ask(center, frame) == []
    assert center.maybe_status("jose") is Status.AVAILABLE


@pytest.mark.parametrize("frame", [CALLBACK, FAX])
def test_only_a_dialers_call_is_called_back_or_gets_a_disposition(frame: str) -> None:
    """§4.7 and §4.8 hold for the dialer's calls, in the call and in the wrap-up after it."""
    center = make()
    center.begin_call("jose", INBOUND_CALL, 0.0)
    assert ask(center, frame) == []
    center.end_call("jose", 0.0)
    assert ask(center, frame) == []


@pytest.mark.parametrize("spelling", ["BloquedPhone", "OutOfArea", "EletronicResponse", "Fax"])
def test_each_disposition_of_the_manual_is_known(spelling: str) -> None:
    """All four of §4.8, as the manual spells them."""
    center = make()
    center.begin_call("jose", DIALER_CALL, 0.0)
    assert ask(center, f"<jose><C><S><{spelling}>$") == OK


def test_unknown_agents_are_met_with_silence_or_an_error() -> None:
    """As the option says; the error spells the login as it was asked for."""
    assert ask(make(), "<Nobody><S>$") == []
    center = make(answers=Answers(unknown_agent="error"))
    assert ask(center, "<Nobody><S>$") == ["<Nobody><ERRO><agente desconhecido>$"]


def test_a_login_is_spelt_as_the_center_has_it() -> None:
    """§4.10 answers `jose` with `Jose`; logins compare without regard to case."""
    center = make(agents=["Jose"])
    assert ask(center, "<jOSE><S>$") == ["<Jose><S><1>$"]


@pytest.mark.parametrize(("answer", "heard"), [("silence", []), ("ok", OK)])
def test_a_call_that_is_asked_for_arrives_soon(answer: Any, heard: list[str]) -> None:
    """`make_call`: silence or OK, busy at once, then the arrival of that very phone (§5.1)."""
    center = make(answers=Answers(make_call=answer))
    assert ask(center, "<jose><A><85><40050500><Campanha>$", 100.0) == heard
    assert center.maybe_status("jose") is Status.BUSY
    assert center.next_at() == 101.0
    assert center.run_until(100.9) == []
    assert texts(center.run_until(101.0)) == ["<jose><A><0><0><7016><85><40050500><><><>$"]


def test_a_call_runs_its_course() -> None:
    """After the call comes wrap-up, and after that the agent is available by himself."""
    center = make()
    ask(center, "<jose><A><><40050500><>$")
    center.run_until(1.0)
    assert texts(center.run_until(31.0)) == ENDED
    assert center.maybe_status("jose") is Status.WRAP_UP
    assert center.run_until(41.0) == []
    assert center.maybe_status("jose") is Status.AVAILABLE


def test_the_current_call_equals_its_arrival() -> None:
    """§4.11 answers a frame equal in every field to the event, whatever the direction."""
    for call in (INBOUND_CALL, DIALER_CALL):
        center = make()
        arrived = texts(center.begin_call("jose", call, 0.0))
        assert ask(center, "<jose><AC>$") == arrived


def test_who_hears_what() -> None:
    """An event is for the bound, an answer for the asker, the EndCall of §4.10 for both."""
    center = make()
    (event,) = center.begin_call("jose", INBOUND_CALL, 0.0)
    assert (event.to_asker, event.to_bound) == (False, True)
    for text, expected in [("<jose><S>$", (True, False)), ("<jose><D>$", (True, True))]:
        (frame,) = Decoder().feed(text.encode())
        assert isinstance(frame, Frame)
        understood = maybe_command(frame)
        assert understood is not None
        (said,) = center.obey(*understood, 0.0)
        assert (said.to_asker, said.to_bound) == expected


def test_what_was_due_comes_before_the_answer() -> None:
    """A call whose time is over has ended before a later command is obeyed."""
    center = make()
    center.begin_call("jose", INBOUND_CALL, 0.0, seconds=5.0)
    assert ask(center, "<jose><S>$", 6.0) == [*ENDED, "<jose><S><4>$"]


def test_a_recording_never_comes_after_the_next_call_began() -> None:
    """Otherwise it would belong to the wrong call: it is said just before that begins."""
    center = make(habits=Habits(call_seconds=(30, 30), dial_seconds=(0, 0), recorded_share=1))
    ask(center, "<jose><A><><40050500><>$")
    center.run_until(0.0)
    heard = ask(center, "<jose><D>$", 0.1)
    heard += ask(center, "<jose><POS><OFF>$", 0.1)
    heard += ask(center, "<jose><A><><40050501><>$", 0.1)
    heard += texts(center.run_until(0.1))
    words = [text.split("><")[1].rstrip(">$") for text in heard]
    assert words == ["EndCall", "OK", "G", "A"]


def test_recordings_come_in_the_call_or_soon_after() -> None:
    """Each recorded call has exactly one address, before the next call of the agent (§5.3)."""
    habits = Habits(call_seconds=(5, 10), wrap_up_seconds=(1, 1), recorded_share=1, pause_share=0)
    center = make(calls_per_minute=60, habits=habits)
    said = center.run_until(0.0) + center.run_until(3600.0)
    order = "".join(each.text.split("><")[1][0] for each in said)
    assert re.fullmatch("((A|R)(GE|EG))+(A|R)?G?E?", order)
    assert "GE" in order
    assert "EG" in order


def test_what_a_script_may_not_do() -> None:
    """A script that contradicts the state of an agent is told so."""
    center = make()
    with pytest.raises(ValueError, match="no agent"):
        center.record("nobody", "x.wav", 0.0)
    with pytest.raises(ValueError, match="no call"):
        center.end_call("jose", 0.0)
    center.begin_call("jose", INBOUND_CALL, 0.0)
    with pytest.raises(ValueError, match="a call already"):
        center.begin_call("jose", INBOUND_CALL, 0.0)
    with pytest.raises(ValueError, match="has a call"):
        center.set_status("jose", Status.PAUSED, 0.0)


def test_a_scripted_recording_is_spelt_as_given() -> None:
    """A `$` in a share's name is data (§5.3)."""
    said = make().record("JOSE", "\\\\server\\c$\\x.wav", 0.0)
    assert texts(said) == ["<jose><G><\\\\server\\c$\\x.wav>$"]


def test_a_quiet_center_plans_nothing() -> None:
    """Without calls of its own nobody takes a break: who was logged off stays so."""
    center = make()
    ask(center, "<jose><L><OFF>$")
    assert center.next_at() == float("inf")
    assert center.run_until(1e9) == []
    assert center.maybe_status("jose") is Status.LOGGED_OUT


def test_people_take_breaks_and_come_back() -> None:
    """In a center with calls, pauses and log-offs happen, and none lasts for ever."""
    habits = Habits(
        call_seconds=(1, 2), wrap_up_seconds=(1, 2), pause_share=0.4, away_share=0.4,
        pause_seconds=(5, 5), away_seconds=(5, 5),
    )  # fmt: skip
    center = make(calls_per_minute=60, habits=habits)
    seen = []
    for second in range(600):
        center.run_until(float(second))
        seen.append(center.maybe_status("jose"))
    assert set(seen) == set(Status)
    assert Status.AVAILABLE in seen[-60:]


@pytest.mark.parametrize("dialer_share", [0, 1])
def test_the_share_of_the_dialer(dialer_share: float) -> None:
    """0 gives inbound calls alone, 1 the dialer's alone."""
    center = make(calls_per_minute=60, habits=Habits(dialer_share=dialer_share))
    center.run_until(0.0)
    words = {said.text.split("><")[1] for said in center.run_until(600.0)}
    assert words & {"A", "R"} == ({"A"} if dialer_share else {"R"})


def test_the_same_seed_gives_the_same_day() -> None:
    """Two centers with the same seed and the same questions say the same."""
    days = []
    for _ in range(2):
        center = make(agents=["ana", "jose"], rng=Random(7), calls_per_minute=30, attach_info=True)
        said = center.run_until(0.0)
        for second in range(1, 300):
            said += center.run_until(float(second))
        days.append(said)
    assert days[0] == days[1]
    assert len(days[0]) > 20


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"agents": []}, "at least one"),
        ({"agents": ["ana", "ANA"]}, "twice"),
        ({"agents": ["a<b"]}, "'a<b'"),
        ({"agents": ["AdmSocket"]}, "registration"),
        ({"agents": [" "]}, "empty"),
        ({"calls_per_minute": -1}, "calls_per_minute"),
        ({"calls_per_minute": float("nan")}, "calls_per_minute"),
        ({"calls_per_minute": 1e9}, "calls_per_minute"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], name: str) -> None:
    """What cannot be is refused at once, and the message says what."""
    with pytest.raises(SettingsError, match=name):
        make(**options)


VALUES = st.sampled_from(["", "1", "85", "40050500", "jose", "Fax", "17/08/2010 15:00"]) | st.text(
    st.characters(codec="utf-8", exclude_characters="<>$"), max_size=8
)
TAILS = ["L><ON", "L><OFF", "P><OFF", "POS><OFF", "S", "D", "AC"]
FRAMES = st.one_of(
    st.sampled_from(TAILS),
    VALUES.map("P><ON><{}".format),
    VALUES.map("C><S><{}".format),
    st.builds("TR><{}><{}><{}".format, VALUES, VALUES, VALUES),
    st.builds("A><{}><{}><{}".format, VALUES, VALUES, VALUES),
)
LOGINS = st.sampled_from(["ana", "Jose", "JOSE", "joão", "nobody"])
STEPS = st.lists(st.tuples(st.floats(0, 30), LOGINS, FRAMES), max_size=60)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1000), rate=st.sampled_from([0.0, 20.0, 300.0]))
def test_whatever_is_asked_the_states_stay_consistent(
    steps: list[tuple[float, str, str]], seed: int, rate: float
) -> None:
    """Nothing raises, frames are whole, answers are for who asked, and calls never overlap.

    Only a busy agent has a call, and exactly from its arrival to its end.
    """
    center = ContactCenter(
        ["ana", "jose", "joão"],
        rng=Random(seed),
        calls_per_minute=rate,
        habits=Habits(call_seconds=(0, 20), wrap_up_seconds=(0, 5)),
        answers=Answers("ok", "error", "error"),
    )
    talking: set[str] = set()
    now = 1.7e9
    for seconds, login, tail in steps:
        now += seconds
        (frame,) = Decoder().feed(f"<{login}><{tail}>$".encode())
        assert isinstance(frame, Frame)
        understood = maybe_command(frame)
        assert understood is not None
        for said in center.obey(*understood, now):
            (read,) = Decoder().feed(said.text.encode())
            assert isinstance(read, Frame)
            assert read.fields[0].casefold() == said.agent
            if not said.to_bound:
                assert said.agent == login.casefold()
            elif read.fields[1] in "AR":
                assert said.agent not in talking
                talking.add(said.agent)
            elif read.fields[1] == "EndCall":
                talking.discard(said.agent)
        assert center.next_at() > now
        for agent in center.logins:
            busy = center.maybe_status(agent) is Status.BUSY
            assert (center.maybe_call(agent) is not None) == (agent in talking)
            assert busy or agent not in talking
