"""Secrets leave the texts of errors, and nothing else does."""

from __future__ import annotations

import pytest

from synth.redaction import without_key, without_user_info

LONG = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    ("text", "key", "shown"),
    [
        (f"wrong key {LONG}, {LONG}", LONG, "wrong key ***, ***"),
        ("Put it to the test.", "test", "Put it to the test."),
        ("wrong key: Bearer test", "test", "wrong key: Bearer ***"),
        ("Incorrect API key provided: short-key.", "short-key", "Incorrect API key provided: ***."),
        ('{"api_key": "abc"}', "abc", '{"api_key": "***"}'),
        ("Bearer testing", "test", "Bearer testing"),
        ("code 1 of 11", "1", "code 1 of 11"),
        ("anything", "", "anything"),
    ],
)
def test_a_key_is_taken_out_of_an_error(text: str, key: str, shown: str) -> None:
    """A long key goes wherever it stands, a short one only as a whole word that the text calls a key."""
    assert without_key(text, key) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("407, url='http://me:s3cr3t@proxy:3128'", "407, url='http://***@proxy:3128'"),
        ("http://me:a@b@proxy/x and socks5://u@h", "http://***@proxy/x and socks5://***@h"),
        ("me:s3cr3t@proxy:3128", "***@proxy:3128"),
        ("write to me@example.org about http://h:1/a@b", "write to me@example.org about http://h:1/a@b"),
    ],
)
def test_user_and_password_are_taken_out_of_urls(text: str, shown: str) -> None:
    """Libraries put the whole URL of a proxy into their messages."""
    assert without_user_info(text) == shown
