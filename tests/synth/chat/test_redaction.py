"""Secrets are removed from error texts, and nothing else is."""

from __future__ import annotations

import asyncio
import base64
import time
from itertools import pairwise

import pytest

from schemas.errors import AuthError
from schemas.records import Message, Sampling
from synth.chat.redaction import without_keys, without_user_info
from synth.endpoints.endpoint import Endpoint
from tests.synth.loopback import LoopbackTeacher, fails

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
def test_key_is_redacted_in_an_error(text: str, key: str, shown: str) -> None:
    """A long key is removed wherever it appears, a short one only as a whole word that the text calls a key."""
    assert without_keys(text, key) == shown


@pytest.mark.parametrize("part", [LONG, "abc"])
def test_nothing_is_left_of_a_key_that_contains_another(part: str) -> None:
    """A header's secret may begin with the key. Whichever comes first, no rest of the longer one is shown."""
    whole = f"{part}.tenant-7/secret"
    for keys in ((part, whole), (whole, part)):
        assert without_keys(f"wrong key: {whole}; token {part}", *keys) == "wrong key: ***; token ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("407, url='http://me:s3cr3t@proxy:3128'", "407, url='http://***@proxy:3128'"),
        ("http://me:a@b@proxy/x and socks5://u@h", "http://***@proxy/x and socks5://***@h"),
        ("me:s3cr3t@proxy:3128", "***@proxy:3128"),
        ("write to me@example.org about http://h:1/a@b", "write to me@example.org about http://h:1/a@b"),
    ],
)
def test_user_and_password_are_redacted_in_urls(text: str, shown: str) -> None:
    """Libraries put the whole URL of a proxy into their messages."""
    assert without_user_info(text) == shown


@pytest.mark.parametrize("line", [b"HTTP/1.1 Bearer %s OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header %s\r\n\r\n"])
def test_malformed_response_that_repeats_the_key_is_redacted(line: bytes) -> None:
    """What the HTTP library quotes from a broken response is shown without the key, too."""
    key = "sk-very-secret-0123456789"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(line % key.encode())
        writer.close()

    async def asked() -> str:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, Endpoint(url, "m", key=key, retries=0) as endpoint:
            with pytest.raises(Exception, match=r".") as caught:
                await endpoint.ask((Message(role="user", content="a dog"),), Sampling())
        return str(caught.value)

    assert key not in asyncio.run(asked())


@pytest.mark.parametrize(
    ("header", "repeated"),
    [
        (f"Bearer {LONG}", LONG),
        ("Bearer abc-1", "provided: abc-1"),
        ("Bearer letmein", "provided: letmein"),
        (f'{{"token":"{LONG}"}}', LONG),
        (f"theme=dark; session={LONG}; cf=x", LONG),
        (f"Basic {base64.b64encode(f'me:{LONG}'.encode()).decode()}", LONG),
        (f'Token token="{LONG}"', f"token={LONG}"),
    ],
)
def test_secret_part_of_a_header_is_redacted_if_repeated_alone(header: str, repeated: str) -> None:
    """A server may repeat the key without its scheme, one of several cookies, or the decoded password."""

    async def asked() -> None:
        async with Endpoint(teacher.url, "m", headers={"X-Auth": header}) as endpoint:
            await endpoint.ask([Message(role="user", content="a dog")], Sampling())

    wrong = fails(401, f"wrong key {repeated}")
    with LoopbackTeacher(lambda ask: wrong) as teacher, pytest.raises(AuthError) as caught:
        asyncio.run(asked())
    assert repeated.rpartition(" ")[2].removeprefix("token=") not in str(caught.value)
    assert "***" in str(caught.value)


@pytest.mark.parametrize("run", ["(", "1,", "(a:", "//", "=a"])
@pytest.mark.slow
def test_redaction_is_linear_in_a_long_message(run: str) -> None:
    """A server may repeat 200 kB of brackets in its error: each of them may begin a user, and was compared with the
    rest of the message, in the event loop."""

    def taken(length: int) -> float:
        texts = [(run * length)[: length - at] for at in range(3)]
        began = [time.process_time()]
        for text in texts:
            without_user_info(text)
            began.append(time.process_time())
        return min(after - before for before, after in pairwise(began))

    assert taken(80_000) < 3 * 8 * max(taken(10_000), 0.005)
