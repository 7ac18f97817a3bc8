"""The gate on the language of a text, with a trained identifier (py3langid)."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection
from copy import copy
from functools import cache, lru_cache
from itertools import chain, repeat
from typing import Any

from curate.gates.content import in_code, quotations
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.foreign_letters import foreign_spelling, keeps_source_words, names_language, names_other_language
from curate.gates.judgement import Judgement, passed, quote, rejected, sides
from curate.gates.phrases import FOLDER, fragment, lexicon, says, unique_letters, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.words import words
from schemas.errors import SpecError
from schemas.records import Pair

# Languages that a teacher is likely to slip into. The model knows 140; the small ones only take probability away in a
# short text, so they are left out unless the task asks for one.
_WRITTEN = """
af ar bg bn ca cs cy da de el en es et eu fa fi fr gl he hi hr hu id it ja ka ko lt lv mk ms nl no pl pt ro ru sk sl sq
sr sv sw ta te th tl tr uk ur vi zh
"""
# Languages that the model cannot distinguish in short texts count as one.
_SIBLINGS = ("no nn da", "hr sr bs", "es gl ca", "id ms", "cs sk", "bg mk", "zh yue wuu", "nl af", "hi mr ne")
_NON_LATIN = {
    "CYRILLIC": "ru uk bg mk sr be kk ky mn tg tt ba",
    "ARABIC": "ar fa ur ps ug ku sdh arz ary",
    "CJK": "zh ja ko wuu yue", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko",
    "DEVANAGARI": "hi mr ne sa gom", "GREEK": "el grc", "HEBREW": "he hbo", "THAI": "th", "BENGALI": "bn as",
    "TAMIL": "ta", "TELUGU": "te", "GEORGIAN": "ka", "ARMENIAN": "hy", "GUJARATI": "gu", "KANNADA": "kn",
    "MALAYALAM": "ml", "GURMUKHI": "pa", "ORIYA": "or", "SINHALA": "si", "KHMER": "km", "LAO": "lo", "MYANMAR": "my",
    "ETHIOPIC": "am", "TIBETAN": "dz",
}  # fmt: skip
_MIN_LETTERS = 60
_SURE = 0.95
_UNLIKELY = 0.001


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
        letters = _letters(text)
        may_differ = side == "output" and kind == "free"  # `good morning in Thai`
        foreign = _foreign_script(letters, wanted)
        scripts = _NON_LATIN.get(foreign, "en").split()
        if foreign and not (may_differ and any(names_language(c, pair.input, code) for c in scripts)):
            return rejected("language", f"the {side} text is written in {foreign.lower()} script: {quote(text)}", 0.0)
        if other := _language_of_letters(text, wanted, pair.output if side == "input" else pair.input):
            return rejected("language", f"the {side} text is written in the letters of {other}: {quote(text)}", 0.0)
        if len(letters) < _MIN_LETTERS or _is_evident(text, wanted):
            continue
        expected, sure, other = _own_and_best_other(text, wanted)
        score = expected if score is None else min(score, expected)
        if sure >= _SURE and expected <= _UNLIKELY and not names_language(other, pair.input, input_code or code):
            detail = f"the {side} text looks like {other} ({sure:.0%}), not {wanted}: {quote(text)}"
            return rejected("language", detail, expected)
    return passed("no sign of another language" if score is None else f"{code} has {score:.0%}", score)


_SEGMENTS = re.compile(r"([^.!?…。！？।؟\n]*[.!?…。！？।؟])\s*|([^.!?…。！？।؟\n]+)")
_LATIN_RUN = re.compile(r"(?:\b[a-zß-ÿ][A-Za-zÀ-ÿ'\u2019]*[ ,]*){4,}")
_LATIN_WORD = re.compile(r"(?<![A-Za-z\d_@./:#<>{}='\"*`-])[a-z]{4,}(?![A-Za-z\d_@./:#<>{}='\"*`-])")
# Minimum letters of a text wholly in Latin letters, so that it is not just a name; characters of links and code.
_MIN_ALL_LATIN, _LINK = 12, re.compile(r"://|[@_<>=\\$]")
_MIN_SEGMENT, _SHORT = 35, 10  # letters of a sentence; letters of a whole text


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
            judgement = _judge_text(pair, side, text, code, input_code)
            if not judgement.keep and side == "output" and text.isascii():
                is_code = in_code(text) or fragment("code").search(text)
                judgement = passed("code is not in a human language") if is_code else judgement
    if judgement.keep or input_code not in (None, code) or not names_other_language(pair.input, code, code):
        return judgement
    return passed("the input names another language")


def _judge_text(pair: Pair, side: str, text: str, code: str, input_code: str | None) -> Judgement:
    """Return the judgement of `mixed_language` on one text."""
    other_side, wanted = (pair.output, input_code or code) if side == "input" else (pair.input, code)
    given = fold(other_side)
    text = _CODE_SPAN.sub(" ", text) if "`" in text else text
    for quoted in dict.fromkeys(quotations(text)):
        text = text.replace(quoted, " ")
    translated = input_code not in (None, code)
    given_in = code if side == "input" else input_code or code
    if stray := _stray_letters(text, wanted, other_side, given_in):
        return rejected("mixed_language", f"the {side} text has {quote(stray)} in it")
    if _writes_no_latin(wanted):
        letters = _letters(text)
        if letters.isascii() and len(letters) >= _MIN_ALL_LATIN and fold(text) not in given and not _LINK.search(text):
            return rejected("mixed_language", f"the {side} text is in another script: {quote(text)}")
        left_in = next((w for w in _LATIN_WORD.findall(text) if translated or w not in given), "")
        if left_in and not _LINK.search(text) and left_in not in words_of("latin_everywhere"):
            return rejected("mixed_language", f"the {side} text has {quote(left_in)} in it")
        for run in _LATIN_RUN.finditer(text):
            if translated or fold(run[0]).strip(" ,") not in given:
                return rejected("mixed_language", f"the {side} text switches to {quote(run[0])}")
    for piece in _PIECE_END.split(text) if wanted in unique_letters() else ():
        if other := _language_of_letters(piece, wanted, other_side, least=1):
            return rejected("mixed_language", f"the {side} text switches to {other}: {quote(piece)}")
    known = "" if translated else given
    if spelt := foreign_spelling(text, wanted, known):
        return rejected("mixed_language", f"the {side} text has {quote(spelt)} in it")
    if piece := _foreign_run(text, wanted, given) or _slip(text, wanted, known) or _joining_word(text, wanted, known):
        return rejected("mixed_language", f"the {side} text switches to {quote(piece)}")
    for segment in (text, *(marked or bare for marked, bare in _SEGMENTS.findall(text))):
        if len(segment) < 8 or (segment is not text and segment.isascii() and len(segment) < _MIN_SEGMENT):
            continue
        letters = _letters(segment)
        if len(letters) < 8 or (not translated and fold(segment).strip(" .!?") in given):
            continue
        if foreign := _foreign_script(letters, wanted, least=_MIN_SEGMENT):
            return rejected("mixed_language", f"the {side} text switches to {foreign.lower()}: {quote(segment)}")
        if len(letters) < (_SHORT if segment is text else _MIN_SEGMENT) or not _has_lower(letters):
            continue
        if (segment is not text and _has_stop_words(segment, wanted)) or _is_evident(segment, wanted, 3):
            continue
        expected, sure, other = _own_and_best_other(segment, wanted)
        short = segment is text and len(letters) < _MIN_LETTERS
        if short and (other_one := _distinct_language(text, wanted)):
            return rejected("mixed_language", f"the {side} text looks like {other_one}: {quote(text)}", expected)
        least, most = (_SURE_OF_A_TEXT, 1 - _SURE) if short else (_SURE_OF_A_SEGMENT, _UNLIKELY)
        if segment is text and not short and (counts := _count_stop_words(text))[other] > counts[wanted] + 2:
            least, most = _SURE_OF_A_TEXT, 1 - _SURE_OF_A_TEXT  # Portuguese, which shares many words with Spanish
        if short and translated and len(letters) >= _SHORT_TRANSLATION and not keeps_source_words(other_side, text):
            least, most = _LIKELY, 1 - _LIKELY
        if sure >= least and expected <= most:
            return rejected("mixed_language", f"the {side} text switches to {other}: {quote(segment)}", expected)
    return passed("one language")


def _foreign_run(text: str, code: str, given: str) -> str:
    """Return a new run of four or more words with two stop words of one other language and none of `code`; or ''."""
    own, known = lexicon(code).stop, _languages_of()
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


def _slip(text: str, code: str, given: str) -> str:
    """Return an English joining word after a lower-case word of another language, outside a quotation; or ''."""
    if code == "en" or not (says("en", "slips", fold(text)) or says(code, "slips", fold(text))):
        return ""
    slip = _slip_pattern(code).search(_SHORT_PIECE.sub(" ", text))
    return slip[0] if slip and f" {slip[0]} " not in f" {given} " else ""


def _joining_word(text: str, code: str, given: str) -> str:
    """Return a lower-case stop word of a widely written language that is not a word of `code`, or ''."""
    if not (own := lexicon(code).stop) or not (joining := _joining_words(code).intersection(words(text))):
        return ""
    plain, given_words = _SHORT_PIECE.sub(" ", text), set(words(given))
    return next((w for w in _WHOLE_WORD.findall(plain) if w in joining and w not in own and w not in given_words), "")


_WHOLE_WORD = re.compile(r"(?<=[^\W\d_][ ,] )[a-zß-ÿ]{3,}(?![\w'’-])|(?<=[^\W\d_] )[a-zß-ÿ]{3,}(?![\w'’-])")


@cache
def _joining_words(code: str) -> frozenset[str]:
    """Return stop words of three or more letters that only English, German, French or Spanish have, no homographs."""
    listed = _languages_of().items()
    joining = {word for word, codes in listed if len(word) > 2 and set(codes) <= _WIDELY and code not in codes}
    return frozenset(joining - lexicon("any").words("homographs") - lexicon(code).words("homographs"))


_WIDELY = frozenset(("en", "de", "fr", "es"))


@cache
def _slip_pattern(code: str) -> re.Pattern[str]:
    """Return a pattern for the words of `slips`, English and of a language, after a lower-case word."""
    slips = alternation(lexicon("en").words("slips") | lexicon(code).words("slips"))
    return re.compile(rf"(?<=[^\W\d_] )(?<![^\W\d_A-Z]\. )(?:{slips})(?= [^\W\d_]|[.,!?]|$)")


_SHORT_PIECE = re.compile(r"[\"\u201c\u201e\u00ab\u300c*`(][^\n]{1,200}?[\"\u201d\u201c\u00bb\u300d*`)]|\w+://\S+")


def _distinct_language(text: str, code: str) -> str:
    """Return a language of which a text without stop words of `code` has two of 3+ letters unique to it; or ''."""
    # SQL keywords are in capitals.
    distinct = set(words(" ".join(word for word in text.split() if not word.isupper())))
    own, known = lexicon(code).stop, _languages_of()
    if not own or not own.isdisjoint(distinct):
        return ""
    spoken = Counter(known[word][0] for word in distinct if len(word) > 2 and len(known.get(word, ())) == 1)
    best = max(spoken, key=lambda other: spoken[other], default="")
    return best if spoken[best] > 1 and best not in relatives(code) else ""


def _stray_letters(text: str, code: str, given: str, given_in: str) -> str:
    """Return letters in `text`, outside brackets, that `code` does not use, unless `given` accounts for them; or ''."""
    if text.isascii():
        return ""
    own = unique_letters()
    for other in _MIXED_WITH.get(code, ()):
        if len(foreign := own[other].intersection(text).difference(given)) > 1:
            return "".join(sorted(foreign))
    if code == "ko" and (han := _HAN.search(_BRACKETS.sub(" ", text))) and given_in == code and not _HAN.search(given):
        return han[0]
    scripts = {_script(other[0]) for other in _FOREIGN_RUNS.findall(given)}
    for run in _FOREIGN_RUNS.findall(_BRACKETS.sub(" ", text)):
        spoken = _NON_LATIN.get(_script(run[0]), code).split()
        if code not in spoken and (given_in in spoken or _script(run[0]) not in scripts):
            return str(run)
    return ""


# Languages whose unique letters do not belong in a text of the other language.
_MIXED_WITH = {"ja": ("zh",), "zh": ("ja",), "uk": ("ru",), "ru": ("uk",), "cs": ("sk",), "sk": ("cs",)}
_FOREIGN_RUNS = re.compile(r"[Ѐ-ӿ]{2,}|[֐-׿؀-ۿऀ-ॿ฀-๿]{2,}|[぀-ヿ一-鿿가-힣]+")
_BRACKETS = re.compile(r"[(（][^()（）]*[)）]")
_CODE_SPAN = re.compile(r"`[^`\n]+`")
_HAN = re.compile(r"[一-鿿]{2,}|[一-鿿]?[ぁ-ゖァ-ヺ]{2,}|[一-鿿][ぁ-ゖ]")  # Korean has neither
_RUN_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*|[.!?;:,\"«»„“”()\n]|\d+")


def _language_of_letters(text: str, code: str, given: str, least: int = 2) -> str:
    """Return the language whose unique letters occur in a text without any of `code`, or ''.

    Two letters that are not in the input are needed, or `least` in a longer text.
    """
    own = unique_letters()
    if code not in own or text.isascii() or not own[code].isdisjoint(text):
        return ""
    for other in _MIXED_WITH[code]:
        foreign = [letter for letter in text if letter in own[other] and letter not in given]
        if foreign and len(text) <= _MAX_LABEL and code == "ja" and _script(text[0]) != "LATIN":
            return other
        if (
            len(set(foreign)) > 1
            or (len(foreign) >= least and len(text) >= _MIN_WITHOUT_OWN)
            or (foreign and len(text) > 2 * _MIN_WITHOUT_OWN)
            or (foreign and code == "ja" and len(text) >= _MIN_CLAUSE)
        ):
            return other
    return ""


_PIECE_END = re.compile(r"[.!?…。！？、，,;；:：\n]+")
_MAX_LABEL, _MIN_CLAUSE = 6, 10  # characters of a label without kana; characters of a clause without kana
_MIN_WITHOUT_OWN = 20  # characters of a text without a letter unique to its language
_SURE_OF_A_SEGMENT, _SURE_OF_A_TEXT = 0.99, 0.9
_LIKELY, _SHORT_TRANSLATION = 0.8, 20  # for a translation, which has fewer quotations and lists than other texts
_STOP_WORD_SHARE = 0.35  # share of stop words that makes a sentence one of that language


@lru_cache(maxsize=CACHE_SIZE)
def _letters(text: str) -> str:
    if text.isascii():
        return text.encode().translate(None, _NO_LETTERS).decode()
    return "".join(filter(str.isalpha, text))


def _has_lower(letters: str) -> bool:
    return not letters.isupper() if letters.isascii() else any(map(str.islower, letters))


_NO_LETTERS = bytes(number for number in range(128) if not chr(number).isalpha())


@lru_cache(maxsize=CACHE_SIZE)
def _is_evident(text: str, code: str, least: int = 5) -> bool:
    """Whether a text has so many stop words of `code`, and few of other languages, that it need not be identified."""
    counts = _count_stop_words(text)
    own = counts[code]
    if own < least or own < _EVIDENT_SHARE * len(words(text)):
        return False
    return own >= 2 * [0, *sorted(counts.values())][-2]  # if another language has more, it is one of the last two


@lru_cache(maxsize=CACHE_SIZE)
def _count_stop_words(text: str) -> Counter[str]:
    """Count the stop words of each language in a text."""
    return Counter(chain.from_iterable(map(_languages_of().get, words(text), repeat(()))))


@cache
def _languages_of() -> dict[str, tuple[str, ...]]:
    """Map each stop word to the languages that have it."""
    tables = {path.stem: lexicon(path.stem).stop for path in FOLDER.glob("*.toml")}
    return {
        word: tuple(code for code, stop in tables.items() if word in stop)
        for word in frozenset().union(*tables.values())
    }


@cache
def _foreign_stop_words(code: str) -> frozenset[str]:
    return frozenset(_languages_of()) - lexicon(code).stop


_EVIDENT_SHARE = 0.25


def _has_stop_words(segment: str, code: str) -> bool:
    stop, spoken = lexicon(code).stop, words(segment)
    return sum(map(stop.__contains__, spoken)) >= _STOP_WORD_SHARE * len(spoken) > 0


def _is_code(text: str) -> bool:
    return sum(map(text.count, "{}<>=;|\\")) > len(text) / 60 + 2


@cache
def _writes_no_latin(code: str) -> bool:
    return code != "sr" and any(code in codes.split() for codes in _NON_LATIN.values())


def check_language(code: str) -> None:
    """Raises SpecError if the identifier does not know the language `code`."""
    if not is_known(code):
        raise SpecError(
            f"'task.language': the language gate does not know '{code}'.",
            why="It could not distinguish texts in this language from others.",
            fix="Use a two-letter ISO 639-1 code such as 'en' or 'de', or set curate.gates.language = false.",
        )


def is_known(code: str) -> bool:
    """Whether the identifier knows a language. For widely written ones its model (100 MB) is not loaded to find out."""
    if code in _WRITTEN.split():
        return True
    try:
        _identifier(code)
    except ValueError:
        return False
    return True


@cache
def _identifier(code: str) -> Any:
    """Return the identifier restricted to the candidates for a task in `code`; their probabilities sum to one."""
    identifier = copy(shared_identifier())  # shares the model's tables
    identifier.set_languages({*_WRITTEN.split(), *relatives(code)} & {*identifier.labels, code})
    return identifier


def identified(text: str, codes: Collection[str]) -> str:
    """Return which of the languages `codes` a text is in, if that is certain; else ''."""
    known = {code for code in codes if is_known(code)}
    if len(known) < 2 or len(_letters(text)) < 12:
        return ""
    identifier = copy(shared_identifier())
    identifier.set_languages(known)
    best = max(identifier.rank(text), key=lambda one: float(one[1]))
    return str(best[0]) if best[1] >= _SURE else ""


@cache
def shared_identifier() -> Any:  # of all languages; to restrict it, copy it
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


@cache
def relatives(code: str) -> frozenset[str]:
    return frozenset({code}.union(*(group.split() for group in _SIBLINGS if code in group.split())))


@lru_cache(maxsize=CACHE_SIZE)
def _own_and_best_other(text: str, code: str) -> tuple[float, float, str]:
    """Return the probability of `code`, that of the likeliest other language, and its code; relatives are included."""
    left = dict(_identifier(code).rank(text))
    expected = math.fsum(left.pop(lang, 0.0) for lang in relatives(code))
    best = max(left, key=lambda lang: left[lang])
    return expected, math.fsum(left.get(lang, 0.0) for lang in relatives(best)), best


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "?").partition(" ")[0]


def _foreign_script(letters: str, code: str, least: int = _MIN_LETTERS) -> str:
    """Return the script, not of `code`, of more than half of the letters and at least four; or ''."""
    if letters.isascii():
        return "LATIN" if _writes_no_latin(code) and len(letters) >= least else ""
    scripts = Counter(map(_script, letters))
    foreign = {s: n for s, n in scripts.items() if s in _NON_LATIN and code not in _NON_LATIN[s].split()}
    total = sum(foreign.values())
    return max(foreign, key=lambda s: foreign[s]) if total >= 4 and 2 * total > len(letters) else ""
