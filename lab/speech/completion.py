"""A reply of a language model as OpenAI's JSON: whole, or token by token."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

_TOKEN = re.compile(r"\s*\S{1,12}")
_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class ToolCall:
    """A tool to call, with its arguments."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Reply:
    """What the model says, and the tools that it calls after saying it."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()

    @property
    def finish_reason(self) -> str:
        """OpenAI's name for why the reply ended."""
        return "tool_calls" if self.calls else "stop"


def words_of(messages: Sequence[Any], role: str) -> list[str]:
    """The text of all messages of this role, oldest first; content may be a string or a list of parts."""
    found: list[str] = []
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        fields = cast(Mapping[str, Any], message)
        if fields.get("role") == role:
            found.append(text_of(fields))
    return found


def text_of(message: Mapping[str, Any]) -> str:
    """The text of one message."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = cast(list[Any], content)
        texts = [cast(Mapping[str, Any], part).get("text") for part in parts if isinstance(part, Mapping)]
        return " ".join(text for text in texts if isinstance(text, str))
    return ""


def usage(request: Mapping[str, Any], reply: Reply) -> dict[str, int]:
    """Tokens, at four characters each."""
    asked = len(json.dumps(request.get("messages", []))) + len(json.dumps(request.get("tools", [])))
    said = len(reply.text) + sum(len(call.name) + len(json.dumps(call.arguments)) for call in reply.calls)
    prompt, completion = asked // _CHARACTERS_A_TOKEN, max(1, said // _CHARACTERS_A_TOKEN)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def completion_body(request: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [
            {"id": _call_id(), "type": "function", "function": _function(call)} for call in reply.calls
        ]
    return {
        **_envelope(request, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason, "logprobs": None}],
        "usage": usage(request, reply),
    }


def pieces(request: Mapping[str, Any], reply: Reply) -> Iterator[dict[str, Any]]:
    """The chunks of a streamed answer, without the closing `[DONE]`."""
    envelope = _envelope(request, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**envelope, "choices": [choice]}

    # As the real one does, the first chunk holds the role; here also the first token.
    role = {"role": "assistant"}
    for token in _TOKEN.findall(reply.text):
        yield chunk({**role, "content": token})
        role = {}
    for index, call in enumerate(reply.calls):
        function = {"name": call.name, "arguments": ""}
        start = {"index": index, "id": _call_id(), "type": "function", "function": function}
        yield chunk({**role, "content": None, "tool_calls": [start]} if role else {"tool_calls": [start]})
        role = {}
        arguments = json.dumps(call.arguments)
        for at in range(0, len(arguments), 12):
            function = {"arguments": arguments[at : at + 12]}
            yield chunk({"tool_calls": [{"index": index, "function": function}]})
    yield chunk({}, reply.finish_reason)
    options = request.get("stream_options")
    if isinstance(options, Mapping) and cast(Mapping[str, Any], options).get("include_usage"):
        yield {**envelope, "choices": [], "usage": usage(request, reply)}


def _envelope(request: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": str(request.get("model") or "receptionist"),
        "system_fingerprint": None,
    }


def _call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "arguments": json.dumps(call.arguments)}
