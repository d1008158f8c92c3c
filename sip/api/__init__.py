"""LiveKit's API: where it is, and trunks and rules in its messages."""
