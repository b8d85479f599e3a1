"""What a Python service imports to hear Tactium's events and to give commands.

    async with BridgeClient("amqp://user:password@broker/") as bridge:
        reply = await bridge.pause("jose", code="1")
        async for event in bridge.events("*.call.started.*", queue="subscriber.crm"):
            ...

All failures are a `BridgeError`.
"""

from bridge.client.client import BridgeClient, Options
from bridge.client.event import Event, EventData
from bridge.client.subscription import Subscription
from bridge.errors import (
    BridgeError,
    BrokerDown,
    BrokerRefused,
    InvalidCommand,
    NoReply,
    TopologyConflict,
)
from bridge.messages.events import (
    AgentStatus,
    CallCurrent,
    CallData,
    CallEnded,
    CallRecorded,
    CallStarted,
    FrameUnknown,
)
from bridge.messages.notices import (
    CommandEnded,
    FrameMalformed,
    Gap,
    LinkDown,
    LinkUp,
    ReplyLate,
    Resync,
)
from bridge.messages.replies import AgentData, AgentsData, Failure, Outcome, Reply, StatusData

__all__ = [
    "AgentData",
    "AgentStatus",
    "AgentsData",
    "BridgeClient",
    "BridgeError",
    "BrokerDown",
    "BrokerRefused",
    "CallCurrent",
    "CallData",
    "CallEnded",
    "CallRecorded",
    "CallStarted",
    "CommandEnded",
    "Event",
    "EventData",
    "Failure",
    "FrameMalformed",
    "FrameUnknown",
    "Gap",
    "InvalidCommand",
    "LinkDown",
    "LinkUp",
    "NoReply",
    "Options",
    "Outcome",
    "Reply",
    "ReplyLate",
    "Resync",
    "StatusData",
    "Subscription",
    "TopologyConflict",
]
