"""One code for a language that has several, and one script for both sides of a pair.

Serbian is written in Cyrillic and in Latin letters, and both are equally correct:

in_latin("Поруџбина 44190, Милица") == "Porudžbina 44190, Milica"
"""

from __future__ import annotations

import re
from functools import partial

from curate.gates.judgement import Gate, Judgement
from schemas.records import Pair

# Language codes that the tables and the identifier know under another code: both forms of Norwegian are `no`.
_KNOWN_AS = {"nb": "no", "nn": "no"}
_TWO_SCRIPTS = ("sr", "bs")
_CYRILLIC, _LATIN = re.compile("[а-яђјљњћџ]", re.IGNORECASE), re.compile("[a-zčćđšž]", re.IGNORECASE)
_LETTERS = dict(zip("абвгдђежзијклмнопрстћуфхцчш", "abvgdđežzijklmnoprstćufhcčš", strict=True))
_LETTERS |= {"љ": "lj", "њ": "nj", "џ": "dž"}
_TO_LATIN = str.maketrans(_LETTERS | {one.upper(): other.capitalize() for one, other in _LETTERS.items()})


def table_code(code: str) -> str:
    """Return the code under which the tables and the identifier know the language `code`."""
    return _KNOWN_AS.get(code, code)


def in_latin(text: str) -> str:
    """Return a Serbian text in Latin letters."""
    return text.translate(_TO_LATIN)


def in_one_script(gate: Gate, language: str, input_language: str) -> Gate:
    """Return `gate` as one that sees both sides of a pair in the same script, where one of the languages is Serbian."""
    if language not in _TWO_SCRIPTS and input_language not in _TWO_SCRIPTS:
        return gate
    return partial(_judge_in_one_script, gate, language, input_language)


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
