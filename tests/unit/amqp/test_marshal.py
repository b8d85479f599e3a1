"""Messages as bytes: those that the library would write."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from bridge.amqp.marshal import publish
from bridge.messages.envelope import APP_ID, CONTENT_TYPE, Sealed
from bridge.messages.trace import trace_headers

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
short_text = st.text(max_size=60)
some_text = st.text(min_size=1, max_size=60)


@given(
    body=st.binary(max_size=9_000),
    key=short_text,
    message_id=some_text,
    kind=some_text,
    exchange=st.sampled_from(["tactium.events", "tactium.bridge"]),
    trace=st.sampled_from([None, PARENT, f"{PARENT}\na=1,b=ä"]),
    late=st.booleans(),
    channel=st.integers(1, 65_535),
    time=st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)),  # noqa: DTZ001 - made aware below
)
def test_the_bytes_are_the_librarys(  # noqa: PLR0913 - a message has that many parts
    *,
    body: bytes,
    key: str,
    message_id: str,
    kind: str,
    exchange: str,
    trace: str | None,
    late: bool,
    channel: int,
    time: datetime,
) -> None:
    """To the last one, whatever the message holds and however many frames it takes."""
    at = time.replace(tzinfo=UTC)
    message = Sealed(1, "events", key, message_id, kind, at, body, trace)
    headers: dict[str, object] = {**trace_headers(trace)}
    if late:
        headers["late"] = True
    properties = Basic.Properties(
        content_type=CONTENT_TYPE,
        headers=headers or None,  # type: ignore[arg-type]  # the library says it more narrowly
        delivery_mode=2,
        message_id=message_id,
        timestamp=at,
        message_type=kind,
        app_id=APP_ID,
    )
    frame_max = 4096
    most = frame_max - 8
    expected = marshal(Basic.Publish(exchange=exchange, routing_key=key), channel)
    expected += marshal(ContentHeader(properties=properties, body_size=len(body)), channel)
    for start in range(0, len(body), most):
        expected += marshal(ContentBody(body[start : start + most]), channel)
    assert publish(message, exchange, channel, frame_max, late=late) == expected
