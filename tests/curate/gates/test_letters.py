"""How a letter ends: its last line is a name without a full stop."""

from __future__ import annotations

import pytest

from curate.gates.damage import cut
from tests.curate.tiny import pair


@pytest.mark.parametrize(
    "signed", ["Kind regards, Luma Support", "Best wishes, your Luma team", "Viele Grüße, Eva Lang"]
)
def test_a_letter_ends_in_a_name(signed: str) -> None:
    """The name under a reply has no full stop, on a line of its own or after the last sentence. A sentence that breaks
    off after a comma is still rejected as cut."""
    reply = "Hi Ana, thanks for writing in. Please hold the button for ten seconds and try another cable."
    assert cut(pair("it does not charge", f"{reply} {signed}")).keep
    assert cut(pair("it does not charge", f"{reply}\n\n{signed}")).keep
    for broken in (
        "If it stays red, then please send",
        "However, the charging contacts below",
        "if it stays, Luma red",
    ):
        judged = cut(pair("it does not charge", f"{reply} {broken}"))
        assert judged.keep is False, broken
