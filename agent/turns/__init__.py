"""Turn-taking on the telephone: when the caller has finished, and when the agent must fall silent.

Usable in any `AgentSession`:

    turns = turn_options()
    session = AgentSession(
        **turns.session_kwargs(stt=deepgram.STT(), vad=silero.VAD.load(**turns.vad_kwargs())), llm=…, tts=…
    )
    turns.attach(session)

How it decides and what it measures: docs/turns.md.
"""

from agent.turns.completeness import Level, Verdict, assess
from agent.turns.options import TurnOptions, turn_options
from agent.turns.patience import Waits
from agent.turns.voice import OverlapWaits

__all__ = ["Level", "OverlapWaits", "TurnOptions", "Verdict", "Waits", "assess", "turn_options"]
