"""One code for a language that has several, and one script for both sides of a pair.

Serbian is written in Cyrillic and in Latin letters, and both are equally correct:

in_latin("Поруџбина 44190, Милица") == "Porudžbina 44190, Milica"

Chinese is written in Simplified and in Traditional characters. The tables have the Simplified ones:

in_simplified("今天無牛奶") == "今天无牛奶"
"""

from __future__ import annotations

import re
from functools import lru_cache, partial

from curate.gates.folding import CACHE_SIZE
from curate.gates.judgement import Gate, Judgement
from curate.simplified import TO_SIMPLIFIED
from schemas.records import Pair, Reason

# Language codes that the tables and the identifier know under another code: both forms of Norwegian are `no`.
_KNOWN_AS = {"nb": "no", "nn": "no"}
_TWO_SCRIPTS = ("sr", "bs")
_CYRILLIC, _LATIN = re.compile("[а-яђјљњћџ]", re.IGNORECASE), re.compile("[a-zčćđšž]", re.IGNORECASE)
_LETTERS = dict(zip("абвгдђежзијклмнопрстћуфхцчш", "abvgdđežzijklmnoprstćufhcčš", strict=True))
_LETTERS |= {"љ": "lj", "њ": "nj", "џ": "dž"}
_TO_LATIN = str.maketrans(_LETTERS | {one.upper(): other.capitalize() for one, other in _LETTERS.items()})

_HAN = re.compile("[一-鿿]+")


def table_code(code: str) -> str:
    """Return the code under which the tables and the identifier know the language `code`."""
    return _KNOWN_AS.get(code, code)


def in_latin(text: str) -> str:
    """Return a Serbian text in Latin letters."""
    return text.translate(_TO_LATIN)


@lru_cache(maxsize=CACHE_SIZE)  # all gates ask for the same few texts
def in_simplified(text: str, language: str = "zh") -> str:
    """Return a Chinese text in Simplified characters, of the same length; one in another `language` is unchanged."""
    return text.translate(TO_SIMPLIFIED) if language == "zh" and not text.isascii() else text


def in_one_script(gate: Gate, language: str, input_language: str) -> Gate:
    """Return `gate` as one that sees every pair in the script of the tables.

    Chinese is in Simplified characters, and both sides of a pair are in the same script where one is in Serbian. The
    reason quotes Chinese as it is written in the pair.
    """
    if "zh" in (language, input_language):
        return partial(_judge_in_simplified, gate, language, input_language)
    if language not in _TWO_SCRIPTS and input_language not in _TWO_SCRIPTS:
        return gate
    return partial(_judge_in_one_script, gate, language, input_language)


def _judge_in_simplified(gate: Gate, language: str, input_language: str, pair: Pair) -> Judgement:
    sides = {"input": input_language, "system": input_language, "output": language, "reference": language}
    written = {side: getattr(pair, side) or "" for side in sides}
    changed = {side: new for side, old in written.items() if (new := in_simplified(old, sides[side])) != old}
    if not changed:
        return gate(pair)
    judgement = gate(pair.model_copy(update=changed))
    if judgement.reason.code == "echo" and ("input" in changed) != ("output" in changed):
        return gate(pair)  # a text may be asked for in the other script

    def as_written(run: re.Match[str]) -> str:
        places = ((written[side], text.find(run[0])) for side, text in changed.items())
        return next((text[at : at + len(run[0])] for text, at in places if at >= 0), run[0])

    reason = judgement.reason
    return judgement._replace(reason=Reason(reason.code, _HAN.sub(as_written, reason.detail)))


def _judge_in_one_script(gate: Gate, language: str, input_language: str, pair: Pair) -> Judgement:
    return gate(in_same_script(pair, language, input_language))


def in_same_script(pair: Pair, language: str, input_language: str) -> Pair:
    """Return a pair with both sides in Latin letters, if one is in Serbian Cyrillic and the other in Latin letters.

    Any other pair is returned unchanged.
    """
    for one, other, code in ((pair.input, pair.output, input_language), (pair.output, pair.input, language)):
        if code in _TWO_SCRIPTS and _mostly_cyrillic(one) and not _mostly_cyrillic(other) and _LATIN.search(other):
            return pair.model_copy(update={"input": in_latin(pair.input), "output": in_latin(pair.output)})
    return pair


def _mostly_cyrillic(text: str) -> bool:
    return len(_CYRILLIC.findall(text)) > len(_LATIN.findall(text))
