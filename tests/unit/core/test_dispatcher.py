"""What becomes of a command when something fails at the worst moment (contract.md §4, §5)."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from bridge.errors import JournalUnwritable, LinkDown
from bridge.messages.replies import Outcome
from tests.unit.core.stand_ins import Desk, letter, until

RESUME = {"command": "resume", "agent": "jose"}
RESUME_FRAME = b"<jose><P><OFF>$"
PAUSE = {"command": "pause", "agent": "jose", "code": "1"}
PAUSE_FRAME = b"<jose><P><ON><1>$"
GET_STATUS = {"command": "get_status", "agent": "jose"}
GET_STATUS_FRAME = b"<jose><S>$"
MAKE_CALL = {"command": "make_call", "agent": "jose", "phone": "40050500"}
OK = "<jose><OK>$"


async def test_a_command_its_answer_and_its_trace() -> None:
    """The reply repeats what was asked, says what came, and leaves one line in the audit trail."""
    desk = Desk()
    posted = desk.post({**RESUME, "agent": "Jose", "context": {"order": 1}}, message_id="7")
    await desk.wrote(b"<Jose><P><OFF>$")
    desk.hear(OK)
    reply = await posted.reply()
    assert (reply.id, reply.command, reply.agent) == ("7", "resume", "jose")
    assert (reply.outcome, reply.data, reply.error, reply.raw) == (Outcome.OK, None, None, OK)
    assert reply.context == {"order": 1}
    assert reply.sent_at is not None
    assert reply.received_at <= reply.sent_at <= reply.replied_at
    (trace,) = desk.audited
    assert (trace.id, trace.command, trace.agent, trace.user) == ("7", "resume", "jose", "crm")
    assert (trace.type, trace.error, trace.context) == ("command.ok", None, {"order": 1})


async def test_a_request_without_an_id_is_given_one() -> None:
    """Reply and trace name the same."""
    desk = Desk()
    reply = await desk.post({"command": "get_agents"}).reply()
    assert reply.id
    assert reply.id == desk.audited[0].id


async def test_one_at_a_time_in_order_and_agents_in_parallel() -> None:
    """The second waits for the first's answer; another agent's waits for neither."""
    desk = Desk()
    first, second = desk.post(PAUSE), desk.post(RESUME)
    other = desk.post({**RESUME, "agent": "ana"})
    await desk.wrote(PAUSE_FRAME, b"<ana><P><OFF>$")
    desk.hear("<ana><OK>$")
    await other.reply()
    desk.hear(OK)
    await desk.wrote(PAUSE_FRAME, b"<ana><P><OFF>$", RESUME_FRAME)
    desk.hear(OK)
    assert [(await posted.reply()).outcome for posted in (first, second)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("command", "outcome", "code"),
    [(RESUME, "timeout", "timeout"), (GET_STATUS, "timeout", "timeout"), (MAKE_CALL, "sent", None)],
)
async def test_no_answer_in_time(command: dict[str, Any], outcome: str, code: str | None) -> None:
    """A timeout, but for `make_call`, to which the manual promises no answer."""
    desk = Desk(timeout=0.01, make_call_window=0.01)
    reply = await desk.post(command).reply()
    assert reply.outcome == outcome
    assert (reply.error["code"] if reply.error else None) == code
    assert reply.sent_at is not None


@pytest.mark.parametrize("command", [MAKE_CALL, {**GET_STATUS, "command": "get_current_call"}])
async def test_a_call_that_answers_is_in_the_reply(command: dict[str, Any]) -> None:
    """As what was published of it, so that both show the same call."""
    desk = Desk()
    posted = desk.post(command)
    await until(lambda: len(desk.link.written) == 1)
    desk.hear("<jose><A><><><7016><><40050500><><><>$")
    reply = await posted.reply()
    assert reply.outcome == Outcome.OK
    assert reply.data == json.loads(orjson.dumps(desk.published[-1]))


async def test_get_agents_needs_no_link() -> None:
    """It is answered by the bridge itself, by the agent's canonical name."""
    desk = Desk()
    desk.hear("<Jose><S><1>$")
    desk.hear("<ana><S><2>$")
    desk.runner.link_down()
    everyone = await desk.post({"command": "get_agents"}).reply()
    one = await desk.post({"command": "get_agents", "agent": "JOSE"}).reply()
    assert [agent["agent"] for agent in everyone.data["agents"]] == ["jose", "ana"]
    assert one.data == {"agents": everyone.data["agents"][:1]}
    assert (one.outcome, one.agent, one.sent_at) == (Outcome.OK, "jose", None)


# --- what breaks the contract ---------------------------------------------------


async def test_an_invalid_command_writes_nothing() -> None:
    """It is answered with the field and the reason, and told in the audit trail."""
    desk = Desk()
    reply = await desk.post({**RESUME, "code": "<"}, message_id="7").reply()
    assert (reply.id, reply.command, reply.agent) == ("7", "resume", "jose")
    assert (reply.outcome, reply.data, reply.sent_at) == (Outcome.INVALID, None, None)
    assert reply.error is not None
    assert reply.error["code"] == "invalid"
    assert [flaw["field"] for flaw in reply.error["details"]] == ["code"]
    assert [trace.type for trace in desk.audited] == ["command.invalid"]
    assert desk.link.written == []


async def test_a_command_that_cannot_be_spelt_says_whose_it_was() -> None:
    """All of it was read, so the reply names command and agent, and gives the context back."""
    desk = Desk()
    reply = await desk.post({**PAUSE, "code": "日本", "context": {"order": 1}}).reply()
    assert reply.outcome == Outcome.INVALID
    assert reply.error is not None
    assert [flaw["field"] for flaw in reply.error["details"]] == ["code"]
    assert (reply.command, reply.agent, reply.context) == ("pause", "jose", {"order": 1})


# --- who may --------------------------------------------------------------------


ONLY_PAUSES = [{"user": "crm-*", "commands": ["pause"], "allow": True}]


async def test_what_the_policy_forbids_is_not_run() -> None:
    """Answered, audited, and no byte goes out."""
    desk = Desk(policy=ONLY_PAUSES)
    refused = await desk.post(RESUME, user="crm-1").reply()
    anonymous = await desk.post(PAUSE, user=None).reply()
    assert {refused.outcome, anonymous.outcome} == {"forbidden"}
    assert refused.error is not None
    desk.post(PAUSE, user="crm-1")
    await desk.wrote(PAUSE_FRAME)
    assert [trace.type for trace in desk.audited] == ["command.forbidden"] * 2


@pytest.mark.parametrize("answered", [False, True])
async def test_nobody_gets_an_answer_that_is_not_for_him(*, answered: bool) -> None:
    """Who may not give a command may not learn of its answer by giving it once more."""
    desk = Desk(policy=[{"user": "crm", "allow": True}])
    first = desk.post(GET_STATUS, message_id="7")
    await desk.wrote(GET_STATUS_FRAME)
    if answered:
        desk.hear("<jose><S><1>$")
        await first.reply()
    assert (await desk.post(GET_STATUS, message_id="7", user="eve").reply()).outcome == "forbidden"
    if not answered:
        desk.hear("<jose><S><1>$")
    assert (await first.reply()).outcome == "ok"
    assert (await desk.post(GET_STATUS, message_id="7").reply()).outcome == "ok"
    assert desk.dispatcher._jobs == {}


async def test_get_agents_tells_nobody_of_agents_that_are_not_for_him() -> None:
    """Who may see some of them sees those."""
    desk = Desk(policy=[{"agents": ["sales-*"], "allow": True}])
    for agent in ("jose", "sales-1", "sales-2"):
        desk.hear(f"<{agent}><S><1>$")
    reply = await desk.post({"command": "get_agents"}).reply()
    assert [agent["agent"] for agent in reply.data["agents"]] == ["sales-1", "sales-2"]
    one = await desk.post({"command": "get_agents", "agent": "Jose"}).reply()
    assert one.outcome == "forbidden"


@pytest.mark.parametrize("command", [RESUME, b"{", {"command": "get_agents"}])
async def test_a_reply_to_that_is_refused(command: dict[str, Any] | bytes) -> None:
    """Not run, audited as forbidden, unanswered, whatever the command is."""
    desk = Desk()
    refused = desk.post(command, reply_to="tactium.commands")
    await until(lambda: bool(refused.replies))
    assert refused.replies == [None]
    assert [trace.type for trace in desk.audited] == ["command.forbidden"]
    assert desk.link.written == []


async def test_the_same_request_with_a_reply_to_that_is_refused() -> None:
    """It is no way around: the first gets its answer, and nobody else does."""
    desk = Desk()
    first = desk.post(RESUME, message_id="7")
    sneaky = desk.post(RESUME, message_id="7", reply_to="tactium.commands")
    await desk.wrote(RESUME_FRAME)
    desk.hear(OK)
    assert (await first.reply()).outcome == "ok"
    await until(lambda: bool(sneaky.replies))
    assert sneaky.replies == [None]


# --- bounds ---------------------------------------------------------------------


async def test_too_many_for_one_agent() -> None:
    """Past the bound `unavailable`, at once; another agent is not concerned."""
    desk = Desk(max_waiting=2)
    letters = [desk.post(RESUME) for _ in range(4)]
    assert (await letters[3].reply()).outcome == "unavailable"
    assert [posted.replies for posted in letters[:3]] == [[], [], []]
    desk.post({**RESUME, "agent": "ana"})
    await desk.wrote(RESUME_FRAME, b"<ana><P><OFF>$")


async def test_asking_too_often_for_the_same() -> None:
    """Those who ask while it is in flight are bounded too."""
    desk = Desk(max_waiting=2)
    letters = [desk.post(RESUME, message_id="7") for _ in range(4)]
    assert (await letters[3].reply()).outcome == "unavailable"
    await desk.wrote(RESUME_FRAME)
    desk.hear(OK)
    assert [(await posted.reply()).outcome for posted in letters[:3]] == ["ok"] * 3


# --- deadlines ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waited_seconds", "runs"), [(0, True), (30, True), (-30, True), (58.5, True), (7200, True)]
)
async def test_the_deadline_counts_from_when_it_was_sent(
    waited_seconds: float, *, runs: bool
) -> None:
    """A clock that cannot be right is not believed; none makes a command live longer."""
    desk = Desk()
    now = datetime.now(UTC)
    posted = letter(RESUME, sent_at=now - timedelta(seconds=waited_seconds))
    left = (desk.dispatcher._deadline(posted) - posted.received_at).total_seconds()
    believed = 1 < waited_seconds < 60
    assert left == pytest.approx(61 - waited_seconds if believed else 60, abs=0.1)
    assert (left > 0) is runs


# --- the fence ------------------------------------------------------------------


async def test_a_late_reply_never_answers_the_next_command() -> None:
    """After a timeout a status query goes first; what comes before its answer is of the past."""
    desk = Desk(timeout=0.05)
    assert (await desk.post(PAUSE, message_id="1").reply()).outcome == "timeout"
    following = desk.post(RESUME)
    await desk.wrote(PAUSE_FRAME, GET_STATUS_FRAME)
    desk.hear(OK)
    await asyncio.sleep(0.01)
    assert [(late.command.command, late.command_id) for late in desk.late] == [("pause", "1")]
    assert following.replies == []
    desk.hear("<jose><S><2>$")
    await desk.wrote(PAUSE_FRAME, GET_STATUS_FRAME, RESUME_FRAME)
    desk.hear(OK)
    assert (await following.reply()).outcome == "ok"


async def test_a_make_call_without_an_answer_may_still_be_answered() -> None:
    """An `OK` after its window is not the next command's."""
    desk = Desk(make_call_window=0.01)
    assert (await desk.post(MAKE_CALL).reply()).outcome == "sent"
    desk.post(RESUME)
    await desk.wrote(b"<jose><A><><40050500><>$", GET_STATUS_FRAME)


async def test_a_fence_that_is_not_answered() -> None:
    """The link is given up; the command that waits is written on the next one."""
    desk = Desk(timeout=0.03)
    await desk.post(PAUSE).reply()
    following = desk.post(RESUME)
    await until(lambda: bool(desk.link.distrusted))
    assert desk.link.written == [PAUSE_FRAME, GET_STATUS_FRAME]
    desk.runner.link_down()
    desk.runner.link_up()
    await desk.wrote(PAUSE_FRAME, GET_STATUS_FRAME, RESUME_FRAME)
    desk.hear(OK)
    assert (await following.reply()).outcome == "ok"


async def test_an_agent_of_whom_tactium_never_speaks_costs_nobody_the_link() -> None:
    """As long as it speaks of others the link works, and that agent is just not there."""
    desk = Desk(timeout=0.05, ttl=0.3)
    await desk.post({**PAUSE, "agent": "nobody"}).reply()
    following = desk.post({**RESUME, "agent": "nobody"})
    while not following.replies:
        desk.hear("<ana><S><1>$")
        await asyncio.sleep(0.01)
    assert (await following.reply()).outcome == "expired"
    assert desk.link.distrusted == []
    assert b"<nobody><P><OFF>$" not in desk.link.written


@pytest.mark.parametrize(
    ("status", "outcome"), [("1", "ok"), ("4", "ok"), ("3", "timeout"), (None, "timeout")]
)
async def test_get_current_call_without_a_call(status: str | None, outcome: str) -> None:
    """The manual shows no answer for it: the status tells whether there is a call to wait for."""
    desk = Desk(timeout=0.05)
    posted = desk.post({**GET_STATUS, "command": "get_current_call"})
    await desk.wrote(b"<jose><AC>$", GET_STATUS_FRAME)
    if status is not None:
        desk.hear(f"<jose><S><{status}>$")
    reply = await posted.reply()
    assert (reply.outcome, reply.data) == (outcome, None)
    assert bool(desk.link.distrusted) is (status is None)


# --- the link lost --------------------------------------------------------------


async def test_the_link_lost_before_a_byte_was_written() -> None:
    """Nothing was sent, so the command waits for the link and is written once."""
    desk = Desk()

    async def lose_it_while_writing() -> None:
        desk.runner.link_down()
        raise LinkDown("gone")

    desk.link.faults.append(lose_it_while_writing)
    posted = desk.post(RESUME)
    await until(lambda: not desk.link.faults)
    desk.runner.link_up()
    await desk.wrote(RESUME_FRAME)
    desk.hear(OK)
    assert (await posted.reply()).outcome == Outcome.OK


async def test_a_link_that_refuses_before_it_is_said_to_be_down() -> None:
    """Between the loss and its notice others go on: the command waits, and does not spin."""
    desk = Desk()
    refused = 0

    async def refuse() -> None:
        nonlocal refused
        refused += 1
        if refused > 1000:  # nobody else was let run: what would go on until the deadline ends here
            desk.runner.link_down()
        else:
            desk.link.faults.append(refuse)
        raise LinkDown("gone")

    desk.link.faults.append(refuse)
    posted = desk.post(RESUME)
    await until(lambda: refused > 0)
    desk.link.faults.clear()
    desk.runner.link_down()
    desk.runner.link_up()
    await desk.wrote(RESUME_FRAME)
    desk.hear(OK)
    assert (await posted.reply()).outcome == Outcome.OK
    assert refused < 1000


async def test_the_link_lost_after_writing() -> None:
    """What changes something is uncertain and not repeated; what only asks is asked again."""
    desk = Desk()
    change = desk.post(RESUME)
    query = desk.post({**GET_STATUS, "agent": "ana"})
    await desk.wrote(RESUME_FRAME, b"<ana><S>$")
    desk.runner.link_down()
    reply = await change.reply()
    assert (reply.outcome, reply.sent_at is None) == (Outcome.UNCERTAIN, False)
    desk.runner.link_up()
    await desk.wrote(RESUME_FRAME, b"<ana><S>$", b"<ana><S>$")
    desk.hear("<ana><S><2>$")
    answered = await query.reply()
    assert (answered.outcome, answered.data) == (Outcome.OK, {"code": 2, "status": "paused"})


async def test_the_link_stays_down_until_the_deadline() -> None:
    """`unavailable`, for each command that waited, whoever's deadline came first."""
    desk = Desk(ttl=0.1)
    desk.runner.link_down()
    letters = [desk.post(RESUME), desk.post(PAUSE, expiration_seconds=0.01), desk.post(GET_STATUS)]
    replies = [await posted.reply() for posted in letters]
    assert [reply.outcome for reply in replies] == ["unavailable"] * 3
    assert {reply.sent_at for reply in replies} == {None}
    desk.runner.link_up()
    await desk.post({"command": "get_agents"}).reply()
    assert desk.link.written == []


async def test_a_deadline_that_passes_in_the_line() -> None:
    """Behind a command that takes long it is `expired`, and never sent."""
    desk = Desk(timeout=0.05)
    desk.post(PAUSE)
    late = desk.post(RESUME, expiration_seconds=0.01)
    assert (await late.reply()).outcome == Outcome.EXPIRED
    assert desk.link.written == [PAUSE_FRAME]


async def test_a_deadline_that_passes_behind_a_longer_one() -> None:
    """It is answered when its own time is over, not when its turn would come."""
    desk = Desk()
    desk.runner.link_down()
    first = desk.post(PAUSE)
    behind = desk.post(RESUME, expiration_seconds=0.02)
    assert (await behind.reply()).outcome == Outcome.UNAVAILABLE
    assert first.replies == []


async def test_the_link_lost_during_the_fence_of_a_query() -> None:
    """`get_current_call` is asked again, as any query that the link took away."""
    desk = Desk(timeout=0.03)
    posted = desk.post({**GET_STATUS, "command": "get_current_call"})
    await desk.wrote(b"<jose><AC>$", GET_STATUS_FRAME)
    desk.runner.link_down()
    desk.runner.link_up()
    await desk.wrote(b"<jose><AC>$", GET_STATUS_FRAME, b"<jose><AC>$")
    desk.hear("<jose><R><><85><1><><3001><---><>$")
    assert (await posted.reply()).outcome == "ok"


async def test_a_command_that_crashes_whoever_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requester is answered, and the next command is read."""
    desk = Desk()

    def crash(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(desk.dispatcher, "_deadline", crash)
        assert (await desk.post(PAUSE).reply()).outcome == "uncertain"
    desk.post(RESUME)
    await desk.wrote(RESUME_FRAME)


async def test_a_crash_while_writing() -> None:
    """It may have been written: `uncertain`, and the next command runs."""
    desk = Desk()

    async def crash() -> None:
        raise ZeroDivisionError

    desk.link.faults.append(crash)
    crashed, following = desk.post(PAUSE), desk.post(RESUME)
    assert (await crashed.reply()).outcome == Outcome.UNCERTAIN
    await desk.wrote(RESUME_FRAME)
    desk.hear(OK)
    assert (await following.reply()).outcome == Outcome.OK


async def test_a_failure_to_tell_one_end_stops_no_other_command() -> None:
    """Each command gets its reply, whatever happens to the trail of the one before it."""
    desk = Desk()
    desk.log.fault = TypeError("this cannot be written as JSON")
    desk.post(PAUSE)
    following = desk.post(RESUME)
    await desk.wrote(PAUSE_FRAME)
    desk.hear(OK)
    await desk.wrote(PAUSE_FRAME, RESUME_FRAME)
    desk.hear(OK)
    assert (await following.reply()).outcome == Outcome.OK


async def test_a_failure_of_the_trail_costs_no_reply() -> None:
    """Who asked gets the one reply, whatever happens."""
    desk = Desk()
    desk.log.fault = TypeError("this cannot be written as JSON")
    posted = desk.post(PAUSE)
    await desk.wrote(PAUSE_FRAME)
    desk.hear(OK)
    assert (await posted.reply()).outcome == Outcome.OK


EACH = [
    ({"command": "logon"}, b"<jose><L><ON>$", OK),
    ({"command": "logoff"}, b"<jose><L><OFF>$", OK),
    ({"command": "pause", "code": "1"}, PAUSE_FRAME, OK),
    ({"command": "resume"}, RESUME_FRAME, OK),
    ({"command": "end_wrap_up"}, b"<jose><POS><OFF>$", OK),
    ({"command": "get_status"}, GET_STATUS_FRAME, "<jose><S><1>$"),
    (
        {"command": "schedule_callback", "at": "2010-08-17T15:00"},
        b"<jose><TR><17/08/2010 15:00><><>$",
        OK,
    ),
    ({"command": "set_disposition", "disposition": "fax"}, b"<jose><C><S><Fax>$", OK),
    ({"command": "make_call", "phone": "40050500"}, b"<jose><A><><40050500><>$", OK),
    ({"command": "hang_up"}, b"<jose><D>$", "<jose><EndCall>$"),
    ({"command": "get_current_call"}, b"<jose><AC>$", "<jose><A><1><0><9><0><7017><><><>$"),
]
"""Each command of the manual's §4, its frame and its documented answer."""


def by_name(value: object) -> str | None:
    return str(value["command"]) if isinstance(value, dict) else None


@pytest.mark.parametrize(("command", "frame", "answer"), EACH, ids=by_name)
@pytest.mark.parametrize("way", ["answered", "news first", "refused", "lost before", "lost after"])
async def test_each_command_on_each_way(
    command: dict[str, Any], frame: bytes, answer: str, way: str
) -> None:
    """Its outcome and its frames, whatever stands between the command and its answer."""
    desk = Desk()
    if way == "lost before":

        async def lose_it() -> None:
            desk.runner.link_down()
            raise LinkDown("gone")

        desk.link.faults.append(lose_it)
    posted = desk.post({**command, "agent": "jose"}, message_id="7")
    if way == "lost before":
        await until(lambda: not desk.link.faults)
        desk.runner.link_up()
    await desk.wrote(frame)
    if way == "news first":
        for news in ("<ana><OK>$", "<jose><G><a.wav>$", "<ana><EndCall>$"):
            desk.hear(news)
        assert posted.replies == []
    is_query = command["command"].startswith("get_")
    if way == "lost after":
        desk.runner.link_down()
        desk.runner.link_up()
        if is_query:
            await desk.wrote(frame, frame)
    desk.hear("<jose><ERRO><motivo>$" if way == "refused" else answer)
    reply = await posted.reply()
    expected = {"refused": "rejected", "lost after": "ok" if is_query else "uncertain"}
    assert reply.outcome == expected.get(way, "ok")
    assert desk.link.written == [frame] * (2 if way == "lost after" and is_query else 1)
    assert reply.sent_at is not None


@pytest.mark.parametrize(("command", "frame", "answer"), EACH, ids=by_name)
async def test_each_command_given_up_and_answered_late(
    command: dict[str, Any], frame: bytes, answer: str
) -> None:
    """Its answer is reported as late, and the next command gets its own."""
    desk = Desk(timeout=0.03, make_call_window=0.03)
    posted = desk.post({**command, "agent": "jose"}, message_id="7")
    await desk.wrote(frame)
    if command["command"] == "get_current_call":  # its fence goes out at once
        await desk.wrote(frame, GET_STATUS_FRAME)
        desk.hear("<jose><S><3>$")
    reply = await posted.reply()
    assert reply.outcome == ("sent" if command["command"] == "make_call" else "timeout")
    following = desk.post(RESUME)
    if command["command"] != "get_current_call":
        await desk.wrote(frame, GET_STATUS_FRAME)
        desk.hear(answer)
        if command["command"] != "get_status":  # whose late answer is the fence's as well
            assert [late.command_id for late in desk.late] == ["7"]
            assert following.replies == []
            desk.hear("<jose><S><1>$")
    await desk.wrote(frame, GET_STATUS_FRAME, RESUME_FRAME)
    desk.hear(OK)
    assert (await following.reply()).outcome == "ok"


# --- the same request again -----------------------------------------------------


async def test_the_same_request_in_flight_runs_once() -> None:
    """Everyone who asked gets the one answer, and it is told once."""
    desk = Desk()
    letters = [desk.post(RESUME, message_id="7", reply_to=queue) for queue in "ab"]
    await desk.wrote(RESUME_FRAME)
    desk.hear(OK)
    replies = [await posted.reply() for posted in letters]
    assert replies[0].body == replies[1].body
    assert len(desk.audited) == 1


@pytest.mark.parametrize(
    ("command", "answer"), [(RESUME, OK), (GET_STATUS, "<jose><S><1>$")], ids=["change", "query"]
)
async def test_the_same_request_answered_gets_the_first_answer(
    command: dict[str, Any], answer: str
) -> None:
    """The message id is executed once, asking again gets the first answer again."""
    desk = Desk()
    first = desk.post(command, message_id="7")
    await until(lambda: len(desk.link.written) == 1)
    desk.hear(answer)
    reply = await first.reply()
    again = await desk.post(command, message_id="7", redelivered=True).reply()
    assert again.body == reply.body
    desk.open()
    assert (await desk.post(command, message_id="7").reply()).body == reply.body
    assert len(desk.audited) == 1
    assert len(desk.link.written) == 1


@pytest.mark.parametrize("answered", [False, True])
async def test_the_same_id_with_another_body_is_invalid(*, answered: bool) -> None:
    """It is neither run nor answered as if it were the first."""
    desk = Desk()
    first = desk.post(RESUME, message_id="7")
    await desk.wrote(RESUME_FRAME)
    if answered:
        desk.hear(OK)
        await first.reply()
    other = desk.post(PAUSE, message_id="7")
    if not answered:
        desk.hear(OK)
        await first.reply()
    assert (await other.reply()).outcome == Outcome.INVALID
    assert desk.link.written == [RESUME_FRAME]
    assert desk.dispatcher._jobs == {}


async def test_a_redelivered_change_without_an_identity() -> None:
    """It may have run before: `uncertain`, never written. What only asks is simply asked."""
    desk = Desk()
    reply = await desk.post(RESUME, redelivered=True).reply()
    assert (reply.outcome, reply.sent_at) == (Outcome.UNCERTAIN, None)
    query = desk.post(GET_STATUS, redelivered=True)
    await desk.wrote(GET_STATUS_FRAME)
    desk.hear("<jose><S><1>$")
    assert (await query.reply()).outcome == Outcome.OK


@pytest.mark.parametrize("properties", [{"message_id": "7"}, {"correlation_id": "1"}])
async def test_a_redelivered_change_that_was_never_begun_runs(properties: dict[str, str]) -> None:
    """The log would know of it, unless it has forgotten since the command could have come."""
    desk = Desk()
    desk.post(RESUME, redelivered=True, **properties)
    await desk.wrote(RESUME_FRAME)
    forgetful = Desk()
    forgetful.log.forgot_at = datetime.now(UTC)
    reply = await forgetful.post(RESUME, redelivered=True, **properties).reply()
    assert (reply.outcome, forgetful.link.written) == (Outcome.UNCERTAIN, [])


@pytest.mark.parametrize("failed", [None, "expired"])
async def test_a_change_that_was_begun_before_a_restart(failed: str | None) -> None:
    """`uncertain`, and so for whoever asks again; even where the broker says it expired."""
    desk = Desk()
    desk.post(RESUME, message_id="7")
    await desk.wrote(RESUME_FRAME)
    assert desk.log.steps == ["begun"]
    desk.open()
    reply = await desk.post(RESUME, message_id="7", redelivered=True, failed=failed).reply()
    assert reply.outcome == Outcome.UNCERTAIN
    assert (await desk.post(RESUME, message_id="7").reply()).body == reply.body
    assert desk.link.written == [RESUME_FRAME]


async def test_a_query_that_was_asked_before_a_restart_is_asked_again() -> None:
    """Twice asked does no harm, so it is not even noted."""
    desk = Desk()
    desk.post(GET_STATUS, message_id="7")
    await desk.wrote(GET_STATUS_FRAME)
    desk.open()
    again = desk.post(GET_STATUS, message_id="7", redelivered=True)
    await desk.wrote(GET_STATUS_FRAME, GET_STATUS_FRAME)
    desk.hear("<jose><S><1>$")
    assert (await again.reply()).outcome == Outcome.OK
    assert desk.log.steps == []


async def test_a_log_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be noted is not begun: `unavailable`, and no byte goes out."""
    desk = Desk(ttl=0.05)
    never = asyncio.Event()
    monkeypatch.setattr(desk.log, "begin", lambda *_: never.wait())
    reply = await desk.post(RESUME, message_id="7").reply()
    assert (reply.outcome, desk.link.written) == (Outcome.UNAVAILABLE, [])


async def test_a_log_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all that is known it has run: `uncertain`, and no byte goes out."""
    desk = Desk()

    async def fail(_: bytes) -> None:
        raise JournalUnwritable("the disk fails")

    monkeypatch.setattr(desk.log, "recall", fail)
    reply = await desk.post(RESUME, message_id="7").reply()
    assert (reply.outcome, desk.link.written) == (Outcome.UNCERTAIN, [])


@pytest.mark.parametrize(
    ("failed", "outcome"), [("expired", "expired"), ("delivery_limit", "uncertain")]
)
async def test_what_the_broker_gave_up_is_answered(failed: str, outcome: str) -> None:
    """And not run, a query neither."""
    desk = Desk()
    for command in (RESUME, GET_STATUS, {"command": "get_agents"}):
        reply = await desk.post(command, failed=failed).reply()
        assert (reply.outcome, reply.command) == (outcome, command["command"])
    assert desk.link.written == []


# --- the stop -------------------------------------------------------------------


async def test_a_stop_leaves_what_was_not_begun() -> None:
    """Unanswered it stays in the queue: what waits for the link, and what comes too late."""
    desk = Desk()
    desk.runner.link_down()
    waiting = [desk.post(RESUME), desk.post(PAUSE)]
    await asyncio.sleep(0)
    await desk.dispatcher.stop(0.05)
    waiting.append(desk.post(RESUME))
    desk.runner.link_up()
    await asyncio.sleep(0.01)
    assert [posted.replies for posted in waiting] == [[], [], []]
    assert (desk.link.written, desk.audited) == ([], [])


async def test_a_stop_waits_for_what_is_in_flight() -> None:
    """It is answered; what stands behind it in line is not begun."""
    desk = Desk()
    in_flight, behind = desk.post(PAUSE), desk.post(RESUME)
    await desk.wrote(PAUSE_FRAME)
    stopping = asyncio.create_task(desk.dispatcher.stop(1.0))
    await asyncio.sleep(0)
    desk.hear(OK)
    await stopping
    assert (await in_flight.reply()).outcome == Outcome.OK
    assert behind.replies == []
    assert desk.link.written == [PAUSE_FRAME]


async def test_a_stop_does_not_wait_for_ever() -> None:
    """Past the grace a change is `uncertain`; a query goes back to the queue unanswered."""
    desk = Desk()
    change = desk.post(PAUSE)
    query = desk.post({**GET_STATUS, "agent": "ana"})
    await until(lambda: len(desk.link.written) == 2)
    await desk.dispatcher.stop(0.01)
    assert (await change.reply()).outcome == Outcome.UNCERTAIN
    assert query.replies == []
