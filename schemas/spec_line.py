"""What a line of the spec was meant to be that is not TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from schemas import toml

_STRAIGHT = str.maketrans("“”„‟«»″\u2018\u2019\u201a", '"' * 7 + "'" * 3)
_NUMBER = re.compile(r"(=\s*[+-]?\d+)(?:[,.\u066b]\s?(\d+))?\s*(#.*)?$")
_BARE = re.compile(r"=\s*([^\s\"'\[{#][^\"'\[{#]*?)\s*(#.*)?$")


def mended(line: str) -> str:
    """What to do about it: the line as it was most likely meant, if it is TOML then."""
    line = line.strip()
    for meant in _likely(line):
        if meant != line and _reads(meant):
            return f"Did you mean `{meant}`?"
    key = line.partition("=")[0].strip()
    if "=" not in line or not re.fullmatch(r"[\w \-/&+.]+", key) or re.fullmatch(r"[A-Za-z0-9_.-]+", key):
        return "Mend that line."
    return f'A key with other letters than a to z, or with blanks, stands in quotation marks: "{key}" = ...'


def _likely(line: str) -> Iterator[str]:
    """Straight quotation marks, digits from 0 to 9 with a point, `true` for `True`, a word or a text that wants its
    quotation marks, one that is not closed."""
    yield line.translate(_STRAIGHT)
    if number := _NUMBER.search(line):
        digits = "".join(str(int(sign)) if sign.isdecimal() else sign for sign in number[0])
        yield line[: number.start()] + _NUMBER.sub(r"\1.\2", digits).rstrip(".")
    if bare := _BARE.search(line):
        word = bare[1].lower() if bare[1].lower() in ("true", "false") else f'"{bare[1]}"'
        yield f"{line[: bare.start()]}= {word}"
    yield from (line + mark for mark in "\"'")


def _reads(line: str) -> bool:
    """Whether it is TOML, alone or as an entry of a list."""
    for text in (line, f"list = [{line}]"):
        try:
            toml.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        return "=" in line
    return False
