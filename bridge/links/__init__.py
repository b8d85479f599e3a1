"""The ways to Tactium."""
