"""Every message form of the manual's §5, as a subscriber receives it (contract.md §1, §2)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.site import Site

pytestmark = pytest.mark.each_transport

CALL_KEYS = [
    "agent",
    "call_id",
    "direction",
    "dial_item_id",
    "origin_area_code",
    "origin",
    "destination_area_code",
    "destination",
    "description",
    "recording_key",
    "external_id",
    "external",
    "context",
    "raw",
]
ENVELOPE_KEYS = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "sequence",
    "partitionkey",
    "epoch",
    "data",
]
OUTBOUND = "<jose><A><15068><0><9988><0><7017><Fatura><cpf-1><dialer.CampaignName=Discador;x>$"
MANUAL_OUTBOUND = (
    "<Agente><A><15068><0><9988><0><7017><>>"
    "<dialer.CampaignName=Discador;dialer.ExternalID=15068;>$"
)
INBOUND = "<Jose><R><0><85><988887777><0><3001><---><>$"
ENDED_KEYS = [
    "agent",
    "call_id",
    "direction",
    "started_at",
    "duration_seconds",
    "recordings",
    "context",
    "repeated",
    "inferred",
    "raw",
]


@pytest.mark.parametrize(
    ("frame", "key", "kind", "expected"),
    [
        pytest.param(
            OUTBOUND,
            "jose.call.started.outbound",
            "tactium.call.started",
            {
                "agent": "jose",
                "direction": "outbound",
                "dial_item_id": "15068",
                "origin_area_code": "0",
                "origin": "9988",
                "destination_area_code": "0",
                "destination": "7017",
                "description": "Fatura",
                "recording_key": "cpf-1",
                "external_id": "dialer.CampaignName=Discador;x",
                "external": {"dialer.CampaignName": "Discador"},
                "context": None,
            },
            id="5.1 outbound",
        ),
        pytest.param(
            MANUAL_OUTBOUND,
            "agente.call.started.outbound",
            "tactium.call.started",
            {
                "agent": "agente",
                "destination": "7017",
                "description": "",
                "recording_key": "",
                "external": {"dialer.CampaignName": "Discador", "dialer.ExternalID": "15068"},
            },
            id="5.1 outbound, mangled as in the manual",
        ),
        pytest.param(
            INBOUND,
            "jose.call.started.inbound",
            "tactium.call.started",
            {
                "direction": "inbound",
                "origin_area_code": "85",
                "origin": "988887777",
                "destination": "3001",
                "description": None,
                "recording_key": None,
                "external_id": "",
                "external": {},
            },
            id="5.2 inbound",
        ),
        pytest.param(
            r"<jose><G><\\server\c$\records\7016-20150116.wav>$",
            "jose.call.recorded",
            "tactium.call.recorded",
            {
                "agent": "jose",
                "call_id": None,
                "path": r"\\server\c$\records\7016-20150116.wav",
                "context": None,
            },
            id="5.3 recording on a UNC path",
        ),
        pytest.param(
            "<jose><EndCall>$",
            "jose.call.ended",
            "tactium.call.ended",
            {
                "call_id": None,
                "direction": None,
                "started_at": None,
                "duration_seconds": None,
                "recordings": None,
                "context": None,
                "repeated": True,
                "inferred": False,
            },
            id="5.4 end of a call never seen",
        ),
        pytest.param(
            "<jose><S><4>$",
            "jose.agent.status",
            "tactium.agent.status",
            {"agent": "jose", "code": 4, "status": "wrap_up"},
            id="4.6 status",
        ),
        pytest.param(
            "<jose><S><9>$",
            "jose.agent.status",
            "tactium.agent.status",
            {"code": 9, "status": "unknown"},
            id="4.6 status out of range",
        ),
        pytest.param(
            "<jose><OK>$",
            "jose.frame.unknown",
            "tactium.frame.unknown",
            {"agent": "jose", "fields": ["jose", "OK"]},
            id="an OK that nothing waits for",
        ),
        pytest.param(
            "<Jose><Novo><1>$",
            "jose.frame.unknown",
            "tactium.frame.unknown",
            {"agent": "jose", "fields": ["Jose", "Novo", "1"]},
            id="a word that the manual does not have",
        ),
    ],
)
async def test_each_form_arrives_as_the_contract_says(
    site: Site, frame: str, key: str, kind: str, expected: dict[str, Any]
) -> None:
    """Exchange, key, properties and envelope are right, and every key of the data is there."""
    await site.say(frame)
    message = await site.next_message()
    event = json.loads(message.body)
    data = event["data"]

    assert (message.exchange, message.routing_key) == ("tactium.events", key)
    assert message.content_type == "application/cloudevents+json"
    assert message.delivery_mode == 2
    assert message.message_id == event["id"]
    assert message.type == event["type"] == kind
    assert message.app_id == "tactium-bridge"
    assert message.timestamp is not None
    assert message.headers == {}

    assert list(event) == ENVELOPE_KEYS
    assert event["specversion"] == "1.0"
    assert event["source"] == "/tactium/main"
    assert event["subject"] == event["partitionkey"] == data["agent"] == key.partition(".")[0]
    assert event["id"].rpartition("-")[2] == event["sequence"]
    assert len(event["sequence"]) == 20
    assert event["datacontenttype"] == "application/json"
    assert event["dataschema"] == f"tag:tactium-bridge,2026:schema/1/{kind[len('tactium.') :]}"
    assert event["time"].endswith("Z")
    assert len(event["time"]) == len("2026-11-22T12:00:00.123456Z")

    assert data["raw"] == frame
    assert {name: data[name] for name in expected} == expected
    keys = {
        "tactium.call.started": CALL_KEYS,
        "tactium.call.recorded": ["agent", "call_id", "path", "context", "raw"],
        "tactium.call.ended": ENDED_KEYS,
        "tactium.agent.status": ["agent", "code", "status", "raw"],
        "tactium.frame.unknown": ["agent", "fields", "raw"],
    }
    assert list(data) == keys[kind]


async def test_a_call_keeps_one_id_from_arrival_to_its_late_recording(site: Site) -> None:
    """Arrival, recording, end, and the recording after the end share the call's id."""
    await site.say(OUTBOUND + r"<jose><G><a.wav>$<Jose><EndCall>$<jose><G><b.wav>$")
    events = [json.loads((await site.next_message()).body) for _ in range(4)]
    started, recorded, ended, recorded_late = (event["data"] for event in events)

    assert started["call_id"]
    assert {e["call_id"] for e in (recorded, ended, recorded_late)} == {started["call_id"]}
    assert ended["direction"] == "outbound"
    assert ended["started_at"] == events[0]["time"]
    assert ended["duration_seconds"] >= 0
    assert ended["recordings"] == ["a.wav"]
    assert not ended["repeated"]


async def test_sequence_grows_by_one_over_both_exchanges(site: Site) -> None:
    """Events and the bridge's own messages are numbered together, without a hole."""
    await site.say("<jose><S><1>$!!<ana><S><2>$<ana><Quê>$")
    messages = [await site.next_message() for _ in range(4)]
    numbers = [int(json.loads(message.body)["sequence"]) for message in messages]
    assert numbers == list(range(numbers[0], numbers[0] + 4))


@pytest.mark.socket_only
async def test_link_up_and_down_are_told(site: Site) -> None:
    """Losing Tactium and finding it again is on the bridge's exchange, with the reason."""
    await site.tactium.drop_clients()
    down = await site.next_data("main.link.down")
    up = await site.next_data("main.link.up")
    assert down == {
        "transport": "socket",
        "peer": f"127.0.0.1:{site.tactium.port}",
        "reason": "Tactium closed the connection",
    }
    assert up["reason"] == "registered"
