"""The event loop that the bridge runs in: uvloop's where it is installed, else asyncio's own.

In either of them a name server that does not answer holds up no stop: names are
resolved in threads, and both loops wait for theirs before the process ends.
These are threads that nobody waits for.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    _AnyLoop = asyncio.AbstractEventLoop
else:
    _AnyLoop = object


class _Resolving(_AnyLoop):
    """What both loops have in common: names are resolved in threads of the loop's own."""

    async def getaddrinfo(self, *address: Any, **options: Any) -> Any:
        """See `asyncio.loop.getaddrinfo`."""
        found = self.create_future()

        def tell(result: Any, error: Exception | None) -> None:
            if found.done():
                return
            if error is not None:
                found.set_exception(error)
            else:
                found.set_result(result)

        def resolve() -> None:
            result: Any = None
            error: Exception | None = None
            try:
                result = socket.getaddrinfo(*address, **options)
            except Exception as failure:  # noqa: BLE001 - raised in the loop, by who waits for the answer
                error = failure
            with suppress(RuntimeError):  # the loop is closed: nobody asks any more
                self.call_soon_threadsafe(tell, result, error)

        threading.Thread(target=resolve, name="resolver", daemon=True).start()
        return await found


class Loop(_Resolving, asyncio.SelectorEventLoop):
    """asyncio's event loop, which resolves names where we do."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=fastest()) as runner:
        runner.run(main)


def fastest() -> type[asyncio.AbstractEventLoop]:
    """Return the event loop that wakes up soonest, of those that are installed."""
    try:
        import uvloop  # noqa: PLC0415 - it comes with an extra
    except ImportError:
        return Loop

    class UvLoop(_Resolving, uvloop.Loop):  # type: ignore[misc]  # both of them resolve names
        """uvloop's event loop, which would resolve the names of those it connects to itself."""

        async def create_connection(
            self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
        ) -> Any:
            """See `asyncio.loop.create_connection`; raises what the last address of a name gave."""
            if host is None:
                return await super().create_connection(protocol_factory, **options)
            if options.get("ssl"):
                options["server_hostname"] = options.get("server_hostname") or host
            failure = OSError(f"{host} has no address")
            for *_, address in await self.getaddrinfo(host, port, type=socket.SOCK_STREAM):
                try:
                    return await super().create_connection(
                        protocol_factory, *address[:2], **options
                    )
                except ssl.SSLError:
                    raise  # it is there, and not whom we trust
                except OSError as error:
                    failure = error
            raise failure

    return UvLoop
