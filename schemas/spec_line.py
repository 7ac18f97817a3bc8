"""Guesses what a spec line that is not TOML was meant to be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from schemas import toml
from schemas.secret_names import ANYWHERE

_STRAIGHT = str.maketrans("“”„‟«»″\u2018\u2019\u201a", '"' * 7 + "'" * 3)
_NUMBER = re.compile(r"(=\s*[+-]?)(\d[\d ,.\u066b_]*|[.,]\d+)[;,]?\s*(#.*)?$")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}([ ,._]\d{3})+")
_BARE = re.compile(r"=\s*([^\W_][^\"'\[{#;]*?)\s*(#.*)?$")
_WORDS = {**dict.fromkeys(("true", "yes", "on"), "true"), **dict.fromkeys(("false", "no", "off"), "false")}
_NOTHING = re.compile(r"=\s*(none|null|nil)\s*(#.*)?$", re.IGNORECASE)
_WINDOWS = re.compile(r"=\s*\"?([A-Za-z]:\\[^\"'#]*?)\"?\s*(#.*)?$")
# Never shown: a string under such a key, a URL with a password, and anything as long and mixed as an API key.
_SECRET = re.compile(rf"(?i)env|header|{ANYWHERE.pattern}|://[^/\s]*@|(?=\S*\d)(?=\S*[a-z])[\w.+/=-]{{16,}}")
_MAX_SHOWN = 200


def suggest_fix(line: str) -> str:
    """A suggested fix: the line as it was most likely meant, if that is valid TOML and contains no secret."""
    line = line.strip()
    if _NOTHING.search(line):
        return "TOML has no such value: remove the key."
    if _is_toml(line):
        return "Fix that line, or close the string or list that is open above it."
    for meant in _corrections(line):
        if meant != line and _is_toml(meant):
            is_text = '"' in meant or "'" in meant
            if not is_text or (len(meant) <= _MAX_SHOWN and not _SECRET.search(meant)):
                return f"Did you mean `{meant}`?"
            return f'Put the text between two straight quotation marks: `{_key(meant)} = "..."`.'
    key = _key(line)
    if "=" not in line or not re.fullmatch(r"[\w \-/&+.]+", key) or re.fullmatch(r"[A-Za-z0-9_.-]+", key):
        return "Fix that line."
    return f'Put a key with spaces or with letters other than a to z in quotation marks: "{key}" = ...'


def _corrections(line: str) -> Iterator[str]:
    """The line with straight quotation marks, with a plain decimal number, with a Windows path in a literal string,
    with `true` for `True`, with missing quotation marks around a word or text, with an unclosed string closed, without
    a trailing comma or semicolon, with `=` for a YAML colon."""
    yield line.translate(_STRAIGHT)
    if number := _NUMBER.search(line):
        yield line[: number.start()] + number[1] + _number(number[2])
    if path := _WINDOWS.search(line):
        yield f"{line[: path.start()]}= '{path[1]}'"
    if bare := _BARE.search(line):
        yield f"{line[: bare.start()]}= " + _WORDS.get(bare[1].lower(), f'"{bare[1]}"')
    yield from (line + mark for mark in "\"'")
    yield line.rstrip(",;")
    yield re.sub(r"^([\w-]+)\s*:\s*", r"\1 = ", line)


def _key(line: str) -> str:
    return line.partition("=")[0].strip()


def _number(written: str) -> str:
    digits = "".join(str(int(sign)) if sign.isdecimal() else sign for sign in written.rstrip(" ,_"))
    if _THOUSANDS.fullmatch(digits) and not re.fullmatch(r"\d+\.\d{3}", digits):
        return re.sub(r"\D", "", digits)
    whole, point, rest = re.sub(r"\s", "", re.sub("[,\u066b]", ".", digits)).partition(".")
    return f"{whole or 0}{point}{rest or '0'}" if point else whole


def _is_toml(line: str) -> bool:
    """Whether it is TOML, alone or as an entry of a list."""
    for text in (line, f"list = [{line}]"):
        try:
            toml.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        return "=" in line
    return False
