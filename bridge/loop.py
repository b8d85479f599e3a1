"""The event loop that the bridge runs in: a name server that does not answer holds up no stop.

Names are resolved in threads, and Python ends no thread by force: it waits for
them before the process ends. These are threads that it does not wait for.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


class Loop(asyncio.SelectorEventLoop):
    """An event loop that resolves names in threads of its own."""

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


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main)
