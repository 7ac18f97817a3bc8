"""The gate on what a text denies, limits and asks. It compares two texts and knows no facts, so it flags."""

from __future__ import annotations

import re

from curate.gates.content import is_summary, quotations
from curate.gates.coverage import roots
from curate.gates.folding import fold
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.phrases import any_of, lexicon, says, says_one
from curate.gates.phrases.worded import worded
from curate.gates.words import content_words, count_words, stem_of, words
from schemas.records import Pair


def limits(pair: Pair, language: str = "en", input_language: str | None = None) -> Judgement:
    """What the input denies (`not`, `without`) or limits (`only`, `unless`) is denied or limited in the output, and
    what it asks is asked.

    One word of the table's list in the input asks for one of the wider list in the output, any of them, where a word
    beside it is said again: other words need no denial (`not before 10` is `from 10`, `do not forget` is `remember`).
    What stands behind a denial in the input stands in no clause of the output without one. A translation keeps an `if`
    too. A turn of speech such as `no doubt` denies nothing (`idioms`). A summary, of less than 60 % of the words, may
    leave it out; a quotation that both have is left out.
    Not covered: what is denied by a word that no list has, and a denial that moved to another thing.
    """
    spoken = input_language or language
    before, after = _apart_from_quoted(pair.input, pair.output)
    given, before = before, _without_idioms(before, spoken)
    if not_asked := _not_asked(before, after, spoken, language):
        return rejected("lost_question", f"the input {not_asked}")
    translated = spoken != language
    # Where both make an exception, what holds may be told by what does not: `no dogs except guide dogs`, `guide dogs
    # only`.
    excepted = bool(says(spoken, "condition", before) and says(language, "condition", after))
    if not excepted and (flipped := _other_way(before, after, spoken, language)):
        return rejected("lost_negation", f"the input says {quote(flipped)}, the output the contrary")
    if is_summary(pair) and count_words(pair.input) > _LONG and not translated:
        return passed("a summary may leave things out")
    if lacking := _needless(before, after, spoken, language) or _needless(after, before, language, spoken):
        return rejected("lost_condition", f"{quote(lacking)} is needed on one side, on the other it is not")
    needed = says(language, "conditions", after) is not None
    denying, short = _plainly(before, spoken, lacking=needed), count_words(after) <= 1.6 * count_words(before) + _MORE
    conditions = ("condition", "supposes") if translated else ("condition",)
    for words_asked, lists, code in (
        (("negation",), ("negated",), "lost_negation"),
        (conditions, ("conditions", "supposes"), "lost_condition"),
    ):
        word = next(filter(None, (says(spoken, name, denying) for name in words_asked)), None)
        known = any(lexicon(language).words(name) for name in lists)
        if (
            code == "lost_condition"
            and short
            and not says(spoken, "denial", before)
            and says(language, "denial", after)
        ):
            continue  # only members may: others may not
        if word and known and not any(says(language, name, after) for name in lists):
            if not translated and code == "lost_negation" and not _stays(denying, word, after, language):
                continue
            return rejected(code, f"the input says {quote(word[0])}, and nothing in the output does")
    if not (translated or excepted) and (flipped := _flipped(_plainly(before, spoken), after, language)):
        return rejected("lost_negation", f"the input denies {quote(flipped)}, the output does not")
    if (
        translated
        and not (excepted and says(spoken, "forbidden", before))
        and (denied := _denied_apart(before, after, spoken, language))
    ):
        return rejected("lost_negation", f"the input says {quote(denied)}, the same sentence of the output does not")
    if added := _added(given, _without_idioms(after, language), spoken, language):
        return rejected("added_negation", f"the output denies {quote(added)}, the input does not")
    return passed("what is denied, limited or asked stays so")


def _not_asked(before: str, after: str, spoken: str, language: str) -> str:
    """That a text asks, or is to ask, which the other one does not; or ''."""
    if says_one(spoken, "ask_for", before[:30]) and not (_ASKS.search(after) or says(language, "begs", after)):
        return "is to ask something, the output does not"
    asked = (_ASKS.search(before) and _ASKED.search(before)) or says(spoken, "asked", before)
    if not (asked or (spoken == language and _begins_to_ask(before))) or _ASKS.search(after):
        return ""
    return "" if says(language, "asks", after) else "asks something, the output does not"


def _denied_apart(before: str, after: str, spoken: str, language: str) -> str:
    """What a sentence denies whose translation, the one at the same place, denies nothing; or ''."""
    if not lexicon(language).words("negated"):
        return ""
    here, there = ([part for part in _SENTENCES.split(side) if part.strip()] for side in (before, after))
    for one, other in zip(here, there, strict=True) if len(here) == len(there) else ():
        denies = says(spoken, "negation", one)
        if (
            denies
            and not _denies_twice(one, spoken, lacking=False)
            and (not _denies(other, language) or _only_lacks(one, other, spoken, language))
            and not _ASKS.search(one)
        ):
            return denies[0]
    return ""


def _only_lacks(source: str, text: str, spoken: str, language: str) -> bool:
    """Whether a text denies in words such as `without` only, and its source in others beside them: do not stop without
    asking."""
    lacks, lacking = lexicon(spoken).words("lacking"), lexicon(language).words("lacking")
    denied = {denial[0] for denial in any_of(spoken, "negation").finditer(source)}
    denies = {denial[0] for denial in any_of(language, "negated").finditer(text)}
    return bool(denied & lacks) and bool(denied - lacks) and denies <= lacking


def _denies(text: str, language: str) -> bool:
    """Whether a text denies something in a word that says so by itself: `empty` may, and `only`."""
    loosely = lexicon(language).words("loosely")
    return any(denial[0] not in loosely for denial in any_of(language, "negated").finditer(text))


def _added(before: str, after: str, spoken: str, language: str) -> str:
    """What the output denies where the input denies and limits nothing; or ''."""
    denies = says(language, "denial", _plainly(after, language))
    lists = ("negated", "denial", "conditions", "supposes", "forbidden", "lacking", "denies")
    if not denies or any(says(spoken, name, before) for name in lists) or _ASKS.search(f"{before}{after}"):
        return ""
    if not lexicon(spoken).words("negated"):
        return ""
    if spoken != language:
        plain = after[denies.end() : denies.end() + 1] != "." and denies[0] not in lexicon(language).words("loosely")
        return denies[0] if plain and _weighs(before) <= _LONG / 2 else ""
    return _flipped(after, before, language) if count_words(after) <= 1.6 * count_words(before) + _MORE else ""


def _weighs(text: str) -> float:
    """The words of a text, two characters of a script without blanks as one."""
    return count_words(text) / (2 if not text.isascii() and count_words(text) > 2 * len(text.split()) else 1)


_SENTENCES = re.compile(r"[.;!?\n\u3002\uff1b\uff01\u061f\u061b\u0964]+(?:\s|(?<=[\u3002\uff1b\uff01])|$)")


def _flipped(before: str, after: str, language: str) -> str:
    """A word right behind a denial of one text that the other says, only in clauses that deny nothing."""
    stem = stem_of(language)
    denials, denied, surely = (any_of(language, name) for name in ("denies", "negated", "negation"))
    denies = says(language, "denies", before)
    clauses = [clause for clause in _CLAUSE.split(after) if clause.strip()] if denies else []
    for denial in denials.finditer(before) if denies else ():
        behind = _CLAUSE.split(before[denial.end() : denial.end() + _NEAR], maxsplit=1)[0]
        word = next((w for w in words(behind)[:4] if len(w) > 3 and w not in lexicon(language).stop), "")
        root = stem(word) if word else ""
        again = root and any(stem(w) == root for w in words(after))
        saying = [clause for clause in clauses if again and any(stem(w) == root for w in words(clause))]
        if language in _DENIES_AT_THE_END:
            denying = any(denied.search(clause.replace(word, " ")) for clause in saying)
        else:
            denying = any(
                denied.search(clause.partition(word[:_STEM])[0]) or surely.search(clause) for clause in saying
            )
        if saying and not denying:
            return word
    if language == "ja":
        return _denied_in_japanese(before, after)
    return ""


def _apart_from_quoted(given: str, text: str) -> tuple[str, str]:
    """Both texts folded, without the quotations that both have: what a title or a figure denies is not the text's."""
    before, after = fold(given), fold(text)
    for quoted in map(fold, quotations(given)):
        if quoted in after and len(quoted) < len(before) / 2:
            before, after = before.replace(quoted, " "), after.replace(quoted, " ")
    return before, after


def _without_idioms(text: str, language: str) -> str:
    """A text without its turns of speech that deny in their letters only: no doubt, last but not least."""
    return any_of(language, "idioms").sub(" ", text) if says(language, "idioms", text) else text


def _plainly(text: str, language: str, *, lacking: bool = False) -> str:
    """A text without its clauses that deny a word which denies itself (`do not forget`) or, with `lacking`, that let
    nothing be without something (`no entry without a ticket`)."""
    if not (says("any", "forgets", text) or (lacking and says(language, "lacking", text))):
        return text
    clauses = _CLAUSE_WHOLE.findall(text)
    return "".join(clause for clause in clauses if not _denies_twice(clause, language, lacking=lacking))


def _denies_twice(clause: str, language: str, *, lacking: bool) -> bool:
    if forgets := says("any", "forgets", clause):
        return bool(
            says(language, "denial", clause[: forgets.start()]) or says(language, "denial", clause[forgets.end() :])
        )
    without = says(language, "lacking", clause) if lacking else None
    return without is not None and bool(
        says(language, "denial", clause[: without.start()]) or says(language, "denial", clause[without.end() :])
    )


def _stays(before: str, denial: re.Match[str], after: str, language: str) -> bool:
    """Whether the other text says the word that is denied, behind the denial or right before it: one that says it in
    other words may need no denial."""
    behind = _CLAUSE.split(before[denial.end() :], maxsplit=1)[0]
    ahead = _CLAUSE.split(before[: denial.start()])[-1]
    denied = content_words(behind, language)[:2] + content_words(ahead, language)[-1:]
    if (
        (limit := _LIMIT.search(behind))
        and limit[2] in after
        and not re.search(rf"{limit[1]}\s+{limit[2]}(?!\d)", after)
    ):
        return False  # not before 10 is from 10
    here = roots(" ".join(denied), language)
    return not here or not here.isdisjoint(roots(after, language))


_NEAR = 200  # characters behind a denial in which the word that it denies stands
_DENIES_AT_THE_END = ("de", "nl", "tr", "ja", "ko", "hi")  # a verb that denies may stand behind all that it denies
_STEM = 4


def _denied_in_japanese(before: str, after: str) -> str:
    """A word of two characters or more before a denial of one text that stands before none in the other; or ''."""
    known = lexicon("ja")
    denials = "|".join(sorted(known.words("denial"), key=len, reverse=True))
    denied: list[str] = re.findall(rf"([一-鿿]{{2,6}})[ぁ-ん]{{0,4}}?(?:{denials})", before)
    for word in dict.fromkeys(denied):
        if word in after and not re.search(rf"{word}[一-鿿]?[ぁ-ん]{{0,5}}(?:{denials})", after):
            return word
    return ""


def _needless(text: str, other: str, language: str, others: str) -> str:
    """A clause that allows nothing without something (a denial before a word such as `without`), where the other text
    says that something is not needed and denies no other way; or ''."""
    if not says(language, "lacking", text) or not says(others, "unneeded", other) or says(language, "unneeded", text):
        return ""
    for clause in _CLAUSE.split(text):
        lacking = says(language, "lacking", clause)
        if lacking and says(language, "denial", clause[: lacking.start()]):
            return clause.strip()
    return ""


def _other_way(before: str, after: str, spoken: str, language: str) -> str:
    """What one text allows and the other forbids, as the input says it; or ''."""
    first = _allows(before, spoken)
    second = _allows(after, language, ("allowed", "may")) if first and not first[0] else _allows(after, language)
    return first[1] if first and second and first[0] != second[0] else ""


def _allows(text: str, language: str, lists: tuple[str, ...] = ("allowed",)) -> tuple[bool, str] | None:
    """Whether all that a text says of being allowed, open or possible is said without a denial (True), or all of it
    with one (False); None if both or nothing is."""
    allowed: dict[bool, str] = {}
    if not any(says(language, name, text) for name in (*lists, "forbidden")):
        return None
    for clause in _CLAUSE.split(text):
        if forbids := says(language, "forbidden", clause):
            allowed[False] = forbids[0]
        elif allows := next(filter(None, (says(language, name, clause) for name in lists)), None):
            allowed[not says(language, "denial", clause)] = allows[0]
    return next(iter(allowed.items())) if len(allowed) == 1 else None


def _begins_to_ask(folded: str) -> bool:
    """Whether a text begins as a question does, with or without its mark: `why is my bill so high`."""
    return bool(says("any", "question_starts", folded[:_STARTS]) and _starts().match(folded))


_starts = worded(r"\W*{question_starts}(?!\w)")
_STARTS = 40  # characters in which a question begins
_MORE = 4  # words by which a text may be longer than 1.6 times another
_LONG = 30  # words of an input that a shorter output may sum up
_LIMIT = re.compile(r"([^\W\d_]+)\s+(\d+)(?!\d)")
_CLAUSE_WHOLE = re.compile(r"[\s\S]+?(?:[.,;:!?\n\u2013\u2014]+(?:\s|$)|\s[\u2013\u2014-]\s|\Z)")
_CLAUSE = re.compile(r"[.,;:!?\n–—]+(?:\s|$)|\s[–—-]\s")
_ASKED = re.compile(r"[?؟][\"'”»)]?\s*\Z|\A[^.!?\n]{0,80}[?؟]")
_ASKS = re.compile(r"[?؟]")
