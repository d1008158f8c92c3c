"""psrpc on Redis: how LiveKit's services call each other."""
