"""A worker of your own, with your own session: only the telephone parts come from `agent`.

`python examples/own_session.py dev`; it needs LIVEKIT_* and the providers' keys in the environment.
"""

import os
from typing import Any

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, RunContext, cli, function_tool
from livekit.plugins import cartesia, deepgram, openai, silero

from agent import Failsafe, follow_caller, hangup_soon, transfer, turn_options, wait_until_answered
from agent.errors import TransferError

server = AgentServer(host="127.0.0.1", num_idle_processes=1)


class Clinic(Agent):
    """Who speaks."""

    @function_tool
    async def to_the_nurse(self, context: RunContext[Any]) -> str | None:
        """Put the caller through to the nurse."""
        try:
            await transfer("tel:+15550144", context.session)
        except TransferError:
            return "Nobody answered. Say so."
        return None

    @function_tool
    async def hang_up(self, context: RunContext[Any]) -> None:
        """End the call; say goodbye first."""
        await context.wait_for_playout()
        hangup_soon(context.session, reason="all said")


@server.rtc_session(agent_name="clinic")
async def answer(ctx: JobContext) -> None:
    """One call."""
    turns = turn_options()  # one for each call
    stt = deepgram.STT(base_url=os.environ.get("DEEPGRAM_BASE_URL", "https://api.deepgram.com/v1/listen"))
    tts = cartesia.TTS(base_url=os.environ.get("CARTESIA_BASE_URL", "https://api.cartesia.ai"))
    vad = silero.VAD.load(**turns.vad_kwargs())
    session = AgentSession(llm=openai.LLM(), tts=tts, **turns.session_kwargs(stt=stt, vad=vad))
    turns.attach(session)
    failsafe = Failsafe(session, fallback="tel:+15550144")
    failsafe.start(answered=False)
    follow_caller(session)
    clinic = Clinic(instructions="You answer the telephone of a clinic, one short sentence at a time.")
    await session.start(clinic, room=ctx.room)
    if await wait_until_answered(ctx.room, await ctx.wait_for_participant()):
        failsafe.answered()
        session.say("Clinic, good day.")


if __name__ == "__main__":
    cli.run_app(server)
