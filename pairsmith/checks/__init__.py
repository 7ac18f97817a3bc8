"""Checks before anything is paid for: `doctor`, and what a later stage would refuse."""
