"""Personal data and secrets that a text holds: e-mail addresses, telephone numbers, cards, IBANs, IP addresses, keys.

For the sentence before the first request, and for the gate `pii`.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from curate.gates.facts import CONTACT, is_date
from curate.gates.judgement import Judgement, passed, quote, rejected
from schemas.records import Pair

_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.])")
_IBAN = re.compile(r"\b(?:[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?|[a-z]{2}\d{2}[a-z0-9]{11,30})\b")
_ADDRESS = re.compile(r"(?<![\w.])(?<!version )(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
# As providers begin them; behind a word for a secret, what looks random.
_SECRET = re.compile(
    r"\b(?:sk-[\w-]{20,}|sk_live_\w{16,}|gh[pousr]_\w{30,}|github_pat_\w{30,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}"
    r"|AKIA[A-Z0-9]{16}|AIza[\w-]{35}|hf_\w{30,}|npm_\w{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,})"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?s:.{0,20000}?)-----END [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----|(?:\s+[A-Za-z0-9+/=]{16,})*)"
)
_NAMED_SECRET = re.compile(r"(?i:\b(?:api[_ -]?key|secret|token|password|passwd|pwd)\b\s*[:=]\s*[\"']?)(\S{12,})")
_RANDOM = 3.5  # bits a character of a secret has at least
WORDS = {
    "email": "e-mail address",
    "phone": "telephone number",
    "card": "card number",
    "iban": "IBAN",
    "ip": "IP address",
    "secret": "key or password",
}


def personal(text: str) -> Iterator[tuple[str, str]]:
    """Each piece of personal data in `text`, with its kind (a key of WORDS).

    A card number has the check digit of Luhn, an IBAN that of ISO 13616. A telephone number begins with + or 0. Not
    covered: names, postal addresses, dates of birth, numbers of persons; numbers written another way.
    """
    for pattern, kind, holds in ((_IBAN, "iban", _is_iban), (_CARD, "card", _is_card), (_ADDRESS, "ip", _is_public)):
        for match in pattern.finditer(text):
            if holds(match[0]):
                yield kind, match[0]
                text = text.replace(match[0], " ")
    for match in _SECRET.finditer(text):
        yield "secret", match[0]
    for match in _NAMED_SECRET.finditer(text):
        if _entropy(match[1]) >= _RANDOM and not _SECRET.match(match[1]):
            yield "secret", match[1]
    for match in CONTACT.finditer(text):
        is_number = match.lastgroup == "phone" and (is_date(match[0]) or len(set(re.sub(r"\D", "", match[0]))) < 3)
        if match.lastgroup in WORDS and not is_number:
            yield str(match.lastgroup), match[0]


def pii(pair: Pair) -> Judgement:
    """Neither side of the row holds personal data or a secret."""
    for side, text in (("output", pair.output), ("input", pair.input)):
        for kind, piece in personal(text):
            shown = quote(piece[:6] + "…") if kind in ("secret", "card", "iban") else quote(piece)
            return rejected(f"pii_{kind}", f"the {side} text holds {WORDS[kind]} {shown}")
    return passed("no personal data that has a form")


def counted(texts: Iterable[str]) -> str:
    """What texts hold, for a sentence: `3 e-mail addresses, 1 IBAN`; empty if nothing."""
    found = Counter(kind for text in texts for kind, _ in personal(text))
    return ", ".join(
        f"{n:,} {word if n == 1 else word.replace('password', 'passwords') if kind == 'secret' else _plural(word)}"
        for kind, word in WORDS.items()
        if (n := found[kind])
    )


def _plural(word: str) -> str:
    return word + ("es" if word.endswith("s") else "s")


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


def _entropy(text: str) -> float:
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
