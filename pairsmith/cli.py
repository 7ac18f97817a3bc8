"""The entry point of the `pairsmith` script and of `python -m pairsmith`."""

from __future__ import annotations

from pairsmith.own_folders import ours_first


def main() -> int:
    """Run the command line and return its exit code; docs/cli.md lists the codes."""
    ours_first()
    from pairsmith.commands import start

    return start()
