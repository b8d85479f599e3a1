"""`tactium-bridge check`: whether a bridge could run here, and what to do where not.

It changes nothing: it opens Tactium's port but registers only when asked to, and it
declares nothing at the broker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from bridge.check import broker, database, machine, tactium
from bridge.check.line import Line, Verdict
from bridge.settings import Settings

__all__ = ["Line", "Verdict", "check"]


async def check(settings: Settings, *, register: bool) -> AsyncIterator[Line]:
    """Yield a line for each thing that a bridge with these settings needs."""
    yield Line.ok("settings", f"read; site {settings.site}, prefix {settings.amqp.prefix}")
    is_running = machine.is_in_use(settings.journal.path)
    async for line in broker.check(settings):
        is_running = is_running or line.shows_a_bridge
        yield line
    tactium_lines = (
        database.check(settings.link)
        if settings.link.transport == "database"
        else tactium.check(settings.link, register=register, is_running=is_running)
    )
    async for line in tactium_lines:
        yield line
    for line in machine.check_journal(settings.journal, is_in_use=is_running):
        yield line
    yield await machine.check_http(settings.http, is_running=is_running)
    yield machine.check_clock()
