"""One scripted call from dialling to the files that it leaves: `call.wav` and `call.json`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab.ear import RATE, Span, voice_activity, write_stereo

from .codec import codec_named
from .line import Line, Pcm
from .listener import Listener
from .performer import Ears, Emit, Performer, Said, StepFailed
from .phone import Ending, Phone, SipMessage, address, local_address
from .script import Script
from .voice import Speaker, prepare

AFTERGLOW = 0.3
"""Seconds that are still recorded after the end of the call."""
UTTERANCE_PAUSE = 0.7
"""Longer pauses separate two utterances of the agent in the transcript, in seconds."""
MARGIN = 0.2
"""Audio given to the recogniser around an utterance, in seconds."""


@dataclass(frozen=True)
class Quality:
    """The RTP that the caller received, as his phone counted it."""

    packets: int
    lost: int
    loss_pct: float
    jitter_ms: float
    jitter_buffer_ms: float
    """Delay of the jitter buffer at the end of the call."""
    late: int
    """Packets that came too late to be played."""


@dataclass(frozen=True)
class Sentence:
    """A sentence of the transcript; seconds from `t0`. `text` is None for a WAV file of the caller."""

    start: float
    end: float
    text: str | None
    turn: bool = True
    """False for a sound of the caller that claims no turn."""
    interrupts: bool = False
    """Said by an `interrupt` step."""


@dataclass(frozen=True)
class Failure:
    """The step that did not get what it demands, and the words that were heard meanwhile."""

    step: str
    line: int
    what: str
    heard: str


@dataclass(frozen=True)
class CallResult:
    """What became of a call. Times are seconds from `t0`, the Unix time at which the INVITE left."""

    script: str
    about: str
    """What the script shows, in its own words."""
    t0: float
    call_id: str
    codec: str
    transport: str
    answered: float | None
    """When the 200 came; None if it did not."""
    ended: float
    end: Ending
    said: tuple[Sentence, ...]
    heard: tuple[Sentence, ...]
    sip: tuple[SipMessage, ...]
    quality: Quality | None
    failure: Failure | None
    """None when the script was fulfilled."""
    wav: Path
    sidecar: Path


def nothing(event: str, **fields: object) -> None:
    """An `Emit` for those who do not listen."""


async def place_call(
    script: Script,
    to: str,
    out: Path,
    *,
    user: str = "+15550199",
    transport: str = "udp",
    codec: str = "PCMU",
    ring: float = 30.0,
    emit: Emit = nothing,
    speaker: Speaker | None = None,
    ears: Ears | None = None,
) -> CallResult:
    """Call `to` (`sip:number@host:port`), do what the script says; `call.wav`, `call.json` go to `out`.

    `ring` seconds at most until the answer. `emit(event, **fields)` hears of what happens. Models are loaded
    here unless given. A step that fails is in the result; `CallerError`, `ConfigurationError` are
    raised only for what could not even be tried.
    """
    speaker, ears = speaker or _synthesizer(), ears or _recognizer()
    sounds = prepare(script, speaker)
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    loop = asyncio.get_running_loop()
    offset = time.time() - time.monotonic()
    failure: StepFailed | None = None

    def on_frame(frame: Pcm, at: float) -> None:
        loop.call_soon_threadsafe(performer.hear, frame, at)

    line = Line(local_address(*address(to)), codec_named(codec), on_frame)
    phone = Phone(user, line.codec, line.port, line.connect, transport)
    performer = Performer(phone, line, Listener(), ears, sounds, emit)
    line.start()
    try:
        await phone.dial(to)
        emit("dialing", codec=codec, transport=transport, call_id=phone.call_id)
        await _answer(phone, ring, emit)
        await performer.perform(script.steps)
    except StepFailed as error:
        failure = error
        emit("failed", step=error.step.name, line=error.step.line, what=error.what, heard=error.heard)
    finally:
        await _finish(phone, line)
    end = phone.ending
    emit("ended", by=end.by, code=end.code, reason=end.reason)
    result, sent, heard = _result(script, phone, line, performer, offset, failure, out, codec, transport)
    await asyncio.to_thread(_write, result, sent, heard)
    if phone.answered.is_set():
        transcript = await asyncio.to_thread(_transcribe, heard, ears)
        result = replace(result, heard=transcript)
        await asyncio.to_thread(_write, result, sent, heard)
    emit("recorded", wav=str(result.wav))
    return result


async def _answer(phone: Phone, ring: float, emit: Emit) -> None:
    """Until the call is answered or refused; after `ring` seconds the caller gives up."""
    try:
        async with asyncio.timeout(ring):
            for event, name in ((phone.ringing, "ringing"), (phone.answered, "answered")):
                await _first(event, phone.ended, phone.answered)
                if event.is_set():
                    emit(name)
    except TimeoutError:
        emit("gave_up", seconds=ring)
        await phone.hang_up()


async def _first(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


async def _finish(phone: Phone, line: Line) -> None:
    """Hang up if the call still stands, record its last moment, and free sockets and thread."""
    try:
        if phone.call_id and not phone.ended.is_set():
            await phone.hang_up()
        await asyncio.sleep(AFTERGLOW)
    finally:
        await phone.close()
        await asyncio.to_thread(line.close)


def _result(
    script: Script,
    phone: Phone,
    line: Line,
    performer: Performer,
    offset: float,
    failure: StepFailed | None,
    out: Path,
    codec: str,
    transport: str,
) -> tuple[CallResult, Pcm, Pcm]:
    """The record, and both channels from the INVITE to a moment after the end."""
    messages = tuple(phone.messages)
    t0 = next(m.t for m in messages if m.method == "INVITE" and m.sent)
    answer = next((m.t for m in messages if m.method == "INVITE" and m.code == 200), None)
    over = next((m.t for m in messages if m.method == "BYE" and not m.code), messages[-1].t)
    sent, heard = line.recording(t0 - offset, over - offset + AFTERGLOW, RATE)
    result = CallResult(
        script=script.source,
        about=script.about,
        t0=t0,
        call_id=phone.call_id,
        codec=codec,
        transport=transport,
        answered=None if answer is None else round(answer - t0, 4),
        ended=round(over - t0, 4),
        end=phone.ending,
        said=tuple(_on(said, t0 - offset) for said in performer.said),
        heard=(),
        sip=messages,
        quality=_quality(line),
        failure=failure and Failure(failure.step.name, failure.step.line, failure.what, failure.heard),
        wav=out / "call.wav",
        sidecar=out / "call.json",
    )
    return result, sent, heard


def _on(said: Said, t0: float) -> Sentence:
    return Sentence(
        round(said.began - t0, 3), round(said.ended - t0, 3), said.text, said.turn, said.interrupts
    )


def _quality(line: Line) -> Quality | None:
    counted = line.statistics
    if not counted.packets:
        return None
    return Quality(
        packets=counted.packets,
        lost=counted.lost,
        loss_pct=round(100 * counted.lost / counted.expected, 3),
        jitter_ms=round(counted.jitter * 1000, 2),
        jitter_buffer_ms=round(line.buffer.delay * 1000),
        late=line.buffer.late,
    )


def _transcribe(heard: Pcm, ears: Ears) -> tuple[Sentence, ...]:
    """The agent's utterances, recognised from what was heard."""
    lines: list[Sentence] = []
    for span in _utterances(voice_activity(heard)):
        first, last = max(0.0, span.start - MARGIN), span.end + MARGIN
        text = str(ears.transcribe(heard[round(first * RATE) : round(last * RATE)], RATE).text)
        lines.append(Sentence(round(span.start, 3), round(span.end, 3), text))
    return tuple(lines)


def _utterances(spans: Sequence[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in spans:
        if joined and span.start - joined[-1].end < UTTERANCE_PAUSE:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return joined


def _write(result: CallResult, sent: Pcm, heard: Pcm) -> None:
    """Both files; `call.json` says where the marks, turns and asides are on the recording."""
    write_stereo(result.wav, sent, heard)
    body: dict[str, Any] = asdict(result)
    body["wav"], body["sidecar"] = result.wav.name, result.sidecar.name
    body["invite"] = 0.0
    body["turns"] = [[line.start, line.end] for line in result.said if line.turn]
    body["asides"] = [[line.start, line.end] for line in result.said if not line.turn]
    result.sidecar.write_text(json.dumps(body, indent=2) + "\n")


def _synthesizer() -> Speaker:
    from lab.speech.synthesizer import Synthesizer

    return Synthesizer()


def _recognizer() -> Ears:
    from lab.speech.recognizer import Recognizer

    return Recognizer()
