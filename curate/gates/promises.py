"""Things that a text grants, names or quotes without a basis in its message: a refund, a price, a street, a quotation,
a reason.

invented_promise("the lamp flickers", "We will refund the full price.", "en") == "refund"
made_up_quote("mayor opened the pool", 'The mayor opened the pool. "A proud day for us all," he said.', "en")
"""

from __future__ import annotations

import re

from curate.gates.coverage import ROOT_LETTERS, has_known_stop_words, roots, share
from curate.gates.form import is_verse
from curate.gates.frames import sentences
from curate.gates.phrases import find_all, says
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import count_words, words


def invented_price(given: str, text: str) -> str:
    """Return an amount of money in a folded reply, if the message and the style contain no digits; or ''."""
    amount = None if any(map(str.isdigit, given)) else _amount().search(text)
    return amount[0] if amount else ""


def invented_street(given: str, text: str) -> str:
    """Return a street with a number in a folded reply that the message and the style do not name; or ''."""
    for match in _addresses().finditer(text) if any(map(str.isdigit, text)) else ():
        if match[0] not in given and not any(number in given for number in _NUMBER.findall(match[0])):
            return match[0]
    return ""


_addresses = word_pattern(
    r"(?<!\w)\d{1,4},? {streets_first} [^\W\d]{2,}"
    r"|(?<!\w)\d{1,4}[a-z]? (?:[^\W\d]+ ){1,2}{streets_last}(?!\w)"
    r"|(?<!\w){streets_first} [^\d\n,.;:!?]{2,30},? (?:n[.\u00ba\u00b0]* ?)?\d{1,4}(?![\d.,:%]|\s?[\u20ac$])"
    r"|[^\W\d]{3,}{streets_joined} \d{1,4}(?![\d.:%])"
)
_IN_CODE = re.compile(r"`[^`\n]+`")
_NUMBER = re.compile(r"\d+")


_SIGN = r"[$\u20ac\u00a3\u00a5\u20b9\u5186\u5143\uc6d0]"
_amount = word_pattern(rf"{_SIGN}\s?\d[\d.,]*|\d[\d.,]*\s?(?:{_SIGN}|{{currencies}}(?!\w))")


def invented_promise(given: str, text: str, language: str) -> str:
    """Return the word by which a folded reply grants money or a gift, or ''.

    The sentence must not be a question, a denial or conditional. `given`, the message and the style, must not contain
    such a word or ask for money.
    """
    text = _IN_CODE.sub(" ", text)  # in documentation of an API, a refund is a thing that events report
    word = says("any", "compensates", text)
    if not word or says("any", "compensates", given) or says("any", "of_money", given):
        return ""
    for sentence in sentences(text):
        word = says("any", "compensates", sentence)
        if word and not sentence.rstrip().endswith(("?", "\uff1f", "\u061f")):
            doubted = any(says(language, name, sentence) for name in ("denial", "condition", "supposes"))
            if not (doubted or says("any", "may_grant", sentence)):
                return word[0]
    return ""


_QUOTE = re.compile(
    r"[\"\u201c\u201e\u00ab\u300c]([^\"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d\n]{12,300})[\"\u201d\u201c\u00bb\u300d]"
)
_MARK = re.compile(r"[\"\u201c\u201e\u00ab\u300c'\u2018](?<!\w['\u2018])")
_OWN, _LEAST, _LONGER = 0.35, 4, 4  # share of its roots in the input; its words; text words per input word


def made_up_quote(given: str, text: str, language: str) -> str:
    """Return the one quoted sentence of a text that its input does not contain, or ''.

    Only where the input quotes nothing, the text is not far longer than the input, and the quotation shares few words
    with the input. Verse and dialogue may quote anything.
    """
    quotes = _QUOTE.findall(text)
    if len(quotes) != 1 or _MARK.search(given) or not has_known_stop_words(language) or is_verse(text):
        return ""
    if count_words(text) > _LONGER * count_words(given) + _LEAST:
        return ""
    own = roots(quotes[0], language)
    longer = count_words(quotes[0]) >= _LEAST and 3 * len(quotes[0]) < 2 * len(text)
    return quotes[0] if longer and own and share(own, roots(given, language)) <= _OWN else ""


def unstated_reason(given: str, text: str, style: str, language: str) -> str:
    """Return a reason in a folded text that has no word of its input and style, if the input gives none; or ''.

    The text must keep all content words of its input: otherwise the reason may paraphrase what is missing (`ill`:
    `because I am unwell`).
    """
    if not says(language, "causes", text) or says(language, "causes", given) or not has_known_stop_words(language):
        return ""
    if count_words(text) > _LONGER * count_words(given):
        return ""
    known, kept = (
        roots(side, language) | {word[:ROOT_LETTERS] for word in words(side)} for side in (f"{given}\n{style}", text)
    )
    if not roots(given, language) <= kept:
        return ""
    for cause in find_all(language, "causes", text):
        reason = _CLAUSE_END.split(text[cause.end() : cause.end() + _REASON], maxsplit=1)[0]
        own = roots(reason, language)
        if own and own.isdisjoint(known):
            return f"{cause[0]}{reason}"
    return ""


_CLAUSE_END, _REASON = re.compile(r"[.,;:!?\n\u060c]"), 200  # characters in which a reason ends
