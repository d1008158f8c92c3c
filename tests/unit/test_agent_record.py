"""A record is on disk line by line, and complete before the call's room is gone."""

import json
from pathlib import Path
from typing import Any

from livekit import rtc
from livekit.agents.llm import ChatMessage, FunctionCall, FunctionCallOutput
from livekit.agents.voice.events import (
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    FunctionToolsExecutedEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)

from agent.call import Call
from agent.record import Record
from sip.model import record_stem

CALL = Call.of(
    "room", "sip_x", {"sip.callIDFull": "a/b@far", "sip.phoneNumber": "+15550111", "sip.ruleID": "R"}
)


def lines(directory: Path) -> list[dict[str, Any]]:
    """Every line of the only record."""
    (path,) = directory.iterdir()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_file_is_named_after_the_call_id(tmp_path: Path):
    """The stem is the one that the SIP service's own files of this call have."""
    Record(tmp_path).open(CALL, CALL.call_id_full)
    assert [p.name for p in tmp_path.iterdir()] == [f"{record_stem('a/b@far')}.conversation.jsonl"]


def test_each_line_is_on_disk_at_once(tmp_path: Path):
    """A reader sees a line as soon as it was written, before anything is closed."""
    record = Record(tmp_path, clock=lambda: 12.3456)
    record.open(CALL, "k")
    record.write("agent", "thinking")
    assert lines(tmp_path)[-1] == {"t": 12.346, "who": "agent", "event": "thinking", "text": ""}


def test_what_came_before_the_name_is_kept(tmp_path: Path):
    """Lines from before the caller was known stand first in the file."""
    record = Record(tmp_path)
    record.write("agent", "silent")
    record.open(CALL, "k")
    assert [line["event"] for line in lines(tmp_path)] == ["silent", "call"]


def test_the_conversation_is_written_as_it_happens(tmp_path: Path):
    """Transcripts, turns, speech with its metrics, interruptions and tools each give their line."""
    record, session = Record(tmp_path), rtc.EventEmitter[str]()
    record.open(CALL, "k")
    record.attach(session)  # pyright: ignore[reportArgumentType] # only its events are used
    session.emit("user_state_changed", UserStateChangedEvent(old_state="listening", new_state="speaking"))
    session.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="a ta", is_final=False))
    session.emit("user_input_transcribed", UserInputTranscribedEvent(transcript="a table", is_final=True))
    user = ChatMessage(role="user", content=["a table"], metrics={"end_of_turn_delay": 0.31234567})
    session.emit("conversation_item_added", ConversationItemAddedEvent(item=user))
    session.emit("agent_state_changed", AgentStateChangedEvent(old_state="thinking", new_state="speaking"))
    session.emit("user_state_changed", UserStateChangedEvent(old_state="listening", new_state="speaking"))
    said = ChatMessage(
        role="assistant",
        content=["For how"],
        interrupted=True,
        metrics={"e2e_latency": 0.5, "started_speaking_at": 10.0, "stopped_speaking_at": 11.5},
    )
    session.emit("conversation_item_added", ConversationItemAddedEvent(item=said))
    call = FunctionCall(call_id="1", name="end_call", arguments="{}")
    output = FunctionCallOutput(call_id="1", name="end_call", output="", is_error=False)
    session.emit(
        "function_tools_executed",
        FunctionToolsExecutedEvent(function_calls=[call], function_call_outputs=[output]),
    )
    record.close("agent", "done")
    found = lines(tmp_path)
    assert [(line["who"], line["event"], line["text"]) for line in found] == [
        ("system", "call", ""),
        ("caller", "speaking", ""),
        ("caller", "heard", "a table"),
        ("caller", "turn", "a table"),
        ("agent", "speaking", ""),
        ("caller", "speaking", ""),
        ("agent", "said", "For how"),
        ("agent", "tool", ""),
        ("system", "hangup", ""),
        ("system", "summary", ""),
    ]
    assert found[3]["metrics"] == {"end_of_turn_delay": 0.3123}
    assert (found[6]["interrupted"], found[6]["started"], found[6]["stopped"]) == (True, 10.0, 11.5)
    assert (found[-1]["by"], found[-1]["interruptions"], found[-1]["tools"]) == ("agent", 1, 1)


def test_hanging_up_is_no_interruption(tmp_path: Path):
    """Speech that was cut because the caller left is not counted as his barge-in."""
    record, session = Record(tmp_path), rtc.EventEmitter[str]()
    record.open(CALL, "k")
    record.attach(session)  # pyright: ignore[reportArgumentType] # only its events are used
    session.emit("user_state_changed", UserStateChangedEvent(old_state="listening", new_state="speaking"))
    session.emit("user_state_changed", UserStateChangedEvent(old_state="speaking", new_state="listening"))
    session.emit("agent_state_changed", AgentStateChangedEvent(old_state="thinking", new_state="speaking"))
    said = ChatMessage(role="assistant", content=["For how"], interrupted=True)
    session.emit("conversation_item_added", ConversationItemAddedEvent(item=said))
    record.close("caller", "client_initiated")
    assert lines(tmp_path)[-1]["interruptions"] == 0


def test_closing_twice_writes_one_end(tmp_path: Path):
    """The first end counts, and nothing follows it."""
    record = Record(tmp_path)
    record.open(CALL, "k")
    record.close("caller", "client_initiated")
    record.close("agent", "later")
    record.write("agent", "said", "ghost")
    found = lines(tmp_path)
    assert [line["event"] for line in found] == ["call", "hangup", "summary"]
    assert found[-1]["by"] == "caller"


def test_without_a_directory_nothing_is_written(tmp_path: Path):
    """No records directory, no file, no error."""
    record = Record(None)
    record.open(CALL, "k")
    record.close("caller", "")
    assert list(tmp_path.iterdir()) == []
