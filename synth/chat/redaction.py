"""Removes secrets from texts that a user, a log or the store sees. Answers are never changed: they are data."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

from schemas.errors import AuthError

# A key this long cannot be an ordinary word; a shorter one (`test`, `EMPTY`, `1`) may be.
LONG_KEY_CHARS = 16
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a header's name: RFC 9110, section 5.1
_FRAMING_HEADERS = ("content-length", "transfer-encoding")  # set by the HTTP client for the body
_KEY_LABEL = r"(?i:\b(?:bearer|authorization|api[ _-]?key|key|token|provided)\b[\"']?\s*(?:[:=]|is\b)?\s*[\"']?)"
# The repeats are limited, because each bracket of a long row of them may begin a user.
_USER_INFO = re.compile(r"(?:(?<=//)[^\s/\"'<>]*|(?<![^\s\"'<>(=,])[^\s/\"'<>:@]{1,256}:[^\s/\"'<>@]{1,1024})@")


def extract_secrets(header: str) -> list[str]:
    """The value of a header, and the parts of it that are secrets by themselves, since a server may repeat only a part.

    These are the key of `Bearer KEY`, each cookie, the user and password that basic authentication encodes, and that
    password alone.
    """
    secrets = [header]
    for word in re.split(r"[\s;,{}\"']+", header):
        _, _, value = word.partition("=")
        secrets += [word, value.strip("=")]
        with suppress(ValueError):
            if encoded := re.fullmatch("[^:]*:(.+)", base64.b64decode(word, validate=True).decode()):
                secrets += [encoded[0], encoded[1]]
    return list(dict.fromkeys(filter(None, secrets)))


def without_keys(text: str, *keys: str) -> str:
    """`text`, usually an error message, with each key replaced by `***`, a longer one before a part of it.

    A key of at least `LONG_KEY_CHARS` characters is replaced everywhere, also as it is escaped in URLs, JSON, HTML and
    base64. A shorter one, such as the dummy keys of local servers, may be an ordinary word, so it is replaced only as a
    whole word after a word that introduces keys ("Bearer test"). Not covered: a truncated or encrypted key.
    """
    for key in sorted(filter(None, keys), key=len, reverse=True):
        if len(key) >= LONG_KEY_CHARS:
            text = _key_pattern(key).sub("***", text)
        else:
            text = re.sub(rf"({_KEY_LABEL}){re.escape(key)}(?![\w-])", r"\1***", text)
    return text


@lru_cache(maxsize=256)  # a key and the secrets in headers and proxies: a browser's cookies alone are dozens
def _key_pattern(key: str) -> re.Pattern[str]:
    """A pattern for the key with each character in any usual escape, or in base64, alone or at the end of a text."""
    return re.compile("|".join(("".join(map(_escaped_forms, key)), *_base64_forms(key))))


def _escaped_forms(character: str) -> str:
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


def _base64_forms(key: str) -> set[str]:
    """The base64 forms of the key at the three possible byte offsets, in both alphabets, without the characters that
    also encode bits of neighbouring bytes."""
    spellings = set()
    for before in range(3):
        length = before + len(key)
        encoded_key = base64.b64encode(bytes(before) + key.encode()).decode()[-(-before * 8 // 6) : length * 8 // 6]
        spellings |= {re.escape(encoded_key), re.escape(encoded_key.replace("+", "-").replace("/", "_"))}
    return spellings


def without_user_info(text: str) -> str:
    """`text` with the user and password of every URL replaced by `***@`.

    Lone surrogates, which stand for bytes of a header that are not text and can be neither displayed nor stored, are
    escaped.
    """
    return _USER_INFO.sub("***@", text).encode("utf-8", "backslashreplace").decode()


def refuse_unsendable(key: str, key_env: str | None, headers: Mapping[str, str]) -> None:
    """Raise AuthError for a key or a header that cannot be sent in a request."""
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or name.lower() in _FRAMING_HEADERS:
            raise AuthError(
                f"The header '{name}' cannot be added to a request.",
                why="The server could not determine where the request ends, and would refuse every row.",
                fix="Remove it from teacher.headers and teacher.headers_env, or correct its name.",
            )
        if any(ord(c) < 32 or ord(c) == 127 for c in name + value):
            raise AuthError(
                f"The header '{name}' contains a line break or another control character.",
                why="It could not be sent.",
                fix="Correct it in teacher.headers, or the variable that teacher.headers_env names for it.",
            )
    if len(key) > 2 and key[0] == key[-1] and key[0] in "'\"":
        raise AuthError(
            f"The key in {key_env or 'the key variable'} is in quotation marks.",
            why="They would be sent with it: a shell removes them, but a Docker env file keeps them.",
            fix="Set the variable to the key without quotation marks.",
        )
    if any(ord(c) < 33 or ord(c) > 126 for c in key):
        raise AuthError(
            f"The key in {key_env or 'the key variable'} contains whitespace or a control or non-ASCII character.",
            why="It could not be sent as an HTTP header.",
            fix="Set the variable to just the key.",
        )
