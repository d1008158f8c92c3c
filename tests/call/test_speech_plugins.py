"""The unmodified Deepgram, OpenAI and Cartesia plugins against the local speech servers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import aiohttp
import numpy as np
import pytest
import pytest_asyncio
from livekit import rtc
from livekit.agents import APIConnectOptions, APIError, APIStatusError
from livekit.agents.llm import ChatContext, FunctionToolCall, RawFunctionTool, function_tool
from livekit.agents.stt import SpeechEvent, SpeechEventType
from livekit.plugins import cartesia, deepgram, openai
from numpy.typing import NDArray

from lab.speech.audio import DECODERS, ENCODERS
from lab.speech.faults import Fault, Latency
from lab.speech.receptionist import Receptionist
from lab.speech.recognizer import Recognizer
from lab.speech.server import SpeechServer
from lab.speech.synthesizer import Synthesizer

ONCE = APIConnectOptions(max_retry=0, timeout=3.0)
PERSONA = "You are the receptionist.\n\nWhat you know:\n- Parking behind the house is free."

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Models:
    """Loaded once for all tests of this file."""

    recognizer: Recognizer
    synthesizer: Synthesizer


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    """The models."""
    yield Models(Recognizer(2), Synthesizer())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(models: Models) -> AsyncIterator[SpeechServer]:
    """One server for all tests of this file."""
    server = SpeechServer(models.recognizer, models.synthesizer, Receptionist().answer)
    await server.start()
    yield server
    await server.aclose()


@pytest.fixture
def server(running: SpeechServer) -> Iterator[SpeechServer]:
    """The server, healthy and counting from zero."""
    running.faults.clear()
    running.faults.reset_counts()
    yield running
    running.faults.clear()


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client session for the plugins."""
    async with aiohttp.ClientSession() as session:
        yield session


def telephone(models: Models, text: str, silence_s: float = 0.8) -> NDArray[np.int16]:
    """The caller's voice at 8 kHz through mu-law, with silence before and after."""
    quiet = np.zeros(int(8000 * silence_s), np.int16)
    voice = models.synthesizer.speak(text, 8000, "caller")
    pcm = np.concatenate((quiet[:2400], voice, quiet))
    return DECODERS["mulaw"](ENCODERS["pcm_mulaw"](pcm))


def frames(pcm: NDArray[np.int16], rate: int = 8000) -> list[rtc.AudioFrame]:
    """Frames of 20 ms."""
    size = rate // 50
    whole = len(pcm) // size * size
    return [rtc.AudioFrame(pcm[i : i + size].tobytes(), rate, 1, size) for i in range(0, whole, size)]


async def listen(
    server: SpeechServer, stt: deepgram.STT, audio: list[rtc.AudioFrame], speed: float = 1.0
) -> list[tuple[float, SpeechEvent]]:
    """Push audio at the pace of a call; every event with the seconds since the first frame.

    Done when the server has closed the stream and all that it said has arrived: the plugin's own end of a
    stream comes up to 5 s later, because its keep-alive sleeps.
    """
    events: list[tuple[float, SpeechEvent]] = []
    arrived = asyncio.Event()
    began = time.monotonic()
    stream = stt.stream(conn_options=ONCE)

    async def read() -> None:
        async for event in stream:
            if event.type != SpeechEventType.RECOGNITION_USAGE:
                events.append((time.monotonic() - began, event))
                arrived.set()

    def complete() -> bool:
        said = sum(1 for text in server.faults.counts["deepgram"].texts if text)
        heard = len(text_of(events, SpeechEventType.FINAL_TRANSCRIPT))
        return heard >= said and (not events or events[-1][1].type == SpeechEventType.END_OF_SPEECH)

    async def push() -> None:
        for index, frame in enumerate(audio):
            stream.push_frame(frame)
            ahead = began + (index + 1) * frame.duration / speed - time.monotonic()
            await asyncio.sleep(max(0.0, ahead))
        stream.end_input()
        await connections(server, 0)
        while not complete():
            arrived.clear()
            await asyncio.wait_for(arrived.wait(), 10)

    reading, pushing = asyncio.create_task(read()), asyncio.create_task(push())
    try:
        done, _ = await asyncio.wait((reading, pushing), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        reading.cancel()
        pushing.cancel()
        await stream.aclose()
    return events


async def connections(server: SpeechServer, count: int) -> None:
    """Wait until so many recognition streams are open, which nothing announces."""
    async with asyncio.timeout(20):
        while server.faults.counts["deepgram"].open != count:  # noqa: ASYNC110 # a plain number
            await asyncio.sleep(0.01)


def text_of(events: list[tuple[float, SpeechEvent]], kind: SpeechEventType) -> list[str]:
    """The texts of all events of this kind."""
    return [event.alternatives[0].text for _, event in events if event.type == kind]


def stt_of(
    server: SpeechServer, http: aiohttp.ClientSession, endpointing_ms: int = 25, sample_rate: int = 16_000
) -> deepgram.STT:
    """The plugin, pointed at the server."""
    return deepgram.STT(
        api_key="any",
        base_url=server.addresses()["deepgram"],
        http_session=http,
        endpointing_ms=endpointing_ms,
        sample_rate=sample_rate,
    )


def llm_of(server: SpeechServer) -> openai.LLM:
    """The plugin, pointed at the server."""
    return openai.LLM(model="any", api_key="any", base_url=server.addresses()["openai"])


def tts_of(server: SpeechServer, http: aiohttp.ClientSession, key: str = "any") -> cartesia.TTS:
    """The plugin, pointed at the server."""
    return cartesia.TTS(api_key=key, base_url=server.addresses()["cartesia"], http_session=http)


def asked(*lines: str) -> ChatContext:
    """A conversation in which the caller said these lines."""
    chat = ChatContext.empty()
    chat.add_message(role="system", content=PERSONA)
    for line in lines:
        chat.add_message(role="user", content=line)
    return chat


async def complete(
    llm: openai.LLM, chat: ChatContext, tools: list[RawFunctionTool[..., Any]] | None = None
) -> tuple[list[str], list[FunctionToolCall], int]:
    """The pieces of text, the tool calls and the completion tokens of one reply."""
    pieces: list[str] = []
    calls: list[FunctionToolCall] = []
    tokens = 0
    async with llm.chat(chat_ctx=chat, tools=list(tools or []), conn_options=ONCE) as stream:
        async for chunk in stream:
            if chunk.delta is not None:
                pieces += [chunk.delta.content] if chunk.delta.content else []
                calls += chunk.delta.tool_calls
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
    return pieces, calls, tokens


async def speak(tts: cartesia.TTS, *sentences: str) -> list[tuple[float, rtc.AudioFrame]]:
    """Every frame of a streamed synthesis with the seconds since the text was pushed."""
    found: list[tuple[float, rtc.AudioFrame]] = []
    stream = tts.stream(conn_options=ONCE)
    began = time.monotonic()
    for sentence in sentences:
        stream.push_text(sentence)
    stream.end_input()
    try:
        async for audio in stream:
            found += [(time.monotonic() - began, audio.frame)]
    finally:
        await stream.aclose()
    return found


async def test_recognises_key_words_of_telephone_audio(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession
) -> None:
    """Synthesised speech through G.711 is recognised, with interim results before the final."""
    audio = frames(telephone(models, "Could I book a table for Friday evening please?"))
    events = await listen(server, stt_of(server, http), audio)
    kinds = [event.type for _, event in events]
    assert kinds[0] == SpeechEventType.START_OF_SPEECH
    assert kinds.index(SpeechEventType.INTERIM_TRANSCRIPT) < kinds.index(SpeechEventType.FINAL_TRANSCRIPT)
    assert kinds[-1] == SpeechEventType.END_OF_SPEECH
    final = " ".join(text_of(events, SpeechEventType.FINAL_TRANSCRIPT)).lower()
    assert re.search(r"\btable\b", final) and re.search(r"\bfriday\b", final)


async def test_interim_results_grow_while_the_caller_speaks(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession
) -> None:
    """The first interim result comes before the caller is done, and holds less than the last."""
    pcm = telephone(models, "I would like to know what time the restaurant opens on Saturday evening.")
    events = await listen(server, stt_of(server, http), frames(pcm))
    interim = [(at, e) for at, e in events if e.type == SpeechEventType.INTERIM_TRANSCRIPT]
    assert len(interim) >= 3
    assert interim[0][0] < len(pcm) / 8000 - 1.5
    lengths = [len(event.alternatives[0].text.split()) for _, event in interim]
    assert lengths[0] < lengths[-1]


async def test_words_of_finals_have_rising_times_inside_the_audio(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession
) -> None:
    """Word timestamps are in order, within the speech, and not equal slices."""
    pcm = telephone(models, "What time do you close on Sunday?")
    events = await listen(server, stt_of(server, http), frames(pcm))
    final = next(e for _, e in events if e.type == SpeechEventType.FINAL_TRANSCRIPT)
    words = final.alternatives[0].words
    assert words is not None and len(words) >= 5
    starts = [float(word.start_time) for word in words]  # pyright: ignore[reportArgumentType] # given by the server
    assert starts == sorted(starts)
    assert 0.2 <= starts[0] <= 0.6
    assert float(words[-1].end_time) <= len(pcm) / 8000 - 0.6  # pyright: ignore[reportArgumentType]
    gaps = {round(b - a, 2) for a, b in pairwise(starts)}
    assert len(gaps) > 2


async def test_noise_is_no_words(models: Models, server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """Two seconds of line noise before a sentence add nothing to its transcript."""
    noise = np.random.default_rng(1).normal(0, 400, 16_000).astype(np.int16)
    pcm = np.concatenate((noise, telephone(models, "Thank you and goodbye.")))
    events = await listen(server, stt_of(server, http), frames(pcm), speed=2)
    text = " ".join(text_of(events, SpeechEventType.FINAL_TRANSCRIPT)).lower()
    assert re.match(r"thank you", text)


async def test_a_long_utterance_comes_in_several_finals(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession
) -> None:
    """With end-pointing off, speech of more than 10 s is still cut at pauses, and no part is lost."""
    text = (
        "My name is Peter Miller, and I am calling because we are coming to the harbour next Friday, my wife"
        " and our two children, and we would like to have dinner at your restaurant, and then a double room."
    )
    stt = stt_of(server, http, endpointing_ms=0)
    events = await listen(server, stt, frames(telephone(models, text)), speed=2)
    finals = [part for part in text_of(events, SpeechEventType.FINAL_TRANSCRIPT) if part]
    assert len(finals) >= 2
    heard = " ".join(finals).lower()
    missing = [w for w in ("miller", "friday", "children", "dinner", "double") if w not in heard]
    assert not missing, heard


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000])
async def test_sample_rates(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession, rate: int
) -> None:
    """The stream is recognised at every sample rate that a call may have."""
    voice = models.synthesizer.speak("Thank you and goodbye.", rate, "caller")
    pcm = np.concatenate((np.zeros(rate // 4, np.int16), voice, np.zeros(rate * 4 // 5, np.int16)))
    events = await listen(server, stt_of(server, http, sample_rate=rate), frames(pcm, rate), speed=4)
    assert "goodbye" in " ".join(text_of(events, SpeechEventType.FINAL_TRANSCRIPT)).lower().replace(" ", "")


async def test_a_whole_recording(models: Models, server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """The plugin's batch recognition posts a WAV and gets text and words."""
    event = await stt_of(server, http).recognize(frames(telephone(models, "Is parking free on Sunday?")))
    assert re.search(r"\bsunday\b", event.alternatives[0].text.lower())
    assert event.alternatives[0].words


async def test_a_reply_is_streamed_with_usage(server: SpeechServer) -> None:
    """The answer comes in several pieces, answers what was asked, and ends with its usage."""
    pieces, calls, tokens = await complete(llm_of(server), asked("Is parking free?"))
    assert len(pieces) > 3 and not calls and tokens > 0
    assert "parking behind the house is free" in "".join(pieces).lower()
    assert server.faults.counts["openai"].heard == ["Is parking free?"]


async def test_a_tool_call_makes_the_round_trip(server: SpeechServer) -> None:
    """The end-call tool is found by its name, called with an id, and its result is accepted."""

    async def finish(raw_arguments: dict[str, object]) -> str:
        return str(raw_arguments)

    schema = {
        "name": "hang_up",
        "description": "Ends the call.",
        "parameters": {
            "type": "object",
            "properties": {"reason": {"type": "string"}},
            "required": ["reason"],
        },
    }
    tool = function_tool(finish, raw_schema=schema)
    chat = asked("No thanks, that's all. Goodbye.")
    pieces, calls, _ = await complete(llm_of(server), chat, [tool])
    assert "oodbye" in "".join(pieces)
    assert [call.name for call in calls] == ["hang_up"]
    assert "reason" in calls[0].arguments and calls[0].call_id


async def test_synthesis_is_streamed(server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """The first chunk is heard long before the last is made, and nothing is missing."""
    text = "The restaurant is open from six to ten. Dogs are welcome, and parking is free for all our guests."
    heard = await speak(tts_of(server, http), text)
    length = sum(frame.duration for _, frame in heard)
    first, last = heard[0][0], heard[-1][0]
    assert length > 4.0
    assert last - first > length / 20, "sent in one piece"
    assert last < length, "slower than it plays"
    assert server.faults.counts["cartesia"].characters >= len(text)


async def test_synthesis_says_what_it_was_asked(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession
) -> None:
    """What the synthesis plugin plays is recognised as the text, in order, over several sentences."""
    heard = await speak(tts_of(server, http), "Your table is booked. ", "We will see you on Friday.")
    pcm = np.concatenate([np.frombuffer(frame.data, np.int16) for _, frame in heard])
    text = models.recognizer.transcribe(pcm, 24_000).text.lower()
    assert re.search(r"table is booked.*friday", text)


async def test_synthesis_tells_when_words_are_spoken(
    server: SpeechServer, http: aiohttp.ClientSession
) -> None:
    """The plugin gets word timestamps in order and inside the audio."""
    tts = tts_of(server, http)
    stream = tts.stream(conn_options=ONCE)
    stream.push_text("Breakfast is included. Dogs are welcome.")
    stream.end_input()
    words: list[tuple[str, float]] = []
    length = 0.0
    async for audio in stream:
        length += audio.frame.duration
        timed = audio.frame.userdata.get("lk.timed_transcripts", [])
        words += [(str(word).strip(), float(word.start_time)) for word in timed]
    await stream.aclose()
    assert [word for word, _ in words] == ["Breakfast", "is", "included.", "Dogs", "are", "welcome."]
    starts = [start for _, start in words]
    assert starts == sorted(starts) and starts[-1] < length


async def test_bytes_endpoint(server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """The plugin's whole-text synthesis works as well."""
    tts = tts_of(server, http)
    frame = await tts.synthesize("Good day.", conn_options=ONCE).collect()
    assert frame.duration > 0.4


async def test_a_missing_key_is_refused(server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """Without a key each provider answers 401."""
    base = server.url
    async with http.post(f"{base}/v1/listen", data=b"") as answer:
        assert answer.status == 401
    async with http.get(f"{base}/v1/models") as answer:
        assert answer.status == 401
    async with http.post(f"{base}/tts/bytes", json={}) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_refusals_reach_the_plugins_as_status_errors(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession, status: int
) -> None:
    """An injected HTTP status is what each plugin raises."""
    for provider in ("deepgram", "openai", "cartesia"):
        server.faults.set(provider, Fault(fail="http", status=status))
    with pytest.raises(APIStatusError) as refused:
        await listen(server, stt_of(server, http), frames(np.zeros(8000, np.int16)))
    assert refused.value.status_code == status
    with pytest.raises(APIStatusError) as refused:
        await complete(llm_of(server), asked("Hello?"))
    assert refused.value.status_code == status
    with pytest.raises(APIStatusError) as refused:
        await speak(tts_of(server, http), "Hello there, how are you?")
    assert refused.value.status_code == status
    assert all(counts.errors_injected == 1 for counts in server.faults.counts.values())


async def test_a_cut_in_the_middle_of_synthesis(server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """The connection breaks after the chunks that were allowed; the next utterance is whole again."""
    server.faults.set("cartesia", Fault(fail="cut", after_chunks=5, times=1))
    tts = tts_of(server, http)
    with pytest.raises(APIError):
        await speak(tts, "The restaurant is open from six to ten in the evening, and closed on Mondays.")
    assert 0.2 < server.faults.counts["cartesia"].audio_s < 0.5
    assert sum(frame.duration for _, frame in await speak(tts, "Good day, how are you?")) > 0.8


async def test_a_cut_in_the_middle_of_a_reply(server: SpeechServer) -> None:
    """The stream of a completion breaks after the chunks that were allowed."""
    server.faults.set("openai", Fault(fail="cut", after_chunks=2, times=1))
    with pytest.raises(APIError):
        await complete(llm_of(server), asked("Is parking free?"))


async def test_silence_of_the_language_model_times_out(server: SpeechServer) -> None:
    """A silent language model is a time-out for its client, and works again once the fault is gone."""
    server.faults.set("openai", Fault(fail="silence"))
    quick = APIConnectOptions(max_retry=0, timeout=0.3)
    with pytest.raises(APIError):
        async with llm_of(server).chat(chat_ctx=asked("Hello?"), conn_options=quick) as stream:
            async for _ in stream:
                raise AssertionError("it answered")
    server.faults.clear("openai")
    pieces, _, _ = await complete(llm_of(server), asked("Is parking free?"))
    assert pieces


async def test_silence_of_an_open_recognition(
    models: Models, server: SpeechServer, http: aiohttp.ClientSession
) -> None:
    """A fault that is set while a call runs silences the open connection; taken back, it hears again."""
    first, second = telephone(models, "Is parking free?"), telephone(models, "Do you take dogs?")
    stream = stt_of(server, http).stream(conn_options=ONCE)
    finals: list[str] = []

    async def read() -> None:
        async for event in stream:
            if event.type == SpeechEventType.FINAL_TRANSCRIPT:
                finals.append(event.alternatives[0].text.lower())
            if event.type == SpeechEventType.END_OF_SPEECH:
                return

    async def push(pcm: NDArray[np.int16]) -> None:
        for frame in frames(pcm):
            stream.push_frame(frame)
            await asyncio.sleep(frame.duration / 2)

    reading = asyncio.create_task(read())
    await connections(server, 1)
    server.faults.set("deepgram", Fault(fail="silence"))
    await push(first)
    server.faults.clear("deepgram")
    await push(second)
    await asyncio.wait_for(reading, 10)
    await stream.aclose()
    assert not any("parking" in text for text in finals)
    assert any("dog" in text for text in finals)


async def test_a_cut_of_an_open_recognition(server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """A cut that is set while a call runs breaks the open connection, even while nobody speaks."""
    stream = stt_of(server, http).stream(conn_options=ONCE)
    stream.push_frame(rtc.AudioFrame(bytes(320), 8000, 1, 160))
    await connections(server, 1)
    server.faults.set("deepgram", Fault(fail="cut", times=1))
    with pytest.raises(APIError):
        async for _ in stream:
            pass
    await stream.aclose()
    assert server.faults.counts["deepgram"].errors_injected == 1


async def test_latency_is_added(server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """A fixed latency delays the first token and the first audio by that much."""
    for provider in ("openai", "cartesia"):
        server.faults.set(provider, Fault(latency=Latency("fixed", 400)))
    began = time.monotonic()
    await complete(llm_of(server), asked("Hello?"))
    assert time.monotonic() - began >= 0.4
    heard = await speak(tts_of(server, http), "Good day to you.")
    assert heard[0][0] >= 0.4


async def test_admin_over_http(server: SpeechServer, http: aiohttp.ClientSession) -> None:
    """Faults are set, read, refused with a reason and cleared over HTTP; counts are read and reset."""
    faults, counts = f"{server.url}/admin/faults", f"{server.url}/admin/counts"
    async with http.put(faults, json={"openai": {"status": 429, "times": 2}}) as answer:
        assert (await answer.json())["openai"]["left"] == 2
    async with http.put(f"{faults}/cartesia", json={"latency": {"normal": [300, 50]}}) as answer:
        assert (await answer.json())["cartesia"]["latency"] == {"normal": [300, 50]}
    async with http.put(faults, json={"openai": {"fail": "explode"}}) as answer:
        assert answer.status == 400 and "http, cut, silence" in (await answer.json())["error"]
    async with http.put(faults, json={"espeak": {}}) as answer:
        assert answer.status == 400 and "espeak" in (await answer.json())["error"]
    async with http.delete(faults) as answer:
        assert await answer.json() == {}
    await complete(llm_of(server), asked("Is parking free?"))
    async with http.get(counts) as answer:
        assert (await answer.json())["openai"]["requests"] == 1
    async with http.delete(counts) as answer:
        assert (await answer.json())["openai"]["requests"] == 0


async def test_the_model_behind_can_be_another_server(models: Models, server: SpeechServer) -> None:
    """With an upstream URL the endpoint passes requests through, streamed."""
    from lab.speech.openai import Upstream

    upstream = Upstream(server.addresses()["openai"], "other", "secret")
    front = SpeechServer(models.recognizer, models.synthesizer, Receptionist().answer, upstream=upstream)
    await front.start()
    try:
        pieces, _, tokens = await complete(llm_of(front), asked("Is parking free?"))
    finally:
        await front.aclose()
    assert len(pieces) > 3 and tokens > 0
    assert server.faults.counts["openai"].requests == 1
