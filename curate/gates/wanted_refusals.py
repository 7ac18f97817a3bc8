"""When a text that turns something down is what was asked for, and not a model that refuses its task.

is_wanted_refusal("sorry, we cannot refund this.", "refund after 90 days", "write a polite refusal.", "en", "free")
"""

from __future__ import annotations

from functools import lru_cache

from curate.gates.folding import CACHE_SIZE, SENTENCE_END, fold
from curate.gates.making import is_bare_refusal
from curate.gates.phrases import all_languages_pattern, says
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.words import count_words


def restates_denial(text: str, other: str, language: str, of_other: str) -> bool:
    """Whether a refusal is a legitimate rewrite or translation, because the other side says what cannot be done."""
    denies = says(language, "negation", other) or says("any", "refuses", other) or says("any", "unable", other)
    return bool(denies or is_bare_refusal(other, of_other)) and not says("any", "ai", text)


def asks_to_refuse(folded: tuple[str, str, str], reference: str, language: str, of_other: str) -> bool:
    """Whether a bare refusal is what the text should be.

    That is the case if the other side or the style mentions refusing, if the other side says that something is
    impossible (such words in a style do not count), if a note of no more words contains a denial and the text speaks
    of no AI, or if the other side or the reference is a bare refusal itself.
    """
    text, other, style = folded
    note = says(language, "negation", other) and count_words(other) <= count_words(text) and not says("any", "ai", text)
    # `impossible` in a style does not ask for a refusal
    in_style = all_languages_pattern("impossible").sub(" ", style) if style else ""
    wanted = says("any", "refuses", f"{other}\n{in_style}") or says("any", "unable", other)
    return bool(note or wanted) or is_bare_refusal(other, of_other) or is_bare_refusal(fold(reference), language)


def is_wanted_refusal(text: str, other: str, style: str, language: str, kind: str) -> bool:
    """Whether a refusal in an answer may be wanted: its style tells the model to turn some requests down, or asks for a
    refusal as the text.

    Not if the text speaks of an AI and neither the request nor the style does; nor, where the refusal is the text, if
    it refuses to write it: `I cannot write this`.
    """
    if kind not in ("reply", "free"):
        return False
    if not _turns_down(style, language):
        refuses_writing = says("any", "of_producing", text) and not says("any", "of_producing", other)
        if refuses_writing or not _asks_for_refusal(style):
            return False
    return not says("any", "ai", text) or bool(says("any", "ai", f"{other}\n{style}"))


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _turns_down(style: str, language: str) -> bool:
    """Whether a folded style tells a model to turn requests down.

    `Do not hedge or refuse` does not, and neither does a style that says who else may refuse what.
    """
    for sentence in SENTENCE_END.split(style):
        for name in ("turns_down", "declines"):
            for verb in all_languages_pattern(name).finditer(sentence):
                before = sentence[: verb.start()]
                near = before if _joined().search(before) else before[-_DENIAL_REACH:]
                if any(says(code, "denial", near) for code in dict.fromkeys(("en", language))):
                    continue
                if _commands().search(before) or (name == "turns_down" and says("any", "requests", sentence)):
                    return True
    return False


_DENIAL_REACH = 12  # characters before a verb in which a denial refers to it; more in `do not hedge or refuse`
_joined = word_pattern(r"(?<!\w){or_between}\s+(?:\w+(?:ly|ment|mente)\s+)?\Z")
_commands = word_pattern(r"(?:\A|[,:()\u2013\u2014]|(?<!\w){before_commands}|\w(?:ly|ment|mente))[\s*\"'-]*\Z")


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _asks_for_refusal(style: str) -> bool:
    """Whether a folded style names a refusal as the text to write: `write a polite refusal`, `断りの一文を書いて`."""
    return _asked_refusal().search(style) is not None


_asked_refusal = word_pattern(
    r"(?:\A|[.:;!,])\W*(?:{form_verbs|count_verbs})\s(?:[^\W\d_]+\s){0,3}{refusals_named}(?!\w)"
    r"|(?<![^\W\u3040-\u9fff\uac00-\ud7a3]){refusals_joined}[^\n.,\u3002]{0,16}{writes_behind}"
    r"|{writes_behind}[^\n.,\u3002]{0,8}{refusals_joined}"
)


def adds_translating(text: str, other: str) -> bool:
    """Whether a folded text speaks of translating and the other side does not: `I cannot translate this text`."""
    return bool(says("any", "translating", text) and not says("any", "translating", other))


def refuses_this_text(text: str, other: str, language: str, input_language: str, kind: str) -> bool:
    """Whether a short folded text says that a text cannot be translated, or that this one cannot be made, and its
    other side says nothing of the kind."""
    if len(text) > _MAX_REFUSAL or (kind == "translate" and not adds_translating(text, other)):
        return False
    codes = dict.fromkeys((language, "en"))
    unable, texts = (("cannot", "unable"), _TEXTS) if kind == "translate" else (("cannot",), ("this_text",))
    if not any(says(code, name, text) for code in codes for name in unable):
        return False
    named = any(says(code, name, text) for code in codes for name in texts)
    return named and not any(says(input_language, name, other) for name in _TEXTS)


_TEXTS = ("text", "of_text", "this_text")  # lists of words for a text and its parts
_MAX_REFUSAL = 200  # letters
