"""What a line of the spec was meant to be that is not TOML."""

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
# A text under such a key, an address with a password, and what is as long and as mixed as keys are: never shown.
_SECRET = re.compile(rf"(?i)env|header|{ANYWHERE.pattern}|://[^/\s]*@|(?=\S*\d)(?=\S*[a-z])[\w.+/=-]{{16,}}")
_MOST_SHOWN = 200


def mended(line: str) -> str:
    """What to do about it: the line as it was most likely meant, if it is TOML then and holds nothing secret."""
    line = line.strip()
    if _NOTHING.search(line):
        return "TOML has no such value: leave the key out."
    if _reads(line):
        return "Mend that line, or close what stands open above it."
    for meant in _likely(line):
        if meant != line and _reads(meant):
            is_text = '"' in meant or "'" in meant
            if not is_text or (len(meant) <= _MOST_SHOWN and not _SECRET.search(meant)):
                return f"Did you mean `{meant}`?"
            return f'A text stands in straight quotation marks, both of them: `{_key(meant)} = "..."`.'
    key = _key(line)
    if "=" not in line or not re.fullmatch(r"[\w \-/&+.]+", key) or re.fullmatch(r"[A-Za-z0-9_.-]+", key):
        return "Mend that line."
    return f'A key with other letters than a to z, or with blanks, stands in quotation marks: "{key}" = ...'


def _likely(line: str) -> Iterator[str]:
    """Straight quotation marks, digits from 0 to 9 with a point, a path of Windows, `true` for `True`, a word or a text
    that wants its quotation marks, one that is not closed, a mark of another language at the end."""
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


def _reads(line: str) -> bool:
    """Whether it is TOML, alone or as an entry of a list."""
    for text in (line, f"list = [{line}]"):
        try:
            toml.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        return "=" in line
    return False
