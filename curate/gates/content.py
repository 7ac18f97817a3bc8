"""The gate on what the rewrite keeps of its input: the subject, the numbers and the quoted text."""

from __future__ import annotations

import re

from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.numbers import NumbersTold, required
from curate.gates.words import OPTION, Vocabulary, content_words, fold, without_options, words
from schemas.records import Pair

# An inch mark (6") opens no quotation, an apostrophe closes none.
_QUOTED = re.compile(
    r"(?<!\w)\"(?=\S)([^\"\n]*?\S)\"(?!\w)|\u201c([^\u201d\n]+)\u201d|\u00ab([^\u00bb\n]+)\u00bb|\u201e([^\u201c\u201d\n]+)[\u201c\u201d]"
    r"|(?<!\w)'(?=\S)([^'\n]*?\S)'(?!\w)|(?<!\w)\u2018([^\u2019\n]+)\u2019(?!\w)"
)

_RATIO_OR_OPTION = re.compile(rf"{OPTION.pattern}|(?<![\w:])\d{{1,2}}:\d{{1,2}}(?![\w:])")
_LENS = re.compile(r"\d+ ?mm(?:[ -][\w-]+){0,2}? (?:lens|film|camera|macro|photo\w*)\b", re.IGNORECASE)


def lost_content(pair: Pair) -> Judgement:
    """What the input says is in the output. Score: the share of content words that survive.

    Strict: every number, in digits or words (`three`, `3`, `a trio`; `PW-55120`; `2pm`, `14:00`), and every quoted
    text, up to case, spacing and punctuation. Lenient: of the content words at least one must survive; where the simple
    side is one phrase, half of them must, unless one of its head (`red fox` of `red fox in the snow`) does. A note of
    several phrases is often paraphrased. A word survives as itself, inflected, in a compound, spelt out from an
    abbreviation, or with a typing mistake mended.

    Backward, the same rule finds numbers and quotations that the input made up.
    Not covered: synonyms (they are why the rule on words is lenient), numbers that the output makes up, a number
    kept but given to another thing, texts in scripts without spaces (their numbers and quotations are still checked).
    """
    lost = _lost_numbers(pair.input, pair.output)
    if lost:
        missing = ", ".join(map(quote, lost))
        return rejected("lost_number", f"the input says {missing}, the output does not")
    vocabulary = Vocabulary(pair.output)
    for quoted in quotations(pair.input):
        wanted = " ".join(words(quoted))
        said = f" {' '.join(vocabulary.words)} "
        if f" {wanted} " not in said if wanted else fold(quoted) not in fold(pair.output):
            return rejected("lost_quote", f"the quoted text {quote(quoted)} is missing")
    content = content_words(pair.input)
    if not content:
        return passed("the input has no content words to keep")
    gone = [word for word in content if word not in vocabulary]
    share = 1 - len(gone) / len(content)
    subject = (content_words(main_phrase(pair.input)) if _ONE_PHRASE.fullmatch(pair.input) else []) or content
    if share == 0 or (share < 0.5 and all(word in gone for word in subject)):
        return rejected("lost_subject", f"nothing is left of {', '.join(map(quote, gone[:5]))}", share)
    return passed(f"{share:.0%} of the content words survive", share)


def _lost_numbers(input: str, output: str) -> list[str]:
    """What of the input's numbers the output does not tell.

    The numbers of an option (`--ar 3:2`) keep a ratio or an option, they are not three of anything; nor is a lens of
    35mm the 35 of something else.
    """
    options = required(" ".join(_RATIO_OR_OPTION.findall(input)))
    wanted = required(_RATIO_OR_OPTION.sub(" , ", input))
    if not options and not wanted:
        return []
    description = without_options(output)
    if not _LENS.search(input):
        description = _LENS.sub(" , ", description)
    told = NumbersTold(description)
    anywhere = NumbersTold(output) if options else told
    return [n.text for n in wanted if n not in told] + [n.text for n in options if n not in anywhere]


def quotations(text: str) -> list[str]:
    """The texts in quotation marks, without the marks."""
    return [next(filter(None, match.groups())) for match in _QUOTED.finditer(text)]


_ONE_PHRASE = re.compile(r"[^,.;:!?\n]*[.!?]?\s*")
_PHRASE_END = re.compile(
    r"[,.;:()\n]|(?<=\w)\s+(?:in|on|at|by|with|of|from|to|into|under|over|for|near|behind|beside|inside|through|during|"
    r"after|before|against|along|around|across|above|below|that|which|who|and|or)\s",
    re.IGNORECASE,
)


def main_phrase(text: str) -> str:
    """What stands before the first comma, preposition or relative: `red fox` of `red fox in the snow`."""
    text = text.strip()
    end = _PHRASE_END.search(text, 1) if text else None
    return text[: end.start()] if end else text
