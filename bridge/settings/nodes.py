"""The nodes of a RabbitMQ cluster, as they are written: URLs with commas between them."""

from __future__ import annotations

import re

from yarl import URL

_NEXT = re.compile(r"\s*,\s*(?=amqps?://)")
"""A comma may stand in a password too; what follows one there is no URL."""


def split_nodes(text: str) -> list[str]:
    """Return each node's URL, as it was written."""
    return _NEXT.split(text.strip())


def broker_nodes(text: str) -> tuple[URL, ...]:
    """Return the URL of each node. Raises `ValueError` where one is none of RabbitMQ's."""
    nodes = tuple(URL(each) for each in split_nodes(text))
    for url in nodes:
        if url.scheme not in ("amqp", "amqps") or not url.host or url.explicit_port == 0:
            raise ValueError("no URL of RabbitMQ")
    return nodes
