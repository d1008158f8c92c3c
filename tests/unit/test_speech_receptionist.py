"""The rule-based receptionist: what it answers, what it asks, which tools it calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.speech.completion import Reply
from lab.speech.receptionist import Receptionist, load_script

PERSONA = """You are the receptionist of the Harbour Hotel. You speak on the telephone.

How you speak:
- Ask one question at a time.

What you know:
- The front desk is open all day and night. Check-in is from three in the afternoon, check-out until eleven.
- A single room is eighty euros a night, a double room is one hundred and ten. Breakfast is included.
- The restaurant is open from six to ten in the evening, and closed on Mondays.
- Parking behind the house is free. Dogs are welcome.
- Address: 5 Quay Street

What you do:
- For a table: ask for the day, the time, the number of guests and a name.
"""


def tool(name: str, description: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
    """A function in the shape of a chat request."""
    schema = {"type": "object", "properties": parameters or {}, "required": list(parameters or {})}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


TOOLS = [
    tool("end_call", "End the call. Do not use it for a transfer."),
    tool(
        "transfer_call",
        "Put the caller through to somebody else.",
        {
            "target": {
                "type": "string",
                "enum": ["front desk", "kitchen"],
                "description": "front desk: asks for a person; kitchen: food allergies",
            }
        },
    ),
]


class Conversation:
    """Keeps the messages, as a client does."""

    def __init__(self, tools: list[dict[str, Any]] | None = None, receptionist: Receptionist | None = None):
        self.tools = TOOLS if tools is None else tools
        self.receptionist = receptionist or Receptionist()
        self.messages: list[dict[str, Any]] = [
            {"role": "system", "content": PERSONA},
            {"role": "assistant", "content": "Good day, how can I help you?"},
        ]

    def say(self, *lines: str) -> Reply:
        reply = Reply()
        for line in lines:
            self.messages.append({"role": "user", "content": line})
            reply = self.receptionist.answer({"messages": self.messages, "tools": self.tools})
            self.messages.append({"role": "assistant", "content": reply.text})
        return reply


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is parking free?", "Parking behind the house is free."),
        ("Can I bring my dog?", "Dogs are welcome."),
        ("Are you open on Monday?", "closed on Mondays"),
        ("How much is a double room?", "one hundred and ten"),
        ("When is check-in?", "three in the afternoon"),
        ("What is your address?", "5 Quay Street"),
        ("Hi, do you take dogs in the hotel?", "Dogs are welcome."),
        ("Who are you?", "the receptionist of the Harbour Hotel"),
        ("How are you?", "very well"),
        ("Can you hear me?", "Yes, I can hear you"),
    ],
)
def test_questions_are_answered_from_the_persona(question: str, answer: str) -> None:
    """A question is answered with the persona's own sentence."""
    assert answer in Conversation().say(question).text


def test_a_table_is_booked_over_several_turns() -> None:
    """Each missing part is asked for; in the end all four are read back and confirmed."""
    talk = Conversation()
    assert "which day" in talk.say("Hello, I'd like to book a table.").text
    assert "what time" in talk.say("On Friday.").text
    assert "How many people" in talk.say("At half past 8.").text.replace("For how", "How")
    assert "what name" in talk.say("For people.").text, "a recogniser's spelling of four"
    summary = talk.say("Peter Miller.").text
    assert all(part in summary for part in ("four people", "Friday", "eight thirty", "Peter Miller"))
    assert "nine o'clock" in talk.say("No, make it at 9 please.").text
    assert "I have booked" in talk.say("Yes, that's right.").text
    assert "nine o'clock" in talk.say("What did I book?").text


def test_all_in_one_sentence() -> None:
    """What one sentence tells is not asked again."""
    reply = Conversation().say("I'd like to book a table for 4 on Friday at 7.30. My name is Smith.")
    assert "a table for four people, on Friday at seven thirty, under the name Smith" in reply.text


def test_a_room_asks_for_nights() -> None:
    """A room has nights where a table has a time."""
    talk = Conversation()
    assert "how many nights" in talk.say("I need a double room for two people from tomorrow.").text
    assert "for three nights from tomorrow" in talk.say("3 nights.", "It's Anna.").text


def test_a_closed_day_is_refused() -> None:
    """A table on the day on which the restaurant is closed is not booked."""
    reply = Conversation().say("Can I reserve a table for two on Monday at seven?")
    assert "closed on Mondays" in reply.text and "other day" in reply.text


def test_a_number_is_read_back_digit_by_digit() -> None:
    """A number said in two parts is put together and read back."""
    talk = Conversation()
    assert talk.say("My number is 555.").text.startswith("Five five five.")
    assert "five five five, zero one nine two" in talk.say("0192").text
    assert "zero one nine two" in talk.say("Yes.", "What is my number?").text


def test_two_breaths_are_one_turn() -> None:
    """User messages with no answer between them are heard as one."""
    talk = Conversation()
    talk.messages.append({"role": "user", "content": "My number is 555."})
    assert "five five five, zero one nine two" in talk.say("0192").text


@pytest.mark.parametrize(
    "goodbye", ["Goodbye.", "No thanks, that's all.", "That will be all, thank you. Bye!"]
)
def test_goodbye_ends_the_call(goodbye: str) -> None:
    """At a goodbye one is said back and the end-call tool is called."""
    reply = Conversation().say("Is parking free?", goodbye)
    assert "oodbye" in reply.text
    assert [call.name for call in reply.calls] == ["end_call"]


def test_goodbye_after_a_confirmation_books_first() -> None:
    """A yes and a goodbye in one breath book the table and end the call."""
    reply = Conversation().say("A table for two tonight at eight, the name is Jones.", "Yes, thank you, bye.")
    assert "I have booked" in reply.text and [call.name for call in reply.calls] == ["end_call"]


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        ("Can I speak to a human please?", "front desk"),
        ("I want to talk to the kitchen about an allergy.", "kitchen"),
        ("Put me through to the front desk.", "front desk"),
    ],
)
def test_a_transfer_picks_its_target(request_: str, target: str) -> None:
    """Who is asked for decides the argument."""
    reply = Conversation().say(request_)
    assert [(call.name, dict(call.arguments)) for call in reply.calls] == [
        ("transfer_call", {"target": target})
    ]


def test_what_is_not_known_is_said_and_a_person_offered() -> None:
    """A question without an answer is quoted; a yes to the offer transfers."""
    talk = Conversation()
    assert "do you have a swimming pool" in talk.say("Do you have a swimming pool?").text.lower()
    assert [call.name for call in talk.say("Yes please.").calls] == ["transfer_call"]


def test_without_tools_nothing_is_called() -> None:
    """A client that offers no tools gets words only."""
    talk = Conversation(tools=[])
    assert not talk.say("Goodbye.").calls
    assert "cannot put you through" in talk.say("Give me a human.").text


def test_tool_names_are_the_clients_own() -> None:
    """Tools are found by name or purpose, whatever they are called."""
    tools = [tool("finish", "Hangs up."), tool("escalate_to_person", "Asks a colleague.")]
    assert [call.name for call in Conversation(tools).say("Goodbye.").calls] == ["finish"]
    assert [call.name for call in Conversation(tools).say("A human please.").calls] == ["escalate_to_person"]


def test_interruptions_are_followed() -> None:
    """A bare stop is acknowledged; a stop with a wish is followed by the answer to the wish."""
    assert "listening" in Conversation().say("Stop, wait.").text
    assert "Dogs are welcome." in Conversation().say("Wait, can I bring a dog?").text


def test_names_repeats_and_spelling() -> None:
    """A name is remembered, the last words are repeated, a word is spelled."""
    talk = Conversation()
    assert "Your name is Tom" in talk.say("My name is Tom.", "What's my name?").text
    assert "D, O, G" in talk.say("Can you spell dog?").text
    assert talk.say("Could you repeat that?").text == "dog is spelled D, O, G."


def test_statements_are_heard() -> None:
    """What is no question is quoted back with a clarifying question."""
    assert "I lost my umbrella yesterday" in Conversation().say("I lost my umbrella yesterday.").text


def test_one_off_instructions() -> None:
    """A system message after the conversation says what this one reply is for."""
    talk = Conversation()
    talk.say("Is parking free?")
    messages = [*talk.messages, {"role": "system", "content": "Say goodbye to the user."}]
    assert "oodbye" in Receptionist().answer({"messages": messages}).text


def test_a_failed_transfer_is_told() -> None:
    """The result of a tool that failed is put into words."""
    talk = Conversation()
    talk.messages += [
        {"role": "user", "content": "A human please."},
        {"role": "assistant", "content": "One moment.", "tool_calls": []},
        {"role": "tool", "tool_call_id": "1", "content": "Nobody answered there."},
    ]
    assert "nobody" in talk.receptionist.answer({"messages": talk.messages, "tools": TOOLS}).text


def test_a_script_comes_first(tmp_path: Path) -> None:
    """Lines of a script answer before the rules, and call the tools they name."""
    path = tmp_path / "script.yaml"
    path.write_text("- hears: swimming pool\n  says: It is on the roof.\n  calls: {light_up: {room: pool}}\n")
    reply = Conversation(receptionist=Receptionist(load_script(path))).say("Is there a swimming pool?")
    assert reply.text == "It is on the roof."
    assert [(call.name, dict(call.arguments)) for call in reply.calls] == [("light_up", {"room": "pool"})]


@pytest.mark.parametrize(
    "text", ["says: no list", "- says: nothing heard", "- hears: '('", "- hears: a\n  do: b"]
)
def test_bad_scripts_are_refused(tmp_path: Path, text: str) -> None:
    """A script that cannot be meant names its file."""
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"script\.yaml"):
        load_script(path)


def test_an_answer_that_was_broken_off_at_once_does_not_part_a_turn() -> None:
    """A caller who goes on over the first word of an answer is answered as if there had been no pause."""
    talk = Conversation()
    talk.say("When does the restaurant close on Fridays?")
    talk.messages[-1]["content"] = "The"
    assert "from six to ten" in talk.say("I want to come for dinner.").text


def test_an_answer_that_was_interrupted_later_was_an_answer() -> None:
    """What the caller says over the middle of an answer stands by itself."""
    talk = Conversation()
    talk.say("How much is a double room?")
    talk.messages[-1]["content"] = "A single room is eighty"
    assert "Parking" in talk.say("Where can I park my car?").text
