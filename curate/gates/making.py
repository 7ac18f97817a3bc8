"""Chat that a model wraps around a text (a speaker label, the kind of text, the next turn), texts that say nothing, and
what a text tells of its making: its instruction as a statement, reasoning under a label, notes on changes.

The words are lists of each language, such as `speakers`, `headed`, `thanks`, `courtesy` and `nothing`.

labelled_answer("", "when?", "It asks for a time.\\nAnswer: at nine") == "answer"
"""

from __future__ import annotations

import re
from functools import lru_cache

from curate.gates.content import in_code, quotations
from curate.gates.coverage import has_known_stop_words, roots, share
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.frames import FrameMatch
from curate.gates.phrases import fragment, is_listed, lexicon, list_pattern, says
from curate.gates.phrases.word_patterns import listed, word_pattern
from curate.gates.words import count_words


def restated_style(style: str, given: str, text: str, language: str, style_language: str, kind: str) -> str:
    """Return one of several sentences that consists of words of the style and not of the input; or ''.

    What a style tells as facts is there to be said, so sentences with figures and those behind a label do not count,
    and for a reply only those that tell a model what it is.
    """
    own = (
        _instruction_roots(style, style_language, to_model=kind == "reply")
        if has_known_stop_words(language)
        else frozenset[str]()
    )
    if len(own) < _MIN_ROOTS:
        return ""
    parts = [part for part in _SENTENCES.split(text) if any(map(str.isalnum, part))]
    for part in parts if len(parts) > 1 else ():
        here = roots(part, language)
        needed, shared = max(_MIN_ROOTS, _MOST * len(here)), here & own
        if len(shared) >= needed <= len(shared - roots(given, language) - roots(given, style_language)):
            return part.strip()
    return ""


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _instruction_roots(style: str, language: str, *, to_model: bool) -> frozenset[str]:
    """Return the roots of what a style demands, without the facts that it tells."""
    demanded = (part for part in _SENTENCES.split(_facts().split(style, maxsplit=1)[0]) if not re.search(r"\d", part))
    return roots(" ".join(part for part in demanded if not to_model or _persona().match(fold(part))), language)


_persona = word_pattern(r"\W*{persona}")


_MIN_ROOTS, _MOST = 4, 0.6  # roots of a sentence that are the style's, and their share
_SENTENCES = re.compile(r"(?<=[.!?\u2026])\s+|(?<=[\u3002\uff01\uff1f\u061f\u0964])\s*|\n+|(?<=\w): ")
_facts = word_pattern(r"(?<!\w)(?:{facts_named|fact_named})\s?[:\uff1a]", re.IGNORECASE)


def labelled_answer(style: str, given: str, text: str) -> str:
    """Return a label such as `Answer:` that begins a line below other text, or ''.

    Not below a question, nor if the input or the style has the label, nor in a form with other labels of its own.
    """
    if "\n" not in text or not (":" in text or "\uff1a" in text):
        return ""
    label = _answer_label().search(fold(text))
    if not label or len(_LABEL.findall(fold(text))) > 1:
        return ""
    above = fold(text)[: label.start()].strip()
    known = fold(f"{given}\n{style}")
    asked = above.endswith(("?", "\uff1f", "\u061f"))
    return "" if not above or asked or label["name"] in known else label["name"]


_answer_label = word_pattern(r"\n\W*(?P<name>(?<![^\W\d_]){answer_labels})\W{0,3}[:\uff1a]")
_LABEL = re.compile(r"(?m)^\W*[^\W\d_][\w ]{0,20}\W{0,3}[:\uff1a]")


def change_note(style: str, given: str, text: str) -> str:
    """Return a note that quotes a word which the text had and has no longer: `(removed "sorry")`, `teh -> the`; or ''.

    It is the last paragraph or bracket, or a line with an arrow. Not if the style asks for notes or marks.
    """
    may_have = any(map(text.__contains__, (*_ARROWS, "~~", "\n", ")", "]", "\uff09")))
    if not may_have or _wants_notes(style) or in_code(given):
        return ""
    folded = fold(given)
    if change := _noted_with_arrow(folded, text):
        return change
    if in_code(text):
        return ""
    struck = _STRUCK.search(text)
    if struck and fold(struck[1]) in folded and "~~" not in given:
        return struck[0]
    last = _LAST.search(text.rstrip())
    if last is None:
        return ""
    if not (quoted_texts := dict.fromkeys(map(str.strip, quotations(last[0])))):
        return ""
    rest = fold(text[: last.start()])
    gone = [quoted for quoted in quoted_texts if fold(quoted) in folded and not _has(rest, fold(quoted))]
    around = last[0]
    for quoted in quoted_texts:
        around = around.replace(quoted, " ")
    apart = frozenset(re.findall(r"[^\W\d_]{4,}", fold(around))).isdisjoint(re.findall(r"[^\W\d_]{4,}", folded))
    short = all(len(quoted) < _WORDS for quoted in gone)
    around_it = len(re.findall(r"[^\W\d_]{3,}|[\u3040-\u9fff\uac00-\ud7a3]{2}", around)) > int(
        last[0].lstrip()[0] not in "([\uff08"
    )
    return last[0].strip() if gone and short and apart and around_it else ""


def _noted_with_arrow(given: str, text: str) -> str:
    """Return a line with an arrow from words that the text has no longer to words that it has, or ''.

    A way from place to place, or a list of words and their translations, is the text itself.
    """
    if not any(map(text.__contains__, _ARROWS)) or any(map(given.__contains__, _ARROWS)):
        return ""
    noted = {line: change for line in text.splitlines() if (change := _ARROW.match(line))}
    rest = fold("\n".join(line for line in text.splitlines() if line not in noted))
    for line, change in noted.items():
        before, after = map(fold, change.groups())
        if before in given and not _has(rest, before) and _has(rest, after):
            return line.strip()
    return ""


def _has(text: str, word: str) -> bool:
    return re.search(rf"(?<![^\W\u3040-\u9fff]){re.escape(word)}(?![^\W\u3040-\u9fff])", text) is not None


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def _wants_notes(style: str) -> bool:
    return _asks_for_notes(fold(style)) is not None


_asks_for_notes = listed("asks_for_notes")
_WORDS = 40  # characters of a quoted word or two
_ARROWS = ("\u2192", "->", "=>", "\u21d2")
_ARROW = re.compile(
    r"\W*([^\W\d_][\w' \u2019]{0,30}?)[\"'\u201d\u00bb*`]*\s*(?:\u2192|[-=]>|\u21d2)"
    r"\s*[\"'\u201c\u00ab\u201e*`]*(\w(?:[\w' \u2019]{0,30}\w)?)"
)
_STRUCK = re.compile(r"~~([^~\n]+)~~")
_LAST = re.compile(r"\n\s*\n[^\n]+\Z|\n[^\n:\uff1a]{2,30}[:\uff1a][^\n]+\Z|\s[(\[\uff08][^()\[\]\n]+[)\]\uff09]\Z")


# A label at the start of a line, followed by text.
_LINE_LABEL = re.compile(
    r"(?m)^[\s*_#>\[【]{0,6}([^\W\d_][^\n:：*\[\]【】]{0,30}?)[*_\]】\s]{0,4}[:：][^\w\n]{0,4}(?=\w)"
)
_ALONE = re.compile(
    r"(?m)^[\s*_#>\[【]{0,6}([^\W\d_][^\n:：*\[\]【】]{0,30}?)[*_\]】\s]{0,4}(?:[:：][*_\]】\s]{0,4}|(?<=\*\*))$"
)
_BOXED = re.compile(r"\A\s*[\[【(（]([^\[\]【】()（）\n]{2,30})[\]】)）]:?\s*\n")
_MARKED = re.compile(r"\A\s*(?:\*\*|#{1,4} )\s*([^\n:：*]{2,40}?)\s*(?:[:：][^\n]*|\*\*[:：]?|)\n")
_MORE_HEADINGS = re.compile(r"(?m)^\s*(?:\*\*|#{1,4} )")
_PARAGRAPH = re.compile(r"\n\s*\n")
_AFTER_PARAGRAPH = re.compile(r"\n\s*\n[\s*_#>]{0,6}\Z")
_EMPTY_FENCE = re.compile(r"\s*```[\w+-]*\s*```\s*")
_OPENS = ("[", "【", "(", "（", "*", "#")  # characters that a title may be set in
_MAX_COURTESY, _MIN_REQUEST = 12, 12  # words of a courtesy text; letters of an input that asks for more
_MIN_COURTESY = 3  # words of a courtesy text that is certainly not a plain yes or no


def chat_turn(text: str, other: str, language: str, *, same_language: bool = True) -> FrameMatch | None:
    """Return what makes a folded text look like a chat turn, or None. `other` is the other side and the style."""
    labels = list(_LINE_LABEL.finditer(text)) if ":" in text or "：" in text else []
    if version := _labelled_version(text, other, language):
        return FrameMatch("options", version)
    first = labels[0] if labels and not text[: labels[0].start()].strip() else None
    if not labels and text.lstrip()[:1] not in _OPENS:
        return _next_turn(text, other, language)
    in_turns = fragment("dialogue").search(other) is not None
    known = [] if in_turns else [label for label in labels if _is_in_list(label[1], "speakers", language)]
    asked_for = first and first[1] in other and first[1] not in (label[1] for label in _LINE_LABEL.finditer(other))
    apart = not in_turns and known == labels and len({label[1] for label in labels}) == len(labels)
    if first and not asked_for and apart and (same_language or not _LINE_LABEL.match(other)):
        return FrameMatch("speaker", first[0].strip())
    if len(labels) > 1 and all(_is_manner(label[1], language) for label in labels):
        return FrameMatch("options", labels[1][0].strip())
    if first is None and known and known == labels:
        behind = [label for label in known if _AFTER_PARAGRAPH.search(text[: label.start(1)])]
        if behind:
            return FrameMatch("next_turn", behind[0][0].strip())
    headed = None if in_turns else _heading_kind(text, other, language, labels, first)
    return headed or _next_turn(text, other, language)


def _labelled_version(text: str, other: str, language: str) -> str:
    """Return the second of several lines that name a manner, if the texts below the first two are alike; or ''."""
    named = [label for label in _ALONE.finditer(text) if _is_manner(label[1], language)] if "\n" in text else []
    if len(named) < 2 or any(label[1] in other for label in named):
        return ""
    first, second = text[named[0].end() : named[1].start()], text[named[1].end() :].partition("\n\n")[0]
    alike = share(roots(first, language), roots(second, language)) >= _ALIKE
    return named[1][1] if alike and second.strip() else ""


_ALIKE = 0.4  # share of the roots of one version that another one has


def _heading_kind(
    text: str, other: str, language: str, labels: list[re.Match[str]], first: re.Match[str] | None
) -> FrameMatch | None:
    """Return a kind of text named at the start, if no other line has a label and nothing asks for it; or None."""
    named = _BOXED.match(text) or _MARKED.match(text) or (first if len(labels) == 1 else None)
    alone = named and not _MORE_HEADINGS.search(text, named.end())
    if named and alone and named[1] not in other and _is_in_list(named[1], "headed", language):
        return FrameMatch("title", named[0].strip())
    return None


def _next_turn(text: str, other: str, language: str) -> FrameMatch | None:
    """Return a paragraph in the middle of a text that thanks and asks, as the asker's next message would, or the head
    of a mail that the text quotes; or None."""
    if (quoted := quoted_mail(text)) and quoted not in other and not says("any", "mails_in_mails", other):
        return FrameMatch("next_turn", quoted)
    parts = [part.strip() for part in _PARAGRAPH.split(text)] if "\n" in text and ("?" in text or "？" in text) else []
    for part in parts[1:-1]:
        if part[-1:] in ("?", "？") and len(part) < 200 and "\n" not in part:
            thanks = says(language, "thanks", part[:24])
            if thanks and thanks.start() <= 1 and not says(language, "thanks", other):
                return FrameMatch("next_turn", part)
    return None


def quoted_mail(text: str) -> str:
    """Return the line above a mail that a text quotes, or ''.

    It ends with a colon, has a date or an address, and quoted lines follow (`On 2 May 2026, Ann wrote:`, `> Hello`); it
    is set in hyphens (`---Original Message---`); or it is the first of three lines such as `From: ann@shop.example`.
    """
    may_quote = ":" in text and (">" in text or "@" in text)
    match = _mail_head().search(text) if may_quote or "---" in text else None
    return match[0].strip() if match else ""


_mail_head = word_pattern(
    r"(?m)^(?=[^\n]*@|(?:[^\n\d]*\d){5})[^\n]{8,200}?:(?=\s*>\s)|^[^\w\n-]{0,20}-{3,}+ ?[^\W\d_][^\n-]{3,40}-{3,}\s*$"
    r"|^(?=(?:[^\W\d_][\w ]{1,13}: ?[^\n]+\n){3})\W*{from_label}\W*:[^\n]+@[^\n]+"
)


def empty_statement(text: str, other: str, language: str) -> str:
    """Return a folded text that is an empty fence, a word for nothing, or only courtesy; or ''.

    Courtesy counts only if the input asks for more.
    """
    if _EMPTY_FENCE.fullmatch(text):
        return text.strip()
    plain = text.strip(" \n\t.!。！…*_\"'()[]-–—")
    if not any(map(str.isalnum, plain)) or "\n\n" in plain or count_words(plain) > _MAX_COURTESY or plain in other:
        return ""
    if _is_in_list(plain, "nothing", language):
        return plain
    asked = sum(map(str.isalpha, other))
    polite = list_pattern(language, "courtesy").finditer(other[:12])
    short = len(re.findall(r"[^\W\d_]+", plain)) < _MIN_COURTESY
    likewise = [word[0] for word in polite if short or word[0] not in lexicon(language).stop]
    if asked < _MIN_REQUEST or likewise or says(language, "thanks", other):
        return ""
    left = list_pattern(language, "courtesy").sub(" ", text)
    return plain if not any(map(str.isalnum, left)) else ""


def is_bare_refusal(text: str, language: str, request: str = "") -> bool:
    """Whether a folded text only says that its writer, perhaps an AI, cannot do it, with an apology or a word of help
    (`declining`), and in the words of a `request` what it is.

    A text that says what else cannot be done, why, or what is possible has a word that is in none of the lists.
    """
    known = roots(request, language) if request else frozenset[str]()
    for code in dict.fromkeys((language, "en")):
        able = says(code, "unable", text) or (says(code, "able", text) and says(code, "denial", text))
        if not able or not says(code, "declining", text):
            continue
        left = text
        for name in ("self_ai", "ai_self", "unable", "able", "declining", "vague", "denial"):
            left = list_pattern(code, name).sub(" ", left)
        if not any(map(str.isalnum, left)) or (known and roots(left, language) <= known):
            return True
    return False


@lru_cache(maxsize=CACHE_SIZE)  # the style is the same for every row
def asks_for_note(style: str) -> bool:
    """Whether a style asks for a note of the translator: `add a translator's note`, but not `without notes`."""
    folded = fold(style)
    note = _note(folded)
    before = folded[max(0, note.start() - _DENIAL_REACH) : note.start()] if note else ""
    return note is not None and not says("any", "rules_out", before)


_note = listed("notes_named")
_DENIAL_REACH = 24  # characters before a word in which the style may rule it out


def _is_manner(text: str, language: str) -> bool:
    return _is_in_list(text, "register", language) or _is_in_list(text, "manners", language)


def _is_in_list(text: str, name: str, language: str) -> bool:
    return any(is_listed(code, name, text.strip()) for code in dict.fromkeys((language, "en")))
