"""Whether the last line of an output was cut off."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import takewhile
from typing import NamedTuple

from curate.gates.content import in_code, is_summary, is_title, quotations
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.phrases import Lexicon, lexicon
from curate.gates.phrases.word_patterns import demands, word_pattern
from curate.gates.unfinished import is_sender, is_signed_off, needs_no_full_stop
from curate.gates.words import count_words, without_options
from schemas.records import Pair

_ENDS = re.compile(r"[.!?…:;)\]}>\"'”»\u2019“*_`~|/。！？」』】）।؟۔%€$£°™©®\d#@-]\W*\Z")
_HASHTAG_END = re.compile(r"(?:\A|\s)#\w*[^\W\d]\w*\Z")
_LETTER_END = re.compile(r"(?:[^\W\d_]|[\u0900-\u0963\u0981-\u0d4f])\Z")  # or a vowel sign of a script of India
_INSIDE = re.compile(r"[^\W\d_]{2,}[.!?…][\"'”»)]* +(?=\S)|[。！？।؟]|[!?](?=[぀-鿿])")
_UNSPACED = re.compile(r"[぀-ヿ一-鿿]")
_NO_STOPS = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff]\Z")  # Thai, Lao and Khmer sentences end without one
_STOPS = re.compile(r"[.!?…。！？।؟۔][\"'”»)\]*]*\Z")
_ITEM = re.compile(r"(?:[-*•·]|\d{1,2}[.)]|\(?[a-z]\))\s")
_ALPHABETS_END = "\u0590"  # end of Latin, Greek and Cyrillic, whose sentences end with a full stop
# `5 km.`, `5 p.m.`, `Miller Ltd.`, where the full stop may belong to the last word, and an exclamation
_CAPITAL = "[A-Z\u00c0-\u00d6\u00d8-\u00de\u0391-\u03a9\u0410-\u042f]"
_SHORT_END = re.compile(rf"(?:\d\s?[^\W\d_]{{1,4}}\.|\b\w\.\w\.|\b{_CAPITAL}\w{{1,2}}\.|!)\s*\Z")
_SENTENCE = 5  # words
_KISS = "x"  # at the end of a message
_FEW_CHARACTERS = 6  # of a script without spaces; fewer may be a name or a department
_SMALL_WORD = 4  # letters of "the", "your" and "team" next to a name


def judge_last_line(pair: Pair, text: str, language: str, style: str, kind: str) -> Judgement:
    """Judge the last line of `text`, the output without options."""
    before, _, line = (part.strip() for part in text.rpartition("\n"))
    ended = not line or _ENDS.search(line) or _HASHTAG_END.search(line) or not _LETTER_END.search(line)
    if ended or "```" in text or pair.output.rstrip()[-1] == "`":
        return passed("it has an end")
    if is_signed_off(line, language):
        return passed("it ends with a signature")
    if any(" " in closing and line.endswith(closing) for closing in quotations(style)):
        return passed("it ends as the style asks")
    if _ends_with_quantity(line, language):
        return passed("it ends with a quantity")
    if demands(style, "breaks_off"):
        return passed("it breaks off, as the style asks")
    word, unspaced = fold(line.split()[-1]), bool(_UNSPACED.search(line[-1]))
    last = _LastLine(
        line, word, count_words(line), before, text, pair, unspaced, lexicon(language), kind, language != "de"
    )
    return next(filter(None, (rule(last) for rule in _RULES)), None) or passed("it has an end")


def _ends_with_quantity(line: str, language: str) -> bool:
    """Whether a line ends with a number of up to three digits, no hour, and a unit that is also a word: `14 in`."""
    before, _, word = fold(line).rpartition(" ")
    if word not in lexicon(language).words("units_like_words") or not _MEASURED.search(before):
        return False
    return _hour_ahead().search(before) is None


_MEASURED = re.compile(r"(?<![\w.,:/])(?:\d{1,3}|\d{1,3}[.,]\d{1,3}|\d{1,3} \d/\d|\d/\d{1,2})\Z")
_hour_ahead = word_pattern(r"(?<!\w){at_time} \d[\d.:]*\Z")


def end_openly(texts: Iterable[str]) -> bool:
    """Whether at least one in ten of the last lines of some texts ends openly, as in chats; short ones do not count."""
    lines = (text.strip().rpartition("\n")[2] for text in texts)
    ends = [_LETTER_END.search(line) is not None for line in lines if count_words(line) > _SENTENCE]
    return sum(ends) * 10 >= len(ends) > 0


class _LastLine(NamedTuple):
    """The last line of an output, which ends with a letter."""

    line: str
    word: str  # its last one, folded
    words: int  # how many it has
    before: str  # the lines above it
    text: str  # all lines, without options
    pair: Pair
    unspaced: bool  # whether it ends in a script without spaces between words
    lexicon: Lexicon
    kind: str  # of task
    names: bool  # whether a capital at the start of a word stands for a name: in German, it is any noun

    def ends_with(self, words: frozenset[str]) -> bool:
        """Whether its last word is one of these."""
        return self.line.endswith(tuple(words)) if self.unspaced else self.word in words

    def has_own_end(self, least: int) -> bool:
        """Whether it has more than `least` words, and does not end like the input."""
        return self.words > least and self.word not in fold(self.pair.input).split()[-1:]

    @property
    def ends_with_name(self) -> bool:
        """Whether its last word is a name, as of a product or of who signs, or an abbreviation."""
        word = self.line.split()[-1].lstrip("('\"")
        return word.isupper() if not self.names else word[:1].isupper()

    @property
    def rest(self) -> str:
        """What follows its last whole sentence; all of it, if it has none."""
        ends = list(_INSIDE.finditer(self.line))
        return self.line[ends[-1].end() :] if ends else self.line


def _continues(last: _LastLine) -> Judgement | None:
    """Its last word requires a continuation."""
    if last.ends_with(last.lexicon.words("cut")) and last.has_own_end(12 if last.unspaced else 5):
        return rejected("cut", f"it ends with {quote(last.line[-40:])}")
    return None


def _open_sentence(last: _LastLine) -> Judgement | None:
    """Its last sentence, after another one, has no end."""
    line, rest, unspaced = last.line, last.rest, last.unspaced
    if rest == line:
        return None
    if is_sender(rest):
        return passed("it ends with a signature")
    length = 24 if unspaced else 30 if "가" <= line[-1] <= "힣" else 60
    labelled = ":" in rest  # `Article: ink cartridge, black`
    if count_words(rest) >= (8 if unspaced else 4) and len(line) >= length and not (_is_signed(rest) or labelled):
        return rejected("cut", f"its last sentence has no end: {quote(_end_of(line))}")
    begun = fold(rest).split()[:1]
    begins = begun and begun[0] in last.lexicon.stop and len(line) >= length
    several = count_words(rest) >= 3 <= count_words(line.removesuffix(rest))  # `Sure! I'll bring the cake` is chat
    if (begins or (several and _is_sentence_start(rest, unspaced))) and not _is_signed(rest):
        return passed(f"its last sentence is incomplete: {quote(_end_of(line))}", flag="unended")
    return None


def _begun_sentence(last: _LastLine) -> Judgement | None:
    """After a whole sentence, another one has only its first words."""
    whole = last.line.removesuffix(last.rest)
    if count_words(whole) >= _SENTENCE and _is_begun(last):
        return passed(f"its last sentence is only begun: {quote(_end_of(last.line))}", flag="unended")
    return None


def _is_begun(last: _LastLine) -> bool:
    """Whether the few words after a sentence begin another one. They may also be who signs, or an address."""
    rest = last.rest
    if last.unspaced:
        return count_words(rest) >= _FEW_CHARACTERS
    if len(rest.split()) == 1 or last.ends_with_name or _is_signed(rest):
        return last.word in last.lexicon.stop
    return "@" not in rest and not _NO_STOPS.search(rest)


def _open_bracket(last: _LastLine) -> Judgement | None:
    """A bracket is not closed."""
    if last.line.count("(") > last.line.count(")") and len(last.line) > 30:
        return rejected("cut", f"a bracket is never closed: {quote(last.line[-40:])}")
    return None


def _list_or_figure(last: _LastLine) -> Judgement | None:
    """It needs no full stop, so the rules after this one do not apply."""
    return passed("it ends like a list or a figure") if needs_no_full_stop(last.line) else None


def _open_line(last: _LastLine) -> Judgement | None:
    """It is prose without an end: the input has one, or it is a long sentence that stands alone."""
    line = last.line
    is_headline = last.kind != "translate" and is_summary(last.pair) and is_title(last.text)
    if _lost_full_stop(last) and not (is_headline or in_code(last.text)):
        return passed(f"the input has an end, the output has none: {quote(_end_of(line))}", flag="unended")
    if last.kind == "reply" and _is_sentence(last):
        return passed(f"a reply ends without an end: {quote(_end_of(line))}", flag="unended")
    alone = "\n" not in last.text and line[-1] < _ALPHABETS_END and line[0].isupper()
    if alone and last.words > 3 * _SENTENCE and without_options(last.pair.output) == last.pair.output:
        return passed(f"a long sentence has no end: {quote(_end_of(line))}", flag="unended")
    return None


def _broken_word(last: _LastLine) -> Judgement | None:
    """Its last word is too short for one that the language or the input has."""
    known = {_KISS, *last.lexicon.stop, *fold(last.pair.input).split(), *fold(last.text).split()[:-1]}
    if last.line[-1] >= _ALPHABETS_END or len(last.word) > 2 or not last.word.isalpha() or last.word in known:
        return None
    before = last.line.split()[-2:-1]
    if not before or before[0][-1].isdigit() or not last.line[-1].islower() or last.words < _SENTENCE:
        return None
    return passed(f"its last word is {quote(last.word)}", flag="unended")


def _hangs(last: _LastLine) -> Judgement | None:
    """Its last word seldom ends a text, unless it is the last of several titles."""
    words, above = last.lexicon, _lines(last.before)
    sure = last.word in words.words("hangs") or last.word in words.words("prepositions")
    is_title_in_list = above and all(map(_ITEM.match, (above[-1], last.line))) and not _STOPS.search(above[-1])
    if not sure and (is_title_in_list or _NO_STOPS.search(last.pair.input.strip(" .\n"))):
        return None  # titles, and translations from scripts without full stops, end with any word but those
    seldom = last.ends_with(words.words("hangs")) or (not last.unspaced and last.word in words.stop)
    if seldom and last.has_own_end(12 if last.unspaced else 4 if sure else 8):
        return passed(f"its last word is {quote(last.word)}, without a full stop", flag="unended")
    return None


def _unlike_lines_above(last: _LastLine) -> Judgement | None:
    """All other items of its list, or all other lines of prose, end with a full stop."""
    line, above = last.line, _lines(last.before)
    short_item = len(above) > 1 and last.words < _SENTENCE and all(map(_ITEM.match, (*above, line)))
    if short_item and all(map(_STOPS.search, above)):
        return passed(f"only the last item has no full stop: {quote(line)}", flag="unended")
    of_section = last.before[last.before.rfind("\n#") + 1 :]  # a list under another heading may be of another kind
    prose = [one for one in _lines(of_section) if count_words(one) >= _SENTENCE]
    long_line = last.words >= (12 if last.unspaced else _SENTENCE) and not line.startswith("#")
    if long_line and prose and all(map(_STOPS.search, prose)):
        cut_off = rejected("cut", f"only the last line has no end: {quote(_end_of(line))}")
        if len(prose) > 1 and all(map(_ITEM.match, (*prose, line))):
            return cut_off
        if last.words >= 2 * _SENTENCE:
            return cut_off._replace(keep=True, flags=("unended",))
    items = [*takewhile(_ITEM.match, reversed(above))] if _ITEM.match(line) else []
    if all(map(_STOPS.search, items)) and any(count_words(one) >= _SENTENCE for one in items):
        return passed(f"only the last item has no full stop: {quote(_end_of(line))}", flag="unended")
    return None


_RULES = (
    _continues,
    _open_sentence,
    _open_bracket,
    _list_or_figure,
    _open_line,
    _broken_word,
    _hangs,
    _unlike_lines_above,
    _begun_sentence,
)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _end_of(line: str) -> str:
    """Return the last words of a line, or its last characters if it has no spaces."""
    end = line[-60:]
    return end if len(line) <= len(end) or " " not in end else end.partition(" ")[2]


def _is_sentence_start(rest: str, unspaced: bool) -> bool:
    """Whether words may begin a sentence: only the first one may start with a capital."""
    return not unspaced and rest[-1].islower() and not any(word[0].isupper() for word in rest.split()[1:])


def _is_sentence(last: _LastLine) -> bool:
    """Whether it is long enough for a sentence and starts like one, in an alphabet whose sentences have full stops."""
    unlike = last.line[0].islower() or last.line[-1] >= _ALPHABETS_END or last.word == _KISS or last.ends_with_name
    return last.words > _SENTENCE and not unlike and not _is_signed(last.rest)


def _lost_full_stop(last: _LastLine) -> bool:
    """Whether a line of prose has no end although the input has one. A translation keeps even that of a short text."""
    given, line, translation = last.pair.input, last.line, last.kind == "translate"
    if _NO_STOPS.search(line) or not _STOPS.search(given.strip()):
        return False
    if translation and (_NO_STOPS.search(given.strip(" .\n")) or _SHORT_END.search(given)):
        return False
    least, written = (_SENTENCE, count_words(last.text)) if translation else (2 * _SENTENCE, last.words)
    if _UNSPACED.search(line) and written < (2 if translation else 3) * least:
        return False
    return count_words(given) >= least <= written


def _is_signed(rest: str) -> bool:
    """Whether a text is the end of a letter, a greeting, a comma and a name: `Regards, the Luma team`."""
    greeting, comma, name = (part.strip() for part in rest.rpartition(","))
    words = name.split()
    if not comma or not greeting[:1].isupper() or max(len(greeting.split()), len(words)) > 4:
        return False
    named = [word[0].isupper() for word in words]
    return any(named) and all(is_name or len(word) <= _SMALL_WORD for word, is_name in zip(words, named, strict=True))
