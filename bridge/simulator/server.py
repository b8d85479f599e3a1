"""Tactium's socket: any number of clients, each hearing the agents that it is bound to.

A client that registers as `ADMSOCKET` (§2.1, §4.12) hears every agent, one that
logs on to an agent (§4.1) or asks for its status (§2.1) hears that one. An answer
goes to the client that asked, an event to all that are bound to its agent.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from random import Random
from types import TracebackType
from typing import Any, Literal, Self

import structlog

from bridge.errors import BridgeError
from bridge.messages.commands import ADMINISTRATOR, GetStatus, Logon, WireCommand
from bridge.simulator.agents import Status
from bridge.simulator.connection import Connection
from bridge.simulator.contact_center import ContactCenter, Said
from bridge.simulator.faults import Faults, Mischief
from bridge.simulator.traffic import Call
from bridge.wire.frame import Frame
from bridge.wire.grammar import CONFIRMED, maybe_command

Encoding = Literal["cp1252", "utf-8"]
Handshake = Literal["both", "logon", "status", "silent"]
"""Which forms bind a connection: that of §4.1 and §4.12, that of §2.1, both; or
both, and nothing is answered to an administrator that registers."""

MAX_BACKLOG_BYTES = 4 * 1024 * 1024
"""Some 50,000 frames: far more than a client that is alive leaves unread."""

_BINDING: dict[Handshake, tuple[type[WireCommand], ...]] = {
    "both": (Logon, GetStatus),
    "logon": (Logon,),
    "status": (GetStatus,),
    "silent": (Logon, GetStatus),
}
_Place = tuple[int, int, int, str, tuple[Any, ...]]
"""Where to listen, as `getaddrinfo` says it."""

_KEPT_FRAMES = 100_000
_NAMED_AGENTS = 20
_PATIENCE_SECONDS = 10.0

log = structlog.get_logger()


class Simulator:
    """A Tactium server around a contact center.

    `port` 0 takes a free one. `encoding` is that of what it sends, a character
    outside it becomes `?`; it reads both. `rng` decides where `faults` strike.
    A client is cut off once more than `max_backlog_bytes` wait for it. Where
    a `database_url` is set, its tables take the place of the port.
    """

    def __init__(
        self,
        center: ContactCenter,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        encoding: Encoding = "cp1252",
        handshake: Handshake = "both",
        faults: Faults | None = None,
        rng: Random | None = None,
        max_backlog_bytes: int = MAX_BACKLOG_BYTES,
    ) -> None:
        self.center = center
        self.host = host
        self.port = port
        self.received: deque[bytes] = deque(maxlen=_KEPT_FRAMES)
        self._encoding = encoding
        self._handshake: Handshake = handshake
        self._faults = faults or Faults()
        self._mischief = Mischief(self._faults, rng or Random())
        self._max_backlog_bytes = max_backlog_bytes
        self._connections: set[Connection] = set()
        self._changed = asyncio.Event()
        self._reserved: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._next_turn: asyncio.TimerHandle | None = None
        self._next_drop: asyncio.TimerHandle | None = None
        self.database_url: str | None = None
        self._rows: asyncio.Task[None] | None = None
        self._clock_offset = time.time() - time.monotonic()

    def __repr__(self) -> str:
        listens = "listens" if self._server else "refuses"
        return f"<Simulator: {self.host}:{self.port} {listens}, {self.clients} clients>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._connections)

    @property
    def administrators(self) -> int:
        """How many are registered as administrator."""
        return sum(connection.administrator for connection in self._connections)

    async def start(self) -> None:
        """Open the port and let the center live.

        Raises `BridgeError` where the port cannot be had.
        """
        loop = asyncio.get_running_loop()
        await self.accept()
        self._live()
        if self._faults.drop_every_seconds:
            self._next_drop = loop.call_later(self._faults.drop_every_seconds, self._drop)
        logins = self.center.logins
        log.info(
            "simulator_listening",
            host=self.host,
            port=self.port,
            agents=len(logins),
            logins=logins[:_NAMED_AGENTS],
        )

    async def stop(self) -> None:
        """Cut every client and close the port; `start` opens the same one again."""
        for handle in (self._next_turn, self._next_drop):
            if handle:
                handle.cancel()
        await self.refuse()
        self._release()

    async def accept(self) -> None:
        """Listen (again). Raises `BridgeError` where the port cannot be had."""
        if self._server or self._rows:
            return
        if self.database_url is not None:
            self._open_rows(self.database_url)
            return
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            listening = self._reserved or self._reserve(min(found, key=lambda each: each[0]))
            self._server = await loop.create_server(self._make_connection, sock=listening)
        except (OSError, UnicodeError) as error:
            self._release()
            raise BridgeError(f"cannot listen on {self.host}:{self.port}: {error}") from None
        self._reserved = None

    async def refuse(self) -> None:
        """Be gone: cut every client, and refuse all until `accept`. The port stays ours."""
        if self._rows is not None:
            self._rows.cancel()
            await asyncio.wait((self._rows,))
            self._rows = None
            self._connections.clear()
        server, self._server = self._server, None
        if server:
            listening = server.sockets[0]
            place = (listening.family, listening.type, listening.proto, "", listening.getsockname())
            server.close()
            self._reserve(place)
        await self.drop_clients()
        if server:
            await server.wait_closed()

    async def drop_clients(self) -> None:
        """Cut every connection."""
        dropped = list(self._connections)
        self._drop_all("dropped by the simulator")
        await self.wait_for(lambda: self._connections.isdisjoint(dropped))

    async def say(self, text: str | bytes) -> None:
        """Send exactly this to all administrators, and wait until they take it in.

        One that does not within ten seconds is cut off. No fault touches it.
        """
        data = text.encode(self._encoding) if isinstance(text, str) else text
        administrators = [each for each in self._connections if each.administrator]
        for connection in administrators:
            connection.write(data)
        for connection in administrators:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await connection.drained()
            except TimeoutError:
                connection.cut("it reads nothing")

    async def wait_for(self, holds: Callable[[], bool], timeout_seconds: float = 10.0) -> None:
        """Wait until `holds`, asked whenever a client, an agent or what was received changed.

        Raises `TimeoutError`.
        """
        async with asyncio.timeout(timeout_seconds):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def begin_call(self, login: str, call: Call, *, seconds: float = inf) -> None:
        """See `ContactCenter.begin_call`."""
        self._tell(self.center.begin_call(login, call, self._now(), seconds=seconds))

    def end_call(self, login: str) -> None:
        """See `ContactCenter.end_call`."""
        self._tell(self.center.end_call(login, self._now()))

    def record(self, login: str, path: str) -> None:
        """See `ContactCenter.record`."""
        self._tell(self.center.record(login, path, self._now()))

    def set_status(self, login: str, status: Status) -> None:
        """See `ContactCenter.set_status`."""
        self._tell(self.center.set_status(login, status, self._now()))

    def connected(self, connection: Connection) -> None:
        """Take note of a new client."""
        self._connections.add(connection)
        self._changed.set()
        log.info("simulator_client_connected", peer=connection.peer)
        if not self._server:  # it came just before the port was closed
            connection.cut("refused by the simulator")

    def received_bytes(self, data: bytes) -> None:
        """Keep what a client sent, as it came."""
        self.received.append(data)
        self._changed.set()

    def received_frame(self, connection: Connection, frame: Frame) -> None:
        """Obey a frame, if it is a command; to anything else Tactium is silent."""
        understood = maybe_command(frame)
        if understood is None:
            log.info("simulator_frame_not_understood", peer=connection.peer)
            return
        command, values = understood
        if values["agent"].casefold() == ADMINISTRATOR:
            said = self._register(connection, command)
        else:
            said = self.center.obey(command, values, self._now())
            self._maybe_bind(connection, command, values["agent"])
        if self._mischief.swallows_answer():
            said = [each._replace(to_asker=False) for each in said]
        self._tell(said, connection)

    def disconnected(self, connection: Connection, reason: str) -> None:
        """Take note that a client is gone."""
        self._connections.discard(connection)
        self._changed.set()
        log.info("simulator_client_disconnected", peer=connection.peer, reason=reason)

    def _open_rows(self, url: str) -> None:
        from bridge.simulator.rows import RowsConnection  # noqa: PLC0415 - it needs an extra

        rows = RowsConnection(
            self, self._mischief, url, self._encoding, max_backlog_bytes=self._max_backlog_bytes
        )
        self._connections.add(rows)
        self._rows = asyncio.create_task(rows.run())

    def _now(self) -> float:
        """Return Unix seconds that never go back, whatever becomes of the system's clock."""
        return time.monotonic() + self._clock_offset

    def _make_connection(self) -> Connection:
        return Connection(self, self._mischief, max_backlog_bytes=self._max_backlog_bytes)

    def _reserve(self, place: _Place) -> socket.socket:
        """Take the port without listening: who connects is refused, and nobody else gets it."""
        family, kind, protocol, _, address = place
        self._reserved = socket.socket(family, kind, protocol)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(address)
        self.port = self._reserved.getsockname()[1]
        return self._reserved

    def _release(self) -> None:
        if self._reserved:
            self._reserved.close()
            self._reserved = None

    def _live(self) -> None:
        """Let happen what is due, and come back when the next thing is."""
        self._tell(self.center.run_until(self._now()))

    def _tell(self, all_said: Iterable[Said], asker: Connection | None = None) -> None:
        """Send frames to whom they concern; whatever made them may have changed what is next."""
        for said in all_said:
            text = self._mischief.spoil(said.text, event=said.to_bound)
            data = self._mischief.surround(text.encode(self._encoding, "replace"))
            for connection in list(self._connections):
                answered = said.to_asker and connection is asker
                if answered or (said.to_bound and connection.hears(said.agent)):
                    for piece in self._mischief.chop(data):
                        connection.write(piece)
        self._changed.set()
        if self._next_turn:
            self._next_turn.cancel()
        due = self.center.next_at()
        if due < inf:
            loop = asyncio.get_running_loop()
            self._next_turn = loop.call_later(due - self._now(), self._live)

    def _register(self, connection: Connection, command: type[WireCommand]) -> list[Said]:
        """Bind a connection to all agents (§2.1, §4.12)."""
        if command not in _BINDING[self._handshake]:
            return []
        if not connection.administrator:
            connection.administrator = True
            self._registered(connection, ADMINISTRATOR.upper())
        if self._handshake == "silent":
            return []
        # The manual shows no answer; this one is by analogy with §4.1.
        text = CONFIRMED.write({"agent": ADMINISTRATOR.upper()})
        return [Said(ADMINISTRATOR, text, to_asker=True, to_bound=False)]

    def _maybe_bind(self, connection: Connection, command: type[WireCommand], login: str) -> None:
        """Bind a connection to an agent (§2.1), for §4.1 only to one who is logged on."""
        status = self.center.maybe_status(login)
        logged_out = command is Logon and status is Status.LOGGED_OUT
        if command not in _BINDING[self._handshake] or status is None or logged_out:
            return
        if not connection.hears(login.casefold()):
            connection.agents.add(login.casefold())
            self._registered(connection, login)

    def _registered(self, connection: Connection, login: str) -> None:
        self._changed.set()
        log.info("simulator_client_registered", peer=connection.peer, login=login)

    def _drop(self) -> None:
        self._drop_all("dropped, as the faults ask")
        loop = asyncio.get_running_loop()
        self._next_drop = loop.call_later(self._faults.drop_every_seconds, self._drop)

    def _drop_all(self, reason: str) -> None:
        for connection in list(self._connections):
            connection.cut(reason)
