"""What was heard and has not reached the broker yet."""
