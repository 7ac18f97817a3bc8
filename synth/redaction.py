"""Secrets out of texts that a person, a log or the store sees. Answers are never touched: they are data."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

from schemas.errors import AuthError

# A key this long is no word of anybody's language; a shorter one (`test`, `EMPTY`, `1`) may be.
LONG_KEY_CHARS = 16
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # of a header: RFC 9110, 5.1
_FRAMING = ("content-length", "transfer-encoding")  # said by who sends the body
_NAMED = r"(?i:\b(?:bearer|authorization|api[ _-]?key|key|token|provided)\b[\"']?\s*(?:[:=]|is\b)?\s*[\"']?)"
_USER_INFO = re.compile(r"(?:(?<=//)[^\s/\"'<>]*|(?<![^\s\"'<>(=,])[^\s/\"'<>:@]+:[^\s/\"'<>@]+)@")


def secrets_in(header: str) -> list[str]:
    """The value of a header, and what of it is a secret by itself, which a server may repeat alone: the key of `Bearer
    KEY`, each of several cookies, user and password as basic authentication encodes them, and that password."""
    secrets = [header]
    for word in re.split(r"[\s;,{}\"']+", header):
        _, _, value = word.partition("=")
        secrets += [word, value.strip("=")]
        with suppress(ValueError):
            if encoded := re.fullmatch("[^:]*:(.+)", base64.b64decode(word, validate=True).decode()):
                secrets += [encoded[0], encoded[1]]
    return list(dict.fromkeys(filter(None, secrets)))


def without_keys(text: str, *keys: str) -> str:
    """`text` without any of `keys`."""
    for key in keys:
        text = without_key(text, key)
    return text


def without_key(text: str, key: str) -> str:
    """`text`, the words of an error, with `***` for the key.

    A key of `LONG_KEY_CHARS` or more goes wherever it stands, also as it is written inside of URLs, JSON, HTML and
    base64. A shorter one, such as the dummy keys of local servers, goes only as a whole word behind a word that
    introduces keys ("Bearer test"), because it may be an ordinary word. Not covered: a key that is cut, or encrypted.
    """
    if not key:
        return text
    if len(key) >= LONG_KEY_CHARS:
        return _every_spelling(key).sub("***", text)
    return re.sub(rf"({_NAMED}){re.escape(key)}(?![\w-])", r"\1***", text)


@lru_cache(maxsize=256)  # a key, what headers and proxies hold: a browser's cookies are dozens
def _every_spelling(key: str) -> re.Pattern[str]:
    """The key with each of its characters in any usual escape, or in base64 of itself or of a text that it ends."""
    return re.compile("|".join(("".join(map(_spellings, key)), *_in_base64(key))))


def _spellings(character: str) -> str:
    code = ord(character)
    escapes = (
        f"%(?:25){{0,3}}{code:02x}",
        rf"\\{{1,8}}u00{code:02x}",
        rf"\\{{1,8}}x{code:02x}",
        f"&#0?{code};",
        f"&#x{code:x};",
    )
    named = html.escape(character)
    return rf"(?:\\{{0,8}}{re.escape(character)}|(?i:{'|'.join(escapes)})" + (
        f"|{named})" if named != character else ")"
    )


def _in_base64(key: str) -> set[str]:
    """What base64 makes of the key behind 0, 1 or 2 other bytes, without the letters that hold bits of its neighbours;
    in both alphabets."""
    spellings = set()
    for before in range(3):
        length = before + len(key)
        letters = base64.b64encode(bytes(before) + key.encode()).decode()[-(-before * 8 // 6) : length * 8 // 6]
        spellings |= {re.escape(letters), re.escape(letters.replace("+", "-").replace("/", "_"))}
    return spellings


def without_user_info(text: str) -> str:
    """`text` with `***@` for the user and password of every URL in it; bytes of a header that are no text (they come as
    halves of surrogate pairs, which nothing could show or keep) are escaped."""
    return _USER_INFO.sub("***@", text).encode("utf-8", "backslashreplace").decode()


def refuse_unsendable(key: str, key_env: str | None, headers: Mapping[str, str]) -> None:
    """Raise AuthError for a key or a header that no request can hold."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _FRAMING:
            raise AuthError(
                f"The header '{name}' is none that can be added to a request.",
                why="A server could not tell where the request ends, and would refuse every row.",
                fix="Take it out of teacher.headers and teacher.headers_env, or correct its name.",
            )
        if any(ord(c) < 32 or ord(c) == 127 for c in name + value):
            raise AuthError(
                f"The header '{name}' holds a line break or another control character.",
                why="It could not be sent.",
                fix="Correct it in teacher.headers, or the variable that teacher.headers_env names for it.",
            )
    if len(key) > 2 and key[0] == key[-1] and key[0] in "'\"":
        raise AuthError(
            f"The key in {key_env or 'the key variable'} stands in quotation marks.",
            why="They would be sent with it: a shell takes them off, an env file of Docker keeps them.",
            fix="Set the variable to the key alone.",
        )
    if any(ord(c) < 33 or ord(c) > 126 for c in key):
        raise AuthError(
            f"The key in {key_env or 'the key variable'} holds a blank or a non-ASCII character.",
            why="It could not be sent as an HTTP header.",
            fix="Set the variable to the key alone.",
        )
