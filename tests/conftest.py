from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bridge.sandbox import RabbitMQNode, private_rabbitmq


@pytest.fixture(scope="session")
async def rabbitmq() -> AsyncIterator[RabbitMQNode]:
    """One private node for the whole run."""
    async with private_rabbitmq() as node:
        yield node
