"""What the receptionist says to what it hears: the rules of one conversation."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime

from . import booking as bookings
from . import phrases
from .booking import Booking
from .completion import Reply
from .knowledge import Knowledge
from .slots import DAYS, find_digits, find_name, say_digits, say_number
from .tools import Tools

_SHORTEST_NUMBER = 4
_MORE = "Is there anything else I can do for you?"


@dataclass(frozen=True)
class State:
    """What is open between the two: at most one question at a time."""

    booking: Booking | None = None
    booked: Booking | None = None
    confirming: bool = False
    number: tuple[str, ...] = ()
    number_open: bool = False
    """Only the first digits of a number were said so far."""
    confirming_number: bool = False
    name: str = ""
    offered_transfer: bool = False
    offered_more: bool = False
    last_said: str = ""


class Dialogue:
    """One conversation: `hear` what the caller said and get the reply; `said` is what was really spoken."""

    def __init__(self, knowledge: Knowledge, tools: Tools) -> None:
        self._knowledge, self._tools = knowledge, tools
        self._state = State()

    def said(self, text: str) -> None:
        """The agent has spoken this (its greeting, or as much of an answer as was heard)."""
        self._state = replace(self._state, last_said=text)

    def hear(self, text: str) -> Reply:
        """The reply to one turn of the caller."""
        before = self._state
        reply = self._reply(text)
        said = reply.text or before.last_said
        self._state = replace(self._state, last_said=said, offered_more=_MORE in reply.text)
        return reply

    def after_tool(self, result: str, spoken: str) -> Reply:
        """What is said once a tool has run."""
        if re.search(r"\bgoodbye\b|\bends?\b", result, re.IGNORECASE):
            return Reply("" if "oodbye" in spoken else "Thank you for calling. Goodbye.")
        if re.search(r"nobody|not answer|no answer|fail|error|unavailable|busy|sorry", result, re.IGNORECASE):
            return Reply("I am sorry, nobody can take your call right now. What else can I do for you?")
        if not result or result in ("null", "None"):
            return Reply("")
        return Reply(_MORE)

    def _reply(self, text: str) -> Reply:
        name = find_name(text)
        if name:
            self._state = replace(self._state, name=name)
        rest = phrases.FILLERS.sub("", text).strip()
        halted = phrases.HALT.match(rest)
        if halted:
            rest = phrases.FILLERS.sub("", rest[halted.end() :]).strip()
            if not rest:
                return self._halted()
        if phrases.BYE.search(rest):
            return self._goodbye(rest)
        if phrases.HUMAN.search(rest):
            return self._transfer(rest)
        if not rest or (phrases.BACKCHANNEL.match(text) and not self._asked()):
            return Reply(self._again())
        for rule in (self._about_before, self._about_number, self._about_booking, self._about_house):
            said = rule(rest)
            if said:
                return said if isinstance(said, Reply) else Reply(said)
        return self._small_talk(rest) or self._unknown(rest)

    def _asked(self) -> bool:
        state = self._state
        open_question = state.confirming or state.confirming_number or state.offered_transfer
        return open_question or state.booking is not None

    def _halted(self) -> Reply:
        if self._state.confirming:
            return Reply("Of course. What should I change?")
        return Reply("Of course, I am listening. What would you like?")

    def _again(self) -> str:
        """Ask the open question once more."""
        state = self._state
        if state.confirming and state.booking is not None:
            return "Shall I book it?"
        if state.booking is not None and state.booking.missing():
            return state.booking.question()
        return "How can I help you?"

    # Ends

    def _goodbye(self, text: str) -> Reply:
        said = ""
        state = self._state
        if state.confirming and state.booking is not None and not phrases.NO.match(text):
            said = f"I have booked {state.booking.spoken()}. "
            self._state = replace(state, booked=state.booking, booking=None, confirming=False)
        said += "Thank you for calling. Goodbye."
        tool = self._tools.end_call
        return Reply(said, (tool.call(text),) if tool else ())

    def _transfer(self, text: str) -> Reply:
        tool = self._tools.transfer
        self._state = replace(self._state, offered_transfer=False)
        if tool is None:
            return Reply("I am sorry, I cannot put you through to anybody. How can I help you?")
        call = tool.call(text)
        whom = next((str(value) for value in call.arguments.values() if isinstance(value, str)), "")
        to = f" to the {whom}" if whom and whom != text and len(whom) < 40 else ""
        return Reply(f"One moment, please. I will put you through{to}.", (call,))

    # What was said before

    def _about_before(self, text: str) -> str | Reply:
        state = self._state
        if state.offered_transfer:
            self._state = replace(state, offered_transfer=False)
            if phrases.YES.match(text):
                return self._transfer(text)
            if phrases.NO.match(text) and len(text.split()) <= 4:
                return "All right. " + _MORE
        if state.offered_more and phrases.NO.match(text) and len(text.split()) <= 5:
            return self._goodbye(text)
        if phrases.REPEAT.search(text):
            return state.last_said or "I have not said anything yet. How can I help you?"
        if phrases.MY_NAME.search(text):
            known = state.name or (state.booking or state.booked or Booking()).name
            return f"Your name is {known}." if known else "You have not told me your name yet. What is it?"
        if phrases.MY_NUMBER.search(text) and state.number:
            return f"Your number is {say_digits(list(state.number))}."
        if phrases.MY_BOOKING.search(text) and state.booked:
            return f"You have {state.booked.spoken()}."
        spelled = phrases.SPELL.search(text)
        if spelled:
            word = spelled.group("word") or state.name
            if word:
                return f"{word} is spelled {', '.join(word.upper())}."
        return ""

    # Telephone numbers

    def _about_number(self, text: str) -> str:
        state = self._state
        if state.confirming_number:
            self._state = replace(state, confirming_number=False)
            if phrases.NO.match(text) and not find_digits(text):
                return "I am sorry. Please tell me the number again, slowly."
            if phrases.YES.match(text):
                return f"Thank you, I have noted your number. {self._next()}"
        groups = find_digits(text)
        told = phrases.NUMBER.search(text) is not None
        if state.number_open and groups:
            groups, told = [*state.number, *groups], True
        count = sum(len(group) for group in groups)
        if count < (2 if told else 7) or bookings.wanted(text):
            return ""
        whole = count >= _SHORTEST_NUMBER
        self._state = replace(
            self._state, number=tuple(groups), confirming_number=whole, number_open=not whole
        )
        if not whole:
            return f"{say_digits(groups).capitalize()}. Please go on."
        return f"I have your number as {say_digits(groups)}. Is that right?"

    # Reservations

    def _about_booking(self, text: str) -> str:
        state = self._state
        if state.booking is None:
            if state.booked is not None and phrases.CANCEL.search(text):
                self._state = replace(state, booked=None)
                return f"I have cancelled {state.booked.spoken()}. {_MORE}"
            if not bookings.wanted(text) or self._only_asks(text):
                return ""
            return self._booked_so_far(Booking(name=state.name), text)
        if phrases.CANCEL.search(text):
            self._state = replace(state, booking=None, confirming=False)
            return f"All right, I will not book anything. {_MORE}"
        heard = state.booking.hear(text)
        if heard == state.booking:
            return self._unchanged(text)
        return self._booked_so_far(state.booking, text)

    def _only_asks(self, text: str) -> bool:
        """A question about the house that happens to speak of a table or a room ("How much is a room?")."""
        if re.match(r"\W*(?:how much|how late|what|when|where)\b", text, re.IGNORECASE):
            return True
        told = Booking().hear(text)
        asks = re.match(r"\W*(?:do you|is there|are there|have you)\b", text, re.IGNORECASE)
        return asks is not None and not (told.day or told.time or told.guests or told.nights)

    def _unchanged(self, text: str) -> str:
        """The caller said nothing that the open booking needs."""
        state = self._state
        assert state.booking is not None
        if state.confirming:
            if phrases.YES.match(text):
                self._state = replace(state, booked=state.booking, booking=None, confirming=False)
                return f"Thank you. I have booked {state.booking.spoken()}. {_MORE}"
            if phrases.NO.match(text):
                return "I am sorry. What should I change?"
        known = self._knowledge.answer(text) if phrases.QUESTION.search(text) else ""
        if known:
            return f"{known} {self._again()}"
        if state.confirming:
            return f"So, {state.booking.spoken()}. Is that right?"
        return f"I am sorry, I did not understand that. {state.booking.question()}"

    def _booked_so_far(self, booking: Booking, text: str) -> str:
        before = self._state.booking
        booking = booking.hear(text)
        if not booking.kind:
            booking = self._only_kind(booking)
        day = booking.day.removeprefix("next ")
        closed = self._knowledge.closed_on(day) if booking.kind == "table" and day in DAYS else ""
        if closed:
            self._state = replace(self._state, booking=replace(booking, day=""), confirming=False)
            return f"I am sorry: {closed} Which other day would you like?"
        missing = booking.missing()
        self._state = replace(
            self._state, booking=booking, confirming=not missing, name=booking.name or self._state.name
        )
        if not missing:
            return f"So, {booking.spoken()}. Is that right?"
        if missing == "kind":
            return booking.question()
        return f"{self._heard(booking, before)} {booking.question()}"

    def _only_kind(self, booking: Booking) -> Booking:
        """Where a persona knows only tables or only rooms, nobody is asked which."""
        table, room = self._knowledge.speaks_of("table"), self._knowledge.speaks_of("room")
        if table == room:
            return booking if table else replace(booking, kind="table")
        return replace(booking, kind="table" if table else "room")

    @staticmethod
    def _heard(booking: Booking, before: Booking | None) -> str:
        """Read back what is new, so that the caller hears what was understood."""
        old = before or Booking()
        parts: list[str] = []
        if before is None:
            parts.append(f"a {booking.room} room" if booking.room else f"a {booking.kind}")
        if booking.guests and booking.guests != old.guests:
            parts.append(f"for {say_number(booking.guests)}")
        if booking.day and booking.day != old.day:
            parts.append(bookings.on_day(booking.day))
        if booking.time and booking.time != old.time:
            parts.append(f"at {booking.time}")
        if booking.nights and booking.nights != old.nights:
            parts.append(bookings.nights(booking.nights))
        if not parts:
            return "Thank you."
        sentence = " ".join(parts)
        return f"Certainly, {sentence}." if before is None else f"{sentence[0].upper()}{sentence[1:]}."

    def _next(self) -> str:
        return self._again() if self._state.booking is not None else _MORE

    # The house

    def _about_house(self, text: str) -> str:
        if phrases.CLOCK.search(text) or phrases.DATE.search(text) or phrases.WHO.search(text):
            return ""
        if not (phrases.QUESTION.search(text) or phrases.ASKING.search(text)):
            return ""
        return self._knowledge.answer(text)

    # Everything else

    def _small_talk(self, text: str) -> Reply | None:
        state = self._state
        rest = phrases.GREETING.sub("", text).strip()
        now = datetime.now()
        if phrases.CAN_HEAR.search(text):
            return Reply("Yes, I can hear you. How can I help you?")
        if phrases.HOW_ARE_YOU.search(text):
            return Reply("I am very well, thank you. How can I help you?")
        if phrases.ROBOT.search(text):
            return Reply("I am an automatic assistant. I can help you, or put you through to a person.")
        if phrases.WHO.search(text):
            return Reply(f"I am {self._role()}. How can I help you?")
        if phrases.CLOCK.search(text):
            return Reply(f"It is {now.strftime('%I:%M %p').lstrip('0')}.")
        if phrases.DATE.search(text):
            return Reply(f"Today is {now.strftime('%A, %B')} {now.day}.")
        if phrases.JOKE.search(text):
            return Reply("Why did the telephone wear glasses? It had lost its contacts.")
        if phrases.WEATHER.search(text):
            return Reply("I cannot see the weather from here, I am afraid. " + _MORE)
        if phrases.HELP.search(text):
            return Reply("I can answer questions, or make a reservation. What would you like?")
        if state.name and find_name(text):
            return Reply(f"Nice to meet you, {state.name}. How can I help you?")
        if not rest:
            return Reply("Hello. How can I help you?")
        if phrases.THANKS.search(text) and len(text.split()) <= 8:
            return Reply("You are welcome. " + _MORE)
        if phrases.YES.match(text) and len(text.split()) <= 3:
            return Reply("Good. What can I do for you?")
        if phrases.NO.match(text) and len(text.split()) <= 4:
            return Reply("All right. " + _MORE)
        return None

    def _role(self) -> str:
        told = re.search(r"\bYou are ((?:the|an?) [^.,\n]{3,80})", self._knowledge.text)
        return told.group(1).strip() if told else "the assistant"

    def _unknown(self, text: str) -> Reply:
        gist = " ".join(text.strip(" .,!?").split()[:12])
        if phrases.QUESTION.search(text):
            if self._tools.transfer is not None:
                self._state = replace(self._state, offered_transfer=True)
                return Reply(f"You asked: {gist}? I am sorry, I do not know that. Shall I put you through?")
            return Reply(f"You asked: {gist}? I am sorry, I do not know that. What else can I do for you?")
        return Reply(f"I heard: {gist}. What would you like me to do about that?")
