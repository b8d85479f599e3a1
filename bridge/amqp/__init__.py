"""The only room that knows RabbitMQ."""
