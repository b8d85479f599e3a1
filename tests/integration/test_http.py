"""HTTP: who may look, what is ready, and that no way of asking does any harm."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import AsyncExitStack, ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.app import Program
from bridge.observe import door, feed
from bridge.sandbox import private_rabbitmq
from bridge.settings import LinkSettings
from tests.integration.conftest import make_site
from tests.integration.http import asking
from tests.integration.site import OpenSite, killed, until

TOKEN = "a-token-of-some-length"
ALL = ("/readyz", "/metrics", "/", "/page.js", "/events", "/nowhere", "/../etc/passwd")


async def test_it_is_ready_when_all_is_well(open_site: OpenSite) -> None:
    """200, with each part well; and it says since when, and why."""
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        await http.until_part("link", ok=True)
        await http.until_part("broker", ok=True)
        status, answer = await http.ready()
        assert status == 200
        assert answer["ready"] is True
        assert answer["role"] == "leader"
        assert set(answer) == {"ready", "role", "link", "broker", "journal"}
        assert all(set(answer[part]) == {"ok", "since", "reason"} for part in _PARTS)


_PARTS = ("link", "broker", "journal")


async def test_a_dead_tactium_is_named(open_site: OpenSite) -> None:
    """503; the link is what is ill, and nothing else."""
    async with open_site() as site:
        with closing(socket.socket()) as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
        site.use_link(LinkSettings(host="127.0.0.1", port=port))
        async with site.bridge() as program, asking(program) as http:
            await http.until_part("broker", ok=True)
            status, answer = await http.ready()
            assert status == 503
            assert [part for part in _PARTS if not answer[part]["ok"]] == ["link"]
            await until(lambda: "Connect call failed" in program.watch.status["link"].reason)


async def test_a_link_that_drops_and_comes_back_is_seen(open_site: OpenSite) -> None:
    """Ill while it is down, well again after; the reconnect and the gap are counted."""
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        await http.until_part("link", ok=True)
        await site.tactium.refuse()
        await site.tactium.drop_clients()
        await http.until_part("link", ok=False)
        await site.tactium.accept()
        await http.until_part("link", ok=True)
        await site.next_data("main.gap")
        numbers = await http.metrics()
        assert numbers["reconnects_total{peer=tactium}"] == 1
        assert numbers["gaps_total{cause=link_down}"] == 1
        assert numbers["gap_seconds_total"] > 0


async def test_a_dead_broker_is_named(tmp_path: Path) -> None:
    """503; the broker is what is ill, and well again when it is back; nothing is lost."""
    async with (
        private_rabbitmq() as node,
        make_site(node.url(), tmp_path / "bridge.db") as site,
        site.bridge() as program,
        asking(program) as http,
    ):
        await http.until_part("broker", ok=True)
        await http.until_part("link", ok=True)
        await killed(node)
        answer = await http.until_part("broker", ok=False)
        assert [part for part in _PARTS if not answer[part]["ok"]] == ["broker"]
        assert answer["ready"] is False
        await node.restart()
        await http.until_part("broker", ok=True)


async def test_a_journal_that_cannot_be_written_is_named(open_site: OpenSite) -> None:
    """503; the journal is what is ill, and well again when the disk takes it."""
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        await http.until_part("broker", ok=True)
        await http.until_part("link", ok=True)
        database = program._bridge._journal._files.store._database  # type: ignore[attr-defined]
        database.execute("PRAGMA query_only = 1")  # what a disk mounted read-only does
        await site.say("<ana><S><1>$")
        answer = await http.until_part("journal", ok=False)
        assert [part for part in _PARTS if not answer[part]["ok"]] == ["journal"]
        assert "readonly" in answer["journal"]["reason"]
        database.execute("PRAGMA query_only = 0")
        await http.until_part("journal", ok=True)


@pytest.mark.parametrize("path", ALL)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Cookie": "tactium_bridge=wrong"},
        {"Authorization": "Bearer \udcff\udcfe"},
        {"Cookie": "tactium_bridge=\udcff"},
    ],
)
async def test_who_has_no_token_sees_nothing(
    guarded: Program, path: str, headers: dict[str, str]
) -> None:
    """401 for every path but `/healthz`, there or not, whatever is wrong with the token."""
    async with asking(guarded) as http:
        async with http.session.get(path, headers=headers) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert TOKEN not in await response.text()
        async with http.session.get("/healthz", headers=headers) as response:
            assert response.status == 200


@pytest.fixture
async def guarded(open_site: OpenSite) -> Any:
    """A bridge with a token."""
    async with open_site(http={"token": TOKEN}) as site, site.bridge() as program:
        yield program


async def test_who_has_the_token_sees_all(guarded: Program) -> None:
    """As a bearer; and the page takes it once, and keeps it in a cookie for scripts unseen."""
    async with asking(guarded, TOKEN) as http:
        for path in ("/readyz", "/metrics", "/", "/page.js", "/page.css", "/icon.svg"):
            async with http.session.get(path) as response:
                assert response.status in (200, 503)
                assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        async with http.session.get("/nowhere") as response:
            assert response.status == 404
        async with http.session.post("/metrics") as response:
            assert response.status == 405
        async with http.stream() as told:
            assert (await anext(told))[0] == "snapshot"
    async with asking(guarded) as http:
        async with http.session.get("/readyz", params={"token": TOKEN}) as response:
            assert response.status == 401  # addresses are written down in many places
        async with http.session.get("/", params={"token": TOKEN}) as response:
            assert response.status == 200
            cookie = response.headers["Set-Cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
        ((name, cookie_given),) = response.cookies.items()
        headers = {"Cookie": f"{name}={cookie_given.value}"}
        async with http.session.get("/readyz", headers=headers) as response:
            assert response.status in (200, 503)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1:8025", 200),
        ("[::1]:8025", 200),
        ("evil.example", 403),
        ("localhost.evil.example:8025", 403),
        ("10.0.0.1", 403),
    ],
)
async def test_no_page_of_another_site_gets_through(
    open_site: OpenSite, host: str, status: int
) -> None:
    """Without a token, a name that was made to lead to this machine is not answered."""
    async with (
        open_site() as site,
        site.bridge() as program,
        asking(program) as http,
        http.session.get("/", headers={"Host": host}) as response,
    ):
        assert response.status == status


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/page.js/../../settings.py",
        "//page.js",
        "/page.js%00.html",
        "/page/index.html",
        "/metrics/",
        "/\\page.js",
    ],
)
async def test_no_path_leads_elsewhere(open_site: OpenSite, path: str) -> None:
    """Only the few paths that there are answer; no other file is to be had."""
    async with open_site() as site, site.bridge() as program:
        answer = await _raw(program, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.split(b" ")[1] in (b"404", b"400")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000,
        b"\x16\x03\x01" + os.urandom(300),
        b"\0" * 100_000,
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
    ids=["long header", "many headers", "long path", "body", "tls", "zeros", "nonsense", "chunks"],
)
async def test_no_request_is_too_bad(open_site: OpenSite, request_bytes: bytes) -> None:
    """Whatever comes, the connection ends soon, and the next request is answered."""
    async with open_site() as site, site.bridge() as program:
        answer = await _raw(program, request_bytes)
        assert answer[:12] in (
            b"",
            b"HTTP/1.1 400",
            b"HTTP/1.1 413",
            b"HTTP/1.1 200",
            b"HTTP/1.0 400",
        )
        async with asking(program) as http, http.session.get("/healthz") as response:
            assert response.status == 200


async def _raw(program: Program, request: bytes) -> bytes:
    """Say exactly this, and return all that comes back until the bridge hangs up."""
    async with asking(program):
        assert program.face.address is not None
        reader, writer = await asyncio.open_connection(*program.face.address)
        answer = b""
        try:
            writer.write(request)
            async with asyncio.timeout(2 * door.MOST_SECONDS):
                answer = await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()
        return answer


async def test_who_says_nothing_is_sent_away(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that does not come to its end holds no connection for long."""
    monkeypatch.setattr(door, "MOST_SECONDS", 0.3)
    async with open_site() as site, site.bridge() as program:
        assert await _raw(program, b"GET / HTTP/1.1\r\nHost: local") == b""
        assert await _raw(program, b"") == b""


async def test_too_many_viewers_are_told_so(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 for one too many; a place that is left is free again."""
    monkeypatch.setattr(feed, "MOST_VIEWERS", 3)
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        async with AsyncExitStack() as looking:
            for _ in range(3):
                told = await looking.enter_async_context(http.stream())
                assert (await anext(told))[0] == "snapshot"
            async with http.session.get("/events") as response:
                assert response.status == 503
                assert response.headers["Retry-After"]

        async def is_free() -> bool:
            async with http.session.get("/events") as response:
                return response.status == 200

        await until(is_free)


async def test_a_crowd_takes_nobody_s_place(
    open_site: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where connections that say nothing fill the room, the oldest makes way, and streams stay."""
    monkeypatch.setattr(door, "MOST_OPEN", 5)
    monkeypatch.setattr(door, "COMERS_PER_SECOND", 10_000.0)
    async with (
        open_site() as site,
        site.bridge() as program,
        asking(program) as http,
        http.stream() as told,
    ):
        await anext(told)
        address = program.face.address
        assert address is not None
        with ExitStack() as idle:
            for _ in range(50):
                silent = socket.create_connection(address)
                idle.enter_context(closing(silent))
            assert program.face._door is not None
            await until(lambda: len(program.face._door._open) <= 5)
            status, _ = await http.ready()
            assert status in (200, 503)
            assert (await anext(told))[0] == "update"


async def test_a_port_that_is_taken_stops_nothing(open_site: OpenSite) -> None:
    """It is said once, and tried again; events flow meanwhile."""
    with closing(socket.socket()) as taken, capture_logs() as logs:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with open_site(http={"port": port}) as site, site.bridge() as program:
            await site.ask({"command": "get_agents"})
            await until(lambda: any(line["event"] == "http_down" for line in logs))
            taken.close()
            async with asking(program) as http:
                await http.ready()
        assert len([line for line in logs if line["event"] == "http_down"]) == 1


async def test_the_stream_shows_no_phone(open_site: OpenSite) -> None:
    """A tile for each agent, the event masked, the command with its outcome, and the gap."""
    phone = "40051234"
    async with open_site() as site, site.bridge() as program, asking(program) as http:
        await http.until_part("broker", ok=True)
        async with http.stream() as told:
            name, snapshot = await anext(told)
            assert name == "snapshot"
            assert snapshot["parts"]["link"]["ok"] is True
            await site.say(
                f"<ana><A><1><0><99885500><85><{phone}><cobranca></g/1.wav><ItemID=1;CPF={phone};>$"
            )
            await site.ask({"command": "get_status", "agent": "ana"})
            seen: dict[str, list[dict[str, Any]]] = {"agents": [], "events": [], "commands": []}
            async for name, update in told:
                assert name == "update"
                assert phone not in json.dumps(update)
                for key in seen:
                    seen[key] += update[key]
                if seen["commands"] and seen["agents"] and seen["events"]:
                    break
            ana = seen["agents"][-1]
            assert ana["agent"] == "ana"
            assert ana["call"]["direction"] == "outbound"
            started = next(each for each in seen["events"] if each["type"] == "call.started")
            assert started["data"]["destination"] == "***34"
            assert "raw" not in started["data"]
            assert seen["commands"][0]["outcome"] == "ok"


async def test_what_is_shown_unmasked_is_asked_for(open_site: OpenSite) -> None:
    """With `log.mask` off the page shows the number as it is."""
    async with (
        open_site(log={"mask": False}) as site,
        site.bridge() as program,
        asking(program) as http,
        http.stream() as told,
    ):
        await http.until_part("link", ok=True)
        await site.say("<ana><A><1><0><99885500><85><40051234><x><y><z=1;>$")
        async for _, update in told:
            found = [each for each in update["events"] if each["type"] == "call.started"]
            if found:
                assert found[0]["data"]["destination"] == "40051234"
                return
