"""Decisions: what a frame means, which reply it is, and what the broker is told."""
