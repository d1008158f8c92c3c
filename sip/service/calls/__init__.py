"""Calls as the edge carries them: inbound, outbound, changed, transferred, recorded."""
