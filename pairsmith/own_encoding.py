"""The encoding of a text file that a person has: UTF-8, UTF-16 and UTF-32 show themselves, any other is guessed and
asked for, with what it makes of the file beside it, because a wrong one garbles letters."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from schemas.errors import InputError
from schemas.wide_text import wide_encoding

ENCODINGS = {
    "cp1252": "Western Europe, Windows",
    "mac_roman": "Western Europe, Excel on a Mac",
    "cp1250": "Central Europe, Windows",
    "cp1251": "Cyrillic, Windows",
    "koi8_r": "Cyrillic, KOI8-R",
    "cp1253": "Greek, Windows",
    "cp1254": "Turkish, Windows",
    "cp1255": "Hebrew, Windows",
    "cp1256": "Arabic, Windows",
    "cp1257": "Baltic, Windows",
    "cp874": "Thai, Windows",
    "cp932": "Japanese, Shift JIS",
    "euc_jp": "Japanese, EUC",
    "cp949": "Korean, Windows",
    "gb18030": "Chinese, simplified",
    "big5hkscs": "Chinese, traditional",
}
_SIGNS = "„“”‚‘’«»–—…€°•·£§©®½¼¾²³×±ªº¿¡"  # noqa: RUF001  these signs, and no others
# What a text in a Latin script mostly has, by language: charset-normalizer tells scripts apart, and takes one of these
# encodings for another. Their letters together come first, since a file may be in several languages; where two
# encodings have all of it, a language alone does: no one has õ with ö and á, as Hungarian in a wrong one would.
_WEST = (
    "àâæçéèêëîïôœùûüÿ",
    "äöüß",
    "áéíñóúü",
    "áâãàçéêíóôõú",
    "àèéìíîòóùú",
    "áéëïóöüèêà",
    "åäöé",
    "æøåé",
    "áðéíóúýþæö",
    "äõöü",
)
_LETTERS = {
    "cp1252": _WEST,
    "mac_roman": tuple(re.sub("[õðýþ]", "", letters) for letters in _WEST),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíňóôšťúýž", "áéíóöőúüű", "ăâîşţ", "čćđšž", "äöüß"),
    "cp1254": ("çğıİöşüâî",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž", "åäö", "æøå"),
}
# The letters of a language that two bytes write, most of them by far: where two read so, the first does.
_COMMON = {
    "cp949": ("euc_kr", range(0xB0, 0xC9)),
    "cp932": ("euc_jp", range(0xB0, 0xD0)),
    "euc_jp": ("euc_jp", range(0xB0, 0xD0)),
    "gb18030": ("gb2312", range(0xB0, 0xD8)),
    "big5hkscs": ("big5", range(0xA4, 0xC7)),
}
_ALPHABETS = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874")  # none shares a word with Latin letters
_SAMPLE = 200_000  # bytes
_LINES, _AROUND = 3, 40  # signs on either side


class Decoding(NamedTuple):
    """An encoding with what it makes of the lines that tell it from the others."""

    name: str
    about: str
    lines: list[str]


class EncodingAsked(InputError):
    """A file that may be in several encodings; `readings` are those that can read it, the likeliest first."""

    readings: list[Decoding]


def as_utf8(content: bytes, name: str, encoding: str = "") -> bytes:
    """The text of the file `name` in UTF-8; as it is where it is no text, of which its reader says what it is. Raises
    as `encoding_of` does."""
    known = encoding_of(content, name, encoding)
    return content.decode(known).encode() if known else content


def encoding_of(content: bytes, name: str, encoding: str = "") -> str | None:
    """The encoding of the file `name` where that is not UTF-8: one that shows itself, or `encoding`; None too where it
    is no text. Raises EncodingAsked where it is not given, and InputError for one that does not read it."""
    wide = wide_encoding(content[:4])
    with suppress(UnicodeError):  # half of a pair of surrogates is read, and cannot be written
        content.decode(wide or "utf-8").encode()
        return wide or None
    if encoding:
        known = encoding.lower().replace("-", "_").replace("windows_", "cp")
        if known not in ENCODINGS:
            fix = f"There are: {', '.join(ENCODINGS)}. Or save it as UTF-8."
            raise InputError(f"is not read as '{encoding[:40]}'.", where=name, fix=fix)
        try:
            content.decode(known)
        except UnicodeDecodeError:
            fix = "Choose another encoding, or save it as UTF-8."
            raise InputError(f"cannot be read as {_named(known)}.", where=name, fix=fix) from None
        return known
    if readings := _readings(content):
        asked = EncodingAsked(
            "is not UTF-8, and which encoding it is in cannot be told from its bytes.",
            where=name,
            why="A wrong one garbles letters.",
            fix=f"Choose the one that reads right, such as {readings[0].about}, or save it as UTF-8.",
        )
        asked.readings = readings
        raise asked
    return None


def _named(encoding: str) -> str:
    return f"{ENCODINGS[encoding]} ({encoding})"


def _readings(content: bytes) -> list[Decoding]:
    beyond = b"\n".join(line for line in content.split(b"\n") if not line.isascii())[:_SAMPLE]
    if _is_damaged_utf8(beyond):
        return []
    texts = {encoding: text for encoding in ENCODINGS if (text := _decoded(beyond, encoding))}
    best = _likeliest(beyond, texts)
    alike: dict[str, str] = {}  # what reads alike is one
    for encoding in sorted(texts, key=lambda known: known != best):
        alike.setdefault(texts[encoding], encoding)
    excerpts = _excerpts([text.split("\n") for text in alike])
    return [Decoding(name, _named(name), lines) for name, lines in zip(alike.values(), excerpts, strict=True)]


def _is_damaged_utf8(beyond: bytes) -> bool:
    """Of another encoding hardly a letter beyond ASCII is one in UTF-8; of UTF-8 nearly all are, though one is cut."""
    text = beyond.decode("utf-8", "replace")
    return 10 * text.count("\ufffd") <= sum(not sign.isascii() for sign in text)


def _decoded(beyond: bytes, encoding: str) -> str:
    """Empty where it cannot be, or makes signs of it that stand in no text."""
    try:
        whole = len(beyond) < _SAMPLE  # else its last letter may be cut in two
        text = codecs.getincrementaldecoder(encoding)().decode(beyond, whole)
    except UnicodeDecodeError:
        return ""
    is_text = not any((sign < " " and sign not in "\t\r\n\f") or "\x7f" <= sign < "\xa0" for sign in set(text))
    return text if is_text else ""


def _likeliest(beyond: bytes, texts: dict[str, str]) -> str:
    from charset_normalizer import from_bytes

    if not texts:
        return ""
    best = from_bytes(beyond, cp_isolation=list(texts)).best()
    latin = [known for known in texts if known in _LETTERS]
    known = best.encoding if best is not None else ""
    if known in _COMMON:
        return max((one for one in _COMMON if one in texts), key=lambda one: _common(texts[one], one))
    mixes = bool(latin) and known in _ALPHABETS and _mixes(texts.get(known, ""))
    if known in texts and known not in _LETTERS and not mixes:
        return known
    return max(latin or texts, key=lambda known: _of_latin(texts[known], _LETTERS.get(known, ())))


def _mixes(text: str) -> bool:
    """Whether most letters of another alphabet stand within words of Latin letters, as `д` in `nдchste` does."""
    beyond, mixed = 0, 0
    for before, letter, behind in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if letter.isalpha() and not letter.isascii():
            beyond += 1
            mixed += any(beside.isascii() and beside.isalpha() for beside in (before, behind))
    return 2 * mixed > beyond


def _of_latin(text: str, languages: Sequence[str]) -> tuple[float, float]:
    """The share of its signs beyond ASCII that texts in these languages mostly have, then those in one of them."""
    return _usual(text, "".join(languages)), max((_usual(text, letters) for letters in languages), default=0.0)


def _usual(text: str, letters: str) -> float:
    usual, signs, capitals = 0, set(letters + _SIGNS), set(letters.upper())
    beyond = [(before, sign) for before, sign in zip(f" {text}", text, strict=False) if not sign.isascii()]
    for before, sign in beyond:
        usual += sign in signs or (sign in capitals and not before.islower())  # no `Ë` in `veË`
    return usual / len(beyond) if beyond else 0.0


def _common(text: str, encoding: str) -> float:
    """The share of its letters beyond ASCII that are among the usual ones of the encoding's language, to one in twenty;
    Japanese without kana has none."""
    codec, leads = _COMMON[encoding]
    letters = [sign for sign in text if not sign.isascii() and sign.isalpha()]
    kana = sum("\u3040" <= sign <= "\u30ff" for sign in letters)
    if not letters or (codec == "euc_jp" and 5 * kana < len(letters)):
        return 0.0
    usual = kana if codec == "euc_jp" else 0
    for sign in letters:
        with suppress(UnicodeEncodeError):
            usual += sign.encode(codec)[0] in leads
    return round(20 * usual / len(letters)) / 20


def _excerpts(readings: list[list[str]]) -> list[list[str]]:
    """Of each reading the lines in which they differ most, around the first sign that another one reads otherwise;
    where none does, around the first beyond ASCII."""
    lines = list(zip(*readings, strict=False))
    telling = sorted(range(len(lines)), key=lambda at: -len(set(lines[at])))[:_LINES]
    places = [(at, _telling_sign(lines[at])) for at in telling]
    return [[text[at][max(0, sign - _AROUND) : sign + _AROUND].strip() for at, sign in places] for text in readings]


def _telling_sign(line: Sequence[str]) -> int:
    differ = (at for at, signs in enumerate(zip(*line, strict=False)) if len(set(signs)) > 1)
    beyond = (at for at, sign in enumerate(line[0]) if not sign.isascii())
    return next(differ, next(beyond, 0))
