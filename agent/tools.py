"""What the language model can do in a call: end it, and put the caller through to somebody of the persona."""

from __future__ import annotations

import logging
from typing import Any

from livekit.agents import JobContext, RunContext, ToolError
from livekit.agents.llm import ChatMessage, RawFunctionTool, Tool, Toolset, function_tool
from livekit.agents.voice import SpeechHandle

from agent.errors import TransferError
from agent.hangup import hangup_soon
from agent.persona import Persona
from agent.transfer import transfer

logger = logging.getLogger(__name__)

_SORRY = "Nobody answered there. Tell the caller so in one short sentence, and ask what else you can do."


def make_tools(persona: Persona, ctx: JobContext) -> list[Tool | Toolset]:
    """The tools of a call."""
    tools: list[Tool | Toolset] = [end_call_tool(ctx)]
    if persona.targets:
        tools.append(transfer_tool(persona, ctx))
    return tools


def end_call_tool(ctx: JobContext) -> RawFunctionTool[..., Any]:
    """`end_call`: hangs up once the goodbye has been heard, unless the caller speaks into it."""

    async def end_call(raw_arguments: dict[str, object], context: RunContext[Any]) -> str | None:
        def on_done(speech: SpeechHandle) -> None:
            if not speech.interrupted:
                hangup_soon(context.session, ctx=ctx, reason="end_call")

        await context.wait_for_playout()
        context.speech_handle.add_done_callback(on_done)
        return None if _spoke(context) else "Say one short goodbye. The call ends after it."

    return function_tool(
        end_call,
        raw_schema={
            "name": "end_call",
            "description": "End the call. Use it when the caller says goodbye or has no more wishes; say a "
            "short goodbye first. Do not use it for a transfer.",
            "parameters": {"type": "object", "properties": {}, "required": []},
        },
    )


def transfer_tool(persona: Persona, ctx: JobContext) -> RawFunctionTool[..., Any]:
    """`transfer_call`: to a name of the persona; the model knows no numbers."""

    async def transfer_call(raw_arguments: dict[str, object], context: RunContext[Any]) -> str | None:
        name = str(raw_arguments.get("target", ""))
        target = persona.target(name)
        if target is None:
            names = ", ".join(t.name for t in persona.targets)
            raise ToolError(f"There is nobody called {name!r}. Known are: {names}.")
        context.disallow_interruptions()
        await context.wait_for_playout()
        if not _spoke(context):
            await context.session.say(f"One moment, I will put you through to the {target.name}.")
        try:
            await transfer(target.uri, context.session, ctx=ctx, reason=f"transferred to {target.name}")
        except TransferError as error:
            logger.warning("transfer failed", extra={"target": target.name, "why": error.why})
            return _SORRY
        return None

    choices = [f"{t.name}: {t.when}" if t.when else t.name for t in persona.targets]
    return function_tool(
        transfer_call,
        raw_schema={
            "name": "transfer_call",
            "description": "Put the caller through to somebody else. Say so in one short sentence first.",
            "parameters": {
                "type": "object",
                "properties": {
                    "target": {
                        "type": "string",
                        "enum": [t.name for t in persona.targets],
                        "description": "; ".join(choices),
                    }
                },
                "required": ["target"],
            },
        },
    )


def _spoke(context: RunContext[Any]) -> bool:
    """Whether the agent said something in the turn that called the tool."""
    items = context.speech_handle.chat_items
    return any(isinstance(item, ChatMessage) and item.role == "assistant" for item in items)
