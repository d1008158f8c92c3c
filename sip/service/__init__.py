"""The embedded LiveKit SIP service: an edge that owns the SIP ports, and media processes that own rooms."""
