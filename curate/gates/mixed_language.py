"""The gate on single sentences and words in another language."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from curate.gates.content import in_code, quotations
from curate.gates.folding import fold
from curate.gates.foreign_letters import foreign_spelling, keeps_source_words, names_other_language
from curate.gates.identification import (
    MIN_LETTERS,
    MIXED_WITH,
    NON_LATIN,
    SURE,
    UNLIKELY,
    count_stop_words,
    foreign_script,
    is_evident,
    language_of_letters,
    languages_of_stop_words,
    letters_of,
    own_and_best_other,
    relatives,
    script,
    writes_no_latin,
)
from curate.gates.judgement import Judgement, Side, passed, quote, rejected, sides
from curate.gates.phrases import fragment, lexicon, says, unique_letters, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.words import words
from schemas.records import Pair


def mixed_language(pair: Pair, code: str, input_code: str | None = None) -> Judgement:
    """No sentence of a generated text is in another language.

    That means another script, or near certainty on 35 or more letters; for a whole text on 10, by probability or by
    stop words of only one other language. A single joining word of English (`until`, `which`), German, French or
    Spanish counts as a slip. Text in quotation marks or in the input is ignored, and so are texts with code, and
    answers to an input that names another language.
    Not covered: shorter pieces, and languages that the identifier takes for relatives.
    """
    judgement = passed("one language")
    for side, text in sides(pair):
        if judgement.keep and "```" not in text and not (side == "output" and _is_code(text)):
            judgement = _judge(_Generated(pair, side, text, code, input_code))
            if not judgement.keep and side == "output" and text.isascii():
                is_code = in_code(text) or fragment("code").search(text)
                judgement = passed("code is not in a human language") if is_code else judgement
    if judgement.keep or input_code not in (None, code) or not names_other_language(pair.input, code, code):
        return judgement
    return passed("the input names another language")


class _Generated:
    """A generated text without its quotations and code; `code` is the language that it should be in. `other` is the
    other side of the pair, and `given` the same, folded."""

    def __init__(self, pair: Pair, side: Side, text: str, code: str, input_code: str | None) -> None:
        if side == "input":
            self.other, self.code, self.other_code = pair.output, input_code or code, code
        else:
            self.other, self.code, self.other_code = pair.input, code, input_code or code
        self.is_translated = input_code not in (None, code)
        text = _CODE_SPAN.sub(" ", text) if "`" in text else text
        for quoted in dict.fromkeys(quotations(text)):
            text = text.replace(quoted, " ")
        self.side, self.text, self.given = side, text, fold(self.other)

    @property
    def known(self) -> str:
        """What words in another language may be quoted from: nothing in a translation."""
        return "" if self.is_translated else self.given


_CODE_SPAN = re.compile(r"`[^`\n]+`")


def _is_code(text: str) -> bool:
    return sum(map(text.count, "{}<>=;|\\")) > len(text) / 60 + 2


def _judge(generated: _Generated) -> Judgement:
    for detail, score in _findings(generated):
        return rejected("mixed_language", f"the {generated.side} text {detail}", score)
    return passed("one language")


def _findings(generated: _Generated) -> Iterator[tuple[str, float | None]]:
    """Yield what is in another language, from the cheapest rule to the dearest, with the probability of the expected
    one where the identifier decided."""
    for rule in (_stray_letters, _latin_words, _clause_by_letters, _foreign_words):
        if detail := rule(generated):
            yield detail, None
    yield from _identified(generated)


# Letters


def _stray_letters(generated: _Generated) -> str:
    """Report letters outside brackets that the language does not use, unless the other side accounts for them."""
    stray = "" if generated.text.isascii() else _find_stray(generated)
    return f"has {quote(stray)} in it" if stray else ""


def _find_stray(generated: _Generated) -> str:
    text, code, given, given_in = generated.text, generated.code, generated.other, generated.other_code
    own = unique_letters()
    for other in MIXED_WITH.get(code, ()):
        if len(foreign := own[other].intersection(text).difference(given)) > 1:
            return "".join(sorted(foreign))
    if code == "ko" and (han := _HAN.search(_BRACKETS.sub(" ", text))) and given_in == code and not _HAN.search(given):
        return han[0]
    scripts = {script(other[0]) for other in _FOREIGN_RUNS.findall(given)}
    for run in _FOREIGN_RUNS.findall(_BRACKETS.sub(" ", text)):
        spoken = NON_LATIN.get(script(run[0]), code).split()
        if code not in spoken and (given_in in spoken or script(run[0]) not in scripts):
            return str(run)
    return ""


_FOREIGN_RUNS = re.compile(r"[Ѐ-ӿ]{2,}|[֐-׿؀-ۿऀ-ॿ฀-๿]{2,}|[぀-ヿ一-鿿가-힣]+")
_BRACKETS = re.compile(r"[(（][^()（）]*[)）]")
_HAN = re.compile(r"[一-鿿]{2,}|[一-鿿]?[ぁ-ゖァ-ヺ]{2,}|[一-鿿][ぁ-ゖ]")  # Korean has neither


def _latin_words(generated: _Generated) -> str:
    """Report words in Latin letters in a text of a language that is not written in them."""
    if not writes_no_latin(generated.code):
        return ""
    text, given, is_translated = generated.text, generated.given, generated.is_translated
    letters = letters_of(text)
    if letters.isascii() and len(letters) >= _MIN_ALL_LATIN and fold(text) not in given and not _LINK.search(text):
        return f"is in another script: {quote(text)}"
    left_in = next((word for word in _LATIN_WORD.findall(text) if is_translated or word not in given), "")
    if left_in and not _LINK.search(text) and left_in not in words_of("latin_everywhere"):
        return f"has {quote(left_in)} in it"
    runs = (run[0] for run in _LATIN_RUN.finditer(text))
    run = next((run for run in runs if is_translated or fold(run).strip(" ,") not in given), "")
    return f"switches to {quote(run)}" if run else ""


_LATIN_RUN = re.compile(r"(?:\b[a-zß-ÿ][A-Za-zÀ-ÿ'\u2019]*[ ,]*){4,}")
_LATIN_WORD = re.compile(r"(?<![A-Za-z\d_@./:#<>{}='\"*`-])[a-z]{4,}(?![A-Za-z\d_@./:#<>{}='\"*`-])")
# Minimum letters of a text wholly in Latin letters, so that it is not just a name; characters of links and code.
_MIN_ALL_LATIN, _LINK = 12, re.compile(r"://|[@_<>=\\$]")


def _clause_by_letters(generated: _Generated) -> str:
    """Report a clause with letters that only a related language has."""
    for clause in _CLAUSE_END.split(generated.text) if generated.code in unique_letters() else ():
        if other := language_of_letters(clause, generated.code, generated.other, least=1):
            return f"switches to {other}: {quote(clause)}"
    return ""


_CLAUSE_END = re.compile(r"[.!?…。！？、，,;；:：\n]+")


# Words


def _foreign_words(generated: _Generated) -> str:
    """Report a word that is spelt as in another language, or one or several stop words of another one."""
    text, code, known = generated.text, generated.code, generated.known
    if spelt := foreign_spelling(text, code, known):
        return f"has {quote(spelt)} in it"
    words_ = _foreign_run(text, code, generated.given) or _slip(text, code, known) or _joining_word(text, code, known)
    return f"switches to {quote(words_)}" if words_ else ""


def _foreign_run(text: str, code: str, given: str) -> str:
    """Return a new run of four or more words with two stop words of one other language and none of `code`; or ''."""
    own, known = lexicon(code).stop, languages_of_stop_words()
    if not own or len(_foreign_stop_words(code).intersection(words(text))) < 2:
        return ""
    tokens = _RUN_WORD.findall(text)
    folded = [fold(token) for token in tokens]
    if len(known.keys() & set(folded) - own) < 2:
        return ""
    start = 0
    for at, word in enumerate((*folded, ".")):
        if word in own or not word[0].isalpha():
            run, start = range(start, at), at + 1
            spoken = Counter(language for i in run if tokens[i].islower() for language in known.get(folded[i], ()))
            if len(run) >= 4 and max(spoken.values(), default=0) >= 2 and " ".join(folded[run[0] : at]) not in given:
                return " ".join(tokens[run[0] : at])
    return ""


_RUN_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[.!?;:,\"«»„“”()\n]|\d+")


@cache
def _foreign_stop_words(code: str) -> frozenset[str]:
    return frozenset(languages_of_stop_words()) - lexicon(code).stop


def _slip(text: str, code: str, given: str) -> str:
    """Return an English joining word after a lower-case word of another language, outside a quotation; or ''."""
    if code == "en" or not (says("en", "slips", fold(text)) or says(code, "slips", fold(text))):
        return ""
    slip = _slip_pattern(code).search(_SHORT_PIECE.sub(" ", text))
    return slip[0] if slip and f" {slip[0]} " not in f" {given} " else ""


@cache
def _slip_pattern(code: str) -> re.Pattern[str]:
    """Return a pattern for the words of `slips`, English and of a language, after a lower-case word."""
    slips = alternation(lexicon("en").words("slips") | lexicon(code).words("slips"))
    return re.compile(rf"(?<=[^\W\d_] )(?<![^\W\d_A-Z]\. )(?:{slips})(?= [^\W\d_]|[.,!?]|$)")


def _joining_word(text: str, code: str, given: str) -> str:
    """Return a lower-case stop word of a widely written language that is not a word of `code`, or ''."""
    if not (own := lexicon(code).stop) or not (joining := _joining_words(code).intersection(words(text))):
        return ""
    plain, given_words = _SHORT_PIECE.sub(" ", text), set(words(given))
    return next((w for w in _WHOLE_WORD.findall(plain) if w in joining and w not in own and w not in given_words), "")


_WHOLE_WORD = re.compile(r"(?<=[^\W\d_][ ,] )[a-zß-ÿ]{3,}(?![\w'’-])|(?<=[^\W\d_] )[a-zß-ÿ]{3,}(?![\w'’-])")
_SHORT_PIECE = re.compile(r"[\"\u201c\u201e\u00ab\u300c*`(][^\n]{1,200}?[\"\u201d\u201c\u00bb\u300d*`)]|\w+://\S+")


@cache
def _joining_words(code: str) -> frozenset[str]:
    """Return stop words of three or more letters that only English, German, French or Spanish have, no homographs."""
    listed = languages_of_stop_words().items()
    joining = {word for word, codes in listed if len(word) > 2 and set(codes) <= _WIDELY and code not in codes}
    return frozenset(joining - lexicon("any").words("homographs") - lexicon(code).words("homographs"))


_WIDELY = frozenset(("en", "de", "fr", "es"))


# The identifier


def _identified(generated: _Generated) -> Iterator[tuple[str, float | None]]:
    """Yield what the identifier finds in the whole text, then in its sentences, with the probability of the expected
    language."""
    yield from _identified_text(generated)
    for marked, bare in _SENTENCES.findall(generated.text):
        if (sentence := marked or bare) != generated.text:
            yield from _identified_sentence(generated, sentence)


def _identified_text(generated: _Generated) -> Iterator[tuple[str, float | None]]:
    text, code = generated.text, generated.code
    letters = _letters_of_its_own(generated, text)
    if foreign := foreign_script(letters, code, least=_MIN_SENTENCE):
        yield f"switches to {foreign.lower()}: {quote(text)}", None
    if len(letters) < _MIN_TEXT or not _has_lower(letters) or is_evident(text, code, 3):
        return
    expected, sure, other = own_and_best_other(text, code)
    is_short = len(letters) < MIN_LETTERS
    if is_short and (distinct := _distinct_language(text, code)):
        yield f"looks like {distinct}: {quote(text)}", expected
    least, most = (_SURE_OF_A_TEXT, 1 - SURE) if is_short else (_SURE_OF_A_SENTENCE, UNLIKELY)
    if not is_short and (counts := count_stop_words(text))[other] > counts[code] + 2:
        least, most = _SURE_OF_A_TEXT, 1 - _SURE_OF_A_TEXT  # Portuguese, which shares many words with Spanish
    is_translation = is_short and generated.is_translated and len(letters) >= _SHORT_TRANSLATION
    if is_translation and not keeps_source_words(generated.other, text):
        least, most = _LIKELY, 1 - _LIKELY
    if sure >= least and expected <= most:
        yield f"switches to {other}: {quote(text)}", expected


def _identified_sentence(generated: _Generated, sentence: str) -> Iterator[tuple[str, float | None]]:
    code = generated.code
    if sentence.isascii() and len(sentence) < _MIN_SENTENCE:
        return
    letters = _letters_of_its_own(generated, sentence)
    if foreign := foreign_script(letters, code, least=_MIN_SENTENCE):
        yield f"switches to {foreign.lower()}: {quote(sentence)}", None
    if len(letters) < _MIN_SENTENCE or not _has_lower(letters):
        return
    if _has_stop_words(sentence, code) or is_evident(sentence, code, 3):
        return
    expected, sure, other = own_and_best_other(sentence, code)
    if sure >= _SURE_OF_A_SENTENCE and expected <= UNLIKELY:
        yield f"switches to {other}: {quote(sentence)}", expected


def _letters_of_its_own(generated: _Generated, segment: str) -> str:
    """Return the letters of the text or of a sentence; '' if they are too few, or if the input has it too."""
    letters = letters_of(segment)
    is_quoted = not generated.is_translated and fold(segment).strip(" .!?") in generated.given
    return "" if len(letters) < _MIN_LETTERS or is_quoted else letters


def _distinct_language(text: str, code: str) -> str:
    """Return a language of which a text without stop words of `code` has two of 3+ letters unique to it; or ''."""
    # SQL keywords are in capitals.
    distinct = set(words(" ".join(word for word in text.split() if not word.isupper())))
    own, known = lexicon(code).stop, languages_of_stop_words()
    if not own or not own.isdisjoint(distinct):
        return ""
    spoken = Counter(known[word][0] for word in distinct if len(word) > 2 and len(known.get(word, ())) == 1)
    best = max(spoken, key=lambda other: spoken[other], default="")
    return best if spoken[best] > 1 and best not in relatives(code) else ""


def _has_stop_words(segment: str, code: str) -> bool:
    stop, spoken = lexicon(code).stop, words(segment)
    return sum(map(stop.__contains__, spoken)) >= _STOP_WORD_SHARE * len(spoken) > 0


def _has_lower(letters: str) -> bool:
    return not letters.isupper() if letters.isascii() else any(map(str.islower, letters))


_SENTENCES = re.compile(r"([^.!?…。！？।؟\n]*[.!?…。！？।؟])\s*|([^.!?…。！？।؟\n]+)")
_MIN_LETTERS, _MIN_TEXT, _MIN_SENTENCE = 8, 10, 35  # letters: of anything; of a whole text, of a sentence to identify
_SURE_OF_A_SENTENCE, _SURE_OF_A_TEXT = 0.99, 0.9
_LIKELY, _SHORT_TRANSLATION = 0.8, 20  # for a translation, which has fewer quotations and lists than other texts
_STOP_WORD_SHARE = 0.35  # share of stop words that makes a sentence one of that language
