"""Tactium or the broker away, at the start or for a while: wait, say so once, go on."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest
from aio_pika import connect
from structlog.testing import capture_logs

from bridge.sandbox import RabbitMQNode
from tests.integration.conftest import TACTIUM
from tests.integration.site import OpenSite, until


def named(logs: list[MutableMapping[str, Any]], *events: str) -> list[str]:
    """Return the named log lines that are among these, in order."""
    return [str(line["event"]) for line in logs if line["event"] in events]


async def test_tactium_absent_at_the_start(open_site: OpenSite) -> None:
    """The bridge waits, says so once over many tries, and registers when Tactium comes."""
    async with open_site() as site:
        await site.tactium.refuse()
        with capture_logs() as logs:
            async with site.bridge():
                await asyncio.sleep(3)
                await site.tactium.accept()
                assert (await site.next_data("main.link.up"))["reason"] == "registered"
        assert named(logs, "link_waiting", "link_up") == ["link_waiting", "link_up"]


async def test_a_broker_without_a_limit_to_its_frames(
    open_site: OpenSite, rabbitmq: RabbitMQNode
) -> None:
    """It says 0, and gets each body in one frame."""
    await rabbitmq.ctl("eval", "application:set_env(rabbit, frame_max, 0).")
    try:
        async with open_site() as site, site.bridge():
            await site.next_data("main.link.up")
            await site.say("<ana><S><1>$")
            assert (await site.next_data("ana.agent.status"))["code"] == 1
    finally:
        await rabbitmq.ctl("eval", "application:set_env(rabbit, frame_max, 131072).")


async def test_tactium_gone_for_a_while(open_site: OpenSite) -> None:
    """One line when it goes, one when it is back, and events flow again by themselves."""
    async with open_site() as site:
        with capture_logs() as logs:
            async with site.bridge():
                await site.next_data("main.link.up")
                await site.tactium.refuse()
                await site.next_data("main.link.down")
                await asyncio.sleep(3)
                await site.tactium.accept()
                await site.next_data("main.link.up")
                await site.say("<ana><S><1>$")
                await site.next_data("ana.agent.status")
        lines = named(logs, "link_waiting", "link_up", "link_down")
        assert lines == ["link_up", "link_down", "link_up", "link_down"]  # the last is the stop


@pytest.mark.parametrize(
    ("handshake", "reason", "sent"),
    [
        ("logon", "registered", [b"<ADMSOCKET><L><ON>$"]),
        ("status", "registered", [b"<ADMSOCKET><L><ON>$", b"<ADMSOCKET><S>$"]),
        ("silent", "registered, unconfirmed", [b"<ADMSOCKET><L><ON>$", b"<ADMSOCKET><S>$"]),
    ],
)
async def test_both_spellings_of_the_registration(
    open_site: OpenSite, handshake: str, reason: str, sent: list[bytes]
) -> None:
    """`auto` tries the form of §4.12, then that of §2.1, then takes silence for consent."""
    options = replace(TACTIUM, handshake=handshake)  # type: ignore[arg-type]
    async with (
        open_site(tactium=options, link={"handshake_timeout": 0.3}) as site,
        site.bridge(),
    ):
        up = await site.next_data("main.link.up")
        assert up["reason"] == reason
        assert list(site.tactium.received) == sent


@pytest.mark.parametrize(
    ("handshake", "sent"), [("logon", b"<ADMSOCKET><L><ON>$"), ("status", b"<ADMSOCKET><S>$")]
)
async def test_one_spelling_alone(open_site: OpenSite, handshake: str, sent: bytes) -> None:
    """A handshake named by the setting is the only one sent."""
    async with open_site(link={"handshake": handshake}) as site, site.bridge():
        await site.next_data("main.link.up")
        assert list(site.tactium.received) == [sent]


async def test_a_silent_tactium_is_asked_and_then_given_up(open_site: OpenSite) -> None:
    """A probe that is answered keeps the link; one that is not, and it is made anew."""
    async with (
        open_site(link={"idle_probe": 0.3, "probe_timeout": 0.3}) as site,
        site.bridge(),
    ):
        await site.next_data("main.link.up")
        await site.say("<ana><S><2>$")
        await site.next_data("ana.agent.status")
        assert (await site.next_data("ana.agent.status"))["code"] == 1  # a probe, answered
        assert b"<ana><S>$" in site.tactium.received
        await site.say("<stranger><S><1>$")  # one whom the simulator never answers for
        down = await site.next_data("main.link.down")
        assert "not even when asked" in down["reason"]
        await site.next_data("main.link.up")


async def test_a_login_that_nobody_understood_is_not_asked_after(open_site: OpenSite) -> None:
    """A mangled frame can carry any login; Tactium's silence about it means nothing."""
    async with (
        open_site(link={"idle_probe": 0.2, "probe_timeout": 0.2}) as site,
        site.bridge(),
    ):
        await site.next_data("main.link.up")
        await site.say("<ghost><x>$")
        await site.next_data("ghost.frame.unknown")
        await asyncio.sleep(1.5)
        assert site.inbox.empty()
        assert b"<ghost><S>$" not in site.tactium.received


async def test_the_broker_absent_at_the_start(open_site: OpenSite) -> None:
    """The bridge waits, says so once over many tries, and does not stop hearing Tactium."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"amqp://guest:guest@127.0.0.1:{taken.getsockname()[1]}/"
        async with open_site(amqp={"url": nowhere}) as site:
            with capture_logs() as logs:
                async with site.bridge():
                    await site.tactium.wait_for(lambda: site.tactium.administrators == 1)
                    await asyncio.sleep(3)
        assert named(logs, "broker_up", "broker_down") == ["broker_down"]


async def test_the_broker_gone_for_a_while(open_site: OpenSite, rabbitmq: RabbitMQNode) -> None:
    """One line when it goes, one when it is back; what was heard meanwhile arrives in order."""
    async with open_site() as site:
        queue = await site.channel.declare_queue("kept", durable=True)
        await queue.bind("tactium.events", "ana.#")
        with capture_logs() as logs:
            async with site.bridge():
                await site.next_data("main.link.up")
                await rabbitmq.stop_app()
                await site.say("".join(f"<ana><S><{n}>$" for n in range(100)))
                await asyncio.sleep(2)
                await rabbitmq.start_app()
                await until(lambda: len(named(logs, "broker_up")) == 2)
        assert named(logs, "broker_up", "broker_down") == ["broker_up", "broker_down", "broker_up"]
        async with await connect(site.settings.amqp.url.get_secret_value()) as connection:
            channel = await connection.channel()
            again = await channel.get_queue("kept")
            messages = [await again.get(no_ack=True) for _ in range(100)]
        codes = [json.loads(message.body)["data"]["code"] for message in messages]
        assert codes == list(range(100))


async def test_wrong_credentials_are_said_as_such(open_site: OpenSite, vhost_url: str) -> None:
    """A user that RabbitMQ does not let in is told from a broker that is not there."""
    wrong = vhost_url.replace("guest:guest", "guest:hunter2")
    async with open_site(amqp={"url": wrong}) as site:
        with capture_logs() as logs:
            async with site.bridge():
                await until(lambda: bool(named(logs, "broker_down")))
                await asyncio.sleep(1)
    (line,) = (line for line in logs if line["event"] == "broker_down")
    assert line["log_level"] == "error"
    assert "ACCESS_REFUSED" in line["reason"]
    assert "hunter2" not in str(logs)


async def test_a_conflicting_queue_is_named_with_both_values(open_site: OpenSite) -> None:
    """The queue, the argument, both values and the way out are logged; nothing is deleted."""
    async with open_site() as site:
        await site.channel.declare_queue("tactium.commands", durable=True)
        with capture_logs() as logs:
            async with site.bridge():
                await site.next_data("main.link.up")
                await until(lambda: bool(named(logs, "broker_down")))
                await asyncio.sleep(1)
        (line,) = (line for line in logs if line["event"] == "broker_down")
        assert line["log_level"] == "error"
        assert "'tactium.commands' exists already" in line["reason"]
        assert "amqp.prefix" in line["reason"]
