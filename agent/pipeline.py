"""Settings into a session: the only module that names providers.

Sample rates are the telephone's: 16 kHz is all that G.722 carries, and twice what G.711 does; more would only
cost time on the way. Everything that the framework would take from LiveKit Cloud by itself is pinned to local
parts.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from livekit.agents import AgentSession, APIConnectOptions, llm, room_io, stt, tts, vad
from livekit.agents.voice.agent_session import SessionConnectOptions
from livekit.plugins import cartesia, deepgram, openai, silero

from agent.persona import Persona
from agent.settings import Provider, Settings
from agent.sounds import Recording
from agent.turns import TurnOptions

SAMPLE_RATE = 16_000
"""Hz, both ways."""

# One quick second try, and no wait that a caller would take for a dead line: the watchdog (agent.failsafe)
# counts from the end of the caller's turn, so these only have to be shorter than its patience.
ATTEMPT_TIMEOUT = 2.5
"""Seconds that a provider may take to answer before it counts as failed."""
_CONNECT = APIConnectOptions(max_retry=1, retry_interval=0.2, timeout=ATTEMPT_TIMEOUT)
# The adapters bring their own tries; one more around them would try dead providers twice.
_CONNECT_ONCE = APIConnectOptions(max_retry=0, retry_interval=0.2, timeout=ATTEMPT_TIMEOUT)


def load_vad(turns: TurnOptions) -> vad.VAD:
    """Silero from the wheel; takes about 0.1 s, so a worker process does it before its first call."""
    return silero.VAD.load(**turns.vad_kwargs())


def make_session(settings: Settings, vad: vad.VAD, turns: TurnOptions) -> AgentSession[Any]:
    """The session of one call, not yet started; needs a job context, as its HTTP sessions belong to one."""
    recogniser = make_stt(settings, settings.persona)
    options: dict[str, Any] = {
        "aec_warmup_duration": None,  # a telephone needs none, and it would ignore the caller for 3 s
        **turns.session_kwargs(stt=recogniser, vad=vad),
    }
    session: AgentSession[Any] = AgentSession(
        llm=make_llm(settings),
        tts=make_tts(settings, settings.persona),
        user_away_timeout=None,
        conn_options=SessionConnectOptions(
            stt_conn_options=_connect(settings.stt),
            llm_conn_options=_connect(settings.llm),
            tts_conn_options=_connect(settings.tts),
            # The session must not close by itself: silence would follow. agent.failsafe ends the call.
            max_unrecoverable_errors=1_000_000,
        ),
        **options,
    )
    turns.attach(session)
    return session


def room_options() -> room_io.RoomOptions:
    """Audio both ways at telephone rates, in short frames."""
    return room_io.RoomOptions(
        audio_input=room_io.AudioInputOptions(
            sample_rate=SAMPLE_RATE,
            frame_size_ms=20,
            auto_gain_control=False,  # it would lift line noise and the caller's echo of us
            pre_connect_audio=False,
        ),
        audio_output=room_io.AudioOutputOptions(sample_rate=SAMPLE_RATE),
        close_on_disconnect=False,  # agent.hangup ends the call for every reason, this does for three
    )


def make_stt(settings: Settings, persona: Persona) -> stt.STT[Any]:
    """Deepgram, and a second server behind it where one is set."""
    found: list[stt.STT[Any]] = [
        deepgram.STT(
            base_url=provider.base_url,
            api_key=provider.key.get_secret_value(),
            model=provider.model,
            language=_deepgram_language(persona.language),
            sample_rate=SAMPLE_RATE,
            interim_results=True,
            smart_format=True,
            no_delay=True,
        )
        for provider in settings.stt
    ]
    if len(found) == 1:
        return found[0]
    return stt.FallbackAdapter(
        found, attempt_timeout=ATTEMPT_TIMEOUT, max_retry_per_stt=0, retry_interval=0.2
    )


def make_llm(settings: Settings) -> llm.LLM[Any]:
    """OpenAI's chat completions, and a second server where one is set."""
    found: list[llm.LLM[Any]] = [
        openai.LLM(
            base_url=provider.base_url,
            api_key=provider.key.get_secret_value(),
            model=provider.model,
            max_retries=0,
        )
        for provider in settings.llm
    ]
    if len(found) == 1:
        return found[0]
    return llm.FallbackAdapter(
        found, attempt_timeout=ATTEMPT_TIMEOUT, max_retry_per_llm=0, retry_interval=0.2
    )


def make_tts(
    settings: Settings, persona: Persona, http_session: aiohttp.ClientSession | None = None
) -> tts.TTS[Any]:
    """Cartesia, and a second server where one is set."""
    found: list[tts.TTS[Any]] = [_cartesia(provider, persona, http_session) for provider in settings.tts]
    if len(found) == 1:
        return found[0]
    return tts.FallbackAdapter(found, max_retry_per_tts=0, sample_rate=SAMPLE_RATE)


def _cartesia(
    provider: Provider, persona: Persona, http_session: aiohttp.ClientSession | None
) -> tts.TTS[Any]:
    return cartesia.TTS(
        base_url=provider.base_url,
        api_key=provider.key.get_secret_value(),
        model=provider.model,
        language=persona.language.split("-")[0],
        sample_rate=SAMPLE_RATE,
        http_session=http_session,
        voice=persona.voice or cartesia.tts.TTSDefaultVoiceId,
    )


def _connect(providers: tuple[Provider, ...]) -> APIConnectOptions:
    return _CONNECT if len(providers) == 1 else _CONNECT_ONCE


def _deepgram_language(language: str) -> str:
    return "en-US" if language == "en" else language


async def synthesise(settings: Settings, text: str) -> Recording:
    """Speak a text outside any call. Raises `APIError` when no provider could."""
    async with aiohttp.ClientSession() as http:
        voice = make_tts(settings, settings.persona, http)
        try:
            stream = voice.synthesize(text, conn_options=_connect(settings.tts))
            pcm = b"".join([bytes(audio.frame.data) async for audio in stream])
            return Recording(text, voice.sample_rate, pcm)
        finally:
            await voice.aclose()
