"""The gate on what a text denies, limits and asks.

It compares two texts and has no knowledge of the world, so it flags.
"""

from __future__ import annotations

import re

from curate.gates.asked_marks import ruled_out
from curate.gates.content import is_summary, quotations
from curate.gates.coverage import roots
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.opposites import turns_into_opposite
from curate.gates.phrases import find_all, lexicon, list_pattern, says, says_one
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.promises import unstated_reason
from curate.gates.same_words import ASKS
from curate.gates.units import units_like_denials
from curate.gates.words import content_words, count_words, stemmer_for, words
from schemas.records import Pair


def limits(pair: Pair, language: str = "en", input_language: str | None = None, style: str = "") -> Judgement:
    """The output keeps the denials (`not`, `without`), limits (`only`, `unless`) and questions of the input.

    A word of the list in the input requires any word of the wider list in the output, if a word next to it is repeated:
    a paraphrase may need no denial (`not before 10` is `from 10`, `do not forget` is `remember`). Whatever
    follows a denial in the input must not be in a clause of the output without one. A translation also keeps an `if`.
    Idioms such as `no doubt` deny nothing (`idioms`). A summary (`is_summary`) of more than 30 words in
    the same language may omit denials and limits, but not questions. A style may exclude questions. Shared
    quotations are ignored.
    Not covered: a denial by a word that is in no list, and a denial that moved to another thing.
    """
    input_lang = input_language or language
    before, after = _without_shared_quotes(pair.input, pair.output)
    given, before = before, _without_idioms(before, input_lang)
    asks_nothing = "out_questions" in ruled_out(style)
    if not asks_nothing and (not_asked := _lost_question(before, after, input_lang, language)):
        return rejected("lost_question", f"the input {not_asked}")
    translated = input_lang != language
    # An exception may say what is allowed or what is not: `no dogs except guide dogs`, `guide dogs only`.
    excepted = bool(says(input_lang, "condition", before) and says(language, "condition", after))
    if turned := _allows_without(before, after, input_lang, language):
        return rejected("lost_condition", f"the input says {quote(turned[0])}, the output {quote(turned[1])}")
    if _is_only_with(before, after, input_lang, language) or _is_only_with(after, before, language, input_lang):
        return passed("what is forbidden without something is allowed only with it")
    if not excepted and (flipped := _reversed_permission(before, after, input_lang, language)):
        return rejected("lost_negation", f"the input says {quote(flipped)}, the output the opposite")
    if excepted and (denied := _lost_denial_before_exception(before, after, input_lang, language)):
        return rejected("lost_negation", f"the input says {quote(denied)} before an exception, the output does not")
    if is_summary(pair) and count_words(pair.input) > _LONG_INPUT and not translated:
        return passed("a summary may leave things out")
    if lacking := _unrequired(before, after, input_lang, language) or _unrequired(after, before, language, input_lang):
        return rejected("lost_condition", f"{quote(lacking)} is a requirement on one side and not on the other")
    denying = _plain_denials(before, input_lang, lacking=says(language, "conditions", after) is not None)
    if lost := _lost_denial(denying, after, input_lang, language):
        return rejected("lost_negation", f"the input says {quote(lost)}, and the output has nothing like it")
    if lost := _lost_condition(denying, before, after, input_lang, language):
        return rejected("lost_condition", f"the input says {quote(lost)}, and the output has nothing like it")
    unexcepted = not (translated or excepted or _turns_into_exception(before, after, input_lang, language))
    if unexcepted and (flipped := _undenied_word(_plain_denials(before, input_lang), after, language)):
        return rejected("lost_negation", f"the input denies {quote(flipped)}, the output does not")
    compared = translated and not (excepted and says(input_lang, "forbidden", before))
    if compared and (denied := _lost_denial_of_sentence(before, after, input_lang, language)):
        return rejected("lost_negation", f"the input says {quote(denied)}, the same sentence of the output does not")
    plain = _without_idioms(after, language)
    if added := _added_denial(given, plain, input_lang, language):
        return rejected("added_negation", f"the output denies {quote(added)}, the input does not")
    if not translated and (reason := unstated_reason(before, plain, fold(style), language)):
        return rejected("unstated_reason", f"the input gives no reason, the output says {quote(reason)}")
    return passed("denials, limits and questions are kept")


def _stances(text: str, language: str) -> dict[bool, str]:
    """Return the clauses that forbid something without something else (True) and that allow it (False), one of each."""
    stances = dict[bool, str]()
    if not says(language, "lacking", text):
        return stances
    for clause in _CLAUSE.split(_plain_denials(text, language)):
        if says(language, "lacking", clause):
            rest = list_pattern(language, "lacking").sub(" ", clause)
            forbids = says(language, "forbidden", rest)
            denies = says(language, "denial", list_pattern(language, "forbidden").sub(" ", rest) if forbids else rest)
            if (denies is None) != (forbids is None):
                stances[True] = clause.strip()
            elif not denies and any(says(language, name, rest) for name in ("allowed", "may")):
                stances[False] = clause.strip()
    return stances


def _allows_without(before: str, after: str, input_lang: str, language: str) -> tuple[str, str] | None:
    """Return the clause of each text if one forbids something without something else and the other allows it so."""
    here = _stances(before, input_lang)
    there = _stances(after, language) if len(here) == 1 else {}
    if len(there) == 1 and here.keys() != there.keys():
        return next(iter(here.values())), next(iter(there.values()))
    return None


def _is_only_with(text: str, other: str, language: str, other_language: str) -> bool:
    """Whether a text denies nothing but what it forbids without something else, and the other text allows it only with
    that: `no entry without a helmet`, `entry with a helmet only`. In a translation, `only` is enough."""
    if not says(language, "lacking", text):
        return False  # it cannot be among the stances
    if not says(other_language, "only", other) or says(other_language, "lacking", other):
        return False
    denying = [
        clause
        for clause in _CLAUSE.split(text)
        if any(says(language, name, clause) for name in ("lacking", "denial", "forbidden"))
    ]
    if len(denying) != 1:
        return False
    if language == other_language and (lacks := says(language, "lacking", denying[0])):
        needed = " ".join(denying[0][lacks.end() :].split()[:_NEEDED])
        if needed and roots(needed, language).isdisjoint(roots(other, language)):
            return False
    return True in _stances(text, language)


_NEEDED = 3  # words after `without` that say what is needed


def _lost_denial(before: str, after: str, input_lang: str, language: str) -> str:
    """Return the first denial of a text, if the other one says what it denies and denies nothing; or ''."""
    word, translated = says(input_lang, "negation", before), input_lang != language
    if not word or not lexicon(language).words("negated"):
        return ""
    if says(language, "negated", after) and (
        translated or _denies_anew(before[: word.start()], before[word.end() :], after, language)
    ):
        return ""
    if not translated and not _keeps_denied_word(before, word, after, language):
        return ""
    exception = _turns_into_exception(before, after, input_lang, language)
    return "" if exception or turns_into_opposite(before, after, input_lang, language) else word[0]


def _lost_condition(denying: str, before: str, after: str, input_lang: str, language: str) -> str:
    """Return the first limit (`denying` has the clauses with plain denials) if the output has none; or ''."""
    limits = ("condition", "supposes") if input_lang != language else ("condition",)
    word = next(filter(None, (says(input_lang, name, denying) for name in limits)), None)
    kept, known = ("conditions", "supposes"), lexicon(language)
    if not word or not any(map(known.words, kept)) or any(says(language, name, after) for name in kept):
        return ""
    denied_instead = not says(input_lang, "denial", before) and says(language, "denial", after)
    # `only members may` also means that others may not
    return "" if denied_instead and _is_hardly_longer(after, before) else word[0]


def _is_hardly_longer(text: str, given: str) -> bool:
    return count_words(text) <= 1.6 * count_words(given) + _EXTRA_WORDS


def _lost_denial_before_exception(before: str, after: str, input_lang: str, language: str) -> str:
    """Return what the only sentence with an exception denies, if the output's such sentence denies nothing; or ''.

    `No dogs except guide dogs` may become `guide dogs only`, but not `dogs are allowed, except guide dogs`.
    """
    here, there = (
        [(part, excepts) for part in _SENTENCES.split(side) if (excepts := says(code, "except", part))]
        for side, code in ((before, input_lang), (after, language))
    )
    if not len(here) == len(there) == 1:
        return ""
    (sentence, excepts), (other, excluded) = here[0], there[0]
    ahead, behind = sentence[: excepts.start()], other[excluded.end() :]
    rest = max(other[: excluded.start()], "" if other[: excluded.start()].strip() else behind, key=len)
    denial = says(input_lang, "denial", ahead) or says(input_lang, "forbidden", ahead)
    if not denial or any(says(language, name, rest) for name in ("negated", "conditions", "only", "forbidden")):
        return ""
    denied = ahead.replace(denial[0], " ")
    translated = input_lang != language
    kept = not _DIGIT.search(denied) if translated else roots(denied, language) <= roots(other, language)
    return denial[0] if kept else ""


def _lost_question(before: str, after: str, input_lang: str, language: str) -> str:
    """Describe a question, or a request to ask one, that only the first text has; or ''."""
    if says_one(input_lang, "ask_for", before[:30]) and not (ASKS.search(after) or says(language, "begs", after)):
        return "asks for a question, the output has none"
    asks = says(input_lang, "asked", before)
    if asks and says(input_lang, "denial", before[max(0, asks.start() - _NOT_REACH) : asks.start()]):
        asks = None  # `non puoi` is no question
    asked = (ASKS.search(before) and _ASKED.search(before)) or asks
    if not (asked or (input_lang == language and begins_like_question(before))) or ASKS.search(after):
        return ""
    return "" if says(language, "asks", after) else "asks something, the output does not"


def _lost_denial_of_sentence(before: str, after: str, input_lang: str, language: str) -> str:
    """Return the denial of a sentence whose translation, the sentence at the same index, denies nothing; or ''."""
    if not lexicon(language).words("negated"):
        return ""
    here, there = ([part for part in _SENTENCES.split(side) if part.strip()] for side in (before, after))
    for one, other in zip(here, there, strict=True) if len(here) == len(there) else ():
        denies = says(input_lang, "negation", one)
        if (
            denies
            and not _denies_twice(one, input_lang, lacking=False)
            and (not _denies(other, language) or _denies_only_by_lack(one, other, input_lang, language))
            and not ASKS.search(one)
            and not _turns_into_exception(one, other, input_lang, language)
            and not turns_into_opposite(one, other, input_lang, language)
        ):
            return denies[0]
    return ""


def _turns_into_exception(before: str, after: str, input_lang: str, language: str) -> bool:
    """Whether one text says `if it does not rain` and the other `unless it rains`, or `no ... except` and `only`."""
    lists = (("supposes", "except"), ("except", "only"))
    return any(says(input_lang, one, before) and says(language, other, after) for one, other in lists)


def _denies_only_by_lack(source: str, text: str, input_lang: str, language: str) -> bool:
    """Whether a text only denies with words such as `without`, while its source also denies in other ways.

    An example of such a source is `do not stop without asking`.
    """
    lacks, lacking = lexicon(input_lang).words("lacking"), lexicon(language).words("lacking")
    denied = {denial[0] for denial in find_all(input_lang, "negation", source)}
    denies = {denial[0] for denial in find_all(language, "negated", text)}
    forbids = says(language, "forbidden", text)
    return not forbids and bool(denied & lacks) and bool(denied - lacks) and denies <= lacking


def _denies_anew(ahead: str, behind: str, text: str, language: str) -> bool:
    """Whether a text denies something by more than what another text denies: `not closed` is not `closed`."""
    denied = _CLAUSE.split(behind, maxsplit=1)[0]
    denied += _CLAUSE.split(ahead)[-1] if language in _DENIES_AT_THE_END else ""
    denials = {denial[0] for denial in find_all(language, "negated", text)}
    return any(
        denial not in denied or any(says(language, name, denial) for name in ("negation", "except"))
        for denial in denials
    )


def _denies(text: str, language: str) -> bool:
    """Whether a text denies something with a word that always denies, unlike `empty` or `only`."""
    loosely = lexicon(language).words("loosely")
    return any(denial[0] not in loosely for denial in find_all(language, "negated", text))


def _added_denial(before: str, after: str, input_lang: str, language: str) -> str:
    """Return what the output denies although the input denies and limits nothing; or ''."""
    denies = says(language, "denial", _plain_denials(after, language))
    lists = ("negated", "denial", "conditions", "supposes", "forbidden", "lacking", "denies")
    if not denies or any(says(input_lang, name, before) for name in lists) or ASKS.search(f"{before}{after}"):
        return ""
    if not lexicon(input_lang).words("negated"):
        return ""
    if input_lang != language:
        plain = after[denies.end() : denies.end() + 1] != "." and denies[0] not in lexicon(language).words("loosely")
        return denies[0] if plain and _word_count(before) <= _LONG_INPUT / 2 else ""
    return _undenied_word(after, before, language) if _is_hardly_longer(after, before) else ""


def _word_count(text: str) -> float:
    """Count the words of a text; two characters of a script without spaces count as one."""
    return count_words(text) / (2 if not text.isascii() and count_words(text) > 2 * len(text.split()) else 1)


_SENTENCES = re.compile(r"[.;!?\n\u3002\uff1b\uff01\u061f\u061b\u0964]+(?:\s|(?<=[\u3002\uff1b\uff01])|$)")


_MANY = 3  # words that a clause has in common with what is denied


def _undenied_word(before: str, after: str, language: str) -> str:
    """Return a word right after a denial in one text that the other only has in clauses without a denial; or ''."""
    stem = stemmer_for(language)
    denied, surely = (list_pattern(language, name) for name in ("negated", "negation"))
    denials = find_all(language, "denies", before)
    clauses = [clause for clause in _CLAUSE.split(after) if clause.strip()] if denials else []
    for denial in denials:
        behind = _CLAUSE.split(before[denial.end() : denial.end() + _DENIAL_REACH], maxsplit=1)[0]
        word = next((w for w in words(behind)[:4] if len(w) > 3 and w not in lexicon(language).stop), "")
        root = stem(word) if word else ""
        again = root and any(stem(w) == root for w in words(after))
        saying = [clause for clause in clauses if again and any(stem(w) == root for w in words(clause))]
        if len(saying) > 1:  # only the clauses that say most of what is denied
            roots = set(map(stem, content_words(behind, language)))
            kept = [len(roots.intersection(map(stem, words(clause)))) for clause in saying]
            saying = [clause for clause, n in zip(saying, kept, strict=True) if n == max(kept) or max(kept) < _MANY]
        if language in _DENIES_AT_THE_END:
            denying = any(denied.search(clause.replace(word, " ")) for clause in saying)
        else:
            denying = any(
                denied.search(clause.partition(word[:_STEM])[0]) or surely.search(clause) for clause in saying
            )
        if saying and not denying and not any(says(language, "forbidden", c.replace(word, " ")) for c in saying):
            return word
    if language == "ja":
        return _denied_in_japanese(before, after)
    return ""


def _without_shared_quotes(given: str, text: str) -> tuple[str, str]:
    """Return both texts folded, without the quotations that both have, whose denials are not the text's own."""
    before, after = fold(given), fold(text)
    for quoted in map(fold, quotations(given)):
        if quoted in after and len(quoted) < len(before) / 2:
            before, after = before.replace(quoted, " "), after.replace(quoted, " ")
    return before, after


def _without_idioms(text: str, language: str) -> str:
    """Remove what only looks like a denial, limit or reason: due to arrive, `3x/sem`, `no. 5`, `min 8, max 21`."""
    if "no." in text or "max" in text:
        text = _number_sign().sub(" ", text)
    text = list_pattern(language, "idioms").sub(" ", text) if says(language, "idioms", text) else text
    return units_like_denials(language).sub(" ", text)


_number_sign = word_pattern(r"(?<!\w)(?:{number_signs}\s?|{lowest}\.?\s\d[^\n.;]{0,12}\s{highest}\.?\s)(?=\d)")


def _plain_denials(text: str, language: str, *, lacking: bool = False) -> str:
    """Remove clauses that deny a word which is a denial itself (`do not forget`).

    With `lacking`, also those that allow nothing without something (`no entry without a ticket`).
    """
    if not (says("any", "forgets", text) or (lacking and says(language, "lacking", text))):
        return text
    clauses = _CLAUSE_WHOLE.findall(text)
    return "".join(clause for clause in clauses if not _denies_twice(clause, language, lacking=lacking))


def _denies_twice(clause: str, language: str, *, lacking: bool) -> bool:
    denied = says("any", "forgets", clause) or (says(language, "lacking", clause) if lacking else None)
    around = (clause[: denied.start()], clause[denied.end() :]) if denied else ()
    return any(says(language, "denial", side) for side in around)


def _keeps_denied_word(before: str, denial: re.Match[str], after: str, language: str) -> bool:
    """Whether the other text contains the denied word, after the denial or right before it.

    A text that uses other words may not need a denial.
    """
    behind = _CLAUSE.split(before[denial.end() :], maxsplit=1)[0]
    ahead = _CLAUSE.split(before[: denial.start()])[-1]
    denied = content_words(behind, language)[:2] + content_words(ahead, language)[-1:]
    limit = _LIMIT.search(behind)
    if limit and limit[2] in after and not re.search(rf"{limit[1]}\s+{limit[2]}(?!\d)", after):
        return False  # `not before 10` is `from 10`
    here = roots(" ".join(denied), language)
    return not here or not here.isdisjoint(roots(after, language))


_DENIAL_REACH = 200  # characters after a denial that may contain the denied word
# Languages in which a denying verb may follow everything that it denies.
_DENIES_AT_THE_END = ("de", "nl", "tr", "ja", "ko", "hi")
_STEM = 4


def _denied_in_japanese(before: str, after: str) -> str:
    """Return a word of two or more characters that precedes a denial in one text and none in the other; or ''."""
    known = lexicon("ja")
    denials, forbids = (
        "|".join(sorted(words, key=len, reverse=True))
        for words in (known.words("denial"), known.words("denial") | known.words("forbidden"))
    )
    denied: list[str] = re.findall(rf"([一-鿿]{{2,6}})[ぁ-ん]{{0,4}}?(?:{denials})", before)
    for word in dict.fromkeys(denied):
        if word in after and not re.search(rf"{word}[一-鿿]?[ぁ-ん]{{0,5}}(?:{forbids})", after):
            return word
    return ""


def _unrequired(text: str, other: str, language: str, others: str) -> str:
    """Return a clause that allows nothing without something that the other text calls unnecessary; or ''.

    The clause has a denial before a word such as `without`. Its text must not call anything unnecessary itself.
    """
    if not says(language, "lacking", text) or not says(others, "unneeded", other) or says(language, "unneeded", text):
        return ""
    for clause in _CLAUSE.split(text):
        lacking = says(language, "lacking", clause)
        if lacking and says(language, "denial", clause[: lacking.start()]):
            return clause.strip()
    return ""


def _reversed_permission(before: str, after: str, input_lang: str, language: str) -> str:
    """Return what one text allows and the other forbids, in the words of the input; or ''."""
    first = _permission(before, input_lang)
    second = (
        _permission(after, language, ("allowed", "may")) if first and not first[0] else _permission(after, language)
    )
    return first[1] if first and second and first[0] != second[0] else ""


def _permission(text: str, language: str, lists: tuple[str, ...] = ("allowed",)) -> tuple[bool, str] | None:
    """Return whether a text only allows (True) or only forbids (False), with the word for it; None for both or neither.

    `Not forbidden` is neither.

    Allowing means that words for allowed, open or possible occur without a denial.
    """
    allowed: dict[bool, str] = {}
    if not any(says(language, name, text) for name in (*lists, "forbidden")):
        return None
    for clause in _CLAUSE.split(text):
        if forbids := says(language, "forbidden", clause):
            if not says(language, "denial", clause[max(0, forbids.start() - _NOT_REACH) : forbids.start()]):
                allowed[False] = forbids[0]
        elif allows := next(filter(None, (says(language, name, clause) for name in lists)), None):
            allowed[not says(language, "denial", clause)] = allows[0]
    return next(iter(allowed.items())) if len(allowed) == 1 else None


def begins_like_question(folded: str) -> bool:
    """Whether a text begins like a question, with or without a question mark: `why is my bill so high`."""
    return bool(says("any", "question_starts", folded[:_START_LETTERS]) and _starts().match(folded))


_starts = word_pattern(r"\W*{question_starts}(?!\w)")
_START_LETTERS = 40  # characters in which a question begins
_NOT_REACH = 8  # characters before a word in which a denial refers to it
_EXTRA_WORDS = 4  # words by which a text may exceed 1.6 times another
_LONG_INPUT = 30  # words of an input from which on a shorter output may be a summary
_DIGIT = re.compile(r"\d")
_LIMIT = re.compile(r"([^\W\d_]+)\s+(\d+)(?!\d)")
_CLAUSE_WHOLE = re.compile(r"[\s\S]+?(?:[.,;:!?\n\u2013\u2014]+(?:\s|$)|\s[\u2013\u2014-]\s|\Z)")
_CLAUSE = re.compile(r"[.,;:!?\n–—]+(?:\s|$)|\s[–—-]\s")
_ASKED = re.compile(r"[?؟][\"'”»)]?\s*\Z|\A[^.!?\n]{0,80}[?؟]")
