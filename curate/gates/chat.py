"""Gates on the voice of a text: a model that thinks aloud, insults, obeys or answers the input instead of rewriting it.
For chat around a text and refusals see curate/gates/preamble.py.

The phrases that they look for are in the tables of curate/gates/phrases, one file per language, each row with examples.
"""

from __future__ import annotations

import re
from functools import cache

from curate.gates.folding import fold
from curate.gates.form import is_verse
from curate.gates.frames import match_frame
from curate.gates.judgement import Judgement, Side, only_flagged, passed, quote, rejected, sides
from curate.gates.phrases import find_all, phrases, says, words_of
from curate.gates.versions import repeated_version
from curate.gates.voice import coverage_note, flag, other_side, without_code, without_speech
from curate.gates.wanted_refusals import adds_translating
from curate.gates.words import content_words, count_words, stemmer_for, words
from curate.gates.yes_or_no import answered_question
from schemas.records import Pair


def thinking(pair: Pair, style: str = "", language: str = "en") -> Judgement:
    """The text contains no reasoning of the model: no block in tags, no reasoning aloud about what the user wants.

    The tags are recognised with any language's word for thinking. A plan in the first paragraph that does not mention
    the user is only flagged, unless the text then starts again.
    Not covered: reasoning without tags in a language without a table.
    """
    for side, text in sides(pair):
        folded, other = without_code(fold(text)), other_side(pair, side)
        given = _with_users(other, folded), fold(style)
        if finding := phrases(language).find("thinking", folded, *given):
            reasoning = rejected("thinking", f"the {side} text says {quote(finding.quoted)}")
            is_plan = finding.rule.table.endswith(".maybe") and not _starts_again(text)
            return only_flagged(reasoning) if is_plan else reasoning
        if frame := match_frame("thinking", folded, "\n".join(given), language):
            aloud = rejected("thinking", f"the {side} text says {quote(frame.quoted)}")
            return aloud if frame.code == "aloud" or _starts_again(text) else flag(frame.code, side, frame.quoted)
    return passed(f"no reasoning of a model{coverage_note(language)}")


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
    given = without_speech(fold(pair.input))
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
        insult, other = find_insult(fold(text), spoken[side]), other_side(pair, side)
        source = spoken["input" if side == "output" else "output"]
        translated = source != spoken[side] and find_insult(other, source)
        if insult and insult not in other and not translated:
            return rejected("toxic", f"the {side} text says {quote(insult)}")
    return passed(f"no insult{coverage_note(language)}")


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
        if finding := phrases(language).find("answered", fold(text).strip(), other_side(pair, side), fold(style)):
            description = _ANSWER_KINDS[finding.rule.table.rpartition(".")[2]]
            return rejected("answered", f"the {side} text {description}: {quote(finding.quoted)}")
        if frame := match_frame("answered", fold(text), f"{other_side(pair, side)}\n{fold(style)}", language):
            return flag(frame.code, side, frame.quoted)
    if answer := answered_question(pair.input, pair.output, language):
        return flag("answered", "output", answer)
    if again := _alternatives(pair, language) or repeated_version(pair.input, pair.output, language):
        return flag("options", "output", again)
    return passed(f"it is a rewrite{coverage_note(language)}")


_ANSWER_KINDS = {
    "to_the_asker": "addresses the person who asked",
    "asks_back": "asks for more information first",
    "how_to": "explains how to make it",
    "about_the_text": "talks about the text",
    "from_outside": "describes it from outside",
    "explains": "explains the subject",
}


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
