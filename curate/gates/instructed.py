"""The gate on explicit instructions for a text: its form, its register, and its addressee. It flags."""

from __future__ import annotations

from curate.gates.addressee import informal_slip, wrong_address_form, wrong_addressee
from curate.gates.asked_form import (
    longer_than_asked,
    missing_form,
    prose_before_code,
    several_instead_of_one,
    unwanted_emoji,
    wrong_line_count,
)
from curate.gates.asked_format import other_code, uneven_table, wrong_format
from curate.gates.asked_marks import excluded_mark, forbidden_word, ignored_case, missing_question, wrong_exact_count
from curate.gates.content import is_regex
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from schemas.records import Pair


def instructed(
    pair: Pair, style: str = "", language: str = "en", input_language: str = "en", kind: str = "rewrite"
) -> Judgement:
    """The text is what its instruction names.

    A table is a table, a limerick has lines, two sentences are not ten, one title is not three, and code alone has no
    sentence before it. A formal text has no familiar `you` and no slang; if the style names `Sie`, `tutoyer` or
    `usted`, the text uses that form. It greets the person it is for and is signed by the person who writes.

    An instruction is the style, and the first words of the input. Forms are named in `forms_*` of the phrase tables,
    registers in `formal_*` and `familiar` of each language's table.
    Not covered: a form, an address or a tone that is described rather than named.
    """
    if other := wrong_address_form(style, pair.output, language):
        return rejected("address", f"the style asks for another form of address than {quote(other)}")
    for asked in (style, pair.input) if kind != "translate" else (style,):
        binding = kind == "free" or asked is style
        if form := missing_form(asked, pair.output, input_language, at_least=binding):
            return rejected("form", f"the instruction asks for {quote(form)}, and the text is something else")
        if binding and (lines := wrong_line_count(asked, pair.output, input_language)):
            return rejected(
                "form", f"the instruction asks for {quote(lines)}, and the text has another number of lines"
            )
        if binding and (other := _disregarded(asked, pair, language)):
            return rejected("form", other)
        if binding and (emoji := unwanted_emoji(asked, pair.output)):
            return rejected("form", f"the instruction excludes emoji, and the text has {quote(emoji)}")
        if binding and (one := several_instead_of_one(asked, pair.output)):
            return rejected("form", f"the instruction asks for {quote(one)}, and the text gives several")
        if binding and (prose := prose_before_code(asked, pair.output, input_language)):
            return rejected("form", f"the instruction asks for code only, and the text has {quote(prose)}")
    if kind == "translate":
        return passed("it follows the explicit instructions")
    if asked := missing_question(style, pair.output, language):
        return rejected("form", f"the style says {quote(asked)}, and the text does not")
    if mark := excluded_mark(style, pair.input, pair.output):
        return rejected("form", f"the style excludes what the text has: {quote(mark)}")
    if row := uneven_table(pair.output):
        return rejected(
            "form", f"the rows of a table have different numbers of cells, or no line below the head: {quote(row)}"
        )
    asked = f"{style}\n{pair.input}"
    if kind == "free" and (name := other_code(asked, pair.output)):
        return rejected("form", f"the instruction asks for another programming language than {quote(name)}")
    if familiar := informal_slip(f"{fold(pair.input)}\n{fold(style)}", fold(pair.output), language):
        return rejected("register", f"a formal text uses {quote(familiar)}")
    if other := wrong_addressee(pair.input, pair.output, language, kind, style) if kind != "free" else "":
        return rejected("addressee", f"the instruction names somebody other than {quote(other)}")
    return passed("it follows the explicit instructions")


def _disregarded(asked: str, pair: Pair, language: str) -> str:
    """Describe a case, an exact number or a forbidden word of an instruction that the output disregards; or ''."""
    if case := ignored_case(asked, "" if asked is pair.input else pair.input, pair.output, language):
        return f"the instruction asks for {quote(case)}, and the text has the usual capitals"
    if (word := forbidden_word(asked, pair.output, language)) and not is_regex(pair.output):  # of lines that it finds
        return f"the instruction excludes the word {quote(word)}"
    if asked is not pair.input and (name := wrong_format(asked, pair.output)):
        return f"the instruction asks for {quote(name)}, and the text is something else or broken"
    if asked is not pair.input and (short := longer_than_asked(asked, pair.output)):
        return f"the instruction asks for {quote(short)}, and the text is longer"
    count = wrong_exact_count(asked, pair.output, language)
    return f"the instruction asks for {quote(count)}, and the text has another number" if count else ""
