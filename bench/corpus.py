"""What callers say in the turn-taking bench: sentences, pauses, interruptions, and sounds that are no turn.

Everything is made on the spot and the same on every machine: words by the local synthesizer in several
voices, coughs and noises from seeded random numbers, through G.711 with line noise. `held_out` marks what was
not looked at while the policy was tuned.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.speech.audio import DECODERS, ENCODERS
from lab.speech.synthesizer import Synthesizer

RATE = 8000
"""Hz, what a G.711 line carries."""
FRAME = RATE // 50
LEVEL_DBFS = -22.0
"""Level of the caller's speech."""
PAUSES_S = (0.4, 0.7, 1.0)
"""How long a caller pauses in the middle of a sentence."""

Audio = NDArray[np.float32]
Kind = Literal["finished", "pause", "stop", "aside"]


@dataclass(frozen=True)
class Case:
    """One thing that a caller does.

    kind: a finished sentence; a sentence with a pause (`pause_s`) in it; words over the agent that want the
    floor; a sound over the agent that does not. asked: what the agent said before. text: the words, with `|`
    at the pause. sound: name of a sound that is not speech. snr_db: level of the line noise below the voice
    (None: none). echo: the agent's voice comes back on this line.
    """

    name: str
    kind: Kind
    text: str = ""
    asked: str = ""
    pause_s: float = 0.0
    sound: str = ""
    voice: str = "caller"
    snr_db: float | None = None
    echo: bool = False
    held_out: bool = False


@dataclass(frozen=True)
class Spoken:
    """Audio of a case at 8 kHz, -1 to 1; seconds at which voice begins and ends in each of its parts."""

    audio: Audio
    parts: tuple[tuple[float, float], ...]


# Voices by (synthesizer voice, speed of playing, pace): the second shifts pitch and formants together.
_VOICES: dict[str, tuple[str, float, float]] = {
    "caller": ("caller", 1.0, 1.0),
    "bright": ("caller", 1.13, 0.9),
    "deep": ("caller", 0.93, 1.1),
    "slow": ("caller", 1.03, 0.82),
    "brisk": ("agent", 0.97, 1.12),
}
_NAMES = tuple(_VOICES)

_FINISHED = """
What time do you open on Sundays?
I'd like to book a table for four people.
Can I speak to somebody about my bill?
Yes, please. < Would you like me to book that for you?
No, thank you. < Is there anything else I can do for you?
My name is Sarah Miller. < May I have your name?
Four. < How many people will there be?
I need to change my appointment on Thursday.
How much does a haircut cost?
Do you have anything on Friday afternoon?
It's five five five, oh one nine two, seven three four. < What is your phone number?
I lost my card yesterday.
Where are you located?
That would be great. < Shall I send you a confirmation?
I am calling about the order I placed last week.
Tomorrow at seven thirty. < When would you like to come?
Could you tell me where I can park?
I don't think so. < Do you have an account with us?
My internet has stopped working since this morning.
Is there a vegetarian menu?
Please transfer me to the sales department.
Who am I speaking with?
I want to cancel my reservation for tonight.
We are going to be ten minutes late.
The package never arrived.
Yes, that's correct. < You said Tuesday at noon, is that right?
"""
_FINISHED_HELD_OUT = """
Are you open on New Year's Day?
I would like a room with a view of the garden.
Can you send the invoice again?
Next Monday. < Which day suits you?
I already paid for it.
What is the cheapest ticket to Boston?
Peter Johnson. < And what is your name?
No, I don't. < Do you have any allergies?
My daughter needs to see a dentist.
How long does the delivery take?
I'd prefer the morning. < Would you rather come in the morning or in the afternoon?
The water in my kitchen is leaking.
Just the two of us. < How many guests?
Does the price include breakfast?
I'm looking for a present for my wife.
Good, thanks. < How are you today?
"""
_PAUSES = """
My number is five five five, | oh one nine two, seven three four.
I'd like to book a table for | four people on Friday.
I'd like to book a table | for four people.
My name is | Sarah Miller.
Can you tell me if | you are open on Sundays?
I need to change my appointment to | Thursday afternoon.
I was wondering whether you | could help me with my bill.
Five five five, | oh one nine two, | seven three four. < What is your phone number?
It's on the corner of | Main Street and Second Avenue. < What is your address?
If I come on Tuesday, | can I still get the discount?
I ordered a lamp and | two chairs last week.
I want to | cancel my reservation.
The problem is that | my internet keeps dropping.
We would like a room with | a balcony and a double bed.
Um, | I think Tuesday would be best. < Which day would you like?
My account number is four two seven | one nine nine.
I'm calling because | my package never arrived.
Do you have any | tables outside?
Could I speak to the | manager, please?
I have a question about my | last invoice.
Yes, | I'd like two tickets. < Would you like to buy tickets?
I need a taxi | at half past six.
We'll be arriving at | the airport around noon.
Let me see, | it was the third of March. < When did you order?
So what I need is | a new card with my married name.
Please send it to | my office in Boston.
"""
_PAUSES_HELD_OUT = """
My phone number is six one seven, | five five five, oh one two three.
I would like to know how much | the large one costs.
We are looking for an apartment with | at least two bedrooms.
Hello, | I'm calling about the job.
It should be under the name of | Peterson. < What name is the booking under?
I can come on Monday or | on Wednesday after four. < When can you come?
Is it possible to | pay by bank transfer?
The doctor told me to | take it twice a day.
When I opened the box, | one of the glasses was broken.
I'd like to order a pizza | with mushrooms and olives.
She said that she | would call me back.
Can I get a | large coffee and a muffin?
My date of birth is | the ninth of May, nineteen eighty. < What is your date of birth?
I've been waiting since | eight o'clock this morning.
Well, | I think I'd rather have the blue one. < Which one would you like?
Zero two one, | one five. < What is your zip code?
"""
_STOPS = """
Stop, wait.
No, no, hold on.
Excuse me, can I say something?
Wait a second.
Sorry, that's not what I asked.
Hang on, I have a question.
Actually, cancel that.
No, that's wrong.
Can I speak to a person?
Stop.
Wait.
I already know all that.
Okay, but what about Saturday?
"""
_STOPS_HELD_OUT = """
Hold on a minute.
No, I said Tuesday.
Sorry, could you repeat that?
Please stop talking.
Hey, listen.
Yes, but I need it today.
"""
_ASIDES = (
    "Mm-hmm. / Yeah. / Okay. / Uh-huh. / Right. / I see. / Got it. / Yes, yes. / Sure. / Oh, okay. / "
    "Great. / All right."
)
_ASIDES_HELD_OUT = "Yep. / Mm. / Okay, sure. / Alright. / Oh, I see. / Thank you."
_SOUNDS = "cough-1 cough-2 cough-3 throat sniff click bump hiss static breath hum-1 hum-2 door beep"
_SOUNDS_HELD_OUT = "cough-4 cough-5 sneeze crackle hum-3 rustle"

LECTURES = (
    "Our office can be reached by telephone on every working day of the week from nine in the morning until "
    "six in the evening. On public holidays we are closed. Outside of our opening hours you can leave a "
    "message.",
    "Your order left our warehouse on Monday and should arrive within the next three working days. You will "
    "get a message with a link as soon as the driver is on the way. The parcel can also be left with a "
    "neighbor.",
)
"""What the agent is saying when it is interrupted; neither ends in a question."""


def cases() -> list[Case]:
    """The whole corpus, in a fixed order."""
    found: list[Case] = []
    for held_out, text in ((False, _FINISHED), (True, _FINISHED_HELD_OUT)):
        for n, (said, asked) in enumerate(_lines(text)):
            found.append(_case("finished", n, held_out, text=said, asked=asked))
    for held_out, text in ((False, _PAUSES), (True, _PAUSES_HELD_OUT)):
        for n, (said, asked) in enumerate(_lines(text)):
            found += [
                _case("pause", n, held_out, text=said, asked=asked, pause_s=pause) for pause in PAUSES_S
            ]
    for held_out, text in ((False, _STOPS), (True, _STOPS_HELD_OUT)):
        for n, (said, _) in enumerate(_lines(text)):
            found.append(_case("stop", n, held_out, text=said, asked=LECTURES[n % 2], echo=n % 4 == 3))
    for held_out, spoken, sounds in ((False, _ASIDES, _SOUNDS), (True, _ASIDES_HELD_OUT, _SOUNDS_HELD_OUT)):
        for n, said in enumerate(spoken.split(" / ")):
            found.append(_case("aside", n, held_out, text=said, asked=LECTURES[n % 2]))
        for n, sound in enumerate(sounds.split()):
            found.append(_case("aside", 100 + n, held_out, sound=sound, asked=LECTURES[n % 2]))
        found += [
            _case("aside", 200 + n, held_out, sound="echo", asked=LECTURES[n % 2], echo=True)
            for n in range(2 if held_out else 4)
        ]
    return found


def _lines(text: str) -> list[tuple[str, str]]:
    pairs = [line.partition(" < ") for line in text.strip().splitlines()]
    return [(said.strip(), asked.strip()) for said, _, asked in pairs]


def _case(kind: Kind, n: int, held_out: bool, **fields: object) -> Case:
    """Voices and line noise go round, so that each kind has all of them."""
    snr = (None, 25.0, 20.0)[n % 3]
    name = f"{kind}{'-h' if held_out else ''}-{n:02d}"
    if kind == "pause":
        name += f"-{int(float(str(fields['pause_s'])) * 1000)}"
    return Case(name, kind, voice=_NAMES[n % len(_NAMES)], snr_db=snr, held_out=held_out, **fields)  # pyright: ignore[reportArgumentType]


# --- audio ---


@cache
def _synthesizer() -> Synthesizer:
    return Synthesizer()


def speak(case: Case) -> Spoken:
    """The audio of a case, before the line."""
    if case.sound:
        audio = _sound(case.sound)
        return Spoken(audio, (_span(audio),)) if len(audio) else Spoken(audio, ())
    base, shift, pace = _VOICES[case.voice]
    pieces = [
        _synthesizer().speak(part.strip(), int(RATE / shift), base, pace).astype(np.float32) / 32768.0
        for part in case.text.split("|")
    ]
    gain = _gain(np.concatenate(pieces))
    pause = np.zeros(int(case.pause_s * RATE), np.float32)
    parts: list[tuple[float, float]] = []
    out: list[Audio] = []
    at = 0
    for n, piece in enumerate(pieces):
        # From the last voiced sample of a part to the first of the next there is the pause and nothing else.
        start, end = _span(piece)
        voiced = np.clip(piece[int(start * RATE) : int(end * RATE)] * gain, -0.98, 0.98).astype(np.float32)
        parts.append((at / RATE, (at + len(voiced)) / RATE))
        out += [_faded(voiced), pause] if n < len(pieces) - 1 else [_faded(voiced)]
        at += len(voiced) + len(pause)
    return Spoken(np.concatenate(out), tuple(parts))


def _gain(audio: Audio) -> float:
    """What brings the voiced samples to the caller's level."""
    loud = audio[np.abs(audio) > 0.02 * float(np.max(np.abs(audio)))]
    return 10 ** (LEVEL_DBFS / 20) / float(np.sqrt(np.mean(np.square(loud))))


def _faded(audio: Audio) -> Audio:
    out, n = audio.copy(), min(80, len(audio) // 4)
    ramp = np.linspace(0.0, 1.0, n, dtype=np.float32)
    out[:n] *= ramp
    out[len(out) - n :] *= ramp[::-1]
    return out


def _span(audio: Audio) -> tuple[float, float]:
    """Seconds of the first and after the last 10 ms that are within 35 dB of the loudest."""
    block = RATE // 100
    count = len(audio) // block
    energy = np.square(audio[: count * block]).reshape(count, block).mean(axis=1)
    loud = np.flatnonzero(energy > float(energy.max()) * 10**-3.5)
    return int(loud[0]) * block / RATE, (int(loud[-1]) + 1) * block / RATE


def line_noise(seconds: float, snr_db: float, seed: str) -> Audio:
    """Noise of a telephone line, `snr_db` below the caller's voice: hiss and a little hum."""
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    count = int(seconds * RATE)
    hiss = np.convolve(rng.standard_normal(count + 2), (0.25, 0.5, 0.25), mode="valid")
    hum = 0.3 * np.sin(2 * np.pi * 60 * np.arange(count) / RATE)
    noise = hiss / float(np.std(hiss)) + hum
    return (noise / float(np.std(noise)) * 10 ** ((LEVEL_DBFS - snr_db) / 20)).astype(np.float32)


def through_g711(audio: Audio) -> NDArray[np.int16]:
    """What is left after mu-law."""
    pcm = (np.clip(audio, -1.0, 1.0) * 32767).astype(np.int16)
    return DECODERS["mulaw"](ENCODERS["pcm_mulaw"](pcm))


# --- sounds that are not speech ---


def _sound(name: str) -> Audio:
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kind = name.split("-")[0]
    if kind == "echo":
        return np.zeros(0, np.float32)
    audio = _MAKERS[kind](rng)
    peak = {"click": 0.5, "bump": 0.5, "breath": 0.06, "hiss": 0.12, "rustle": 0.15, "sniff": 0.12}.get(
        kind, 0.4
    )
    return (audio / float(np.max(np.abs(audio))) * peak).astype(np.float32)


def _band(noise: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(noise)
    hertz = np.fft.rfftfreq(len(noise), 1 / RATE)
    spectrum[(hertz < low) | (hertz > high)] = 0
    return np.fft.irfft(spectrum, len(noise))


def _burst(
    rng: np.random.Generator, seconds: float, low: float, high: float, attack: float, decay: float
) -> NDArray[np.float64]:
    count = int(seconds * RATE)
    t = np.arange(count) / RATE
    return _band(rng.standard_normal(count), low, high) * np.minimum(1.0, t / attack) * np.exp(-t / decay)


def _tone(
    seconds: float, pitch: NDArray[np.float64] | float, harmonics: int, roll: float
) -> NDArray[np.float64]:
    count = int(seconds * RATE)
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(np.asarray(pitch, np.float64), count)) / RATE
    return sum((np.sin(k * phase) * roll ** (k - 1) for k in range(1, harmonics + 1)), np.zeros(count))


def _cough(rng: np.random.Generator) -> NDArray[np.float64]:
    """One to three bursts, each with an explosion of 40 ms and a hoarse, partly voiced tail."""
    parts: list[NDArray[np.float64]] = []
    for _ in range(int(rng.integers(1, 4))):
        seconds = float(rng.uniform(0.22, 0.34))
        blast = _burst(rng, seconds, 300, 3400, 0.004, float(rng.uniform(0.05, 0.1)))
        voice = _tone(seconds, float(rng.uniform(130, 220)), 12, 0.8) * np.exp(
            -np.arange(int(seconds * RATE)) / RATE / 0.09
        )
        parts += [
            blast + 0.08 * float(rng.uniform(0.3, 1.0)) * voice,
            np.zeros(int(rng.uniform(0.06, 0.16) * RATE)),
        ]
    return np.concatenate(parts)


def _hum(rng: np.random.Generator) -> NDArray[np.float64]:
    """A nasal "mm" or "mm-hm", lips closed."""
    length = float(rng.uniform(0.3, 0.5))
    t = np.arange(int(length * RATE)) / RATE
    pitch = float(rng.uniform(110, 190)) * (1 + 0.25 * (t / length) * float(rng.choice([-1, 1])))
    tone = _tone(length, pitch, 6, 0.35)
    swell = np.sin(np.pi * t / length) ** 0.5
    dip = 1 - 0.9 * np.exp(-(((t - length * 0.45) / 0.03) ** 2)) * float(rng.integers(0, 2))
    return tone * swell * dip


def _crackle(rng: np.random.Generator) -> NDArray[np.float64]:
    out = np.zeros(int(0.8 * RATE))
    for at in rng.integers(0, len(out) - 40, 40):
        out[at : at + 16] += rng.standard_normal(16) * rng.uniform(0.2, 1)
    return out


_MAKERS = {
    "cough": _cough,
    "hum": _hum,
    "crackle": _crackle,
    "throat": lambda rng: np.concatenate(
        [
            _burst(rng, 0.25, 100, 1800, 0.03, 0.15) + 0.1 * _tone(0.25, 95.0, 14, 0.85),
            _burst(rng, 0.3, 100, 2200, 0.02, 0.2),
        ]
    ),
    "sneeze": lambda rng: np.concatenate(
        [0.2 * _burst(rng, 0.35, 400, 2500, 0.2, 0.5), _burst(rng, 0.35, 800, 3600, 0.005, 0.09)]
    ),
    "sniff": lambda rng: _burst(rng, 0.3, 900, 3600, 0.12, 0.2),
    "breath": lambda rng: _burst(rng, 0.9, 300, 2600, 0.35, 0.5),
    "click": lambda rng: _burst(rng, 0.03, 500, 3800, 0.001, 0.004),
    "bump": lambda rng: _burst(rng, 0.25, 60, 500, 0.002, 0.05),
    "door": lambda rng: np.concatenate(
        [_burst(rng, 0.2, 80, 900, 0.002, 0.05), _burst(rng, 0.3, 60, 400, 0.01, 0.1)]
    ),
    "hiss": lambda rng: _burst(rng, 1.5, 200, 3800, 0.1, 2.0),
    "static": lambda rng: _burst(rng, 0.6, 200, 3900, 0.005, 1.0) * (rng.random(int(0.6 * RATE)) < 0.3),
    "rustle": lambda rng: (
        _burst(rng, 1.0, 1200, 3800, 0.05, 0.6) * np.abs(_band(rng.standard_normal(RATE), 1, 9))
    ),
    "beep": lambda rng: _tone(0.4, 1000.0, 1, 1.0),
}  # fmt: skip
