"""Log lines: one for each change of state, with a stable event name and fields.

On a terminal they are for people, off it they are JSON. No line holds a phone
number, a frame or a password: what is logged is chosen field by field, messages go
through `masking` first, and a traceback never shows the values of variables.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bridge.observe.masking import HIDDEN
from bridge.settings import LogSettings

_SHOWING_ROWS = ("aiomysql", "aiosqlite", "asyncpg", "oracledb", "sqlalchemy")
"""Libraries that log each statement with its values, where they may log so much: frames."""

_QUIET = ("aio_pika", "aiormq", "aiohttp", "asyncio")
"""The bridge says itself, once, what these would say at each try."""

MOST_REPEATS = 10
REPEAT_SECONDS = 60.0
"""So many warnings of one name in such a time; the next one says how many were left out."""

MOST_WAITING = 10_000
GATHER_SECONDS = 0.02
FLUSH_SECONDS = 1.0

_OURS = ("level", "timestamp")
_LIMITED = ("warning", "error", "critical")


def configure(settings: LogSettings, secrets: Collection[str] = ()) -> None:
    """Send all log lines to standard error, those of libraries too; `secrets` never are in one."""
    as_json = settings.format == "json" or (settings.format is None and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_as_json)
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    handler = Writer(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                Cleaner(secrets),
                renderer,
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    for name in _SHOWING_ROWS:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            Limiter(time.monotonic),
            structlog.processors.format_exc_info,  # no other thread knows what was raised here
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _as_json(line: EventDict, **_: object) -> str:
    return orjson.dumps(line, default=str).decode()


def flush() -> None:
    """Wait until all lines are written, but not for long."""
    for handler in logging.root.handlers:
        handler.flush()


class Writer(logging.Handler):
    """Writes lines in a thread: whoever reads them slowly, or not at all, must not hold up events.

    It lets some gather, so that no command waits for what is said of it. So many lines
    wait for it; of those beyond, the next line that finds room tells.
    """

    def __init__(self, stream: TextIO, most_waiting: int = MOST_WAITING) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(most_waiting)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="log-writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Have a line written, or count it as lost."""
        try:
            if self._lost and self._waiting.qsize() < self._waiting.maxsize // 2:
                lost, self._lost = self._lost, 0
                told = f"{lost} log lines were lost: whoever reads them is too slow"
                self._waiting.put_nowait(_warning(told))
            self._waiting.put_nowait(record)
        except queue.Full:
            self._lost += 1

    def flush(self) -> None:
        """Wait until all is written, but not for long."""
        end = time.monotonic() + FLUSH_SECONDS
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def close(self) -> None:
        """End the thread when it has written what it has."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        super().close()

    def _write(self) -> None:
        batch: list[logging.LogRecord | None] = []
        while None not in batch:
            batch = [self._waiting.get()]
            time.sleep(GATHER_SECONDS)
            with suppress(queue.Empty):
                while True:
                    batch.append(self._waiting.get_nowait())
            for record in batch:
                if record is not None:
                    self._say(record)
                self._waiting.task_done()

    def _say(self, record: logging.LogRecord) -> None:
        try:
            self._stream.write(f"{self.format(record)}\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # whoever read it has gone
        except Exception:  # noqa: BLE001 - as in every handler of the standard library
            self.handleError(record)


def _warning(text: str) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": text, "levelname": "WARNING", "levelno": logging.WARNING})


class Limiter:
    """Lets a fault that repeats be said a few times a minute, and says how often it was not."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, list[float]] = {}
        self._left_out: dict[str, int] = {}

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        """Return the line, or raise `structlog.DropEvent`."""
        if line["level"] not in _LIMITED:
            return line
        name, now = line["event"], self._clock()
        said = [at for at in self._said.get(name, ()) if now - at < REPEAT_SECONDS]
        self._said[name] = said
        if len(said) >= MOST_REPEATS:
            self._left_out[name] = self._left_out.get(name, 0) + 1
            raise structlog.DropEvent
        said.append(now)
        left_out = self._left_out.pop(name, 0)
        return {**line, "left_out": left_out} if left_out else line


class Cleaner:
    """Takes out of each text what could deceive who reads it, and what nobody may read."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        """Return the line with every text in it cleaned."""
        return {
            name: value if name in _OURS else self._cleaned(value) for name, value in line.items()
        }

    def _cleaned(self, value: object) -> object:
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self._cleaned(key): self._cleaned(each) for key, each in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._cleaned(each) for each in value]
            case None | bool() | int() | float():
                return value
        return self.text(str(value))

    def text(self, text: str) -> str:
        """Return one text cleaned."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        if text.isprintable():
            return text
        return "".join(
            each if each.isprintable() or each == "\n" else _escaped(each) for each in text
        )


def _escaped(character: str) -> str:
    """Return what moves a cursor or hides text as the letters that stand for it."""
    return character.encode("unicode_escape").decode("ascii")
