"""The gate on chat around a text and on refusals: a model that speaks to whoever asked, instead of writing the text.

The phrases that it looks for are in the tables of curate/gates/phrases, one file per language, each row with examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import NamedTuple

from curate.gates.asked_format import begins_with_key
from curate.gates.folding import fold
from curate.gates.foreign_letters import names_language
from curate.gates.frames import match_frame, sentences
from curate.gates.judgement import Judgement, Side, only_flagged, passed, quote, rejected, sides
from curate.gates.limits import begins_like_question
from curate.gates.making import (
    change_note,
    chat_turn,
    empty_statement,
    is_bare_refusal,
    labelled_answer,
    restated_style,
)
from curate.gates.phrases import PhraseMatch, find_all, lexicon, phrases, says, words_of
from curate.gates.versions import repeated_prompt, unrelated_ending, unrelated_heading, unrelated_opening
from curate.gates.voice import coverage_note, flag, is_spoken, other_side, without_code, without_speech
from curate.gates.wanted_refusals import (
    adds_translating,
    asks_to_refuse,
    is_wanted_refusal,
    refuses_this_text,
    restates_denial,
)
from curate.gates.words import words
from schemas.records import Pair


def preamble(
    pair: Pair, style: str = "", language: str = "en", input_language: str | None = None, kind: str = "rewrite"
) -> Judgement:
    """The text stands alone: no refusal, no chat before or after it, no label, no chat template markers.

    A phrase that the other side or the house style contains as well does not count. A refusal counts if it is about
    writing the text or makes up the whole text. A text that calls itself an AI is only flagged. So are, in a reply, a
    bare refusal that does not speak of help or requests (`Sorry, I can't.`), and anything that may just as well be the
    end of a reply (`Would you like me to add ...?`). A label (`Output:`) counts only at the very start, and not if the
    task mentions a dialogue or a report or asks for YAML, or if other labels follow. In a translation, nothing counts
    that its source says too. Not covered: chat in other words; a polite sentence that fits a reply as well (`Let me
    know if ...`); in a language without a table, everything but chat template markers and reasoning markers.
    """
    judgement = _chat(pair, style, language, input_language, kind)
    if judgement.reason.detail.endswith(":\u201d") and begins_with_key(style, pair.output):
        return passed(f"a key of the YAML that the style asks for: {judgement.reason.detail}")
    if kind in ("translate", "rewrite") and judgement.keep and not judgement.flags:
        both = (language, input_language or language)
        for side, text in sides(pair):
            if refuses_this_text(fold(text), other_side(pair, side), *(both if side == "output" else both[::-1]), kind):
                return flag("refusal", side, text)
    if kind != "translate" or not input_language or (judgement.keep and not judgement.flags):
        return judgement
    text, source, codes = pair.output, pair.input, (input_language, language)
    if judgement.reason.detail.startswith("the input text"):  # a source that a teacher wrote for its translation
        text, source, codes = source, text, (language, input_language)
    of_source = _chat(pair.model_copy(update={"input": "", "output": source, "reference": None}), "", *codes, kind)
    offers = judgement.keep and judgement.reason.code == "afterword"
    if offers and len(sentences(fold(text))) <= len(sentences(fold(source))):
        return passed(f"a sentence of the source: {judgement.reason.detail}")
    if of_source.reason.code != judgement.reason.code or adds_translating(fold(text), fold(source)):
        return judgement
    if of_source.keep and not judgement.keep:
        return only_flagged(judgement)
    return passed(f"the source says the same: {of_source.reason.detail}")


def _chat(pair: Pair, style: str, language: str, input_language: str | None, kind: str) -> Judgement:
    """Return a rejection, else the first flag, else a judgement without objections."""
    flagged: Judgement | None = None
    asked_in = input_language or language
    for side, text in sides(pair):
        codes = (language, asked_in) if side == "output" else (asked_in, language)
        folded = without_code(fold(text)), other_side(pair, side), fold(style)
        is_wanted = side == "output" and is_wanted_refusal(*folded, codes[0], kind)
        spoken = _Spoken(side, text, *folded, *codes, kind, is_wanted)
        for judgement in chain(_refusals(spoken, pair.reference or ""), _phrases(spoken)):
            if not judgement.keep:
                return judgement
            flagged = flagged or judgement
        flagged = flagged or _frame(spoken) or _turn(spoken)
    if not flagged:
        additions = _additions(pair, style, language, asked_in, kind)
        flagged = next((flag(code, "output", quoted) for code, quoted in additions if quoted), None)
    return flagged or passed(f"no chat and no refusal{coverage_note(language)}")


class _Spoken(NamedTuple):
    """A text that a model may have written, and what may explain its words."""

    side: Side
    text: str
    folded: str  # without code
    other: str  # the other side of the pair, folded
    style: str  # folded
    code: str  # its language
    other_code: str
    kind: str
    is_wanted_refusal: bool

    @property
    def is_output(self) -> bool:
        return self.side == "output"

    @property
    def codes(self) -> tuple[str, str]:
        return self.code, self.other_code

    @property
    def restates_denial(self) -> bool:
        """Whether the text may deny what the other side denies. A reply does not repeat its message."""
        return self.kind != "reply" and restates_denial(self.folded, self.other, *self.codes)


def _refusals(spoken: _Spoken, reference: str) -> Iterator[Judgement]:
    """Yield a judgement on a text that is a refusal and nothing else. A reply may refuse something as people do to each
    other, and so may a message that is asked for."""
    if spoken.is_wanted_refusal or not (is_bare_refusal(spoken.folded, spoken.code) or _declines_request(spoken)):
        return
    style = "" if spoken.kind in ("reply", "free") else spoken.style  # `is_wanted_refusal` has read that of an answer
    other = "" if spoken.kind == "reply" else spoken.other  # "it has not arrived" asks for no refusal
    if not asks_to_refuse((spoken.folded, other, style), reference, *spoken.codes):
        refusal = rejected("refusal", f"the {spoken.side} text is a refusal and nothing else: {quote(spoken.text)}")
        is_models = spoken.kind != "reply" or any(says("any", words, spoken.folded) for words in ("helps", "assists"))
        is_models &= is_bare_refusal(spoken.folded, spoken.code)
        yield refusal if is_models else only_flagged(refusal)


def _declines_request(spoken: _Spoken) -> bool:
    """Whether an answer is a refusal of its request in the request's words. The request denies nothing and asks for no
    message: `write a script that deletes old data`, `I can't help with deleting data.`"""
    if spoken.kind != "free" or not spoken.is_output or len(spoken.folded) > _SHORT_REFUSAL:
        return False
    denies = says(spoken.other_code, "negated", spoken.other) or says(spoken.other_code, "denial", spoken.other)
    if denies or _QUOTED.search(spoken.other) or says("any", "to_people", f"{spoken.other}\n{spoken.style}"):
        return False
    return is_bare_refusal(spoken.folded, spoken.code, spoken.other)


_QUOTED = re.compile(r"[\"\u201c\u201e\u00ab\u300c]|(?<!\w)['\u2018]")
_SHORT_REFUSAL = 160  # characters


def _phrases(spoken: _Spoken) -> Iterator[Judgement]:
    """Yield judgements on the phrases of a refusal and of chat in a text, unless the other side or the style has them
    too."""
    given = spoken.other, spoken.style
    if not spoken.is_wanted_refusal:
        refusal = phrases(spoken.code).find("refusal", without_speech(spoken.folded), *given)
        is_about_machines = refusal and refusal.rule.table == "refusal.maybe" and says("any", "machines", spoken.other)
        if refusal and not is_about_machines and not spoken.restates_denial:
            judgement = rejected("refusal", f"the {spoken.side} text says {quote(refusal.quoted)}")
            is_doubtful = _part(refusal) in _UNSURE or (spoken.kind == "reply" and _is_a_persons(refusal, spoken))
            yield only_flagged(judgement) if is_doubtful else judgement
    chat = phrases(spoken.code).find("preamble", spoken.folded, *given)
    if spoken.is_output and spoken.code != "en":  # a server's error is in English, whatever the task's language
        chat = chat or phrases("en").find("preamble.error", spoken.folded, *given) or _english_chat(spoken)
    if chat and not _is_in_place(chat, spoken):
        code = _CODES.get(_part(chat), "preamble")
        judgement = rejected(code, f"the {spoken.side} text says {quote(chat.quoted)}")
        yield only_flagged(judgement) if _is_doubtful(chat, spoken) else judgement


def _part(finding: PhraseMatch) -> str:
    return finding.rule.table.partition(".")[2]


def _is_a_persons(refusal: PhraseMatch, spoken: _Spoken) -> bool:
    """Whether a reply refuses something as people do: `I cannot help you fill it in by telephone`, not what only models
    refuse, such as content or a request. What it offers instead may be a message or another request."""
    if is_bare_refusal(spoken.folded, spoken.code):
        return False
    _, quoted, behind = without_speech(spoken.folded).partition(refusal.quoted)
    clauses = _CLAUSE_END.split(quoted + _CLAUSE_END.split(behind, maxsplit=1)[0])
    refused = " ".join(filter(partial(says, spoken.code, "denial"), clauses)) or quoted
    of_models = (word[0] for word in find_all(spoken.code, "comply", refused))
    return not says(spoken.code, "text", refused) and all(says("any", "helps", words) for words in of_models)


_CLAUSE_END = re.compile(r"[.,;:!?\n。、]")


def _is_in_place(chat: PhraseMatch, spoken: _Spoken) -> bool:
    """Whether the input is such a phrase, or asks for it."""
    part = _part(chat)
    if part == "leak":
        return bool(chat.rule.pattern.search(spoken.other))
    if part == "agreed":  # `is there wifi`: `Yes, in the café.`
        return spoken.kind != "rewrite" and _is_answered(spoken.other, spoken.code, spoken.kind)
    return part == "opening" and spoken.kind == "reply" and _is_delivered(chat.quoted, spoken.other, spoken.code)


def _is_doubtful(chat: PhraseMatch, spoken: _Spoken) -> bool:
    """Whether a phrase may as well belong to the text."""
    is_closing = _part(chat) == "closing" and spoken.kind == "reply"
    return _part(chat) in _UNSURE or (is_closing and _is_courtesy(chat.quoted, spoken.text, spoken.code))


_UNSURE = ("maybe", "agreed", "loan", "outage", "choice")  # parts of a table that only flag
_CODES = {
    **dict.fromkeys(("options", "choice"), "options"),
    "leak": "prompt_leak",
    **dict.fromkeys(("error", "outage"), "server_error"),
    "marker": "special_token",
    "closing": "afterword",
    "empty": "empty",
    "maybe": "afterword",
    "agreed": "afterword",
}


def _frame(spoken: _Spoken) -> Judgement | None:
    """Return a flag for a sentence that is built like chat or like a refusal, or None."""
    given = f"{spoken.other}\n{spoken.style}"
    frame = match_frame("preamble", spoken.folded, given, spoken.code, spoken.kind, spoken.other)
    if not frame:
        return None
    excuse = {"prompt_leak": "prompts", "ai": "machines"}.get(frame.code, "")
    if excuse and says("any", excuse, spoken.other):
        return None
    if frame.code == "refusal" and spoken.restates_denial:
        return None
    if frame.code in ("refusal", "policy") and (spoken.is_wanted_refusal or is_spoken(frame.quoted)):
        return None
    return flag(frame.code, spoken.side, frame.quoted)


def _turn(spoken: _Spoken) -> Judgement | None:
    """Return a flag for chat around the output, or for an output that is nothing but chat, or None."""
    if not spoken.is_output:
        return None
    same_language, given = spoken.code == spoken.other_code, f"{spoken.other}\n{spoken.style}"
    if turn := chat_turn(spoken.folded, given, spoken.code, same_language=same_language):
        return flag(turn.code, "output", turn.quoted)
    # For a translation into a word of thanks, only the source counts as the request, not the style.
    nothing = empty_statement(spoken.folded, given if same_language else given.partition("\n")[0], spoken.code)
    return flag("empty", "output", nothing) if nothing else None


def _english_chat(spoken: _Spoken) -> PhraseMatch | None:
    """Return an English opening or closing around a text in another language, or None.

    Models that are asked in English introduce their answers in English. One or two words (`Sure!`) may be loans, so
    they only flag. A text that is English throughout is left to the gate on languages, and so is one that may be.
    """
    given = spoken.other, spoken.style
    parts = (phrases("en").find(f"preamble.{part}", spoken.folded, *given) for part in ("opening", "closing"))
    chat = next(filter(None, parts), None)
    chat_words = words(chat.quoted) if chat else []
    if not chat or words_of("latin_everywhere").issuperset(chat_words) or _may_be_english(spoken):
        return None
    around = words(spoken.folded.replace(chat.quoted, " "))
    english = sum(map(lexicon("en").stop.__contains__, around))
    if not around or english > _MOST_SHARED * len(around):
        return None
    return chat if len(chat_words) > _MAX_LOAN else chat._replace(rule=replace(chat.rule, table="preamble.loan"))


def _may_be_english(spoken: _Spoken) -> bool:
    given = f"{spoken.other}\n{spoken.style}"
    return names_language("en", given, spoken.code) or says("any", "two_languages", given) is not None


_MOST_SHARED = 1 / 3  # share of the words of another language that are English stop words too
_MAX_LOAN = 2  # words


def _is_courtesy(quoted: str, text: str, language: str) -> bool:
    """Whether the sentence with a folded quotation offers something other than a text: who replies may also change an
    invoice, or hope to have helped."""
    sentence = next((one for one in sentences(fold(text)) if quoted.strip() in one), quoted)
    named = {name: any(says(code, name, sentence) for code in (language, "en")) for name in ("offers", "text")}
    return named["offers"] and not named["text"]


def _is_answered(message: str, language: str, kind: str) -> bool:
    """Whether a message may be answered by yes or an agreement: it begins like a question, or asks a reply for no
    text."""
    return begins_like_question(message) or (kind == "reply" and not says(language, "text", message))


def _is_delivered(opening: str, message: str, language: str) -> bool:
    """Whether a reply opens with what its message asks for: `Here is the description:`.

    `Here is a polite reply:` is an opening even if the message asks for a reply.
    """
    named = says(language, "text", opening)
    asked = any(map(message.__contains__, "?\uff1f\u061f"))
    return bool(named and asked and named[0] in message and not says("any", "answer_labels", opening))


def _additions(pair: Pair, style: str, language: str, input_language: str, kind: str) -> Iterator[tuple[str, str]]:
    """Yield what the output adds to the text or tells of its making, each with its code; '' for what it does not."""
    given, text = pair.input, pair.output
    if input_language == language:
        yield "title", unrelated_heading(given, text, language)
    if input_language == language and kind == "rewrite":
        yield "preamble", unrelated_opening(given, text, language)
        yield "afterword", unrelated_ending(given, text, language)
    yield "prompt_leak", restated_style(style, given, text, language, input_language, kind)
    if kind != "free":
        yield "prompt_leak", labelled_answer(style, given, text) or change_note(style, given, text)
    yield "prompt_leak", repeated_prompt(given, text)
