import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.errors import BridgeError
from bridge.simulator import (
    Answers,
    Call,
    ContactCenter,
    Faults,
    Habits,
    Simulator,
    SimulatorOptions,
    Status,
    open_simulator,
    simulate,
)
from bridge.wire.frame import Decoder, Frame, Malformed

ADMIN = b"<ADMSOCKET><L><ON>$"
DIALER_CALL = Call("outbound", dial_item_id="15068", origin="9988", destination="40050500")
INBOUND_CALL = Call("inbound", origin_area_code="85", origin="40050501", destination="4000")
HABITS = Habits(dial_seconds=(0, 0), wrap_up_seconds=(60, 60), recorded_share=0)


class Client:
    """A socket to the simulator, and all that it has said on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def hear(self, expected: bytes) -> None:
        """Read just so many bytes; they must be these."""
        async with asyncio.timeout(10):
            assert await self.reader.readexactly(len(expected)) == expected

    async def frame(self) -> bytes:
        """Read up to the next frame's end."""
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b">$")

    async def ask(self, command: bytes, expected: bytes = b"") -> None:
        """Send, and hear exactly this: a status query behind it shows what silence is."""
        self.writer.write(command + b"<ana><S>$")
        await self.hear(expected + b"<ana><S><1>$")

    async def is_cut(self) -> bool:
        """Read to the end, which must come."""
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionResetError):
                await self.reader.read()
        return True


@contextlib.asynccontextmanager
async def connect(tactium: Simulator) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", tactium.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def build(
    *, agents: tuple[str, ...] = ("jose", "ana"), answers: Answers | None = None, **options: Any
) -> Simulator:
    center = ContactCenter(agents, rng=Random(1), habits=HABITS, answers=answers)
    return Simulator(center, rng=Random(1), **options)


@pytest.mark.parametrize(
    ("handshake", "frame", "answer", "administrators"),
    [
        ("both", ADMIN, b"<ADMSOCKET><OK>$", 1),
        ("both", b"<ADMSOCKET><S>$", b"<ADMSOCKET><OK>$", 1),
        ("logon", ADMIN, b"<ADMSOCKET><OK>$", 1),
        ("logon", b"<ADMSOCKET><S>$", b"", 0),
        ("status", ADMIN, b"", 0),
        ("status", b"<ADMSOCKET><S>$", b"<ADMSOCKET><OK>$", 1),
        ("silent", ADMIN, b"", 1),
        ("silent", b"<admsocket><s>$", b"", 1),
        ("both", b"<ADMSOCKET><D>$", b"", 0),
    ],
)
async def test_registering_as_administrator(
    handshake: Any, frame: bytes, answer: bytes, administrators: int
) -> None:
    """The forms of §4.12 and §2.1 register and are answered as the option says."""
    async with build(handshake=handshake) as tactium, connect(tactium) as client:
        await client.ask(frame, answer)
        assert tactium.administrators == administrators
        assert tactium.clients == 1


@pytest.mark.parametrize(
    ("handshake", "frame", "answer", "hears"),
    [
        ("both", b"<jose><L><ON>$", b"<jose><OK>$", True),
        ("both", b"<JOSE><S>$", b"<jose><S><1>$", True),
        ("logon", b"<jose><S>$", b"<jose><S><1>$", False),
        ("status", b"<jose><L><ON>$", b"<jose><OK>$", False),
        ("both", b"<nobody><L><ON>$", b"", False),
    ],
)
async def test_binding_to_one_agent(
    handshake: Any, frame: bytes, answer: bytes, *, hears: bool
) -> None:
    """A socket bound by §4.1 or §2.1 hears that agent's events and no other's."""
    async with build(handshake=handshake) as tactium, connect(tactium) as client:
        client.writer.write(frame)
        await client.hear(answer)
        tactium.begin_call("ana", INBOUND_CALL)
        tactium.begin_call("jose", INBOUND_CALL)
        expected = b"<jose><R><0><85><40050501><0><4000><---><>$" if hears else b""
        client.writer.write(b"<ana><S>$")
        await client.hear(expected + b"<ana><S><3>$")


async def test_who_is_logged_off_cannot_be_bound_by_a_logon() -> None:
    """§4.1: it binds to an agent who is logged on already."""
    async with build() as tactium, connect(tactium) as client:
        tactium.set_status("jose", Status.LOGGED_OUT)
        await client.ask(b"<jose><L><ON>$")
        tactium.record("jose", "c:\\x.wav")
        await client.ask(b"")


async def test_answers_go_to_the_asker_and_events_to_all_that_are_bound() -> None:
    """The administrator, the agent's socket and a stranger each hear what concerns them."""
    async with (
        build() as tactium,
        connect(tactium) as admin,
        connect(tactium) as own,
        connect(tactium) as stranger,
    ):
        admin.writer.write(ADMIN)
        await admin.hear(b"<ADMSOCKET><OK>$")
        own.writer.write(b"<jose><L><ON>$")
        await own.hear(b"<jose><OK>$")
        tactium.begin_call("jose", INBOUND_CALL)
        arrived = b"<jose><R><0><85><40050501><0><4000><---><>$"
        stranger.writer.write(b"<jose><D>$")
        await stranger.hear(b"<jose><EndCall>$")
        await own.hear(arrived + b"<jose><EndCall>$")
        await admin.hear(arrived + b"<jose><EndCall>$")
        await admin.ask(b"")
        tactium.record("jose", "\\\\server\\c$\\x.wav")
        await stranger.ask(b"")
        await own.hear(b"<jose><G><\\\\server\\c$\\x.wav>$")


@pytest.mark.parametrize(
    ("state", "command", "answer"),
    [
        (Status.AVAILABLE, b"<jose><L><ON>$", b"<jose><OK>$"),
        (Status.AVAILABLE, b"<jose><L><OFF>$", b"<jose><OK>$"),
        (Status.AVAILABLE, b"<jose><P><ON><1>$", b"<jose><OK>$"),
        (Status.PAUSED, b"<jose><P><OFF>$", b"<jose><OK>$"),
        (Status.WRAP_UP, b"<jose><POS><OFF>$", b"<jose><OK>$"),
        *[(state, b"<jose><S>$", b"<jose><S><%d>$" % state) for state in Status],
        (Status.BUSY, b"<jose><TR><17/08/2010 15:00><><>$", b"<jose><OK>$"),
        (Status.BUSY, b"<jose><TR><17/08/2010 15:00><><jose>$", b"<jose><OK>$"),
        (Status.WRAP_UP, b"<jose><TR><17/08/2010 15:00><40050500><>$", b"<jose><OK>$"),
        (Status.WRAP_UP, b"<jose><TR><17/08/2010 15:00><40050500><jose>$", b"<jose><OK>$"),
        (Status.BUSY, b"<jose><C><S><EletronicResponse>$", b"<jose><OK>$"),
        (Status.BUSY, b"<jose><D>$", b"<jose><EndCall>$"),
        (Status.BUSY, b"<jose><AC>$", b"<jose><A><15068><0><9988><0><40050500><><><>$"),
        (Status.AVAILABLE, b"<jose><A><85><40050500><>$", b""),
        (Status.AVAILABLE, b"<jose><AC>$", b""),
        (Status.AVAILABLE, b"<jose><X><Y>$", b""),
    ],
)
async def test_each_command_is_answered_as_documented(
    state: Status, command: bytes, answer: bytes
) -> None:
    """Byte for byte as §4 shows; where it shows nothing, silence."""
    async with build() as tactium, connect(tactium) as client:
        if state in (Status.BUSY, Status.WRAP_UP):
            tactium.begin_call("jose", DIALER_CALL)
            if state is Status.WRAP_UP:
                tactium.end_call("jose")
        else:
            tactium.set_status("jose", state)
        if command == b"<jose><S>$":
            client.writer.write(command)
            await client.hear(answer)
        else:
            await client.ask(command, answer)
        assert tactium.received[0] == command


async def test_a_call_that_was_asked_for_arrives() -> None:
    """§4.9 then §5.1: the administrator hears the call for the phone, and it is current."""
    async with build(answers=Answers(make_call="ok")) as tactium, connect(tactium) as client:
        client.writer.write(ADMIN + b"<jose><A><85><40050500><>$")
        arrived = b"<jose><A><0><0><7016><85><40050500><><><>$"
        await client.hear(b"<ADMSOCKET><OK>$<jose><OK>$" + arrived)
        client.writer.write(b"<jose><AC>$")
        await client.hear(arrived)


async def test_a_living_center_is_heard() -> None:
    """By itself it makes calls of both kinds, recordings and ends, all of them whole."""
    options = SimulatorOptions(
        port=0, agents=20, calls_per_minute=6000, attach_info=True, seed=1,
        habits=Habits(call_seconds=(0.1, 0.3), wrap_up_seconds=(0, 0.1)),
    )  # fmt: skip
    async with open_simulator(options) as tactium, connect(tactium) as client:
        client.writer.write(ADMIN)
        decoder, words = Decoder(), set[str]()
        async with asyncio.timeout(10):
            while not words >= {"A", "R", "G", "EndCall"}:
                for found in decoder.feed(await client.reader.read(65_536)):
                    assert isinstance(found, Frame)
                    words.add(found.fields[1])


@pytest.mark.parametrize(
    ("encoding", "sent"), [("cp1252", b"<jo\xe3o><S><1>$"), ("utf-8", b"<jo\xc3\xa3o><S><1>$")]
)
async def test_the_encoding_of_what_is_sent(encoding: Any, sent: bytes) -> None:
    """Either is understood, and the chosen one is sent."""
    async with build(agents=("joão",), encoding=encoding) as tactium, connect(tactium) as client:
        client.writer.write("<joão><S>$".encode("cp1252") + "<JOÃO><S>$".encode())
        await client.hear(sent + sent)


async def test_what_the_encoding_cannot_spell_is_a_question_mark() -> None:
    """As with a Windows program: nothing raises and the frame stays whole."""
    answers = Answers(unknown_agent="error")
    async with build(answers=answers) as tactium, connect(tactium) as client:
        await client.ask("<Łukasz><D>$".encode(), b"<?ukasz><ERRO><agente desconhecido>$")


async def test_received_is_what_arrived_byte_for_byte() -> None:
    """However the bytes were cut into writes; what is no frame is kept with the next one."""
    sent = [b"<jose><S>$", b"\r\n<jo\xe3o><P><ON><c$1>$", b"?!<x$\r\n<ana><S>$"]
    async with build() as tactium, connect(tactium) as client:
        for byte in b"".join(sent):
            client.writer.write(bytes([byte]))
            await client.writer.drain()
        await tactium.wait_for(lambda: len(tactium.received) == 3)
        assert list(tactium.received) == sent
        await client.hear(b"<jose><S><1>$<ana><S><1>$")


async def test_say_reaches_administrators_alone() -> None:
    """Exactly as given, in one piece, whatever faults are on."""
    faults = Faults(line_breaks=True, garbage=1, mangled=1)
    async with (
        build(faults=faults) as tactium,
        connect(tactium) as admin,
        connect(tactium) as other,
    ):
        admin.writer.write(ADMIN)
        await tactium.wait_for(lambda: tactium.administrators == 1)
        assert (await admin.frame()).endswith(b"<ADMSOCKET><OK>$")
        await admin.hear(b"\r\n")
        await tactium.say("<joão><OK>$")
        await tactium.say(b"\xff<\r\n$")
        await admin.hear(b"<jo\xe3o><OK>$\xff<\r\n$")
        other.writer.write(b"<ana><S>$")
        assert (await other.frame()).endswith(b"<ana><S><1>$")


async def test_much_that_is_said_waits_for_the_reader() -> None:
    """Many megabytes reach an administrator that reads, without being cut off."""
    chunk = b"<jose><OK>$" * 5000
    async with build(max_backlog_bytes=100_000) as tactium, connect(tactium) as admin:
        admin.writer.write(ADMIN)
        await admin.hear(b"<ADMSOCKET><OK>$")

        async def say_all() -> None:
            for _ in range(100):
                await tactium.say(chunk)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(say_all())
            await admin.hear(chunk * 100)
        assert tactium.clients == 1


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    """Past the bound it is gone, and the others go on hearing."""
    async with build(max_backlog_bytes=100_000) as tactium, connect(tactium) as lazy:
        lazy.writer.write(ADMIN)
        await tactium.wait_for(lambda: tactium.administrators == 1)
        path = "x" * 50_000
        async with connect(tactium) as other, asyncio.timeout(10):
            while tactium.administrators:
                tactium.record("jose", path)
                await asyncio.sleep(0)
            await other.ask(b"")
        assert await lazy.is_cut()


async def test_a_client_that_asks_without_end_is_cut_off() -> None:
    """What it asked and was not answered yet counts like what it did not read."""
    faults = Faults(delay_seconds=100.0)
    async with build(max_backlog_bytes=10_000, faults=faults) as tactium:
        async with connect(tactium) as client:
            client.writer.write(b"<jose><S>$" * 5000)
            assert await client.is_cut()
        await tactium.wait_for(lambda: tactium.clients == 0)


async def test_dropped_clients_come_back() -> None:
    """Every connection is cut, and the port goes on taking new ones."""
    async with build() as tactium, connect(tactium) as first, connect(tactium) as second:
        await tactium.wait_for(lambda: tactium.clients == 2)
        await tactium.drop_clients()
        assert tactium.clients == 0
        assert await first.is_cut()
        assert await second.is_cut()
        async with connect(tactium) as third:
            await third.ask(b"")


async def test_an_outage_on_the_same_port() -> None:
    """While refusing nobody gets in, in the middle of a call that is there afterwards."""
    async with build() as tactium, connect(tactium) as first:
        tactium.begin_call("jose", INBOUND_CALL)
        port = tactium.port
        await tactium.refuse()
        await tactium.refuse()
        assert await first.is_cut()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        await tactium.accept()
        await tactium.accept()
        assert tactium.port == port
        async with connect(tactium) as second:
            await second.ask(b"<jose><AC>$", b"<jose><R><0><85><40050501><0><4000><---><>$")


async def test_stop_and_start_on_the_same_port() -> None:
    """Once stopped nothing listens; started again it is where it was."""
    tactium = build()
    await tactium.start()
    port = tactium.port
    await tactium.stop()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    async with tactium, connect(tactium) as client:
        assert tactium.port == port
        await client.ask(b"")


async def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    """Also for a host that is none."""
    async with build() as tactium:
        with pytest.raises(BridgeError, match=f"cannot listen on 127.0.0.1:{tactium.port}"):
            await build(port=tactium.port).start()
    with pytest.raises(BridgeError, match="cannot listen"):
        await build(host="256.0.0.1").start()


async def test_delayed_answers_come_in_their_order() -> None:
    """However long each one is held back, none overtakes another."""
    async with build(faults=Faults(delay_seconds=0.05)) as tactium, connect(tactium) as client:
        client.writer.write(b"<jose><S>$<jose><P><ON><1>$<jose><S>$<jose><P><OFF>$<jose><S>$")
        await client.hear(b"<jose><S><1>$<jose><OK>$<jose><S><2>$<jose><OK>$<jose><S><1>$")


async def test_a_client_that_left_disturbs_no_delayed_answer() -> None:
    """What it had asked is forgotten, and the next client is served."""
    async with build(faults=Faults(delay_seconds=0.05)) as tactium:
        async with connect(tactium) as client:
            client.writer.write(b"<jose><P><ON><1>$" * 50)
            await tactium.wait_for(lambda: len(tactium.received) == 50)
        await tactium.wait_for(lambda: tactium.clients == 0)
        async with connect(tactium) as client:
            await client.ask(b"")


async def test_unanswered_commands_have_run() -> None:
    """The answer is lost and not the command; events are heard all the same."""
    async with build(faults=Faults(unanswered=1)) as tactium, connect(tactium) as client:
        client.writer.write(ADMIN + b"<ana><P><ON><1>$")
        await tactium.wait_for(lambda: tactium.center.maybe_status("ana") is Status.PAUSED)
        tactium.begin_call("jose", INBOUND_CALL)
        client.writer.write(b"<jose><D>$")
        await client.hear(b"<jose><R><0><85><40050501><0><4000><---><>$<jose><EndCall>$")


async def test_single_bytes_line_breaks_and_garbage_cost_no_frame() -> None:
    """What stands between the frames is reported, and every frame is found."""
    faults = Faults(garbage=1, line_breaks=True, single_bytes=True)
    async with build(faults=faults) as tactium, connect(tactium) as client:
        client.writer.write(b"<ana><S>$" * 20)
        decoder = Decoder()
        frames, garbage = 0, 0
        async with asyncio.timeout(10):
            while frames < 20:
                for found in decoder.feed(await client.reader.read(100)):
                    frames += isinstance(found, Frame)
                    garbage += isinstance(found, Malformed)
        assert garbage == 20


async def test_events_are_mangled() -> None:
    """As §5.1 prints them: a lost `<`, or `><$` at the end."""
    async with build(faults=Faults(mangled=1)) as tactium, connect(tactium) as client:
        client.writer.write(ADMIN)
        await client.hear(b"<ADMSOCKET><OK>$")
        tactium.record("jose", "c:\\x.wav")
        await client.hear(b"<jose><G><c:\\x.wav><$")


async def test_connections_drop_again_and_again() -> None:
    """Each is cut after a while, and so is the next one."""
    async with build(faults=Faults(drop_every_seconds=0.02)) as tactium:
        for _ in range(3):
            async with connect(tactium) as client:
                assert await client.is_cut()


async def test_the_program_logs_what_an_operator_needs_and_no_phone() -> None:
    """One line when it listens, one for each client's coming, registration and going."""
    with capture_logs() as lines:
        program = asyncio.create_task(
            simulate(SimulatorOptions(port=0, agents=["jose"], calls_per_minute=0))
        )
        for _ in range(1000):
            if lines:
                break
            await asyncio.sleep(0.01)
        listening = lines[0]
        reader, writer = await asyncio.open_connection(listening["host"], listening["port"])
        writer.write(ADMIN + b"<jose><A><85><40050500><>$<40050500>$")
        async with asyncio.timeout(10):
            await reader.readuntil(b"<85><40050500><><><>$")
        program.cancel()
        with pytest.raises(asyncio.CancelledError):
            await program
        writer.close()
    assert listening["event"] == "simulator_listening"
    assert (listening["agents"], listening["logins"]) == (1, ["jose"])
    assert [line["event"].removeprefix("simulator_") for line in lines[1:]] == [
        "client_connected",
        "client_registered",
        "frame_not_understood",
        "client_disconnected",
    ]
    assert "40050500" not in str(lines)
