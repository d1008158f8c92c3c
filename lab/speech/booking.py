"""A reservation that is being made over several turns."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .slots import find_day, find_guests, find_name, find_nights, find_time, say_number

_WANTED = re.compile(
    r"\b(book|booking|reserve|reservation|table for|a table|(?:need|want|like|get) a (?:\w+ )?room"
    r"|rooms? (?:free|available)|(?:free|available) rooms?)\b",
    re.IGNORECASE,
)
_ROOM = re.compile(r"\b(room|rooms|nights?|stay|overnight|single|double|bed)\b", re.IGNORECASE)
_TABLE = re.compile(r"\b(table|dinner|lunch|restaurant|eat|seat)\b", re.IGNORECASE)

_QUESTIONS = {
    "kind": "Certainly. Would you like a table or a room?",
    "day": "For which day would you like the {kind}?",
    "time": "At what time?",
    "nights": "For how many nights?",
    "guests": "For how many people?",
    "name": "Under what name, please?",
}


@dataclass(frozen=True)
class Booking:
    """What is known of a reservation; empty and 0 mean not yet known."""

    kind: str = ""
    """"table" or "room"."""
    day: str = ""
    time: str = ""
    nights: int = 0
    guests: int = 0
    name: str = ""
    room: str = ""
    """"single" or "double", when the caller said so."""

    def missing(self) -> str:
        """The next thing to ask for; empty when all is known."""
        if not self.kind:
            return "kind"
        length = "time" if self.kind == "table" else "nights"
        return next((slot for slot in ("day", length, "guests", "name") if not getattr(self, slot)), "")

    def question(self) -> str:
        """The question for what is missing."""
        return _QUESTIONS[self.missing()].format(kind=self.kind)

    def hear(self, text: str) -> Booking:
        """The booking after a caller said `text`: what was asked for is taken from a bare word as well."""
        asked = self.missing()
        kind = self.kind or _kind(text)
        day = find_day(text) or self.day
        if "tonight" in text.lower() or "today" in text.lower():
            day = "tonight" if kind == "table" else "today"
        time = find_time(text, asked == "time") if kind != "room" else ""
        nights = find_nights(text, asked == "nights") if kind == "room" else 0
        # "At nine" is no number of guests.
        guests = find_guests(text, asked == "guests" and not find_time(text))
        name = find_name(text, asked == "name")
        room = next((size for size in ("single", "double") if size in text.lower()), self.room)
        return replace(
            self,
            kind=kind,
            day=day,
            time=time or self.time,
            nights=nights or self.nights,
            guests=guests or self.guests or (1 if room == "single" else 0),
            name=name or self.name,
            room=room,
        )

    def spoken(self) -> str:
        """All of it in one sentence part."""
        people = "one person" if self.guests == 1 else f"{say_number(self.guests)} people"
        if self.kind == "table":
            return f"a table for {people}, {on_day(self.day)} at {self.time}, under the name {self.name}"
        room = f"a {self.room} room" if self.room else "a room"
        return f"{room} for {people}, {nights(self.nights)} from {self.day}, under the name {self.name}"


def wanted(text: str) -> bool:
    """Whether the caller asks for a reservation."""
    return _WANTED.search(text) is not None


def nights(count: int) -> str:
    """How long a room is taken: "for two nights"."""
    return "for one night" if count == 1 else f"for {say_number(count)} nights"


def on_day(day: str) -> str:
    """The day as it stands in a sentence: "on Friday", but "tomorrow"."""
    return day if day.startswith(("to", "the day", "next")) else f"on {day}"


def _kind(text: str) -> str:
    if _TABLE.search(text):
        return "table"
    return "room" if _ROOM.search(text) else ""
