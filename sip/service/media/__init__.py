"""A media process: RTP on one side, rooms on the other. Knows no trunk, no rule and no secret."""
