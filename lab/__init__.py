"""The outside world on one machine: servers, speech providers, callers, carriers and what they measure."""
