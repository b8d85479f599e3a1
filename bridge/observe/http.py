"""HTTP (contract.md §8): whether it lives, whether it is ready, its numbers, the live page.

It only ever reads. `http.token` guards all but `/healthz`. Without one, on the loopback
address, no page of another site is answered that a browser on this machine shows; on
any other address everybody is, and the log warns of it.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from importlib.resources import files
from ipaddress import ip_address
from typing import Protocol, cast

import orjson
import structlog
from aiohttp import web

from bridge.backoff import delays
from bridge.core.journal import Depth
from bridge.observe.door import MOST_WAITING, Door
from bridge.observe.feed import Feed
from bridge.observe.watch import Watch
from bridge.settings import HttpSettings

log = structlog.get_logger(__name__)

COOKIE = "tactium_bridge"
COOKIE_SECONDS = 30 * 86_400
SEND_SECONDS = 5.0
"""A viewer who takes nothing for so long is let go."""

DISK_SECONDS = 2.0
CLOSE_SECONDS = 0.5
PAGE = files("bridge.observe") / "page"
FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/words.js": ("words.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Measured(Protocol):
    """The journal, as far as it is measured."""

    @property
    def depth(self) -> Depth:
        """How much is not confirmed."""

    async def maybe_oldest(self) -> datetime | None:
        """Return when the oldest of that was read."""


class Face:
    """The bridge's HTTP face. `address` is where it listens, once it does."""

    def __init__(
        self,
        settings: HttpSettings,
        watch: Watch,
        journal: Measured,
        clock: Callable[[], datetime],
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._journal = journal
        self._clock = clock
        self._feed = Feed(watch.board, watch.metrics, lambda: journal.depth)
        self._files = {path: (PAGE / name).read_bytes() for path, (name, _) in FILES.items()}
        self._door: Door | None = None
        self.address: tuple[str, int] | None = None
        self._is_open = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Face: {self.address or 'not open'}>"

    async def run(self) -> None:
        """Answer, until cancelled. A port that cannot be had is tried again: events go before."""
        runner = web.AppRunner(
            self._app(),
            access_log=None,
            shutdown_timeout=CLOSE_SECONDS,
            auto_decompress=False,  # a body that nobody reads must not be unpacked either
            lingering_time=0,
        )
        await runner.setup()
        self._door = Door(cast("web.Server", runner.server))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._feed.run())
                with await self._listen() as listening:
                    await self._door.accept(listening)
        finally:
            self._feed.close()
            await runner.cleanup()

    @property
    def _cookie(self) -> str:
        """The cookie's name: browsers tell no ports apart, and each is another site's."""
        return f"{COOKIE}_{self.address[1] if self.address else 0}"

    async def url(self) -> str:
        """Wait until it listens, and return where."""
        await self._is_open.wait()
        host, port = self.address or ("", 0)
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    async def _listen(self) -> socket.socket:
        """Open the port; say once where that fails."""
        host, port = self._settings.host, self._settings.port
        loop = asyncio.get_running_loop()
        waits, is_told = delays(), False
        while True:
            try:
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                family, *_, address = found[0]
                return self._bound(family, address)
            except OSError as error:
                if not is_told:
                    log.error(  # noqa: TRY400 - a port that is taken needs no traceback
                        "http_down",
                        address=f"{host}:{port}",
                        reason=error.strerror or str(error),
                        todo="set http.host and http.port to what is free here; it is tried again",
                    )
                is_told = True
            await asyncio.sleep(next(waits))

    def _bound(self, family: int, address: tuple[object, ...]) -> socket.socket:
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.settimeout(0)
            listening.bind(address)
            listening.listen(MOST_WAITING)
        except OSError:
            listening.close()
            raise
        host, port = listening.getsockname()[:2]
        self.address = (host, port)
        self._is_open.set()
        log.info("http_up", address=f"{host}:{port}")
        if self._settings.token is None and not _is_local(host):
            log.warning("http_open", todo="set http.token: whoever reaches it sees your agents")
        return listening

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded], client_max_size=1)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/events", self._events)
        for path in FILES:
            app.router.add_get(path, self._file)
        app.on_response_prepare.append(_for_one_request)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may, and let every answer say how it is to be treated."""
        try:
            refusal = None if request.path == "/healthz" else self._maybe_refusal(request)
            response = refusal or await handler(request)
        except web.HTTPException as error:
            response = _text(error.status, error.reason)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            log.exception("http_failed", todo="report this as a bug")
            response = _text(500, "the bridge's log says why")
        return response

    def _maybe_refusal(self, request: web.Request) -> web.Response | None:
        """Return why somebody may not come in, None for who may."""
        token = self._settings.token
        if token is None:
            if self.address is not None and _is_local(self.address[0]) and not _asks_here(request):
                return _text(403, "ask for it by the name localhost, or set http.token")
            return None
        given = [request.cookies.get(self._cookie, "")]
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(credentials.strip())
        if request.path == "/":
            given.append(request.query.get("token", "").replace(" ", "+"))  # which means the same
        expected = token.get_secret_value().encode()
        if any(hmac.compare_digest(each.encode("utf-8", "replace"), expected) for each in given):
            return None
        log.warning("http_refused", todo="a request came without http.token, or with another")
        refusal = _text(401, "give the token: Authorization: Bearer …, or open /?token=…")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    async def _healthz(self, _: web.Request) -> web.Response:
        return _text(200, "alive")

    async def _readyz(self, _: web.Request) -> web.Response:
        status = self._watch.status
        return web.Response(
            status=200 if status.is_ready else 503,
            body=orjson.dumps(status.as_json()),
            content_type="application/json",
        )

    async def _metrics(self, _: web.Request) -> web.Response:
        age = await self._oldest_seconds()
        text = self._watch.metrics.text(self._watch.status, self._journal.depth, age)
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _oldest_seconds(self) -> float:
        """Return how old the oldest message is; no number where the disk does not say in time."""
        try:
            async with asyncio.timeout(DISK_SECONDS):
                oldest = await self._journal.maybe_oldest()
        except TimeoutError:
            return math.nan
        return max(0.0, (self._clock() - oldest).total_seconds()) if oldest is not None else 0.0

    async def _file(self, request: web.Request) -> web.Response:
        _, kind = FILES[request.path]
        response = web.Response(body=self._files[request.path], content_type=kind, charset="utf-8")
        token = self._settings.token
        if token is not None and "token" in request.query:
            response.set_cookie(
                self._cookie,
                token.get_secret_value(),
                max_age=COOKIE_SECONDS,
                httponly=True,
                samesite="Strict",
                secure=request.secure,
            )
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._feed.is_full:
            refusal = _text(503, "too many look already")
            refusal.headers["Retry-After"] = "10"
            return refusal
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        with self._feed.viewer() as viewer, suppress(ConnectionError, TimeoutError):
            await response.prepare(request)
            if self._door is not None:
                self._door.stay(request.transport)
            async for text in viewer:
                async with asyncio.timeout(SEND_SECONDS):
                    await response.write(text)
            return response
        if request.transport is not None:
            request.transport.abort()
        return response


async def _for_one_request(_: web.Request, response: web.StreamResponse) -> None:
    """Say how an answer is to be treated, and end its connection: see `Door`.

    The library gives some answers by itself, which pass no middleware but this.
    """
    response.headers.update(SAFE)
    response.headers["Connection"] = "close"
    response.force_close()


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n")


def _is_local(host: str) -> bool:
    return ip_address(host.partition("%")[0]).is_loopback


def _asks_here(request: web.Request) -> bool:
    """Whether a request names this machine itself: a name of another may lead here as well."""
    name = request.host.rpartition(":")[0] if not request.host.endswith("]") else request.host
    name = (name or request.host).strip("[]").lower()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
