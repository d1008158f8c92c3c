"""Which trunk and rule a call gets, as livekit-server decides, and why not."""
