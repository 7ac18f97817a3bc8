"""What a reply grants that nobody spoke of: a refund, a voucher, a discount.

promised("the lamp flickers", "We will refund the full price.", "en") == "refund"
"""

from __future__ import annotations

import re

from curate.gates.folding import fold
from curate.gates.frames import sentences
from curate.gates.phrases import says


def priced(given: str, text: str) -> str:
    """An amount of money of a folded reply none of whose digits the message and the style say; or ''."""
    numbers = _NUMBER.findall(given)
    amounts = _AMOUNT.findall(text)
    return next((amount for amount in amounts if not any(n in numbers for n in _NUMBER.findall(amount))), "") if not numbers else ""


_NUMBER = re.compile(r"\d+")
_AMOUNT = re.compile(
    r"[$\u20ac\u00a3\u00a5\u20b9]\s?\d[\d.,]*|\d[\d.,]*\s?(?:[$\u20ac\u00a3\u00a5\u20b9\u5186\u5143\uc6d0]|(?:euros?|eur|usd|dollars?|pounds?|z\u0142|k\u010d|kr|\u0440\u0443\u0431\w*)(?!\w))"
)


def promised(given: str, text: str, language: str) -> str:
    """The word by which a folded reply grants money or a gift, in a sentence that asks nothing, denies nothing and
    makes no condition, where `given`, the message and the style, says no such word and asks for no money; or ''."""
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
