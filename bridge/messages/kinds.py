"""Every type of message, and the class of its `data`."""

from __future__ import annotations

from typing import get_args

from bridge.messages.events import Event
from bridge.messages.notices import CommandEnded, Notice
from bridge.messages.replies import Outcome

PREFIX = "tactium."
OWN = "tactium.bridge."
"""What the type of each message begins with that the bridge says of itself."""

CLASSES: dict[str, type] = {
    **{f"{PREFIX}{each.type}": each for each in get_args(Event)},
    **{f"{OWN}{each.type}": each for each in get_args(Notice) if each is not CommandEnded},
    **{f"{OWN}command.{outcome}": CommandEnded for outcome in Outcome},
}
"""By the type in the envelope."""
