"""The gate on the language of a whole text."""

from __future__ import annotations

from curate.gates.content import quotations
from curate.gates.foreign_letters import names_language
from curate.gates.identification import (
    MIN_LETTERS,
    NON_LATIN,
    SURE,
    UNLIKELY,
    foreign_script,
    is_evident,
    language_of_letters,
    letters_of,
    own_and_best_other,
)
from curate.gates.judgement import Judgement, passed, quote, rejected, sides
from schemas.records import Pair


def language(pair: Pair, code: str, input_code: str | None = None, kind: str = "rewrite") -> Judgement:
    """A generated text is in the language `code` (ISO 639-1), an input in `input_code` if that is given.

    Score: the lowest probability of the expected language; None if the texts are too short to identify, or if a quarter
    of the words are stop words of that language and twice as many as of any other.

    A text is rejected if most of its letters are of another script. Otherwise the identifier decides on 60 or more
    letters, among about 50 widely written languages, with close relatives counted as one and probabilities normalised
    by length. It rejects only if another language has 95 % and the expected one 0.1 %. It guesses on shorter texts,
    which pass, and on lists of names. A quotation of the input is ignored, and a user's own seed is not judged.
    Not covered: short texts in a language of the same script, one foreign sentence in a text, relatives, mixtures.
    """
    score: float | None = None
    given = dict.fromkeys(quotations(pair.input))
    for side, text in sides(pair):
        wanted = input_code or code if side == "input" else code
        for quoted in given:
            text = text.replace(quoted, " ")
        letters = letters_of(text)
        may_differ = side == "output" and kind == "free"  # `good morning in Thai`
        foreign = foreign_script(letters, wanted)
        scripts = NON_LATIN.get(foreign, "en").split()
        if foreign and not (may_differ and any(names_language(c, pair.input, code) for c in scripts)):
            return rejected("language", f"the {side} text is written in {foreign.lower()} script: {quote(text)}", 0.0)
        if other := language_of_letters(text, wanted, pair.output if side == "input" else pair.input):
            return rejected("language", f"the {side} text is written in the letters of {other}: {quote(text)}", 0.0)
        if len(letters) < MIN_LETTERS or is_evident(text, wanted):
            continue
        expected, sure, other = own_and_best_other(text, wanted)
        score = expected if score is None else min(score, expected)
        if sure >= SURE and expected <= UNLIKELY and not names_language(other, pair.input, input_code or code):
            detail = f"the {side} text looks like {other} ({sure:.0%}), not {wanted}: {quote(text)}"
            return rejected("language", detail, expected)
    return passed("no sign of another language" if score is None else f"{code} has {score:.0%}", score)
