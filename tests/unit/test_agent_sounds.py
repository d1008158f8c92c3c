"""The recorded sentences are there when nothing else is."""

import pytest

from agent.sounds import TEXTS, recording


@pytest.mark.parametrize("name", TEXTS)
async def test_a_recording_is_speech_of_a_bearable_length(name: str):
    """Each ships as 24 kHz audio that is loud enough, and short enough to end a call within 5 s."""
    sound = recording(name)
    assert sound.sample_rate == 24_000
    assert 0.8 < sound.duration < 3.0
    samples = memoryview(sound.pcm).cast("h")
    assert max(samples) > 10_000


async def test_frames_hold_all_of_it():
    """Cut into frames of 20 ms, nothing is lost at the end."""
    sound = recording("moment")
    frames = [frame async for frame in sound.frames()]
    assert b"".join(bytes(frame.data) for frame in frames) == sound.pcm
    assert {frame.samples_per_channel for frame in frames[:-1]} == {480}
