"""Everything on one machine: a broker, a Tactium, the bridge, a subscriber, a commander."""

from bridge.demo.stage import play

__all__ = ["play"]
