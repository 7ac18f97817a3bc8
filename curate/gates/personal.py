"""Personal data and secrets in a text: e-mail addresses, telephone numbers, cards, IBANs, IP addresses, keys.

Used for the message before the first request, and by the gate `pii`.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from typing import Any

from curate.gates.facts import CONTACT, MAY_BE_CONTACT, is_date
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.phrases import all_languages_pattern, words_of
from curate.gates.phrases.word_patterns import word_pattern
from curate.words import SPACED
from schemas.records import Pair

_BEGINS, _ENDS = rf"(?<!{SPACED})", rf"(?!{SPACED})"
_CARD = re.compile(rf"(?<![.+]){_BEGINS}\d(?:[ -]?\d){{12,18}}{_ENDS}(?!\.\d)")
_IBAN = re.compile(
    rf"{_BEGINS}(?:[A-Z]{{2}}\d{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,4}})?"
    rf"|[a-z]{{2}}\d{{2}}[a-z0-9]{{11,30}}){_ENDS}"
)
_ADDRESS = re.compile(rf"(?<!\.){_BEGINS}(?:\d{{1,3}}\.){{3}}\d{{1,3}}(?!\.){_ENDS}")
# In the formats of providers; after a word for a secret, anything that looks random.
SECRET = re.compile(
    rf"{_BEGINS}"
    r"(?:sk-[\w-]{20,}|sk_live_\w{16,}|gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|AKIA[A-Z0-9]{16}|AIza[\w-]{35}|hf_\w{30,}|npm_\w{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
    r"|(?i:\bbearer|\bbasic)\s+(?=[^\s\"']*\d)[\w.~+/-]{12,}=*|(?<=://)[^\s/:@]+:[^\s/@]+(?=@)"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?s:.{0,20000}?)-----END [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----|(?:\s+[A-Za-z0-9+/=]{16,})*)"
)
# American numbers have neither + nor 0 in front.
_AMERICAN = re.compile(rf"(?<![.,/-]){_BEGINS}(?:\(\d{{3}}\) ?|\d{{3}}[-.])\d{{3}}[-.]\d{{4}}(?!-){_ENDS}")
# Brazilian ones: an area code and, for a mobile, a 9; two years are none.
_BRAZILIAN = re.compile(
    rf"(?<![.,/-]){_BEGINS}(?:\(\d\d\) ?(?!(?:19|20)\d\d-(?:19|20))9?\d{{4}}|\d\d 9\d{{4}})-\d{{4}}(?!-){_ENDS}"
)
# Chinese mobiles; an amount in yuan is none.
_CHINESE = re.compile(
    r"(?<!\d)(?:(?<=[\u3400-\u9fff])|(?<=[\u3400-\u9fff][ :,\uff0c\uff1a]))1[3-9]\d{9}(?!\d|\s?[元圆圓])"
)
_NUMBER = rf"\d[\d ()/.\u2013-]{{5,}}\d{_ENDS}"
_DIGITS, _HAS_NUMBER = rf"[+(]?{_NUMBER}", re.compile(_NUMBER)
_HYPHENS = dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2212), "-")
# The zeros of the scripts that write numbers with digits of their own: Arabic, Persian, Devanagari and further east.
_ZEROS = (0x660, 0x6F0, *range(0x966, 0xE00, 0x80), 0xE50, 0xED0, 0xF20, 0x1040, 0x17E0)
_ASCII_DIGITS = {zero + digit: 0x30 + digit for zero in _ZEROS for digit in range(10)}
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_TO_NARROW: dict[int, str | int] = {0x3000: " ", **_HYPHENS, **_ASCII_DIGITS, **_WIDE}
_REMOVED_MARK = "\0"  # replaces what has been returned, and is never part of anything else
_MIN_ENTROPY = 3.5  # minimum bits per character of a secret that is followed by words
_REPOSITORY = re.compile(r":[\w~][\w.~/-]*(?:/|\.git(?!\w))")  # after git@github.com
_CONTEXT = 24  # characters before a number that may say what it is
WORDS = {
    "email": "e-mail address",
    "phone": "telephone number",
    "card": "card number",
    "iban": "IBAN",
    "ip": "IP address",
    "secret": "key or password",
}
_COUNTED = {**WORDS, "toxic": "insult"}
ONE = {kind: f"{'an' if words[0] in 'eIi' else 'a'} {words}" for kind, words in _COUNTED.items()}
REMOVED = {kind: f"({words} removed)" for kind, words in WORDS.items()}
_REMOVED = re.compile("|".join(map(re.escape, REMOVED.values())))
# A word for a secret, what connects it to the secret, the secret, and the end of its sentence, if any.
_named_secret = word_pattern(
    r"(?:(?<![^\W_])|(?<=[\u3040-\u9fff])){secrets}(?:(?P<sign>[\"']?\s*[:=：]\s*)|\s?{is}\s*:?\s*)"
    r"(?P<quote>[\"'«“]?)(?P<secret>[^\s\0\"'»”,;。、]+)(?P<end>[\"'»”]?[.,;。、)]?(?:\s*\Z|\s*\n|(?<=[.,;。、])\s))?",
    re.IGNORECASE,
)


@cache
def _number_after_phone_word() -> re.Pattern[str]:
    return re.compile(
        rf"{all_languages_pattern('phones').pattern}[^\d\n+(]{{0,12}}(?P<number>{_DIGITS})", re.IGNORECASE
    )


def _numbers_after_phone_words(text: str) -> Iterator[str]:
    """Yield the numbers after a word for a telephone. The words are searched for only in front of numbers: searching a
    whole text for those of all languages takes half of the time of all kinds of personal data."""
    searched = 0
    for number in _HAS_NUMBER.finditer(text):
        start = max(searched, number.start() - _REACH)
        for match in _number_after_phone_word().finditer(text, start, number.end()):
            yield match["number"]
            searched = match.end()


_REACH = 80  # characters of a word for a telephone, and between it and the number


def to_half_width(text: str) -> str:
    """Return a text of the same length, with hyphens, digits and full-width characters as those of ASCII."""
    return text if text.isascii() else text.translate(_TO_NARROW)


def personal(text: str) -> Iterator[tuple[str, str]]:
    """Yield each piece of personal data in a text, as it occurs in `narrowed(text)`, with its kind (a key of WORDS).

    A card number has a valid Luhn check digit, an IBAN a valid one of ISO 13616. A telephone number begins with + or 0,
    has an American or Brazilian format, is a Chinese mobile in Chinese text, or follows a word such as `call`. Digits
    without separators after a word such as `order` are not one. After a word for a secret (`password:`), the next word
    is a secret if it ends its sentence or looks random.
    Not covered: names, postal addresses, dates of birth, identity numbers; numbers in other formats; a password in a
    sentence of its own.
    """
    text = to_half_width(text)
    for kind, number in accounts(text):
        yield kind, number
        text = text.replace(number, _REMOVED_MARK)
    for match in _ADDRESS.finditer(text):
        if _is_public(match[0]) and not _follows_word("versions", text, match.start()):
            yield "ip", match[0]
            text = text.replace(match[0], _REMOVED_MARK)
    for match in SECRET.finditer(text):
        yield "secret", match[0]
        text = text.replace(match[0], _REMOVED_MARK)
    for match in _named_secret().finditer(text):
        if _is_secret(match):
            yield "secret", (secret := _secret_in(match))
            text = text.replace(secret, _REMOVED_MARK)
    taken = list[str]()
    for match in CONTACT.finditer(text) if MAY_BE_CONTACT.search(text) else ():
        if match.lastgroup == "email" and _REPOSITORY.match(text, match.end()):
            continue
        if match.lastgroup == "email" or (match.lastgroup == "phone" and _is_phone(match[0], text, match.start())):
            taken.append(match[0])
            yield match.lastgroup, match[0]
    for number in (
        *(m[0] for pattern in (_AMERICAN, _BRAZILIAN) for m in pattern.finditer(text)),
        *(m[0] for m in _CHINESE.finditer(text) if _is_chinese_mobile(m[0], text, m.start())),
        *_numbers_after_phone_words(text),
    ):
        known = any(number in other or other in number for other in taken)
        if not known and not is_date(number) and _has_enough_digits(number):
            taken.append(number)
            yield "phone", number


def pieces(text: str) -> Iterator[tuple[str, str]]:
    """Yield what `personal` does for a text, and for each value in it if it is a JSON object or list.

    In JSON, escapes next to a value (a line end is `\\n`) would hide or extend what it contains.
    """
    yield from personal(text)
    if (record := parse_record(text)) is not None:
        for line in _labelled_values(record, ""):
            yield from personal(line)


def parse_record(text: str) -> Any:
    """Return the JSON object or list that a text consists of, or None."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _labelled_values(value: Any, name: str) -> Iterator[str]:
    """Yield each value after its key, which may say what the value is."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from _labelled_values(held, key)
    elif isinstance(value, list):
        for held in value:
            yield from _labelled_values(held, name)
    elif value is not None and not isinstance(value, bool):
        yield f"{name}: {value}" if name else str(value)


def accounts(text: str) -> Iterator[tuple[str, str]]:
    """Yield the accounts and cards among the pieces of `personal`, where they come first."""
    text = to_half_width(text)
    for pattern, kind, holds in ((_IBAN, "iban", _is_iban), (_CARD, "card", _is_card)):
        for match in pattern.finditer(text):
            if holds(match[0]):
                yield kind, match[0]
                text = text.replace(match[0], _REMOVED_MARK)


def _secret_in(match: re.Match[str]) -> str:
    """Return what follows the word for a secret. Chinese, Japanese and Korean have no space behind it: *パスワードは8文
    字以上* names a length, *パスワードはk3yX77です* a password."""
    secret: str = match["secret"].rstrip(".")
    return secret if match["sign"] else _UNSPACED.split(secret)[0]


_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")


def _is_secret(match: re.Match[str]) -> bool:
    secret = _secret_in(match)
    written = _REMOVED.match(match.string, match.start("secret"))
    if written or not secret.strip("*•_.") or fold(secret) in words_of("no_secret"):
        return False
    mixed = any(c.isdigit() for c in secret) or any(not c.isalnum() for c in secret.strip("?!:)"))
    if match["sign"] is None:
        return bool(match["quote"] or (mixed and len(secret) >= 6 and re.search(r"\d", secret)))
    alone = match["end"] is not None or bool(match["quote"]) or (mixed and len(secret) >= 8)
    return alone or (len(secret) >= 12 and entropy(secret) >= _MIN_ENTROPY)


def _is_phone(number: str, text: str, at: int) -> bool:
    """Whether a number that begins with + or 0 is a telephone number, not a date, a range of times or an order
    number."""
    digits = re.sub(r"\D", "", number)
    if is_date(number) or not _has_enough_digits(number) or _TIMES.fullmatch(number):
        return False
    if number.startswith("+"):
        return 8 <= len(digits) <= 15
    if _follows_word("numbered", text, at):
        return False
    if number.isdigit():
        return (9 <= len(digits) <= 12 and digits[1] != "0") or (12 <= len(digits) <= 15 and digits[:2] == "00")
    return 7 <= len(digits) <= 15


def _is_chinese_mobile(number: str, text: str, at: int) -> bool:
    """Whether eleven digits are not an order number, nor a round one."""
    return len(set(number)) > _MAX_OF_ROUND and not _follows_word("numbered", text, at)


_MAX_OF_ROUND = 3  # distinct digits
_TIMES = re.compile(r"[\d.]{4,5} ?[\u2013-] ?[\d.]{4,5}")


def _has_enough_digits(number: str) -> bool:
    digits = re.sub(r"\D", "", number)
    return len(digits) >= 7 and len(set(digits)) >= 3


def _follows_word(words: str, text: str, at: int) -> bool:
    """Whether a word of a list comes right before a position in the text."""
    return all_languages_pattern(words).search(fold(text[max(0, at - _CONTEXT) : at])) is not None


def pii(pair: Pair, kinds: Collection[str] = WORDS.keys()) -> Judgement:
    """Neither side of the row contains personal data of these kinds."""
    for side, text in (("output", pair.output), ("input", pair.input)):
        for kind, piece in pieces(text):
            if kind not in kinds:
                continue
            shown = quote(piece[:6] + "…") if kind in ("secret", "card", "iban") else quote(piece)
            return rejected(f"pii_{kind}", f"the {side} text holds {ONE[kind]}, {shown}")
    return passed("no personal data with a known format")


def counted(held: Iterable[tuple[str, str]]) -> str:
    """Summarise pieces of personal data by kind, for a message: `3 e-mail addresses, 1 IBAN`; '' for none."""
    kinds = Counter(kind for kind, _ in held)
    numbers = ((kinds[kind], words) for kind, words in _COUNTED.items() if kinds[kind])
    return ", ".join(f"{n:,} {words if n == 1 else _plural(words)}" for n, words in numbers)


def _plural(words: str) -> str:
    return " or ".join(word + ("es" if word.endswith("s") else "s") for word in words.split(" or "))


def _is_card(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()][::-1]
    doubled = sum(sum(divmod(2 * d, 10)) for d in digits[1::2])
    return len(set(digits)) > 1 and (sum(digits[::2]) + doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    moved = plain[4:] + plain[:4]
    return 15 <= len(plain) <= 34 and int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def _is_public(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def entropy(text: str) -> float:
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
