"""What a reply grants or names that nobody spoke of: a refund, a voucher, a price, a street.

promised("the lamp flickers", "We will refund the full price.", "en") == "refund"
"""

from __future__ import annotations

import re

from curate.gates.frames import sentences
from curate.gates.phrases import says
from curate.gates.phrases.worded import worded


def priced(given: str, text: str) -> str:
    """An amount of money of a folded reply to a message that, with the style, says no number; or ''."""
    amount = None if any(map(str.isdigit, given)) else _amount().search(text)
    return amount[0] if amount else ""


def addressed(given: str, text: str) -> str:
    """A street and a number of a folded reply that the message and the style do not name; or ''."""
    for match in _addresses().finditer(text) if any(map(str.isdigit, text)) else ():
        if match[0] not in given and not any(number in given for number in _NUMBER.findall(match[0])):
            return match[0]
    return ""


_addresses = worded(
    r"(?<!\w)\d{1,4},? {streets_first} [^\W\d]{2,}"
    r"|(?<!\w)\d{1,4}[a-z]? (?:[^\W\d]+ ){1,2}{streets_last}(?!\w)"
    r"|(?<!\w){streets_first} [^\d\n,.;:!?]{2,30},? (?:n[.\u00ba\u00b0]* ?)?\d{1,4}(?![\d.,:%]|\s?[\u20ac$])"
    r"|[^\W\d]{3,}{streets_joined} \d{1,4}(?![\d.:%])"
)
_IN_CODE = re.compile(r"`[^`\n]+`")
_NUMBER = re.compile(r"\d+")


_SIGN = r"[$\u20ac\u00a3\u00a5\u20b9\u5186\u5143\uc6d0]"
_amount = worded(rf"{_SIGN}\s?\d[\d.,]*|\d[\d.,]*\s?(?:{_SIGN}|{{currencies}}(?!\w))")


def promised(given: str, text: str, language: str) -> str:
    """The word by which a folded reply grants money or a gift, in a sentence that asks nothing, denies nothing and
    makes no condition, where `given`, the message and the style, says no such word and asks for no money; or ''."""
    text = _IN_CODE.sub(" ", text)  # of an API a refund is a thing that events are about
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
