"""What has to change between two states, in which order, and what may not; and doing it."""
