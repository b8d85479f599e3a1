"""The extra `otel`: the bridge and its client under an OpenTelemetry SDK."""

from __future__ import annotations

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bridge.client import BridgeClient
from tests.integration.site import Site, until

WITHOUT = """
import sys
sys.modules["opentelemetry"] = None  # as where the extra is not installed
import bridge.app
from bridge.client.tracing import present_trace
from bridge.observe import tracing
assert present_trace() == {}
assert not tracing.IS_THERE
"""


@pytest.fixture(scope="module")
def provider() -> TracerProvider:
    """The SDK that this process is run under; a process has one for good."""
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    return provider


@pytest.fixture
def exported(provider: TracerProvider) -> InMemorySpanExporter:
    """What the SDK would send away."""
    exporter = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


async def test_a_command_is_a_span_of_its_requesters_trace(
    site: Site, exported: InMemorySpanExporter
) -> None:
    """The client sends the span it is in; the bridge adds its own below it."""
    url = site.settings.amqp.url.get_secret_value()
    with trace.get_tracer("crm").start_as_current_span("click") as click:
        async with BridgeClient(url) as bridge:
            reply = await bridge.get_status("ana")
    found = await span_named(exported, "process get_status")
    assert found.parent is not None
    assert found.parent.span_id == click.get_span_context().span_id
    assert found.context is not None
    assert found.context.trace_id == click.get_span_context().trace_id
    assert found.attributes is not None
    assert found.attributes["messaging.message.id"] == reply.id
    assert found.attributes["tactium.outcome"] == "ok"
    assert found.status.is_unset
    (around,) = [each for each in exported.get_finished_spans() if each.name == "click"]
    times = (around.start_time, found.start_time, found.end_time, around.end_time)
    assert sorted(each or 0 for each in times) == list(times)


async def test_a_command_that_fails_is_a_failed_span(
    site: Site, exported: InMemorySpanExporter
) -> None:
    """One that comes without a trace begins one."""
    await site.ask({"command": "pause", "agent": "ana"})
    found = await span_named(exported, "process pause")
    assert found.parent is None
    assert (found.status.status_code, found.status.description) == (
        trace.StatusCode.ERROR,
        "invalid",
    )


@pytest.mark.usefixtures("exported")
async def test_a_trace_goes_from_a_command_to_all_that_it_brings_about(site: Site) -> None:
    """The events of its call and its entry in the audit trail carry it on."""
    async with BridgeClient(site.settings.amqp.url.get_secret_value()) as bridge:
        with trace.get_tracer("crm").start_as_current_span("click") as click:
            await bridge.make_call("ana", phone="40050500")
    for awaited in ("ana.call.started.outbound", "main.command.ok"):
        message = await site.next_message()
        while message.routing_key != awaited:
            message = await site.next_message()
        context = TraceContextTextMapPropagator().extract(message.headers)
        parent = trace.get_current_span(context).get_span_context()
        assert parent.span_id == click.get_span_context().span_id


def test_without_the_extra_nothing_is_missed() -> None:
    """Everything is there, and nothing is traced."""
    subprocess.run([sys.executable, "-c", WITHOUT], check=True, timeout=60)  # noqa: S603


async def span_named(exported: InMemorySpanExporter, name: str) -> ReadableSpan:
    """Return the first span of this name, once it has ended."""
    await until(lambda: any(each.name == name for each in exported.get_finished_spans()))
    return next(each for each in exported.get_finished_spans() if each.name == name)
