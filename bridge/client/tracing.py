"""The trace that the caller is in, where OpenTelemetry is installed (extra `otel`)."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

_w3c: ModuleType | None
try:
    _w3c = import_module("opentelemetry.trace.propagation.tracecontext")
except ImportError:  # the extra is not installed
    _w3c = None


def present_trace() -> dict[str, str]:
    """Return the present span as the headers `traceparent` and `tracestate`, if there is one."""
    headers: dict[str, str] = {}
    if _w3c is not None:
        _w3c.TraceContextTextMapPropagator().inject(headers)
    return headers
