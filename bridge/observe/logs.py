"""Log lines: one for each change of state, with a stable event name and fields.

On a terminal they are for people, off it they are JSON. No line holds a phone
number, a frame or a password: what is logged is chosen field by field, and a
traceback never shows the values of variables.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import Processor

from bridge.settings import LogSettings

_QUIET = ("aio_pika", "aiormq", "asyncio")
"""The bridge says itself, once, what these would say at each try."""


def configure(settings: LogSettings) -> None:
    """Send all log lines to standard error, those of libraries too."""
    as_json = settings.format == "json" or (settings.format is None and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderers: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
