"""The gate on what a text was told to be: its form, its register, and whom it speaks to. It flags."""

from __future__ import annotations

from curate.gates.addressee import wrong_addressee
from curate.gates.asked_form import another_form
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.register import slip
from schemas.records import Pair


def instructed(
    pair: Pair, style: str = "", language: str = "en", input_language: str = "en", kind: str = "rewrite"
) -> Judgement:
    """The text is what its instruction names: a table is one, a limerick has lines, two sentences are not ten; a formal
    text says no familiar `you` and no slang; it greets whom it is for, and is signed by who writes.

    An instruction is the style, and the first words of the input. Forms are named in `forms_*` of the phrase tables,
    registers in `formal_*` and `familiar` of each language's.
    Not covered: a form, an address or a tone that is described rather than named.
    """
    for asked in (pair.input, style):
        if form := another_form(asked, pair.output, input_language):
            return rejected("form", f"{quote(form)} is asked for, and the text is something else")
    if familiar := slip(f"{fold(pair.input)}\n{fold(style)}", fold(pair.output), language):
        return rejected("register", f"a formal text says {quote(familiar)}")
    if other := wrong_addressee(pair.input, pair.output, language, kind) if kind != "free" else "":
        return rejected("addressee", f"the instruction is about another one than {quote(other)}")
    return passed("nothing named is missed")
