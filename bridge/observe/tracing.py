"""A span for each command, where OpenTelemetry is installed (extra `otel`).

The bridge knows the API alone: where spans go, and whether they go anywhere, is
for the SDK that it is run under (`opentelemetry-instrument tactium-bridge run`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge.messages.envelope import Sealed
from bridge.messages.replies import Outcome
from bridge.messages.trace import trace_headers
from bridge.observe.masking import command_name

try:
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError:  # the extra is not installed
    IS_THERE = False
else:
    IS_THERE = True

_NANOSECONDS = 1_000_000_000


def span(message: Sealed, command: Mapping[str, Any]) -> None:
    """Tell of a command that has ended, as a child of its requester's span if it names one.

    `message` is its entry in the audit trail, and `command` the data of that.
    """
    if not IS_THERE:
        return
    name, outcome = command_name(command["command"]), command["outcome"]
    ended = _nanoseconds(message.time)
    told = trace.get_tracer("tactium-bridge").start_span(
        f"process {name}",
        TraceContextTextMapPropagator().extract(trace_headers(message.trace)),
        trace.SpanKind.CONSUMER,
        {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.message.id": command["id"],
            "tactium.command": name,
            "tactium.outcome": outcome,
        },
        start_time=ended - round(command["duration_seconds"] * _NANOSECONDS),
    )
    if outcome not in (Outcome.OK, Outcome.SENT):
        told.set_status(trace.StatusCode.ERROR, outcome)
    told.end(ended)


def _nanoseconds(moment: datetime) -> int:
    """Return a moment as OpenTelemetry counts time: since 1970, exactly."""
    return round(moment.timestamp() * 1_000_000) * 1_000
