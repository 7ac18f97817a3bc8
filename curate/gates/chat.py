"""Gates on the voice of a text: a model that chats, refuses, or answers the input instead of rewriting it.

What they look for stands in the tables of curate/gates/phrases, one file a language, each row with its examples.
"""

from __future__ import annotations

import re

from curate.gates.folding import fold
from curate.gates.frames import framed
from curate.gates.judgement import Judgement, Side, passed, quote, rejected, sides
from curate.gates.phrases import any_of, anywhere, phrases, says
from curate.gates.turns import only_refuses, says_nothing, turned
from curate.gates.versions import apart, prompted, several
from curate.gates.words import content_words, count_words, stem_of, words
from schemas.records import Pair, Reason

_CODE = re.compile(r"```[\s\S]*?```|`[^`\n]+`")

_SPOKEN = re.compile(r"\s*[-\"'\u2013\u2014\u201c\u201e\u00ab\u00bb\u300c]")

_TALKS = {
    "to_the_asker": "talks to the person who asked",
    "asks_back": "asks for more before it begins",
    "how_to": "tells how to make it",
    "about_the_text": "talks about the text",
    "from_outside": "describes it from outside",
    "explains": "explains the subject",
}


def preamble(
    pair: Pair, style: str = "", language: str = "en", input_language: str | None = None, kind: str = "rewrite"
) -> Judgement:
    """The text stands alone: no refusal, no chat before or after it, no label, no marks of a chat template.

    A phrase that the other side or the house style says itself is not held against the text. A refusal counts where it
    is about making the text, is the whole text (a reply that does not speak of help or requests is only flagged:
    `Sorry, I can't.`), or names an AI. What may as well be the end of a reply (`Would you like
    me to add ...?`) is only flagged. A label (`Output:`) counts at the very start, unless the task speaks of a dialogue
    or a report or other labels follow.
    Not covered: chat in other words; a polite sentence that fits a reply as well (`Let me know if ...`); in a language
    without a table, everything but the marks of chat templates and of reasoning.
    """
    flagged: Judgement | None = None
    for side, text in sides(pair):
        folded = (_without_code(fold(text)), _other(pair, side), fold(style))
        spoken = language, (input_language or language) if side == "output" else language
        if only_refuses(folded[0], language) and not _asks_to_refuse(folded, pair.reference or "", *spoken):
            refuses = rejected("refusal", f"the {side} text is a refusal and nothing else: {quote(text)}")
            if kind != "reply" or says("any", "assists", folded[0]):
                return refuses
            flagged = refuses._replace(keep=True, flags=("refusal",))  # as people say it to each other
        for table in ("refusal", "preamble"):
            searched = _without_speech(folded[0]) if table == "refusal" else folded[0]
            finding = phrases(language).find(table, searched, *folded[1:])
            asked = finding and finding.rule.table == "refusal.maybe" and says("any", "machines", folded[1])
            if finding and not asked and not (table == "refusal" and _is_told(*folded[:2], *spoken)):
                _, _, part = finding.rule.table.partition(".")
                chats = rejected(
                    table if table == "refusal" else _CODES.get(part, table),
                    f"the {side} text says {quote(finding.quoted)}",
                )
                if part != "maybe":
                    return chats
                flagged = flagged or chats._replace(keep=True, flags=(chats.reason.code,))
        frame = None if flagged else framed("preamble", folded[0], f"{folded[1]}\n{folded[2]}", language)
        if frame and frame.code == "prompt_leak" and says("any", "prompts", folded[1]):
            frame = None
        of_figures = frame and frame.code == "refusal" and _is_told(*folded[:2], *spoken)
        if frame and not of_figures and not (frame.code in ("refusal", "policy") and _is_spoken(frame.quoted)):
            flagged = _flag(frame.code, side, frame.quoted)
        if side == "output" and not flagged:
            flagged = _chats(folded[0], f"{folded[1]}\n{folded[2]}", language, input_language in (None, language))
    same = input_language in (None, language)
    if not flagged and same and (head := apart(pair.input, pair.output, language)):
        flagged = _flag("title", "output", head)
    if not flagged and (prompt := prompted(pair.input, pair.output)):
        flagged = _flag("prompt_leak", "output", prompt)
    return flagged or passed(f"it stands alone{_not_looked_for(language)}")


def _chats(text: str, other: str, language: str, same_language: bool) -> Judgement | None:
    """What of the form of a chat stands around the output, or is all of it."""
    if turn := turned(text, other, language, same_language=same_language):
        return _flag(turn.code, "output", turn.quoted)
    # A translation into a word of thanks is asked for by its source alone, not by the style.
    nothing = says_nothing(text, other if same_language else other.partition("\n")[0], language)
    return _flag("empty", "output", nothing) if nothing else None


def _without_speech(text: str) -> str:
    """`text` without what a figure says: quotations that are not all of it, and spoken lines, where two or more begin
    with a dash: what a figure refuses is told."""
    around = _SPEECH.sub(" ", text)
    text = around if count_words(around) >= _AROUND else text
    lines = text.splitlines()
    spoken = [line for line in lines if _DASHED.match(line)]
    return "\n".join(line for line in lines if line not in spoken) if len(spoken) > 1 else text


def _is_spoken(quoted: str) -> bool:
    """Whether a sentence begins as speech does, or holds some and a few words around it."""
    return bool(_SPOKEN.match(quoted)) or _without_speech(quoted) != quoted


_SPEECH = re.compile(r"[\"\u201c\u201e\u00ab\u300c][^\"\u201c\u201d\u00bb\u300d\n]{8,300}[\"\u201d\u201c\u00bb\u300d]")
_AROUND = 3  # words around a quotation, without which it is the text
_DASHED = re.compile(r"\s*[\u2013\u2014\u00ab\u201c\u201e\u300c]")


def _flag(code: str, side: Side, quoted: str) -> Judgement:
    reason = Reason(code, f"the {side} text says {quote(quoted)}")
    return passed()._replace(reason=reason, flags=(code,))


_CODES = {
    "options": "options",
    "leak": "prompt_leak",
    "marker": "special_token",
    "closing": "afterword",
    "empty": "empty",
    "maybe": "afterword",
}


def thinking(pair: Pair, style: str = "", language: str = "en") -> Judgement:
    """The text holds no reasoning of the model: no block in tags, in any language's word for thinking, and no thinking
    aloud about what the user wants. A plan in the first paragraph, without the user in it, is only flagged.

    Not covered: reasoning in a language without a table that stands in no tags.
    """
    for side, text in sides(pair):
        if finding := phrases(language).find("thinking", _without_code(fold(text)), _other(pair, side), fold(style)):
            thinks = rejected("thinking", f"the {side} text says {quote(finding.quoted)}")
            return thinks._replace(keep=True, flags=("thinking",)) if finding.rule.table.endswith(".maybe") else thinks
        folded = _without_code(fold(text))
        if frame := framed("thinking", folded, f"{_other(pair, side)}\n{fold(style)}", language):
            return _flag(frame.code, side, frame.quoted)
    return passed(f"no reasoning of a model{_not_looked_for(language)}")


def injection(pair: Pair, style: str = "", input_language: str = "en") -> Judgement:
    """The input gives the model no orders of its own, such as `ignore the instructions above`.

    An output that is only what the input tells to say has obeyed (`obeyed`). Whether another did cannot be told from
    the text, so this gate is made to flag: somebody should look.
    """
    given = _without_speech(fold(pair.input))
    for table in dict.fromkeys((input_language, "en")):
        if finding := phrases(table).find("injection", given, "", fold(style)):
            return rejected("injection", f"the input says {quote(finding.quoted)}")
    if frame := framed("injection", given, "", input_language):
        return rejected("injection", f"the input says {quote(frame.quoted)}")
    if obeyed := _obeyed(fold(pair.input), fold(pair.output), input_language):
        return rejected("obeyed", f"the input says to say {quote(obeyed)}, and the output does")
    return passed("the input gives no orders to the model")


def _obeyed(asked: str, text: str, language: str) -> str:
    """A short output that is what the input says behind a word such as `say`, in a longer input; or ''."""
    plain = text.strip(" .!\"'\n")
    at = asked.find(plain) if plain and count_words(plain) <= 12 else -1
    if at < 0 or len(plain) > 0.6 * len(asked) or len(plain) < 3:
        return ""
    before = asked[max(0, at - 40) : at]
    return plain if any(says(code, "says", before) for code in dict.fromkeys((language, "en"))) else ""


def toxic(pair: Pair, language: str = "en") -> Judgement:
    """No insult of the table of `language` stands in a text that the other side does not say too, and nobody is
    addressed as something that is one then (`you lazy ...`).

    Not covered: contempt without an insult, and slurs that are no insults elsewhere. It is made to flag.
    """
    for side, text in sides(pair):
        insult = insult_in(fold(text), language)
        if insult and insult not in _other(pair, side):
            return rejected("toxic", f"the {side} text says {quote(insult)}")
    return passed(f"no insult{_not_looked_for(language)}")


def insult_in(folded: str, language: str) -> str:
    """An insult that a folded text says, or ''."""
    listed = says(language, "insults", folded)
    return listed[0] if listed else _contempt(folded, language)


def _contempt(text: str, language: str) -> str:
    """What stands of the list `contempt` right behind a word that addresses somebody, both of them; or ''."""
    if not says(language, "contempt", text):
        return ""
    for addressed in any_of(language, "addressed").finditer(text):
        behind = _BREAK.split(text[addressed.end() : addressed.end() + _NEAR], maxsplit=1)[0]
        if contempt := says(language, "contempt", behind):
            return text[addressed.start() : addressed.end() + contempt.end()]
    return ""


_BREAK, _NEAR = re.compile(r"[.!?;:\n]"), 24  # letters between whom a text addresses and what it calls them


def answered(pair: Pair, style: str = "", language: str = "en") -> Judgement:
    """The text rewrites the input; it does not answer it, explain it, describe it, or offer to do it.

    Seen are: offers of help and praise for the idea, a question about what is wanted, talk about the text and advice on
    it. Instructions for making the thing, a description from outside (`This image shows ...`) and an encyclopedia's
    sentence about the subject are seen only where the house style speaks of prompts, advice on a reply only where it
    speaks of replies: elsewhere such sentences are what was asked for.
    Not covered: an answer in the right voice, such as a reply to the agent in the words of a reply to the customer
    (what only the task can tell belongs into must, must_not or a user gate); a language without a table.
    """
    for side, text in sides(pair):
        if finding := phrases(language).find("answered", fold(text).strip(), _other(pair, side), fold(style)):
            talk = _TALKS[finding.rule.table.rpartition(".")[2]]
            return rejected("answered", f"the {side} text {talk}: {quote(finding.quoted)}")
        if frame := framed("answered", fold(text), f"{_other(pair, side)}\n{fold(style)}", language):
            return _flag(frame.code, side, frame.quoted)
    if again := _alternatives(pair, language) or several(pair.input, pair.output, language):
        return _flag("options", "output", again)
    return passed(f"it is a rewrite{_not_looked_for(language)}")


def _alternatives(pair: Pair, language: str) -> str:
    """A list made of an input of one short phrase, where an item says most words of weight of it and half of the
    items, two at least, say one: each is a text for the whole of it. Empty if it is not one."""
    if "\n" not in pair.output or not _ITEM.match(pair.output) or not _ONE_SHORT_PHRASE.fullmatch(pair.input):
        return ""
    lines = [line for line in pair.output.splitlines() if line.strip()]
    if not 2 <= len(lines) <= 10 or not all(map(_ITEM.match, lines)):
        return ""
    roots = set(map(stem_of(language), content_words(pair.input, language)))
    shared = sorted(len(roots.intersection(map(stem_of(language), words(line)))) for line in lines)
    half = len(lines) - max(2, (len(lines) + 1) // 2)
    return lines[0] if shared[half] and shared[-1] > len(roots) / 2 else ""


_ITEM = re.compile(r"\s*(?:[-*\u2022\u00b7]|\(?\d{1,2}[.)\u3001:]|\(?[a-cA-C][.)])\s*\S")
_ONE_SHORT_PHRASE = re.compile(r"[^\d,;:/&+\n\u060c\u3001\u3002\uff0c]{3,80}")


def _is_told(text: str, other: str, language: str, of_other: str) -> bool:
    """Whether a refusal is a rewrite: a note that says itself what cannot be done becomes a sentence that says so; or
    the translation of one."""
    denies = says(language, "negation", other) or says("any", "refuses", other) or says("any", "unable", other)
    return bool(denies or only_refuses(other, of_other)) and not says("any", "ai", text)


def _asks_to_refuse(folded: tuple[str, str, str], reference: str, language: str, of_other: str) -> bool:
    """Whether a bare refusal is what was to be said: the other side or the style speaks of refusing, the other side
    says that something cannot be (a style says so of slang), a note of no more words denies, or the other side or the
    reference is one too."""
    text, other, style = folded
    note = says(language, "negation", other) and count_words(other) <= count_words(text)
    in_style = anywhere("impossible").sub(" ", style) if style else ""  # what a style calls impossible refuses nothing
    wanted = says("any", "refuses", f"{other}\n{in_style}") or says("any", "unable", other)
    return bool(note or wanted) or only_refuses(other, of_other) or only_refuses(fold(reference), language)


def _other(pair: Pair, side: Side) -> str:
    return fold(pair.input if side == "output" else pair.output)


def _without_code(folded: str) -> str:
    """A text may show any mark between backticks, if it says something else."""
    left = _CODE.sub(" ", folded) if "`" in folded else folded
    return left if left.strip() else folded


def _not_looked_for(language: str) -> str:
    return "" if phrases(language).known else f"; not looked for: no phrases of '{language}' yet"
