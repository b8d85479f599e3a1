"""The loop that the bridge runs in."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from bridge.loop import Loop


def test_a_name_is_resolved() -> None:
    """As by any other loop, and what is wrong with it is raised."""

    async def resolve(name: str) -> Any:
        return await asyncio.get_running_loop().getaddrinfo(name, 80, type=socket.SOCK_STREAM)

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert ("127.0.0.1", 80) in {found[4] for found in runner.run(resolve("127.0.0.1"))}
        with pytest.raises(OSError):  # noqa: PT011 - each system has its own words
            runner.run(resolve("no.such.host.invalid"))


def test_a_name_server_that_does_not_answer_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who gives up waiting can go, and so can the loop."""
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(60))

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.get_running_loop().getaddrinfo("tactium.example", 34025)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(give_up())
    assert not answer.is_set()  # it is waited for still, and not by us
    answer.set()
