"""Whether Tactium can be reached and, when asked to, whether it takes an administrator (§4.12)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence

from bridge.check.line import Line
from bridge.errors import SettingsError
from bridge.links.tcp import REGISTRATIONS, tls_context
from bridge.messages.commands import ADMINISTRATOR
from bridge.messages.events import AgentStatus, Confirmed
from bridge.settings import LinkSettings
from bridge.wire.frame import Decoder, Frame
from bridge.wire.grammar import understand

LISTENING_SECONDS = 2.0
"""Beyond the answer: who else speaks with Tactium is heard then."""

_PORT = "see that Tactium runs, that Socket.Enabled is true, and link.host, link.port and link.tls"


async def resolved(name: str, host: str, port: int) -> Line:
    """Say what a host's name leads to."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return Line.failed(name, f"{host}: {error}", "mend the name in the settings, or the DNS")
    addresses = ", ".join(dict.fromkeys(str(each[4][0]) for each in found))
    return Line.ok(name, f"{host} is {addresses}")


async def check(settings: LinkSettings, *, register: bool, is_running: bool) -> AsyncIterator[Line]:
    """Say how far one comes with Tactium."""
    name = await resolved("tactium's name", settings.host, settings.port)
    yield name
    if name.todo:
        return
    where = f"{settings.host}:{settings.port}"
    try:
        tls = tls_context(settings.tls_ca_file) if settings.tls else None
        async with asyncio.timeout(settings.connect_timeout_seconds):
            reader, writer = await asyncio.open_connection(settings.host, settings.port, ssl=tls)
    except SettingsError as error:
        yield Line.failed("tactium", str(error), "set link.tls_ca_file to a file that is there")
        return
    except (OSError, TimeoutError) as error:
        yield Line.failed("tactium", f"{where}: {str(error) or 'no connection in time'}", _PORT)
        return
    try:
        yield Line.ok("tactium", f"{where} takes connections")
        yield await _maybe_registered(
            settings, reader, writer, register=register, is_running=is_running
        )
    finally:
        writer.transport.abort()


async def _maybe_registered(
    settings: LinkSettings,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    *,
    register: bool,
    is_running: bool,
) -> Line:
    name = "registration"
    if is_running:
        return Line.ok(name, "left alone: another client is seen, the bridge that runs already")
    if not register:
        return Line.ok(name, "not tried; --register does, and then sees who else is connected")
    decoder, heard = Decoder(settings.max_frame_bytes), list[Frame]()
    for form in REGISTRATIONS[settings.handshake]:
        writer.write(form)
        heard += await _listen(reader, decoder, settings.handshake_timeout_seconds)
        if heard:
            break
    heard += await _listen(reader, decoder, LISTENING_SECONDS)
    return _verdict(name, heard, is_closed=reader.at_eof())


def _verdict(name: str, heard: Sequence[Frame], *, is_closed: bool) -> Line:
    """Return what Tactium's frames say of a registration."""
    answers = [each for each in heard if understand(each).agent == ADMINISTRATOR]
    others = [each for each in heard if understand(each).agent != ADMINISTRATOR]
    todo = "see Tactium's log; another administrator may be connected: stop that client"
    if is_closed:
        found = "Tactium closed the connection when the bridge registered"
        return Line.failed(name, found, todo)
    if any("OK" not in [field.upper() for field in each.fields] for each in answers):
        return Line.failed(name, "Tactium refused it", todo)
    if not heard:
        todo = "it may work all the same; see Tactium's log where no events come"
        return Line.warning(name, "Tactium took the connection and answered nothing", todo)
    if _is_answer(others):
        todo = "only one administrator may command: stop the other client before the bridge runs"
        return Line.warning(name, "another client is seen: Tactium answers its commands", todo)
    return Line.ok(name, f"taken; {len(others)} events heard, no other client seen")


def _is_answer(frames: Sequence[Frame]) -> bool:
    """Whether anything answers a command, of which the check has given none."""
    return any(isinstance(understand(each), Confirmed | AgentStatus) for each in frames)


async def _listen(reader: asyncio.StreamReader, decoder: Decoder, seconds: float) -> list[Frame]:
    """Return the frames that come within a time; once any came, no longer than needed."""
    heard: list[Frame] = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left):
                data = await reader.read(65_536)
        except TimeoutError:
            break
        except OSError:  # the peer broke it off
            reader.feed_eof()
            break
        if not data:
            break
        heard += [each for each in decoder.feed(data) if isinstance(each, Frame)]
    return heard
