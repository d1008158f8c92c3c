"""What was heard in a call, and when: measured from its recording alone."""

from .activity import RATE, Span, frame_levels, voice_activity
from .conversation import Aside, Conversation, Gap, Interruption, Marks, Turn, hear
from .recording import Recording, read_recording, write_stereo

__all__ = [
    "RATE",
    "Aside",
    "Conversation",
    "Gap",
    "Interruption",
    "Marks",
    "Recording",
    "Span",
    "Turn",
    "frame_levels",
    "hear",
    "read_recording",
    "voice_activity",
    "write_stereo",
]
