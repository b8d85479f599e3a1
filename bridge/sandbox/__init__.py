"""A private, throwaway RabbitMQ node for the demo and for tests."""

from bridge.sandbox.rabbitmq import RabbitMQNode, find_rabbitmq, private_rabbitmq

__all__ = ["RabbitMQNode", "find_rabbitmq", "private_rabbitmq"]
