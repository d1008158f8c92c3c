"""The local stack: every part of a phone system on one machine, on loopback, started and stopped as one."""

from lab.processes import NotReady, PartDied
from lab.stack.background import background
from lab.stack.events import Event, Listener
from lab.stack.options import NUMBERS, Options
from lab.stack.stack import Stack

__all__ = ["NUMBERS", "Event", "Listener", "NotReady", "Options", "PartDied", "Stack", "background"]
