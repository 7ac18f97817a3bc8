"""The gate on what a text was told to be: its form, its register, and whom it speaks to. It flags."""

from __future__ import annotations

from curate.gates.addressee import wrong_addressee
from curate.gates.asked_form import another_form, more_than_code, other_lines, several_for_one, smiles
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.register import other_address, slip
from schemas.records import Pair


def instructed(
    pair: Pair, style: str = "", language: str = "en", input_language: str = "en", kind: str = "rewrite"
) -> Judgement:
    """The text is what its instruction names: a table is one, a limerick has lines, two sentences are not ten; a formal
    text says no familiar `you` and no slang, and where the style names `Sie`, `tutoyer`, `usted` it says `you` in that
    way; one title is not three, and only code has no sentence before it; it greets whom it is for, and is signed by who
    writes.

    An instruction is the style, and the first words of the input. Forms are named in `forms_*` of the phrase tables,
    registers in `formal_*` and `familiar` of each language's.
    Not covered: a form, an address or a tone that is described rather than named.
    """
    if other := other_address(style, pair.output, language):
        return rejected("address", f"the style names the other way to say you than {quote(other)}")
    for asked in (style, pair.input) if kind != "translate" else (style,):
        binding = kind == "free" or asked is style
        if form := another_form(asked, pair.output, input_language, at_least=binding):
            return rejected("form", f"{quote(form)} is asked for, and the text is something else")
        if binding and (lines := other_lines(asked, pair.output, input_language)):
            return rejected("form", f"{quote(lines)} are asked for, and the text has another number of lines")
        if binding and (emoji := smiles(asked, pair.output)):
            return rejected("form", f"no emoji is asked for, and the text has {quote(emoji)}")
        if binding and (one := several_for_one(asked, pair.output)):
            return rejected("form", f"{quote(one)} is asked for, and the text gives several")
        if binding and (prose := more_than_code(asked, pair.output)):
            return rejected("form", f"only code is asked for, and the text begins {quote(prose)}")
    if kind == "translate":
        return passed("nothing named is missed")
    if familiar := slip(f"{fold(pair.input)}\n{fold(style)}", fold(pair.output), language):
        return rejected("register", f"a formal text says {quote(familiar)}")
    if other := wrong_addressee(pair.input, pair.output, language, kind) if kind != "free" else "":
        return rejected("addressee", f"the instruction is about another one than {quote(other)}")
    return passed("nothing named is missed")
