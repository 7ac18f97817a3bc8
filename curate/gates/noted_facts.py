"""The gate on facts that a message supplies for its answer: a note after it in brackets, or under a label.

Replies and answers contain more than the message, so additions are not defects. But the facts noted for them are
binding, as a text is for its rewrite.

noted_facts("Is it free?\\n(yes, till Friday)", "reply") == "yes, till Friday"
noted_facts("Write a line. Facts: open since May", "free") == "open since May"
"""

from __future__ import annotations

import re
from functools import partial

from curate.gates.coverage import has_known_stop_words, roots
from curate.gates.facts import invented, numbers_at_other_words
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.limits import limits
from curate.gates.names import invented_name, other_addressee, unknown_name, unknown_signer
from curate.gates.numbers import NumberMentions, digit_numbers
from curate.gates.phrases.word_patterns import demands, word_pattern
from curate.gates.promises import invented_price, invented_promise, invented_street
from curate.gates.style_facts import beside_style
from curate.gates.words import count_words
from curate.gates.yes_or_no import opposite_answer
from schemas.records import Pair

_IN_BRACKETS = re.compile(
    r"(?:\n|[.?!\u2026\u3002\uff1f\uff01\u061f])\s*[(\uff08]([^()\uff08\uff09]{2,})[)\uff09]\W*\Z"
)
_SIGNED = re.compile(r"\n+[^\n.?!]{1,40}\Z")


def kept_facts(
    pair: Pair, kind: str = "reply", language: str = "en", input_language: str = "en", style: str = ""
) -> Judgement:
    """The answer keeps the facts that the message notes for it.

    It names no number, day or name that is neither in the message nor in its note. What the note denies or limits is
    still denied or limited, a no is not answered with yes, the note's numbers stay with their words, and something of
    the note is used.
    Not covered: facts in columns or in the style, and messages without a note.
    """
    if kind == "reply" and (gift := invented_promise(fold(f"{pair.input}\n{style}"), fold(pair.output), language)):
        return rejected("promise", f"the reply promises something that was not offered: {quote(gift)}")
    if kind == "reply" and demands(style, "only_given"):
        known = pair.model_copy(update={"input": f"{pair.input}\n{style}"})
        if not (added := invented(known, language, input_language)).keep:
            return added
    if kind == "reply" and (own := _invention(pair, style, language)):
        return rejected(*own)
    facts = noted_facts(pair.input, kind)
    if not facts:
        return passed("the message notes no facts")
    noted = pair.model_copy(update={"input": facts})
    unsigned = pair.model_copy(update={"output": _SIGNED.sub("", pair.output.rstrip())})
    spoken = (input_language or language, language)
    judgements = (
        beside_style(partial(invented, language=language, input_language=input_language), style, *spoken)(pair),
        beside_style(partial(invented_name, language=language), style, *spoken)(unsigned),
        limits(noted, language, input_language),
    )
    if differing := next((one for one in judgements if not one.keep and one.reason.code not in _FREE), None):
        return differing
    if moved := numbers_at_other_words(facts, pair.output, language):
        return rejected("swapped", f"{quote(moved[0])} and {quote(moved[1])} changed places next to {quote(moved[2])}")
    if turned := opposite_answer(facts, pair.output):
        return rejected("contrary", f"the note begins with {quote(turned[0])}, the answer with {quote(turned[1])}")
    lost = _are_all_lost(facts, pair.output, language)
    if lost or (kind == "reply" and _are_mostly_lost(facts, pair.output, language)):
        return rejected("lost_facts", f"nothing is left of {quote(facts)}")
    if demands(style, "keep_all") and (fact := _lost_fact(facts, pair.output, language)):
        return rejected("lost_facts", f"the style asks for everything, and nothing is left of {quote(fact)}")
    return passed("it agrees with the note")


_FREE = ("lost_question", "unstated_reason")  # which an answer need not ask, and may give


def _invention(pair: Pair, style: str, language: str) -> tuple[str, str] | None:
    """Return a price, street or person in a reply that its message and the style do not name, as a code and a
    message."""
    given = f"{pair.input}\n{style}"
    if price := invented_price(fold(given), fold(pair.output)):
        return "invented_number", f"neither the message nor the style names {quote(price)}"
    if street := invented_street(fold(given), fold(pair.output)):
        return "invented_contact", f"neither the message nor the style names {quote(street)}"
    name = unknown_name(pair.output, given, language) or unknown_signer(pair.output, given, language)
    name = name or other_addressee(pair.output, pair.input, language)
    introduced = None if name else _introduced().search(pair.output)
    if introduced and fold(introduced[1]) not in fold(given):
        name = introduced[1]
    quoted = name and any(name in one for one in _IN_QUOTES.findall(pair.output))
    return ("invented_name", f"the message does not name {quote(name)}") if name and not quoted else None


_introduced = word_pattern(r"(?<!\w)(?i:{my_name_is})\s([A-ZÀ-ÞА-Я][^\W\d_]+)")
_IN_QUOTES = re.compile(r"[\"\u201c\u201e\u00ab\u300c][^\"\u201d\u00bb\u300d\n]+[\"\u201d\u201c\u00bb\u300d]")


def _are_all_lost(facts: str, text: str, language: str) -> bool:
    """Whether a text contains no content word and no number of the facts."""
    noted = roots(facts, language) if has_known_stop_words(language) else frozenset[str]()
    mentions, numbers = NumberMentions(text, language), list(digit_numbers(facts))
    return bool(noted) and noted.isdisjoint(roots(text, language)) and not any(number in mentions for number in numbers)


def _are_mostly_lost(facts: str, text: str, language: str) -> bool:
    """Whether at least two thirds of the facts, of three or more, are missing from a text not much longer than the
    facts.

    A fact is missing if the text has none of its content words and numbers. A longer text may express them in other
    words.
    """
    parts = [part for part in _FACTS.split(facts) if roots(part, language)] if has_known_stop_words(language) else []
    if len(parts) < _MIN_FACTS or count_words(text) > _MAX_LENGTH * count_words(facts):
        return False
    there, mentions = roots(text, language), NumberMentions(text, language)
    lost = [
        p for p in parts if roots(p, language).isdisjoint(there) and not any(n in mentions for n in digit_numbers(p))
    ]
    return len(lost) >= 2 * len(parts) / _MIN_FACTS


def _lost_fact(facts: str, text: str, language: str) -> str:
    """Return a sentence of the facts with a number and content words, none of which the text contains; or ''."""
    there, mentions = roots(text, language), NumberMentions(text, language)
    for part in _FACT_SENTENCES.split(facts) if has_known_stop_words(language) else ():
        numbers = digit_numbers(part)
        if numbers and not any(number in mentions for number in numbers) and roots(part, language).isdisjoint(there):
            return part.strip()
    return ""


_FACT_SENTENCES = re.compile(r"[.;\n]+(?=\s|\Z)|[\u3002\uff1b]")
_FACTS, _MIN_FACTS, _MAX_LENGTH = re.compile(r"[,;\n\u3001\uff0c\uff1b]+(?!\d)"), 3, 1.75


def noted_facts(message: str, kind: str) -> str:
    """Return what a message notes for its answer, or ''.

    A final bracket is such a note only in the message of a reply.
    """
    bracketed = kind == "reply" and message.rstrip()[-1:] in ")\uff09" and _IN_BRACKETS.search(message)
    if bracketed:
        return bracketed[1]
    labelled = _labelled().search(message) if ":" in message or "\uff1a" in message else None
    return labelled[1].strip() if labelled else ""


_labelled = word_pattern(
    r"(?:\A|[\n.?!,;]\s*)[\[(\uff08\u3010]?(?:[^\W\d_]+ )?{facts_named}\s*[:\uff1a]\s*(\S[\s\S]{7,})\Z", re.IGNORECASE
)
