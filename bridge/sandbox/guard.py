"""A tiny process that cleans up after this one, however this one ends.

It is a shell that reads a pipe whose other end only this process holds. The pipe
ends when `finish` closes it, and also when this process is killed; both lead to
the same cleaning, so every ordinary exit exercises what a crash relies on. (Only
a fork of this process that executes nothing else would hold the pipe too.)
"""

from __future__ import annotations

import os
import shlex
import subprocess

from bridge.errors import SandboxError

_FINISH_TIMEOUT_SECONDS = 30.0

_WAITING = """
trap '' HUP INT TERM
noted=
while read -r line; do noted=$line; done
"""


class Guard:
    """Runs a piece of shell as soon as this process lets go of it, or dies.

    `cleaning` finds the last `note` in `$noted` and `arguments` in `$1`, `$2` and
    so on. It ends with status 0 if, and only if, nothing is left.
    """

    def __init__(self, cleaning: str, *arguments: str) -> None:
        self._arguments = arguments
        awaited, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the shell is ours, and so is the script
                ["/bin/sh", "-c", _WAITING + cleaning, "rabbitmq-sandbox-guard", *arguments],
                stdin=awaited,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                # Its own session: a terminal's Ctrl-C or hang-up does not reach it.
                start_new_session=True,
            )
        finally:
            os.close(awaited)

    def note(self, line: str) -> None:
        """Tell the cleaning what it has to know; replaces the last note.

        Raises SandboxError if the guard is gone.
        """
        try:
            os.write(self._pipe, f"{line}\n".encode())
        except BrokenPipeError:
            raise SandboxError(
                "The process that guards the private RabbitMQ node was killed; start again."
            ) from None

    def finish(self) -> None:
        """Have everything cleaned up and wait until it is, 30 s at most.

        Raises SandboxError if something is left.
        """
        os.close(self._pipe)
        try:
            status = self._process.wait(_FINISH_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if status != 0:
            raise SandboxError(
                "The private RabbitMQ node could not be removed completely; "
                f"remove by hand what is left of {shlex.join(self._arguments)}."
            )
