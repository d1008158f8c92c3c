"""Scripts of the caller: what YAML becomes, and what is said about YAML that cannot become anything."""

from __future__ import annotations

import wave
from pathlib import Path

import pytest

from lab.caller import load_script, parse_script
from lab.caller.script import (
    STEPS,
    Echo,
    Expect,
    ExpectHangUp,
    HangUp,
    Interrupt,
    Noise,
    Pause,
    Play,
    Press,
    Say,
    Step,
    WaitForSilence,
    WaitForSpeech,
)
from lab.caller.words import hears, missing, tokens
from sip.errors import ConfigurationError

SCRIPTS = Path(__file__).parents[2] / "lab" / "scripts"


def steps(text: str, folder: Path = Path()) -> tuple[Step, ...]:
    """The steps of a script given as a list."""
    return parse_script(text, "a.yaml", folder).steps


def problems(text: str) -> str:
    """What is said about a script that cannot be used."""
    with pytest.raises(ConfigurationError) as caught:
        parse_script(text, "a.yaml", Path())
    return str(caught.value)


def test_every_step_in_its_long_form(tmp_path: Path) -> None:
    """All steps with all fields become the values that they name, with the line they stand on."""
    with wave.open(str(tmp_path / "cough.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
    text = """
- say: {text: [My number is, 700, oh one], backchannel: true}
- play: {file: cough.wav, aside: true}
- wait_for_speech: {within: 5}
- wait_for_silence: {ms: 400, within: 20}
- interrupt: {say: "Stop, wait", after: 1200, within: 6}
- press: {digits: "12#"}
- expect: {any: [noon, nine], all: [saturday], within: 8}
- echo: {down: 20, late: 200, seconds: 3}
- noise: {level: -40, kind: white, seconds: 2}
- pause: {ms: 250}
- hang_up
- expect_hang_up: {within: 9, by: agent, code: 200}
"""
    assert steps(text, tmp_path) == (
        Say(2, ("My number is", 700, "oh one"), True),
        Play(3, tmp_path / "cough.wav", True),
        WaitForSpeech(4, 5),
        WaitForSilence(5, 400, 20),
        Interrupt(6, ("Stop, wait",), 1200, 6),
        Press(7, "12#"),
        Expect(8, ("noon", "nine"), ("saturday",), 8),
        Echo(9, 20, 200, 3),
        Noise(10, -40, "white", 2),
        Pause(11, 250),
        HangUp(12),
        ExpectHangUp(13, 9, "agent", 200),
    )


def test_every_step_in_its_short_form() -> None:
    """One bare value is enough where a step has one that matters."""
    text = """
- say: Hello there
- wait_for_speech
- wait_for_silence: 500
- interrupt: Stop
- press: "5"
- expect: saturday
- echo
- noise: 1.5
- pause: 200
- expect_hang_up
"""
    assert steps(text) == (
        Say(2, ("Hello there",)),
        WaitForSpeech(3),
        WaitForSilence(4, 500),
        Interrupt(5, ("Stop",)),
        Press(6, "5"),
        Expect(7, all_of=("saturday",)),
        Echo(8),
        Noise(9, seconds=1.5),
        Pause(10, 200),
        ExpectHangUp(11),
    )


def test_about_and_steps() -> None:
    """A script may say what it is about."""
    script = parse_script("about: Asks and leaves.\nsteps:\n  - hang_up\n", "a.yaml", Path())
    assert (script.about, script.steps, script.source) == ("Asks and leaves.", (HangUp(3),), "a.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- shout: hello", "a.yaml, line 1, shout: there is no such step"),
        ("- hang_up\n- say", "line 2, say: a text is wanted"),
        ("- say: ''", "line 1, say: a text is wanted"),
        ("- say: [500]", "line 1, say: a text is wanted, not only pauses"),
        ("- say: {words: hello}", "line 1, words: say knows text, backchannel"),
        ("- say: {text: hello, backchannel: 7}", "line 1, say.backchannel: true or false is wanted"),
        ("- play: nowhere.wav", "line 1, play.file: there is no file nowhere.wav"),
        ("- wait_for_silence: soon", "line 1, wait_for_silence.ms: a number is wanted"),
        ("- wait_for_speech: {within: 0}", "wait_for_speech.within: 0.1 to 600 is possible, not 0"),
        ("- press: hello", "line 1, press: keys among"),
        ("- expect: {within: 5}", "line 1, expect: words are wanted, under `any` or `all`"),
        ("- noise: {kind: brown}", "line 1, noise.kind: one of white, pink is wanted"),
        ("- pause", "line 1, pause: milliseconds are wanted"),
        ("- hang_up: 5", "line 1, hang_up: it takes no value"),
        ("- expect_hang_up: {by: nobody}", "line 1, expect_hang_up.by: agent or caller is wanted"),
        ("- {say: a, pause: 5}", "line 1, steps: a step is one word"),
        ("steps: hello", "line 1, steps: a list of steps is wanted"),
        ("hello", "a.yaml: a list of steps is wanted"),
        ("[]", "line 1, steps: no step at all"),
        ("- say: [a", "a.yaml, line 1: no YAML"),
    ],
)
def test_errors_name_file_line_and_field(text: str, said: str) -> None:
    """Every mistake is named with its place."""
    assert said in problems(text)


def test_all_problems_at_once() -> None:
    """One reading finds every problem, and tells which steps there are."""
    said = problems("- shout: a\n- say\n- pause: x\n")
    assert all(f"line {line}" in said for line in (1, 2, 3))
    assert all(word in said for word in STEPS)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A missing script is named."""
    with pytest.raises(ConfigurationError, match=r"no\.yaml"):
        load_script(tmp_path / "no.yaml")


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_scripts_that_come_with_it(path: Path) -> None:
    """Every script in lab/scripts can be used and says what it shows."""
    script = load_script(path)
    assert script.about
    assert script.steps


def test_numbers_are_heard_in_words_and_digits() -> None:
    """ "9", "nine", "O'clock" and punctuation make no difference; long numbers are read digit by digit."""
    assert tokens("We're open 9 to 12:30.") == ("were", "open", "nine", "to", "twelve", "thirty")
    assert tokens("555 0192") == tokens("five five five oh one nine two")
    assert hears("nine to twelve", "From 9 to 12, on Saturday")
    assert not hears("nine", "ninety")


def test_what_is_missing() -> None:
    """One of `any` and all of `all` are wanted; what is absent is named."""
    assert missing(("noon", "midnight"), ("saturday",), "On Saturday until noon") == ""
    assert missing(("noon", "midnight"), ("saturday", "nine"), "On Saturday") == "nine, noon or midnight"
