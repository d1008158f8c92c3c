"""Presets of carriers and PBXs: facts with their sources, entries of `trunks.yaml`, steps over there."""

from sip.presets.preset import FACTS, Fact, Preset, Proof, Question, Source, Step
from sip.presets.reading import load, names, sources

__all__ = ["FACTS", "Fact", "Preset", "Proof", "Question", "Source", "Step", "load", "names", "sources"]
