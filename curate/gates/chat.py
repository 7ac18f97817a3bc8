"""Gates on the voice of a text: a model that chats, refuses, or answers the input instead of rewriting it.

The phrases that they look for are in the tables of curate/gates/phrases, one file per language, each row with examples.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from curate.gates.asked_format import begins_with_key
from curate.gates.folding import fold
from curate.gates.foreign_letters import names_language
from curate.gates.form import is_verse
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
from curate.gates.versions import (
    repeated_prompt,
    repeated_version,
    unrelated_ending,
    unrelated_heading,
    unrelated_opening,
)
from curate.gates.wanted_refusals import (
    adds_translating,
    asks_to_refuse,
    is_wanted_refusal,
    refuses_this_text,
    restates_denial,
)
from curate.gates.words import content_words, count_words, stemmer_for, words
from curate.gates.yes_or_no import answered_question
from schemas.records import Pair

_CODE = re.compile(r"```[\s\S]*?```|`[^`\n]+`")
_SPOKEN = re.compile(r"\s*[-\"'\u2013\u2014\u201c\u201e\u00ab\u00bb\u300c]")

_ANSWER_KINDS = {
    "to_the_asker": "addresses the person who asked",
    "asks_back": "asks for more information first",
    "how_to": "explains how to make it",
    "about_the_text": "talks about the text",
    "from_outside": "describes it from outside",
    "explains": "explains the subject",
}


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
            if refuses_this_text(fold(text), _other(pair, side), *(both if side == "output" else both[::-1]), kind):
                return _flag("refusal", side, text)
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
    flagged: Judgement | None = None
    asked_in = input_language or language
    for side, text in sides(pair):
        code = language if side == "output" else asked_in  # of this text
        folded = (_without_code(fold(text)), _other(pair, side), fold(style))
        spoken = code, asked_in if side == "output" else language
        wanted = side == "output" and is_wanted_refusal(*folded, code, kind)
        bare = not wanted and is_bare_refusal(folded[0], code)
        if bare and not asks_to_refuse(folded, pair.reference or "", *spoken):
            refusal = rejected("refusal", f"the {side} text is a refusal and nothing else: {quote(text)}")
            if kind != "reply" or says("any", "assists", folded[0]):
                return refusal
            flagged = only_flagged(refusal)  # as people do to each other
        for table in ("refusal", "preamble")[wanted:]:
            searched = _without_speech(folded[0]) if table == "refusal" else folded[0]
            finding = phrases(code).find(table, searched, *folded[1:])
            if table == "preamble" and side == "output" and code != "en":
                outage = phrases("en").find("preamble.error", *folded)  # whatever the task's language
                finding = finding or outage or _english_chat(*folded, code)
            asked = finding and finding.rule.table == "refusal.maybe" and says("any", "machines", folded[1])
            if finding and not asked and not (table == "refusal" and restates_denial(*folded[:2], *spoken)):
                _, _, part = finding.rule.table.partition(".")
                if part == "leak" and finding.rule.pattern.search(folded[1]):
                    continue  # the input is such an instruction
                if part == "agreed" and kind != "rewrite" and _is_answered(folded[1], code, kind):
                    continue  # `is there wifi`: `Yes, in the café.`
                if kind == "reply" and part == "opening" and _is_delivered(finding.quoted, folded[1], code):
                    continue
                chat = rejected(
                    table if table == "refusal" else _CODES.get(part, table),
                    f"the {side} text says {quote(finding.quoted)}",
                )
                courteous = kind == "reply" and part == "closing"
                if part not in _UNSURE and not (courteous and _is_courtesy(finding.quoted, text, code)):
                    return chat
                flagged = flagged or only_flagged(chat)
        given = f"{folded[1]}\n{folded[2]}"
        frame = None if flagged else match_frame("preamble", folded[0], given, code, kind, folded[1])
        excuse = {"prompt_leak": "prompts", "ai": "machines"}.get(frame.code, "") if frame else ""
        if excuse and says("any", excuse, folded[1]):
            frame = None
        restated = frame and frame.code == "refusal" and restates_denial(*folded[:2], *spoken)
        refuses = frame and frame.code in ("refusal", "policy")
        if frame and not restated and not (refuses and (wanted or _is_spoken(frame.quoted))):
            flagged = _flag(frame.code, side, frame.quoted)
        if side == "output" and not flagged:
            flagged = _flag_chat(folded[0], f"{folded[1]}\n{folded[2]}", language, input_language in (None, language))
    if not flagged:
        additions = _additions(pair, style, language, input_language or language, kind)
        flagged = next((_flag(code, "output", quoted) for code, quoted in additions if quoted), None)
    return flagged or passed(f"no chat and no refusal{_coverage_note(language)}")


def _english_chat(text: str, other: str, style: str, language: str) -> PhraseMatch | None:
    """Return an English opening or closing around a text in another language, or None.

    Models that are asked in English introduce their answers in English. One or two words (`Sure!`) may be loans, so
    they only flag. A text that is English throughout is left to the gate on languages, and so is one that may be.
    """
    tables = ("preamble.opening", "preamble.closing")
    chat = next(filter(None, (phrases("en").find(table, text, other, style) for table in tables)), None)
    spoken = words(chat.quoted) if chat else []
    if not chat or words_of("latin_everywhere").issuperset(spoken) or _may_be_english(f"{other}\n{style}", language):
        return None
    around = words(text.replace(chat.quoted, " "))
    english = sum(map(lexicon("en").stop.__contains__, around))
    if not around or english > _MOST_SHARED * len(around):
        return None
    return chat if len(spoken) > _MAX_LOAN else chat._replace(rule=replace(chat.rule, table="preamble.loan"))


def _may_be_english(given: str, language: str) -> bool:
    return names_language("en", given, language) or says("any", "two_languages", given) is not None


_MOST_SHARED = 1 / 3  # share of the words of another language that are English stop words too
_MAX_LOAN = 2  # words


_UNSURE = ("maybe", "agreed", "loan", "outage")  # parts of a table that only flag


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


def _flag_chat(text: str, other: str, language: str, same_language: bool) -> Judgement | None:
    """Return a flag for chat around the output, or for an output that is nothing but chat."""
    if turn := chat_turn(text, other, language, same_language=same_language):
        return _flag(turn.code, "output", turn.quoted)
    # For a translation into a word of thanks, only the source counts as the request, not the style.
    nothing = empty_statement(text, other if same_language else other.partition("\n")[0], language)
    return _flag("empty", "output", nothing) if nothing else None


def _without_speech(text: str) -> str:
    """Remove what characters say: quotations that are not the whole text, and two or more lines of dialogue.

    A line of dialogue begins with a dash. If a character refuses something, it is part of a story.
    """
    around = _SPEECH.sub(" ", text)
    text = around if count_words(around) >= _MIN_OUTSIDE else text
    lines = text.splitlines()
    spoken = [line for line in lines if _DASHED.match(line)]
    return "\n".join(line for line in lines if line not in spoken) if len(spoken) > 1 else text


def _is_spoken(quoted: str) -> bool:
    """Whether a sentence begins like direct speech, or contains some with a few words around it."""
    return bool(_SPOKEN.match(quoted)) or _without_speech(quoted) != quoted


_SPEECH = re.compile(r"[\"\u201c\u201e\u00ab\u300c][^\"\u201c\u201d\u00bb\u300d\n]{8,300}[\"\u201d\u201c\u00bb\u300d]")
_MIN_OUTSIDE = 3  # words outside a quotation; with fewer, the quotation is the text
_DASHED = re.compile(r"\s*[\u2013\u2014\u00ab\u201c\u201e\u300c]")


def _flag(code: str, side: Side, quoted: str) -> Judgement:
    return only_flagged(rejected(code, f"the {side} text says {quote(quoted)}"))


_CODES = {
    "options": "options",
    "leak": "prompt_leak",
    **dict.fromkeys(("error", "outage"), "server_error"),
    "marker": "special_token",
    "closing": "afterword",
    "empty": "empty",
    "maybe": "afterword",
    "agreed": "afterword",
}


def thinking(pair: Pair, style: str = "", language: str = "en") -> Judgement:
    """The text contains no reasoning of the model: no block in tags, no reasoning aloud about what the user wants.

    The tags are recognised with any language's word for thinking. A plan in the first paragraph that does not mention
    the user is only flagged, unless the text then starts again.
    Not covered: reasoning without tags in a language without a table.
    """
    for side, text in sides(pair):
        folded, other = _without_code(fold(text)), _other(pair, side)
        given = _with_users(other, folded), fold(style)
        if finding := phrases(language).find("thinking", folded, *given):
            reasoning = rejected("thinking", f"the {side} text says {quote(finding.quoted)}")
            is_plan = finding.rule.table.endswith(".maybe") and not _starts_again(text)
            return only_flagged(reasoning) if is_plan else reasoning
        if frame := match_frame("thinking", folded, "\n".join(given), language):
            aloud = rejected("thinking", f"the {side} text says {quote(frame.quoted)}")
            return aloud if frame.code == "aloud" or _starts_again(text) else _flag(frame.code, side, frame.quoted)
    return passed(f"no reasoning of a model{_coverage_note(language)}")


def _with_users(other: str, text: str) -> str:
    """The folded other side, with the words for a user in all languages if it has one of them.

    `Brugeren vil logge ind` may translate `The user wants to log in`, `Brugeren vil have en oversættelse` may not.
    """
    return f"{other}\n{_users()}" if says("any", "users", other) and not adds_translating(text, other) else other


@cache
def _users() -> str:
    return " ".join(sorted(word.strip("*").replace("_", " ") for word in words_of("users")))


def _starts_again(text: str) -> bool:
    """Whether the beginning of a text that is no verse comes back in it, as that of a draft does in the next one."""
    folded = fold(text).strip()
    return folded[:_BEGINNING] in folded[_BEGINNING:] and len(folded) > 2 * _BEGINNING and not is_verse(text)


_BEGINNING = 30  # characters


def injection(pair: Pair, style: str = "", input_language: str = "en") -> Judgement:
    """The input contains no orders for the model, such as `ignore the instructions above`.

    An output that is nothing but what the input tells the model to say has obeyed (`obeyed`). Whether any other output
    obeyed cannot be determined from the text, so this gate is meant to flag rows for a reviewer.
    """
    given = _without_speech(fold(pair.input))
    for table in dict.fromkeys((input_language, "en")):
        if finding := phrases(table).find("injection", given, "", fold(style)):
            return rejected("injection", f"the input says {quote(finding.quoted)}")
    if frame := match_frame("injection", given, "", input_language):
        return rejected("injection", f"the input says {quote(frame.quoted)}")
    if obeyed := _obeyed(fold(pair.input), fold(pair.output), input_language):
        return rejected("obeyed", f"the input gives the order to say {quote(obeyed)}, and the output does")
    return passed("the input gives no orders to the model")


def _obeyed(asked: str, text: str, language: str) -> str:
    """Return a short output that a longer input contains after a word such as `say`, or ''."""
    plain = text.strip(" .!\"'\n")
    at = asked.find(plain) if plain and count_words(plain) <= 12 else -1
    if at < 0 or len(plain) > 0.6 * len(asked) or len(plain) < 3:
        return ""
    before = asked[max(0, at - 40) : at]
    return plain if any(says(code, "says", before) for code in dict.fromkeys((language, "en"))) else ""


def toxic(pair: Pair, language: str = "en", input_language: str = "") -> Judgement:
    """The text contains no insult from the table of its language that the other side does not contain.

    In a translation, any insult of the other side excuses one. Words that are an insult only when somebody is addressed
    with them count too (`you lazy ...`). This gate is meant to flag.
    Not covered: contempt without an insult, and slurs that are ordinary words elsewhere.
    """
    spoken: dict[Side, str] = {"output": language, "input": input_language or language}
    for side, text in sides(pair):
        insult, other = find_insult(fold(text), spoken[side]), _other(pair, side)
        source = spoken["input" if side == "output" else "output"]
        translated = source != spoken[side] and find_insult(other, source)
        if insult and insult not in other and not translated:
            return rejected("toxic", f"the {side} text says {quote(insult)}")
    return passed(f"no insult{_coverage_note(language)}")


def find_insult(folded: str, language: str) -> str:
    """Return an insult in a folded text, or ''."""
    listed = says(language, "insults", folded)
    return listed[0] if listed else _contempt(folded, language)


def _contempt(text: str, language: str) -> str:
    """Return a word of the list `contempt` right after a form of address, together with it; or ''."""
    if not says(language, "contempt", text):
        return ""
    for addressed in find_all(language, "addressed", text):
        behind = _BREAK.split(text[addressed.end() : addressed.end() + _ADDRESS_REACH], maxsplit=1)[0]
        if contempt := says(language, "contempt", behind):
            return text[addressed.start() : addressed.end() + contempt.end()]
    return ""


_BREAK, _ADDRESS_REACH = re.compile(r"[.!?;:\n]"), 24  # characters between the form of address and the insult


def answered(pair: Pair, style: str = "", language: str = "en") -> Judgement:
    """The text rewrites the input; it does not answer it, explain it, describe it, or offer to do it.

    Detected are offers of help, praise for the idea, questions about what is wanted, and remarks on the text or advice
    about it. Instructions for making the thing, a description from outside (`This image shows ...`) and an encyclopedic
    sentence about the subject count only if the house style mentions prompts, advice on a reply only if it mentions
    replies. Elsewhere such sentences are what was asked for.
    Not covered: an answer in the right voice, such as a reply to the agent worded like a reply to the customer (what
    only the task can define belongs in must, must_not or a user gate); a language without a table.
    """
    for side, text in sides(pair):
        if finding := phrases(language).find("answered", fold(text).strip(), _other(pair, side), fold(style)):
            description = _ANSWER_KINDS[finding.rule.table.rpartition(".")[2]]
            return rejected("answered", f"the {side} text {description}: {quote(finding.quoted)}")
        if frame := match_frame("answered", fold(text), f"{_other(pair, side)}\n{fold(style)}", language):
            return _flag(frame.code, side, frame.quoted)
    if answer := answered_question(pair.input, pair.output, language):
        return _flag("answered", "output", answer)
    if again := _alternatives(pair, language) or repeated_version(pair.input, pair.output, language):
        return _flag("options", "output", again)
    return passed(f"it is a rewrite{_coverage_note(language)}")


def _alternatives(pair: Pair, language: str) -> str:
    """Return the first line of a list of alternatives for an input of one short phrase, or ''.

    Alternatives are two to ten items. At least two and half of them contain a content word of the input, and one
    contains most of them, so each is a text for the whole input.
    """
    if "\n" not in pair.output or not _ITEM.match(pair.output) or not _ONE_SHORT_PHRASE.fullmatch(pair.input):
        return ""
    lines = [line for line in pair.output.splitlines() if line.strip()]
    if not 2 <= len(lines) <= 10 or not all(map(_ITEM.match, lines)):
        return ""
    roots = set(map(stemmer_for(language), content_words(pair.input, language)))
    shared = sorted(len(roots.intersection(map(stemmer_for(language), words(line)))) for line in lines)
    half = len(lines) - max(2, (len(lines) + 1) // 2)
    return lines[0] if shared[half] and shared[-1] > len(roots) / 2 else ""


_ITEM = re.compile(r"\s*(?:[-*\u2022\u00b7]|\(?\d{1,2}[.)\u3001:]|\(?[a-cA-C][.)])\s*\S")
_ONE_SHORT_PHRASE = re.compile(r"[^\d,;:/&+\n\u060c\u3001\u3002\uff0c]{3,80}")


def _other(pair: Pair, side: Side) -> str:
    return fold(pair.input if side == "output" else pair.output)


def _without_code(folded: str) -> str:
    """Remove code between backticks, which may contain any marker, unless the text is nothing else."""
    left = _CODE.sub(" ", folded) if "`" in folded else folded
    return left if left.strip() else folded


def _coverage_note(language: str) -> str:
    return "" if phrases(language).known else f"; not checked: there are no phrases for '{language}' yet"
