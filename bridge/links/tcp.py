"""The link over Tactium's socket (§2.1, §4.12).

Tactium is the server; the bridge registers as its administrator and hears every
agent. The protocol has no ping, so a silent connection is asked something, and
one that does not answer is given up.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from bridge.core.ports import Clock, Ear, Observer
from bridge.errors import InvalidCommand, LinkDown, LinkHeld, LinkSilent, SettingsError
from bridge.links.patience import Patience, WaitedTooLong
from bridge.links.presence import IN_DOUBT, MaySpeak, Presence
from bridge.messages.commands import GetStatus, WireCommand
from bridge.settings import LinkSettings
from bridge.wire.frame import Decoder, Frame, Malformed
from bridge.wire.grammar import REGISTER_LOGON, REGISTER_STATUS, Speller, told

log = structlog.get_logger(__name__)

TRANSPORT = "socket"
READ_BYTES = 64 * 1024
SEND_TIMEOUT_SECONDS = 10.0
CLOSE_TIMEOUT_SECONDS = 1.0
TODO = "see that Tactium runs, and that link.host and link.port are right"

REGISTRATIONS = {
    "auto": (REGISTER_LOGON, REGISTER_STATUS),
    "logon": (REGISTER_LOGON,),
    "status": (REGISTER_STATUS,),
}


class TcpLink:
    """One administrator connection, made again whenever it is lost.

    Raises `SettingsError` where TLS is asked for and its CA file cannot be read.
    """

    def __init__(
        self, settings: LinkSettings, clock: Clock, observer: Observer, may_speak: MaySpeak
    ) -> None:
        self._may_speak = may_speak
        self._settings = settings
        self._clock = clock
        self._speller = Speller(settings.encoding, settings.zone)
        self._tls = tls_context(settings.tls_ca_file) if settings.tls else None
        peer = f"{settings.host}:{settings.port}"
        self._presence = Presence(TRANSPORT, peer, TODO, clock, observer)
        self._writer: asyncio.StreamWriter | None = None  # set while the link is up
        self._distrust: str | None = None

    def __repr__(self) -> str:
        return f"<TcpLink: {self._presence.peer}, {'up' if self._writer else 'down'}>"

    @property
    def keeps_answers(self) -> bool:
        """Whether an answer may come over the next connection: each begins anew."""
        return False

    def spell(self, command: WireCommand) -> bytes:
        """Return the frame of a command. Raises `InvalidCommand`."""
        return self._speller.spell(command)

    async def send(self, frame: bytes) -> None:
        """Write one frame. Raises `LinkDown` where nothing of it was written.

        A connection that takes no more bytes for 10 s is cut; whether the frame
        arrived is then as unknown as with any other connection lost.
        """
        writer = self._writer
        if writer is None or writer.is_closing():
            raise LinkDown(f"no connection to Tactium at {self._presence.peer}")
        if not self._may_speak():
            raise LinkHeld(IN_DOUBT)
        writer.write(frame)
        try:
            async with asyncio.timeout(SEND_TIMEOUT_SECONDS):
                await writer.drain()
        except (OSError, TimeoutError):
            writer.transport.abort()

    def distrust(self, reason: str) -> None:
        """Give up the present connection, which is not what it seems, and make another."""
        if self._writer is not None:
            self._distrust = reason
            self._writer.transport.abort()

    async def run(self, ear: Ear) -> None:
        """Connect, listen and connect again, until cancelled."""

        async def hold() -> None:
            reader, writer = await self._connect()
            try:
                async with self._presence.until_lost(ear):
                    try:
                        await self._listen(reader, writer, ear)
                    finally:
                        self._writer = None
            finally:
                await _close(writer)

        await self._presence.keep(hold)

    async def take_back(self, frame: bytes) -> bool | None:  # noqa: ARG002 - as the other way has it
        """Return that what is written cannot be taken back."""
        return False

    def settle(self, frame: bytes) -> None:
        """Do nothing: there is nothing to take back of a frame that was answered."""

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self._may_speak():
            raise LinkSilent(IN_DOUBT)
        seconds = self._settings.connect_timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                reader, writer = await asyncio.open_connection(
                    self._settings.host, self._settings.port, ssl=self._tls, limit=READ_BYTES
                )
        except TimeoutError:
            raise LinkSilent(f"no connection within {seconds:g} s") from None
        except UnicodeError as error:
            raise LinkSilent(f"{self._settings.host!r} is no host name: {error}") from None
        _watch(writer.get_extra_info("socket"), self._settings)
        return reader, writer

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ear: Ear
    ) -> None:
        """Register, then hand over all that arrives; ends only by raising."""
        if not self._may_speak():  # any more
            raise LinkSilent(IN_DOUBT)
        decoder = Decoder(self._settings.max_frame_bytes)
        self._distrust = None
        forms = iter(REGISTRATIONS[self._settings.handshake])
        writer.write(next(forms))
        probing = False
        patience = Patience()
        try:
            while True:
                try:
                    with patience.within(self._bearable_silence(probing=probing)):
                        data = await reader.read(READ_BYTES)
                except WaitedTooLong:
                    probing = await self._break_silence(writer, forms, ear, probing=probing)
                    continue
                if self._distrust is not None:
                    raise LinkSilent(self._distrust)
                if not data:
                    raise LinkDown("Tactium closed the connection")
                probing = False
                self._presence.heard_at = self._clock()
                await self._hand_over(decoder.feed(data), writer, ear)
                if len(data) < READ_BYTES and decoder.is_between_frames:
                    ear.on_caught_up(self._presence.heard_at)
        finally:
            patience.close()
            writer.close()  # first, for a full journal may hold up what follows
            await self._hand_over(decoder.finish(), writer, ear)

    async def _hand_over(
        self, pieces: Sequence[Frame | Malformed], writer: asyncio.StreamWriter, ear: Ear
    ) -> None:
        if self._writer is None and any(isinstance(piece, Frame) for piece in pieces):
            await self._come_up(writer, ear, "registered")
        if pieces:
            await ear.on_heard([told(piece) for piece in pieces], self._presence.heard_at)

    async def _come_up(self, writer: asyncio.StreamWriter, ear: Ear, reason: str) -> None:
        self._writer = writer
        await self._presence.come_up(ear, reason)

    def _bearable_silence(self, *, probing: bool) -> float:
        """Return for how many seconds silence is nothing to worry about."""
        if self._writer is None:
            return self._settings.handshake_timeout_seconds
        if probing:
            return self._settings.probe_timeout_seconds
        return self._settings.idle_probe_seconds

    async def _break_silence(
        self, writer: asyncio.StreamWriter, forms: Iterator[bytes], ear: Ear, *, probing: bool
    ) -> bool:
        """Say something to a silent peer; return whether an answer is expected.

        Raises `LinkSilent` where one was expected already and some agent is
        known, whom Tactium would have answered for.
        """
        if not self._may_speak():
            return False
        if self._writer is None:
            form = next(forms, None)
            if form is None:
                log.warning("link_unconfirmed", todo="Tactium did not answer the registration")
                await self._come_up(writer, ear, "registered, unconfirmed")
            else:
                writer.write(form)
            return False
        agent = ear.maybe_known_agent()
        if probing and agent is not None:
            seconds = self._settings.idle_probe_seconds + self._settings.probe_timeout_seconds
            raise LinkSilent(f"Tactium said nothing for {seconds:g} s, not even when asked")
        writer.write(self._probe(agent))
        return True

    def _probe(self, agent: str | None) -> bytes:
        """Return a question that changes nothing (§4.6)."""
        try:
            return self.spell(GetStatus(agent=agent)) if agent else REGISTER_STATUS
        except (InvalidCommand, ValueError):  # a login that cannot be written back
            return REGISTER_STATUS


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return how to speak TLS. Raises `SettingsError` where the CA file cannot be read."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"BRIDGE_LINK__TLS_CA_FILE: {ca_file}: {error}") from None


def _watch(connection: socket.socket, settings: LinkSettings) -> None:
    """Let the kernel notice a peer that is gone; it says so at the next read or write."""
    seconds = math.ceil(settings.probe_timeout_seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", math.ceil(settings.idle_probe_seconds)),
        ("TCP_KEEPINTVL", seconds),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", 2 * seconds * 1000),
    ):
        option = getattr(socket, name, None)  # macOS and BSD know only some of them
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close politely, but not for long: a black-holed peer never answers."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
