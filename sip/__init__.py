"""Trunks, dispatch rules and calls of a LiveKit phone system: the command `sip` and the library under it."""
