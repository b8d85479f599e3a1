"""What is said: commands, events, replies and their envelope; no I/O and no clock."""
