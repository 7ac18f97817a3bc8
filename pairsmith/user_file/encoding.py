"""Detects the encoding of a user's text file. UTF-8, UTF-16 and UTF-32 are recognised. Any other encoding is guessed,
and the user is asked to confirm it with excerpts of the decoded text, because a wrong encoding garbles characters."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from schemas.errors import InputError
from schemas.wide_text import wide_encoding

UTF_8 = "utf-8"
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
_SIGNS = "„“”‚‘’«»–—…€°•·£§©®½¼¾²³×±ªº¿¡"  # noqa: RUF001 - exactly these characters
# Characters that texts in a Latin script mostly use, by encoding and language. charset-normalizer distinguishes scripts
# but confuses these encodings. A file may be in several languages, so the characters of all languages of an encoding
# are compared first. If two encodings cover the text equally, those of a single language decide: no language combines õ
# with ö and á, as Hungarian in a wrong encoding would.
_WESTERN = (
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
    "cp1252": _WESTERN,
    "mac_roman": tuple(re.sub("[õðýþ]", "", letters) for letters in _WESTERN),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíňóôšťúýž", "áéíóöőúüű", "ăâîşţ", "čćđšž", "äöüß"),
    "cp1254": ("çğıİöşüâî",),
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž", "åäö", "æøå"),
}
# The most common two-byte characters of each language. If a text can be decoded both ways, the encoding in which its
# characters are more common wins.
_COMMON = {
    "cp949": ("euc_kr", range(0xB0, 0xC9)),
    "cp932": ("euc_jp", range(0xB0, 0xD0)),
    "euc_jp": ("euc_jp", range(0xB0, 0xD0)),
    "gb18030": ("gb2312", range(0xB0, 0xD8)),
    "big5hkscs": ("big5", range(0xA4, 0xC7)),
}
# words in these alphabets contain no Latin letters
_ALPHABETS = ("cp1251", "koi8_r", "cp1253", "cp1255", "cp1256", "cp874")
_SAMPLE = 200_000  # bytes that are examined
_PART = 1 << 20  # bytes that are decoded at once
_LINES, _CONTEXT = 3, 20  # excerpts per encoding, and characters on each side of a difference


class Decoding(NamedTuple):
    """An encoding, and the lines it decodes differently from the other candidates."""

    name: str
    about: str
    lines: list[str]


class AmbiguousEncoding(InputError):
    """A file that may be in several encodings. `readings` are those that can decode it, most likely first."""

    readings: list[Decoding]


def as_utf8(content: bytes, name: str, encoding: str = "") -> bytes:
    """The text of the file `name` as UTF-8. Returned unchanged if it is not text; the reader of its format then reports
    what it is. Raises like `encoding_of`."""
    known = encoding_of(content, name, encoding)
    return content.decode(known).encode() if known else content


def unicode_encoding(stream: BinaryIO) -> str | None:
    """UTF_8 or the wide encoding in which all of `stream` can be read; None if there is none. It keeps only a part in
    memory."""
    part = stream.read(_PART)
    name = wide_encoding(part) or UTF_8
    decode = codecs.getincrementaldecoder(name)().decode
    with suppress(UnicodeError):  # unpaired surrogates can be decoded but not encoded
        while part:
            decode(part).encode()
            part = stream.read(_PART)
        decode(b"", final=True)
        return name
    return None


def normalised(encoding: str, name: str) -> str:
    """The name of a supported encoding as Python spells it. Raises InputError for another one, whatever the file."""
    known = encoding.lower().replace("-", "_").replace("windows_", "cp")
    if known not in ENCODINGS and not known.startswith(("utf8", "utf_8", "utf16", "utf_16", "utf32", "utf_32")):
        fix = f"Use one of {', '.join(ENCODINGS)}, or save the file as UTF-8."
        raise InputError(f"cannot be read as '{encoding[:40]}': this encoding is not supported.", where=name, fix=fix)
    return known


def encoding_of(content: bytes, name: str, encoding: str = "") -> str | None:
    """The encoding of the file `name` if it is not UTF-8: a recognised one, or `encoding`. None also if it is not text.

    Raises AmbiguousEncoding if the encoding is unknown and not given, and InputError if `encoding` cannot decode the
    file.
    """
    if known := unicode_encoding(io.BytesIO(content)):
        return None if known == UTF_8 else known
    if encoding:
        known = normalised(encoding, name)
        try:
            content.decode(known)
        except UnicodeDecodeError:
            fix = "Choose another encoding, or save the file as UTF-8."
            raise InputError(f"cannot be read as {_label(known)}.", where=name, fix=fix) from None
        return known
    if readings := _readings(content):
        ambiguous = AmbiguousEncoding(
            "is not UTF-8, and its encoding cannot be determined from its bytes.",
            where=name,
            why="A wrong encoding garbles characters.",
            fix=f"Choose the one that reads correctly, such as {readings[0].about}, or save the file as UTF-8.",
        )
        ambiguous.readings = readings
        raise ambiguous
    return None


def _label(encoding: str) -> str:
    return f"{ENCODINGS[encoding]} ({encoding})" if encoding in ENCODINGS else encoding


def _readings(content: bytes) -> list[Decoding]:
    non_ascii = b"\n".join(line for line in content.split(b"\n") if not line.isascii())[:_SAMPLE]
    if _is_damaged_utf8(non_ascii):
        return []
    texts = {encoding: text for encoding in ENCODINGS if (text := _decoded(non_ascii, encoding))}
    best = _likeliest(non_ascii, texts)
    alike: dict[str, str] = {}  # encodings that give the same text count as one
    for encoding in sorted(texts, key=lambda known: known != best):
        alike.setdefault(texts[encoding], encoding)
    excerpts = _excerpts([text.split("\n") for text in alike])
    return [Decoding(name, _label(name), lines) for name, lines in zip(alike.values(), excerpts, strict=True)]


def _is_damaged_utf8(non_ascii: bytes) -> bool:
    """Whether the lines are UTF-8 with a few invalid bytes. In text of another encoding hardly any non-ASCII character
    is valid UTF-8; in UTF-8 nearly all are, even if one is cut off."""
    text = non_ascii.decode("utf-8", "replace")
    return 10 * text.count("\ufffd") <= sum(not char.isascii() for char in text)


def _decoded(non_ascii: bytes, encoding: str) -> str:
    """The decoded text; empty if it cannot be decoded, or contains characters that do not occur in text."""
    try:
        is_complete = len(non_ascii) < _SAMPLE  # otherwise the last character may be cut off
        text = codecs.getincrementaldecoder(encoding)().decode(non_ascii, is_complete)
    except UnicodeDecodeError:
        return ""
    is_text = not any((char < " " and char not in "\t\r\n\f") or "\x7f" <= char < "\xa0" for char in set(text))
    return text if is_text else ""


def _likeliest(non_ascii: bytes, texts: dict[str, str]) -> str:
    from charset_normalizer import from_bytes

    if not texts:
        return ""
    best = from_bytes(non_ascii, cp_isolation=list(texts)).best()
    latin = [known for known in texts if known in _LETTERS]
    known = best.encoding if best is not None else ""
    if known in _COMMON:
        return max((one for one in _COMMON if one in texts), key=lambda one: _common_share(texts[one], one))
    mixes = bool(latin) and known in _ALPHABETS and _is_mixed_script(texts.get(known, ""))
    if known in texts and known not in _LETTERS and not mixes:
        return known
    return max(latin or texts, key=lambda known: _latin_score(texts[known], _LETTERS.get(known, ())))


def _is_mixed_script(text: str) -> bool:
    """Whether most letters of another alphabet appear inside words of Latin letters, like `д` in `nдchste`."""
    non_ascii, mixed = 0, 0
    for before, letter, after in zip(f" {text}", text, f"{text[1:]} ", strict=False):
        if letter.isalpha() and not letter.isascii():
            non_ascii += 1
            mixed += any(neighbour.isascii() and neighbour.isalpha() for neighbour in (before, after))
    return 2 * mixed > non_ascii


def _latin_score(text: str, languages: Sequence[str]) -> tuple[float, float]:
    """The share of its non-ASCII characters that texts in these languages mostly use, then the highest share for a
    single language."""
    return _share_of_usual(text, "".join(languages)), max(
        (_share_of_usual(text, letters) for letters in languages), default=0.0
    )


def _share_of_usual(text: str, letters: str) -> float:
    usual, signs, capitals = 0, set(letters + _SIGNS), set(letters.upper())
    non_ascii = [(before, char) for before, char in zip(f" {text}", text, strict=False) if not char.isascii()]
    for before, char in non_ascii:
        # a capital after a lower-case letter does not count, as in `veË`
        usual += char in signs or (char in capitals and not before.islower())
    return usual / len(non_ascii) if non_ascii else 0.0


def _common_share(text: str, encoding: str) -> float:
    """The share of its non-ASCII letters that are common in the encoding's language, rounded to 1/20. Japanese without
    kana scores 0."""
    codec, leads = _COMMON[encoding]
    letters = [char for char in text if not char.isascii() and char.isalpha()]
    kana = sum("\u3040" <= char <= "\u30ff" for char in letters)
    if not letters or (codec == "euc_jp" and 5 * kana < len(letters)):
        return 0.0
    usual = kana if codec == "euc_jp" else 0
    for char in letters:
        with suppress(UnicodeEncodeError):
            usual += char.encode(codec)[0] in leads
    return round(20 * usual / len(letters)) / 20


def _excerpts(readings: list[list[str]]) -> list[list[str]]:
    """For each decoding, the lines in which they differ most, around the first character that another one decodes
    differently; without such a character, around the first non-ASCII one."""
    lines = list(zip(*readings, strict=False))
    telling = sorted(range(len(lines)), key=lambda at: -len(set(lines[at])))[:_LINES]
    places = [(at, _first_difference(lines[at])) for at in telling]
    return [[_words_around(text[at], place) for at, place in places] for text in readings]


def _words_around(line: str, place: int) -> str:
    """The words of a line within `_CONTEXT` characters of a place."""
    start, end = max(0, place - _CONTEXT), place + _CONTEXT
    before, behind = line[start:place], line[place:end]
    if start and line[start - 1 : start + 1].isalnum():  # within a word
        before = before.partition(" ")[2] or before
    if end < len(line) and line[end - 1 : end + 1].isalnum():
        behind = behind.rpartition(" ")[0] or behind
    return (before + behind).strip()


def _first_difference(line: Sequence[str]) -> int:
    differ = (at for at, chars in enumerate(zip(*line, strict=False)) if len(set(chars)) > 1)
    non_ascii = (at for at, char in enumerate(line[0]) if not char.isascii())
    return next(differ, next(non_ascii, 0))
