"""What a model sets around a text by the form of a chat: who speaks, what kind of text it is, the next turn; and a text
that says nothing. The words are lists of each language: `speakers`, `headed`, `thanks`, `courtesy` and `nothing`.
"""

from __future__ import annotations

import re

from curate.gates.frames import Found
from curate.gates.phrases import any_of, fragment, is_one_of, says
from curate.gates.words import count_words

# A label at the start of a line, and text behind it.
_LABEL = re.compile(r"(?m)^[\s*_#>\[【]{0,6}([^\W\d_][^\n:：*\[\]【】]{0,30}?)[*_\]】\s]{0,4}[:：][^\w\n]{0,4}(?=\w)")
_BOXED = re.compile(r"\A\s*[\[【(（]([^\[\]【】()（）\n]{2,30})[\]】)）]:?\s*\n")
_MARKED = re.compile(r"\A\s*(?:\*\*|#{1,4} )\s*([^\n:：*]{2,40}?)\s*(?:[:：][^\n]*|\*\*[:：]?|)\n")
_ANOTHER = re.compile(r"(?m)^\s*(?:\*\*|#{1,4} )")
_PARAGRAPH = re.compile(r"\n\s*\n")
_BEHIND = re.compile(r"\n\s*\n[\s*_#>]{0,6}\Z")
_EMPTY_FENCE = re.compile(r"\s*```[\w+-]*\s*```\s*")
_OPENS = ("[", "【", "(", "（", "*", "#")  # what a title may stand in
_FEW_WORDS, _ASKED = 12, 12  # words of a text of courtesy, letters of an input


def turned(text: str, other: str, language: str, *, same_language: bool = True) -> Found | None:
    """What a folded text has of the form of a chat that is no part of it; `other` is what the other side and the style
    say."""
    labels = list(_LABEL.finditer(text)) if ":" in text or "：" in text else []
    first = labels[0] if labels and not text[: labels[0].start()].strip() else None
    if not labels and text.lstrip()[:1] not in _OPENS:
        return _goes_on(text, other, language)
    in_turns = fragment("any", "dialogue").search(other) is not None
    known = _speakers(labels, language) if not in_turns else []
    asked_for = first and first[1] in other and first[1] not in (label[1] for label in _LABEL.finditer(other))
    apart = not in_turns and known == labels and len({label[1] for label in labels}) == len(labels)
    if first and not asked_for and apart and (same_language or not _LABEL.match(other)):
        return Found("speaker", first[0].strip())
    if len(labels) > 1 and all(_is_manner(label[1], language) for label in labels):
        return Found("options", labels[1][0].strip())
    if first is None and known and known == labels:
        behind = [label for label in known if _BEHIND.search(text[: label.start(1)])]
        if behind:
            return Found("next_turn", behind[0][0].strip())
    headed = None if in_turns else _headed(text, other, language, labels, first)
    return headed or _goes_on(text, other, language)


def _speakers(labels: list[re.Match[str]], language: str) -> list[re.Match[str]]:
    return [label for label in labels if _is_any(label[1], "speakers", language)]


def _headed(
    text: str, other: str, language: str, labels: list[re.Match[str]], first: re.Match[str] | None
) -> Found | None:
    """A kind of text named at the start, where no other line has a label and nothing asks for it."""
    named = _BOXED.match(text) or _MARKED.match(text) or (first if len(labels) == 1 else None)
    alone = named and not _ANOTHER.search(text, named.end())
    if named and alone and named[1] not in other and _is_any(named[1], "headed", language):
        return Found("title", named[0].strip())
    return None


def _goes_on(text: str, other: str, language: str) -> Found | None:
    """A paragraph in the midst of a text that thanks and asks: what the asker says next."""
    parts = [part.strip() for part in _PARAGRAPH.split(text)] if "\n" in text and ("?" in text or "？" in text) else []
    for part in parts[1:-1]:
        if part[-1:] in ("?", "？") and len(part) < 200 and "\n" not in part:
            thanks = says(language, "thanks", part[:24])
            if thanks and thanks.start() <= 1 and not says(language, "thanks", other):
                return Found("next_turn", part)
    return None


def says_nothing(text: str, other: str, language: str) -> str:
    """A folded text that is an empty fence, a word for nothing, or courtesy alone, where the other side asks for more;
    or ''."""
    if _EMPTY_FENCE.fullmatch(text):
        return text.strip()
    plain = text.strip(" \n\t.!。！…*_\"'()[]-–—")
    if not plain or "\n\n" in plain or count_words(plain) > _FEW_WORDS or plain in other:
        return ""
    if _is_any(plain, "nothing", language):
        return plain
    asked = sum(map(str.isalpha, other))
    if asked < _ASKED or says(language, "courtesy", other[:12]):
        return ""
    left = any_of(language, "courtesy").sub(" ", text)
    return plain if not any(map(str.isalnum, left)) else ""


def only_refuses(text: str, language: str) -> bool:
    """Whether a folded text says that its writer cannot, with an apology or a word of help (`declining`), and nothing
    else: one that says what cannot be done, why, or what can be, has a word that stands in no list."""
    for code in dict.fromkeys((language, "en")):
        able = says(code, "unable", text) or (says(code, "able", text) and says(code, "denial", text))
        if not able or not says(code, "declining", text):
            continue
        left = text
        for name in ("unable", "able", "declining", "vague", "denial"):
            left = any_of(code, name).sub(" ", left)
        if not any(map(str.isalnum, left)):
            return True
    return False


def _is_manner(text: str, language: str) -> bool:
    return _is_any(text, "register", language) or _is_any(text, "manners", language)


def _is_any(text: str, name: str, language: str) -> bool:
    return any(is_one_of(code, name, text.strip()) for code in dict.fromkeys((language, "en")))
