"""Calls on the line: seen, placed, moved, ended."""
