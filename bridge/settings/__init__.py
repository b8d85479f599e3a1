"""The settings: `slices`, one for each room, and `sources`, where they come from."""

from bridge.settings.nodes import broker_nodes
from bridge.settings.slices import (
    DATABASES,
    AgentsSettings,
    AmqpSettings,
    CommandsSettings,
    EventsSettings,
    HttpSettings,
    JournalSettings,
    LinkSettings,
    LogSettings,
    PolicyRule,
    Settings,
    Slice,
)
from bridge.settings.sources import CONFIG_VARIABLE, load, secrets_of

__all__ = [
    "CONFIG_VARIABLE",
    "DATABASES",
    "AgentsSettings",
    "AmqpSettings",
    "CommandsSettings",
    "EventsSettings",
    "HttpSettings",
    "JournalSettings",
    "LinkSettings",
    "LogSettings",
    "PolicyRule",
    "Settings",
    "Slice",
    "broker_nodes",
    "load",
    "secrets_of",
]
