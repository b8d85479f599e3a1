"""W3C Trace Context: which request of a user something belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Trace = str | None
"""The context of the command behind something: `traceparent`, on a second line `tracestate`."""


@dataclass
class Traced:
    """What a command brought about. An underscore begins what is no `data`, but a header."""

    _trace: Trace = field(default=None, kw_only=True)

    @property
    def trace(self) -> Trace:
        """The trace that it belongs to, if any."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace) -> None:
        self._trace = trace


def trace_text(headers: Mapping[str, str]) -> Trace:
    """Return the headers of a trace as one text, None where there are none."""
    parent = headers.get("traceparent")
    if parent is None:
        return None
    state = headers.get("tracestate")
    return parent if state is None else f"{parent}\n{state}"


def trace_headers(trace: Trace) -> dict[str, str]:
    """Return the headers that a trace is made of."""
    if trace is None:
        return {}
    parent, _, state = trace.partition("\n")
    return {"traceparent": parent, "tracestate": state} if state else {"traceparent": parent}
