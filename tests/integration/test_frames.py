"""Whatever the bytes look like: nothing raises, nothing is lost, order holds."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from bridge.simulator import Faults
from tests.integration.conftest import TACTIUM
from tests.integration.site import OpenSite, Site

pytestmark = pytest.mark.each_transport

AGENTS = 50


async def test_5000_frames_in_one_write(site: Site) -> None:
    """All arrive, each agent's in the order in which they were written."""
    frames = [f"<agent{n % AGENTS}><S><{n}>$" for n in range(5000)]
    await site.say("".join(frames))
    seen: dict[str, list[int]] = {}
    for _ in frames:
        data = json.loads((await site.next_message()).body)["data"]
        seen.setdefault(data["agent"], []).append(data["code"])
    assert seen == {f"agent{n}": list(range(n, 5000, AGENTS)) for n in range(AGENTS)}


@pytest.mark.socket_only
async def test_one_byte_per_write_and_line_breaks(open_site: OpenSite) -> None:
    """A frame that comes byte by byte, with CR LF behind it, is the same frame."""
    faults = Faults(single_bytes=True, line_breaks=True)
    async with open_site(tactium=replace(TACTIUM, faults=faults)) as site, site.bridge():
        for agent in ("ana", "bruno"):
            reply = await site.ask({"command": "get_status", "agent": agent})
            assert reply["raw"] == f"<{agent}><S><1>$"


@pytest.mark.socket_only
async def test_what_is_no_frame_is_reported_with_its_bytes(site: Site) -> None:
    """Stray bytes, an overlong frame, a lost end and an empty login; the frames around live."""
    overlong = b"<ana><G><" + b"x" * 70_000 + b"><b>$"
    await site.say(
        b"<ana><S><1>$\r\n  stray \xe1\xff <ana><S><2>$"
        + overlong
        + b"<ana><S><3>$<ana><TR><17/08/2010 15:00><><$\r\n<ana><S><4>$<><OK>$\0\n<ana><S><5>$"
    )
    codes: list[int] = []
    malformed: list[tuple[str, bytes]] = []
    while not codes or codes[-1] != 5:
        message = await site.next_message()
        data = json.loads(message.body)["data"]
        if message.routing_key == "main.frame.malformed":
            assert message.exchange == "tactium.bridge"
            assert list(data) == ["reason", "text", "base64"]
            malformed.append((data["reason"], base64.b64decode(data["base64"])))
        else:
            codes.append(data["code"])
    assert codes == [1, 2, 3, 4, 5]
    assert malformed[0] == ("stray bytes between frames", b"stray \xe1\xff ")
    assert b"".join(raw for _, raw in malformed[1:3]) == overlong
    assert malformed[1][0] == "the frame is over 65536 bytes"
    assert malformed[3] == ("the frame's end is mangled", b"<ana><TR><17/08/2010 15:00><><$")
    assert malformed[4] == ("the login is empty", b"<><OK>$")
    assert len(malformed) == 5


async def test_accents_in_either_encoding(site: Site) -> None:
    """The same words arrive from cp1252 and from UTF-8, and bytes that are neither are kept."""
    for encoding in ("cp1252", "utf-8"):
        await site.say("<JOSÉ><Situação><Ação “já” €>$".encode(encoding))
        message = await site.next_message()
        data = json.loads(message.body)["data"]
        assert message.routing_key == "jos%C3%A9.frame.unknown"
        assert data["fields"] == ["JOSÉ", "Situação", "Ação “já” €"]
    await site.say(b"<ana><x><\x81\xe9>$")
    assert (await site.next_data("ana.frame.unknown"))["fields"][2] == "\x81é"


async def test_logins_that_look_like_something_else(site: Site) -> None:
    """Dots, wildcards, accents and 300 characters make one word of a key, and no wildcard."""
    long = "ç" * 300
    expected = {
        "jose.silva": "jose%2Esilva",
        "#": "%23",
        "*": "%2A",
        "a b/c%d": "a%20b%2Fc%25d",
        "ana_~-9": "ana_~-9",
    }
    for login, word in expected.items():
        await site.say(f"<{login}><S><1>$")
        message = await site.next_message()
        assert message.routing_key == f"{word}.agent.status"
        assert json.loads(message.body)["data"]["agent"] == login
    await site.say(f"<{long}><S><1>$")
    message = await site.next_message()
    word, _, rest = (message.routing_key or "").partition(".")
    assert rest == "agent.status"
    assert len(word) <= 180
    assert word.startswith("%C3%A7")
    assert word[-17] == "~"
    assert json.loads(message.body)["data"]["agent"] == long


@pytest.mark.socket_only
async def test_what_a_dropped_connection_leaves_is_reported(site: Site) -> None:
    """Half a frame at the end of a connection is malformed, and spoils nothing after it."""
    await site.say("<ana><S><1>$<ana><S")
    await site.next_data("ana.agent.status")
    await site.tactium.drop_clients()
    cut = await site.next_data("main.frame.malformed")
    assert cut["reason"] == "cut off by the end of the connection"
    assert cut["text"] == "<ana><S"
    await site.next_data("main.resync")
    await site.say("<ana><S><2>$")
    assert (await site.next_data("ana.agent.status"))["code"] == 2
