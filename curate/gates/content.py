"""The gate that checks that the output keeps the subject, the numbers and the quoted text of its input."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from curate.gates.amounts import at_another_scale
from curate.gates.coverage import ROOT_LETTERS, has_known_stop_words, roots
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.numbers import join_digit_groups, number_mentions, required_numbers
from curate.gates.phrases import all_languages_pattern, lexicon, list_pattern, says
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.units import find_conversions
from curate.gates.words import (
    OPTION,
    Vocabulary,
    content_words,
    count_words,
    has_stemmer,
    joined_neighbours,
    without_options,
    words,
)
from schemas.records import Pair

# An inch mark (6") does not open a quotation, and an apostrophe does not close one. The pattern begins with the
# quotation marks and looks behind from there, so that most characters are skipped quickly.
_QUOTED = re.compile(
    r"\"(?<!\w\")(?=\S)([^\"\n]*?\S)\"(?!\w)|“([^“”\n]+)”|«([^«»\n]+)»|„([^„“”\n]+)[“”]"
    r"|'(?<!\w')(?=\S)([^'\n]*?\S)'(?!\w)|\u2018(?<!\w\u2018)([^\u2018\u2019\n]+)\u2019(?!\w)"
)

_RATIO_OR_OPTION = re.compile(rf"{OPTION.pattern}|(?<![\w:])\d{{1,2}}:\d{{1,2}}(?![\w:])")
_LONG_INPUT = 30  # words of an input from which on a shorter output may be a summary
_PARTS = re.compile(r"[,.;:]+(?=\s|\Z)|[\n、。;,]+(?!\d)")


@cache
def _lens() -> re.Pattern[str]:
    return re.compile(rf"\d+ ?mm(?:[ -][\w-]+){{0,2}}? {all_languages_pattern('camera').pattern}", re.IGNORECASE)


@cache
def _length_request(language: str) -> re.Pattern[str]:
    """Return a pattern for the requested length of the text (`in two sentences`), which is not part of its content."""
    spelt = "|".join(map(re.escape, lexicon(language).ones))
    units = "|".join(list_pattern(code, "of_text").pattern for code in dict.fromkeys((language, "en")))
    return re.compile(rf"(?<!\w)(?:\d+{'|' + spelt if spelt else ''})[ -]?(?:{units})", re.IGNORECASE)


def _without_length_request(text: str, language: str) -> str:
    may_say = not text.isascii() or any(says(code, "of_text", fold(text)) for code in dict.fromkeys((language, "en")))
    return _length_request(language).sub(" ", text) if may_say else text


def lost_content(pair: Pair, language: str = "en", style: str = "") -> Judgement:
    """The content of the input is in the output. Score: the share of content words that survive.

    Strict: every number, in digits or words (`three`, `3`, `a trio`; `PW-55120`; `2pm`, `14:00`), and every quoted
    text, ignoring case, spacing and punctuation. Lenient: at least one content word must survive. If the input is a
    single phrase, half of them must, unless a word of its head survives (`red fox` in `red fox in the snow`). A note of
    several phrases is often paraphrased. A word survives as itself, inflected, joined to its neighbour or split in two,
    spelt out from an abbreviation, or with a typing mistake corrected.

    A summary (`is_summary`) may omit numbers and quotations. For inputs generated backward, the same rule finds numbers
    and quotations that the input invented.
    Not covered: synonyms (the reason why the rule for words is lenient), numbers that the output invents or assigns to
    something else. Numbers that may be spelt out are not checked without number words in the language's table, nor
    words without a stemmer or spaces between them; other numbers and quotations are.
    """
    if is_diff(pair.input) and not is_diff(pair.output):
        return passed("a diff may become a description")
    if _TIMING.search(pair.input) and not _TIMING.search(pair.output):
        pair = pair.model_copy(update={"input": _TIMING.sub("", pair.input)})
    shorter = count_words(pair.output) < count_words(pair.input)
    asked = shorter and _asks_for_less(fold(style), language)
    summary = asked or is_summary(pair)
    lost = [] if summary else _lost_numbers(_without_length_request(pair.input, language), pair.output, language)
    if lost:
        missing = ", ".join(map(quote, lost))
        return rejected("lost_number", f"the input says {missing}, the output does not")
    vocabulary = Vocabulary(pair.output, language)
    quoted_texts = () if summary or in_code(pair.input) else quotations(pair.input)
    output_words = f" {' '.join(vocabulary.words)} " if quoted_texts else ""
    for quoted in dict.fromkeys(quoted_texts):
        if 2 * len(quoted) > len(pair.input) and len(quoted.split()) > 4:
            continue  # the quotation is the text to rewrite
        wanted = " ".join(words(quoted))
        if f" {wanted} " not in output_words if wanted else fold(quoted) not in fold(pair.output):
            return rejected("lost_quote", f"the quoted text {quote(quoted)} is missing")
    content = content_words(pair.input, language)
    if not content:
        return passed("the input has no content words to keep")
    gone = [word for word in content if word not in vocabulary]
    compounds = joined_neighbours(gone, pair.input, vocabulary) if gone else set()
    gone = [word for word in gone if word not in compounds]
    share = 1 - len(gone) / len(content)
    title = summary and is_title(pair.output)
    leaves_out = title and count_words(pair.input) > _LONG_INPUT  # the headline of a report mentions one thing of many
    part = "" if leaves_out else _lost_parts(pair, vocabulary, language)
    if part := part or ("" if asked or leaves_out else _lost_piece(pair.input, pair.output, language)):
        return rejected("lost_part", f"nothing is left of {quote(part)}", share)
    if not has_stemmer(language):
        return passed(f"the words are not compared: no stemmer for '{language}'", share)
    if not in_code(pair.input) and in_code(without_options(pair.output)):
        return passed("a description in words may become code", share)
    one_phrase = _ONE_PHRASE.fullmatch(pair.input)
    subject = (content_words(main_phrase(pair.input, language), language) if one_phrase else []) or content
    if share == 0 and (_is_shortened(gone, vocabulary) or len(required_numbers(pair.input, language)) > 1):
        return passed("its words are spelt out, or its numbers are kept", share)
    if title:
        return passed("a title may use other words", share)
    if share == 0 or (share < 0.5 and all(word in gone for word in subject)):
        return rejected("lost_subject", f"nothing is left of {', '.join(map(quote, gone[:5]))}", share)
    return passed(f"{share:.0%} of the content words survive", share)


def _asks_for_less(style: str, language: str) -> bool:
    """Whether a folded style asks for a summary, a headline or the like; `do not summarise` does not count."""
    asked = says("any", "sums_up", style)
    before = style[max(0, asked.start() - _DENIAL_REACH) : asked.start()] if asked else ""
    return asked is not None and not any(says(code, "negation", before) for code in ("en", language))


_DENIAL_REACH = 16  # characters before a word in which a denial refers to it


def _is_shortened(gone: list[str], vocabulary: Vocabulary) -> bool:
    """Whether a word of a note is the beginning of a longer word in the output: `rev` of revenue."""
    short = [word for word in gone if len(word) in _ABBREVIATION_LENGTHS]
    return any(there.startswith(word) and len(there) > len(word) + 2 for word in short for there in vocabulary.words)


_ABBREVIATION_LENGTHS = (3, 4)  # letters


def _lost_parts(pair: Pair, vocabulary: Vocabulary, language: str) -> str:
    """Return the parts of a note that are lost, or ''.

    The note must have four or more parts, and at least half of them must be lost. A part is lost if none of its words
    and numbers is in the output. Notes of more than 30 words, and outputs that are much longer than the note, are not
    checked.
    """
    if count_words(pair.output) > 1.3 * count_words(pair.input) or count_words(pair.input) > _LONG_INPUT:
        return ""
    if len(_PARTS.findall(pair.input)) < 3:
        return ""
    begins = {word[: max(4, len(word) - 2)] for word in vocabulary.words}
    parts = [(part.strip(), content_words(part, language)) for part in _PARTS.split(pair.input)]
    parts = [(part, weighty) for part, weighty in parts if weighty or re.search(r"\d", part)]
    lost = [
        part
        for part, weighty in parts
        if not any(word in vocabulary or word[: max(4, len(word) - 2)] in begins for word in weighty)
        and not any(digits in pair.output for digits in re.findall(r"\d+", part))
    ]
    return "; ".join(lost) if len(parts) >= 4 and 2 * len(lost) >= len(parts) else ""


def _lost_piece(given: str, text: str, language: str) -> str:
    """Return a lost part of a note other than its first, or ''.

    None of its words may be in the output, which keeps most words of the other parts and is hardly longer than the
    note.
    """
    if len(given) > _NOTE or not has_known_stop_words(language):
        return ""
    if count_words(text) > _LONGER[count_words(given) > _SHORT_NOTE] * count_words(given):
        return ""
    parts = [(part.strip(), roots(part, language)) for part in _PIECES.split(given)]
    parts = [(part, content) for part, content in parts if content]
    if len(parts) < 3:
        return ""
    there, folded = roots(text, language) | {word[:ROOT_LETTERS] for word in words(text)}, fold(text)
    held = [sum(root in there or (root.isdigit() and root in folded) for root in content) for _, content in parts]
    kept = [(n, len(content)) for n, (_, content) in zip(held, parts, strict=True) if n]
    if sum(n for n, _ in kept) < _KEPT * sum(whole for _, whole in kept) or not kept:
        return ""
    return next(
        (part for (part, content), n in list(zip(parts, held, strict=True))[1:] if not n and len(content) > 1), ""
    )


_NOTE, _SHORT_NOTE = 900, 12  # characters of a note; words of a note so short that full sentences make it longer
_LONGER = (1.5, 1.1)  # maximum length relative to a short note and to any other, for an output that keeps the words
_KEPT = 0.7  # share of a note's words that must be kept
_PIECES = re.compile(r"[.;:!?]+(?=\s|\Z)|[\n,\u3001\u3002\uff0c\uff1b]+(?!\d)|\s[-\u2013\u2014/&+]\s")


def _lost_numbers(input: str, output: str, language: str) -> list[str]:
    """Return the numbers of the input that are missing from the output. `2 150` may be one number or two."""
    lost, joined = _lost_as_written(input, output, language), join_digit_groups(input)
    return lost if not lost or joined == input else min(_lost_as_written(joined, output, language), lost, key=len)


def _lost_as_written(input: str, output: str, language: str) -> list[str]:
    """Return the numbers of the input that are missing from the output.

    The numbers of an option (`--ar 3:2`) may only be kept by a ratio or an option, because they do not count anything.
    The 35 of a 35mm lens does not keep the number 35 of something else.
    """
    of_options = _RATIO_OR_OPTION.findall(input) if "--" in input or ":" in input else []
    options = required_numbers(" ".join(of_options), language) if of_options else []
    wanted = required_numbers(_RATIO_OR_OPTION.sub(" , ", input) if of_options else input, language)
    if not options and not wanted:
        return []
    of_a_lens = "mm" in fold(input) and _lens().search(input)
    description = without_options(output) if of_a_lens else without_photo_settings(output)
    in_description = number_mentions(description, language)
    grouped = number_mentions(join_digit_groups(description), language)
    in_output = number_mentions(output, language) if options else in_description
    lost = [n for n in wanted if n not in in_description and n not in grouped and not in_description.has_rounded(n)]
    if lost:
        converted = find_conversions(input, output, language, language)[0]
        converted |= at_another_scale(input, output, language, language)
        lost = [n for n in lost if n.forms.isdisjoint(converted) and not in_description.has_hours_of(n, input)]
    return [n.text for n in lost] + [n.text for n in options if n not in in_output]


def is_summary(pair: Pair) -> bool:
    """Whether the output omits things by design: it has less than 60 % of more than 20 words, or is a shorter title."""
    before, after = count_words(pair.input), count_words(pair.output)
    return (after < 0.6 * before and before > 20) or (after < before and is_title(pair.output))


def is_title(text: str) -> bool:
    """Whether a text is one short line that starts with a capital, in scripts that have them, and has no full stop."""
    line = text.strip()
    return line[-1:].isalnum() and not line[0].islower() and "\n" not in line and count_words(line) <= _MAX_TITLE


_MAX_TITLE = 15  # words


@lru_cache(maxsize=CACHE_SIZE)
def in_code(text: str) -> bool:
    """Whether most lines of `text` contain characters typical of code, or it has a code fence."""
    if "```" in text or not _CODE_CHARACTER.search(text):
        return "```" in text or not text.strip()
    lines = [line for line in text.splitlines() if line.strip()]
    return 2 * len(list(filter(_CODE_SIGNS.search, lines))) >= len(lines)


def is_short_code(text: str) -> bool:
    """Whether a text is a few lines of code that all differ, such as the columns of a pivot, not those of a loop."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return 1 < len(lines) <= _SHORT_CODE and len(set(lines)) == len(lines) and in_code(text)


_SHORT_CODE = 12  # lines


# Each of the patterns below needs one of these characters, and a hyphen does not follow a letter.
_CODE_CHARACTER = re.compile(r"[{}=<>\\;|+$#(-](?:(?<![(-])|(?<=\()\)|(?<=-)(?<!\S-))")
_CODE_SIGNS = re.compile(r"[{}=<>\\]|;\s*$|^\s*(?:[|+$]|[-#](?! ))|\(\)|\s--?\w")


def without_photo_settings(text: str) -> str:
    """Return `text` without options (`--ar 3:2`) and lenses (`35mm film`)."""
    text = without_options(text)
    return _lens().sub(" , ", text) if "mm" in fold(text) else text


@lru_cache(maxsize=CACHE_SIZE)
def quotations(text: str) -> tuple[str, ...]:
    """Return the texts in quotation marks, without the marks."""
    return tuple([next(filter(None, match.groups())) for match in _QUOTED.finditer(text)])


def is_query(text: str) -> bool:
    """Whether a text is a statement for a database."""
    return _query().match(fold(text)) is not None


_query = word_pattern(r"\W*{query_starts}(?!\w)[\s\S]*?(?<!\w){query_clauses}(?!\w)")


@lru_cache(maxsize=CACHE_SIZE)
def is_regex(text: str) -> bool:
    """Whether a text is a regular expression, which its brackets and quotation marks are part of."""
    line = text.strip()
    return "\n" not in line and _REGEX_SIGNS.search(line) is not None and _WORDS_IN_ROW.search(line) is None


# A gap in a text may be followed by a question mark: `Hello [Name]?`
_REGEX_SIGNS = re.compile(
    r"\\[dwsbDWSB](?![^\W\d_])|\[[^\]\s]{1,80}\](?:\+|\{\d)|\[[^\]\s]{0,80}[^\]\s\w][^\]\s]{0,80}\][*?]|\[\^"
    r"|\(\?(?:[:=!]|<[=!])|\.[*+]"
)
_WORDS_IN_ROW = re.compile(r"[^\W\d_]{2,} [^\W\d_]{2,}")


def is_diff(text: str) -> bool:
    """Whether a text has the head of a change in a diff, or of a changed file."""
    return _HUNK.search(text) is not None


_HUNK = re.compile(r"(?m)^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@|^--- \S.*\n\+\+\+ \S")
_TIMING = re.compile(r"(?m)^(?:\d{1,6}\n)?\d\d[\d:]{3,6}[.,]\d{3} --> .*$")  # number and times of a subtitle
_ONE_PHRASE = re.compile(r"[^,.;:!?\n]*[.!?]?\s*")


@cache
def _phrase_end(language: str) -> re.Pattern[str]:
    prepositions = "|".join(sorted(lexicon(language).words("prepositions")))
    behind_one = rf"|(?<=\w)\s+(?:{prepositions})\s" if prepositions else ""
    return re.compile(rf"[,.;:()\n]{behind_one}", re.IGNORECASE)


def main_phrase(text: str, language: str = "en") -> str:
    """Return the text before the first comma, preposition or relative pronoun: `red fox` of `red fox in the snow`."""
    text = text.strip()
    end = _phrase_end(language).search(text, 1) if text else None
    return text[: end.start()] if end else text
