"""How Tactium spells it: bytes in, frames out; no I/O and no clock."""
