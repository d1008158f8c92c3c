"""A SIP caller that does what a short script says, and records both sides of the call."""

from .call import CallResult, Failure, Quality, Sentence, place_call
from .reading import load_script, parse_script
from .script import Script

__all__ = [
    "CallResult",
    "Failure",
    "Quality",
    "Script",
    "Sentence",
    "load_script",
    "parse_script",
    "place_call",
]
