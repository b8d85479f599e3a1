"""tactium-bridge: Tactium IP's telephony events on RabbitMQ, and commands back."""
