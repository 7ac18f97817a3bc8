"""The gate on what a text discloses: contacts and numbers that its input does not have, keys, and names to leave out.

It knows no people, so it flags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from curate.gates.content import in_code
from curate.gates.facts import CONTACT, MAY_BE_CONTACT, is_date
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.names import name_before_title
from curate.gates.personal import SECRET, entropy, personal
from curate.gates.phrases import says, words_of
from curate.gates.phrases.word_patterns import word_pattern
from schemas.records import Pair

_MANY_DIGITS = re.compile(r"\d(?:\D{0,6}\d){5}")
# The pattern begins with the digit and looks behind from there, so that most characters are skipped quickly.
_MAY_BE_KEY = re.compile(r"\d(?:(?<=[A-Za-z]\d)[\w!@#$%^&*]|(?<=[\w!@#$%^&*]\d)[A-Za-z])")
_WITH_PASSWORD = re.compile(r"://[^\s/@]*@")
_TOKEN = re.compile(r"(?<![\w+/.=-])[A-Za-z0-9+/_-]{32,}={0,2}(?![\w/.-])")
# A capital inside a word, and the ends of digits: many in a random token, few in `test_ExpiredToken_on_2nd_attempt`.
_CHANGE = re.compile(r"(?<=[a-z])[A-Z]|(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]")
_PASSWORD = re.compile(
    r"(?<!\S)[\"'`(]?((?=\S*\d)(?=\S*[a-z])(?=\S*[A-Z])[A-Za-z0-9]+[!@#$%^&*?][A-Za-z0-9!@#$%^&*?]+)"
)
_NUMBER = re.compile(r"\d(?:[ ()./-]{0,2}\d){6,}")
_NAMED = re.compile(r"[^\W\d_a-zß-ÿа-я][^\W\d_A-Z]{2,} [^\W\d_a-zß-ÿа-я][^\W\d_A-Z]{2,}")
_CARD_GROUPS = re.compile(r"(?<![\d.,-])(?<!\d )\d{4}(?:[ -]\d{4}){3}(?![ -]?\d)")
_DOI = re.compile(r"(?<![\w.])10\.\d{4,9}/[^\s<>\"'()\[\]]*[^\s<>\"'()\[\].,;:]")  # identifier of an article
_ENDING = re.compile(r"[-:'\u2019][^\W\d_]{1,5}\Z")  # of a case, as in Bengali, Georgian or Hungarian
# Words of another script written together with an address: Hebrew and Arabic prepositions, Indian postpositions.
_ATTACHED = re.compile(r"\A[^\W\da-z]{1,4}-?(?=[a-z\d])|(?<=[a-z])[^\W\d_a-zß-ɏ]\W?[^\Wa-z]*\Z")
# In front of the names of namespaces and schemas, which nobody follows.
_names_schema = word_pattern(r"(?<![a-z]){names_of_schemas}(?::\w+)?[\"']?\s?[=:]\s?[\"'](?:[^\s\"'<>]+\s+)*\Z")
_NEAR = 200  # characters in front of an address
_MIN_ENTROPY, _MIN_PASSWORD = 4.0, 8  # bits per character of a long token; characters of a password


def contacts(pair: Pair, input_language: str = "en") -> Judgement:
    """The e-mail and web addresses, telephone numbers, cards and accounts of the output are in the input.

    No key is in the output at all. Keys are recognised by the formats of their providers; long random tokens and
    passwords count if they are not in the input. If the input asks to leave out names (`anonymise`), none of its names,
    addresses and long numbers is left.
    Not covered: addresses in code; names in scripts without capitals, except those before a title.
    """
    text = pair.output
    may_be = _MAY_BE_KEY.search(text) or "PRIVATE KEY" in text or ("://" in text and _WITH_PASSWORD.search(text))
    if may_be and (key := next(_keys(text, pair.input), "")):
        return rejected("secret", f"the output holds a key or a password: {quote(key[:6] + '…')}")
    if says(input_language, "anonymise", fold(pair.input)) and (
        kept := _not_anonymised(pair.input, text, input_language)
    ):
        return rejected("kept_name", f"the input asks to leave out names, and the output says {quote(kept)}")
    if not any(map(text.__contains__, ("@", "://", "www."))) and not _MANY_DIGITS.search(text):
        return passed("no invented contact")
    if "```" in text or ("\n" in text and in_code(text)):
        return passed("addresses in code are not compared")
    digits, given = re.sub(r"\D", "", pair.input), fold(pair.input)
    articles = _DOI.findall(text) if "10." in text else ()
    if article := next((doi for doi in articles if fold(doi) not in given), ""):
        return rejected("invented_contact", f"the input does not say {quote(article)}")
    for match in CONTACT.finditer(text) if MAY_BE_CONTACT.search(text) else ():
        contact, kind = match[0].rstrip(".,;:!?"), match.lastgroup
        address = fold(contact).partition("://")[2] or fold(contact)  # shop.example is https://shop.example
        spellings = (address, unescape(address), _ENDING.sub("", address), _ATTACHED.sub("", address))
        known = re.sub(r"\D", "", contact) in digits if kind == "phone" else any(map(given.__contains__, spellings))
        known = known or _names_schema().search(fold(text[max(0, match.start() - _NEAR) : match.start()])) is not None
        if not known and not (kind == "phone" and is_date(contact)):
            return rejected("invented_contact", f"the input does not say {quote(contact)}")
    held = (piece for kind, piece in personal(text) if kind in ("phone", "card", "iban"))
    numbers = (*held, *_CARD_GROUPS.findall(text))
    if account := next((piece for piece in numbers if re.sub(r"\D", "", piece) not in digits), ""):
        return rejected("invented_contact", f"the input does not say {quote(account[:6] + '…')}")
    return passed("no invented contact")


def _keys(text: str, given: str) -> Iterator[str]:
    """Yield the keys in a text; what only looks random must not be in `given`."""
    for pattern in (SECRET, _provider_keys()):
        yield from (match[0] for match in pattern.finditer(text) if not _is_sample(match[0]) and _is_mixed(match[0]))
    for match in _TOKEN.finditer(text):
        mixed = all(any(map(test, match[0])) for test in (str.isupper, str.islower, str.isdigit))
        random = mixed and entropy(match[0]) >= _MIN_ENTROPY and 4 * len(_CHANGE.findall(match[0])) >= len(match[0])
        if random and match[0] not in given and not _is_sample(match[0]):
            yield match[0]
    for match in _PASSWORD.finditer(text):
        if len(match[1]) >= _MIN_PASSWORD and match[1] not in given and not _is_sample(match[1]):
            yield match[1]
    yield from (word for word in _secret_after_word().findall(text) if word not in given and not _is_sample(word))


# A word of letters and digits right after a word for a secret: `password Autumn2021!`.
_secret_after_word = word_pattern(
    r"(?<!\w)(?i:{secrets}) [\"'`\u201c\u00ab]?((?=\S*\d)(?=\S*[A-Za-z])[A-Za-z0-9!@#$%^&*?]{8,})"
)


def _is_mixed(key: str) -> bool:
    return " PRIVATE " in key or any(map(str.isdigit, key)) or any(map(str.isupper, key))


def _is_sample(key: str) -> bool:
    """Whether a key is an example: it contains a word that says so, or has only a few distinct characters."""
    folded = fold(key)
    return any(word in folded for word in words_of("sample_keys")) or len(set(folded[-16:])) < 6


# Prefixes of the keys of services, and their minimum length.
_provider_keys = word_pattern(r"(?<![\w-])(?i:{key_prefixes})[\w.-]{16,}")


def _not_anonymised(given: str, text: str, language: str) -> str:
    """Return the first name, address or long number of `given` that a text still contains, or ''."""
    digits, folded = re.sub(r"\D", "", text), fold(text)
    for match in CONTACT.finditer(given):
        if match.lastgroup != "phone" and fold(match[0]).rstrip(".") in folded:
            return match[0]
    if number := next((n[0] for n in _NUMBER.finditer(given) if re.sub(r"\D", "", n[0]) in digits), ""):
        return number
    names = (part for match in _NAMED.finditer(given) for part in match[0].split())
    if name := next((part for part in names if re.search(rf"(?<!\w){part}(?!\w)", text)), ""):
        return name
    return next((match[0] for match in name_before_title(language).finditer(given) if match[1] in text), "")
