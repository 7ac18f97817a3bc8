"""Gates on facts that a text makes up, swaps or turns round. They compare two texts and know no facts, so they flag."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import chain, combinations

from curate.gates.content import description_of, in_code, is_summary
from curate.gates.dates import turned_day
from curate.gates.folding import fold
from curate.gates.form import is_verse
from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.number import Number
from curate.gates.number_words import cardinals, dates_named, in_figures, weekday_made_up
from curate.gates.numbers import NumberMentions, in_digits, in_words
from curate.gates.phrases import any_of, lexicon, says, words_of
from curate.gates.units import changed_quantity, changed_unit
from curate.gates.words import count_words, stem_of, words
from schemas.records import Pair

CONTACT = re.compile(
    r"(?P<email>[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+)|(?P<url>(?:https?://|www\.)[^\s<>\"')\]、。]+)"
    r"|(?P<phone>(?<![\w.,/-])(?:\+\d|\(?0\d|1-\d{3}-)[\d ()/.\u2013-]{5,}\d(?![\w]))"
)
_MAY_BE_CONTACT = re.compile(r"@|:(?=//)|w(?=ww\.)|\+(?=\d)|0(?=\d)|1(?=-\d)")  # each stands in a match of CONTACT
_RATIO = re.compile(r"(?<![\d:.])\d{1,2}:\d(?![\d:])")
_EITHER_RATIO = re.compile(r"(?<![\d:])(\d+)[:\u2013-](\d+)(?![\d:])")
_FORMULA = re.compile(r"\w*[\u2080-\u2089]\w*")  # of chemistry: H₂O
_DIGIT = re.compile(r"\d")
_FEW = frozenset(("0", "1", "2", "100", "1000", "1000000"))
_NEAR = 4  # tokens between a number and the word that it belongs to


@cache
def _of_pictures() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What is told of a camera, and what stands in all of it."""
    units = "|".join(sorted(words_of("picture"), key=len, reverse=True))
    told = rf"\b\d+(?:\.\d+)? ?(?:{units})\b|\bf ?/ ?\d+(?:\.\d+)?"
    return re.compile(told), re.compile(rf"\d ?(?:{units})\b")


def _without_lenses(text: str) -> str:
    told, may_tell = _of_pictures()
    return told.sub(" ", text) if "/" in text or may_tell.search(text) else text


def invented(pair: Pair, language: str = "en", input_language: str | None = None) -> Judgement:
    """The numbers in digits of the output stand in the input, in any spelling, in words of some forty languages too.

    0 and 1, the numbering of a list, options (`--ar 3:2`) and the lens of a camera ask for nothing, nor does code; the
    day and the month of a date (`1 October`) do.
    In words, three and more count where the language's table has them, and days of the week, unless the text is far
    longer than its input: it tells a story then.
    Not covered: what is known from elsewhere and right, which is why it flags.
    """
    if "```" in pair.output or ("\n" in pair.output and in_code(pair.output)):
        return passed("numbers in code are not compared")
    spoken = input_language or language
    after, in_short = fold(pair.output), count_words(pair.output) <= 2.5 * count_words(pair.input)
    spelt: list[Number] = []
    if in_short and not is_verse(pair.output):
        if day := weekday_made_up(after, fold(pair.input), language, spoken):
            return rejected("invented_date", f"the input does not say {quote(day)}")
        spelt = [n for n in (*in_words(pair.output, language), *cardinals(after, language)) if not n.forms & _FEW]
    if not spelt and not _DIGIT.search(after):
        return passed("no number of its own")
    told = NumberMentions(pair.input, spoken)
    for number in spelt:
        if number not in told:
            return rejected("invented_number", f"the input does not say {quote(number.text)}")
    if not _DIGIT.search(after):
        return passed("no number of its own")
    text = CONTACT.sub(" ", pair.output) if _MAY_BE_CONTACT.search(pair.output) else pair.output
    text = description_of(text if text.isascii() else _FORMULA.sub(" ", text))
    for number in in_digits(_without_lenses(text)):
        if not number.forms & {"0", "1"} and number not in told:
            return rejected("invented_number", f"the input does not say {quote(number.text)}")
    for date, day, month in dates_named(fold(text), language):
        if any(Number(part, frozenset({part})) not in told for part in (day, month)):
            return rejected("invented_date", f"the input does not say {quote(date)}")
    if other := turned_day(pair.input, pair.output, language, spoken):
        return rejected("invented_date", f"the input says {quote(other[0])}, the output {quote(other[1])}")
    return passed("no number of its own")


def is_date(text: str) -> bool:
    return re.fullmatch(r"\(?\d{1,2}[ ./-]+\d{1,2}[ ./-]+\d{2,4}", text) is not None


def swapped(pair: Pair, language: str = "en") -> Judgement:
    """Two numbers of the input stand beside the same words in the output, not beside each other's; a ratio (`3:1`) is
    not turned round.

    Not covered: words that changed, and texts without blanks between words.
    """
    for ratio in _EITHER_RATIO.findall(pair.input) if any(map(pair.input.__contains__, ":\u2013-")) else ():
        turned = re.search(rf"(?<![\d:]){ratio[1]}[:\u2013-]{ratio[0]}(?![\d:])", pair.output)
        straight = re.search(rf"(?<![\d:]){ratio[0]}[:\u2013-]{ratio[1]}(?![\d:])", pair.output)
        if turned and not straight and ratio[0] != ratio[1]:
            return rejected("swapped", f"the input says {quote(':'.join(ratio))}, the output {quote(turned[0])}")
    given = Counter(_RATIO.findall(pair.input)) if ":" in pair.input else Counter[str]()
    told = Counter(_RATIO.findall(pair.output)) if given else given
    if (gone := given - told) and (new := told - given):
        return rejected("swapped", f"the input says {quote(next(iter(gone)))}, the output {quote(next(iter(new)))}")
    if units := changed_unit(pair.input, pair.output, language, language):
        return rejected("changed_unit", f"the input says {quote(units[0])}, the output {quote(units[1])}")
    if moved := changed_quantity(pair.input, pair.output, language):
        return rejected("swapped", f"the input says {quote(moved[0])}, the output {quote(moved[1])}")
    input, output = in_figures(pair.input, language), in_figures(pair.output, language)
    if len(_DIGIT.findall(input)) < 2 or not _DIGIT.search(output):
        return passed("numbers stand where they stood")
    if instead := _other_one_behind(input, output, language):
        return rejected("swapped", f"the input says {quote(instead[0])}, the output {quote(instead[1])}")
    if len(_plain_numbers(input) & _plain_numbers(output)) < 2:
        return passed("numbers stand where they stood")
    before, after = _tokens(input, language), _tokens(output, language)
    if mixed := _regrouped(before, after):
        return rejected("swapped", f"{quote(mixed)} do not stand together in the input")
    here, there = _beside(before), _beside(after)
    for (first, second), (word, other) in (
        (numbers, pair_of_words)
        for numbers in combinations(here, 2)
        for pair_of_words in ((w, o) for w in sorted(here[numbers[0]]) for o in sorted(here[numbers[1]]) if w != o)
    ):
        if word in here[second] or other in here[first]:
            continue
        if (
            word in there.get(second, ())
            and other in there.get(first, ())
            and not (word in there.get(first, ()) or other in there.get(second, ()))
        ):
            return rejected("swapped", f"{quote(first)} and {quote(second)} changed places beside {quote(word)}")
    return passed("numbers stand where they stood")


def _other_one_behind(before: str, after: str, language: str) -> tuple[str, str] | None:
    """What two texts say of a number behind a word such as `instead of`, where it is another number of both of them;
    None if it is not."""
    here, there = _behind(before, language), _behind(after, language)
    if len(here) == len(there) == 1 and here.keys() != there.keys():
        (number, said), (other, says_now) = next(iter(here.items())), next(iter(there.items()))
        both = (set(re.findall(r"\d+", side)) for side in (before, after))
        return (said, says_now) if all({number, other} <= numbers for numbers in both) else None
    return None


def _behind(text: str, language: str) -> dict[str, str]:
    """Each number that stands behind a word of `instead`, at most one word between, with the words."""
    if not says(language, "instead", text):
        return {}
    found = (_NUMBER_BEHIND.match(text, word.end()) for word in any_of(language, "instead").finditer(text))
    return {match[1]: text[max(0, match.start() - 12) : match.end()].strip() for match in found if match}


_NUMBER_BEHIND = re.compile(r"\s(?:[^\W\d_]+\s)?(\d+)")


def _tokens(text: str, language: str) -> list[str]:
    """Stems and plain numbers; a dot where a clause ends or `and` begins another."""
    stop, joins = lexicon(language).stop, lexicon(language).words("joins")
    stem = stem_of(language)
    return [
        _NO_DIGIT.sub("", token)
        if token[0].isdigit()
        else "."
        if not token[0].isalpha() or token in joins
        else stem(token)
        for token in _TOKEN.findall(fold(text))
        if token not in stop or token in joins
    ]


def _plain_numbers(folded: str) -> set[str]:
    """The numbers among the tokens of a folded text."""
    return {_NO_DIGIT.sub("", number) for number in _FIGURES.findall(folded)}


_NO_DIGIT = re.compile(r"\D")
_FIGURES = re.compile(r"\d+(?:[.,\s]\d{3})*(?:[.,]\d+)?")
_TOKEN = re.compile(rf"{_FIGURES.pattern}|[^\W\d_]+|[.;:!?\n,]")


def _regrouped(before: list[str], after: list[str]) -> str:
    """Numbers of one clause of the output that no clause of the input holds together, where both have the same
    numbers in as many clauses of the same sizes; or ''."""
    here, there = ([sorted(filter(str.isdigit, clause)) for clause in _clauses(tokens)] for tokens in (before, after))
    here, there = ([numbers for numbers in side if len(numbers) > 1] for side in (here, there))
    if sorted(map(len, here)) != sorted(map(len, there)) or Counter(chain(*here)) != Counter(chain(*there)):
        return ""
    return next((", ".join(numbers) for numbers in there if numbers not in here), "")


def _clauses(tokens: list[str]) -> Iterator[list[str]]:
    clause: list[str] = []
    for token in (*tokens, "."):
        if token != ".":
            clause.append(token)
        elif clause:
            yield clause
            clause = []


def _beside(tokens: list[str]) -> dict[str, set[str]]:
    """For each number, the words nearest to it inside its clause: those behind it where the clause begins with a
    number, those before it where the clause ends with one, else both."""
    near: dict[str, set[str]] = {}
    for clause in _clauses(tokens):
        for at, number in enumerate(clause):
            if number.isdigit():
                sides = clause[max(0, at - _NEAR) : at][::-1], clause[at + 1 : at + 1 + _NEAR]
                if sum(map(str.isdigit, clause)) == 1:
                    near.setdefault(number, set()).update(word for side in sides for word in side if len(word) > 2)
                    continue
                wanted = sides[1:] if clause[0].isdigit() else sides[:1] if clause[-1].isdigit() else sides
                words = (next((t for t in side if t.isdigit() or len(t) > 2), "0") for side in wanted)
                near.setdefault(number, set()).update(word for word in words if not word.isdigit())
    return near


def limits(pair: Pair, language: str = "en", input_language: str | None = None) -> Judgement:
    """What the input denies (`not`, `without`) or limits (`only`, `unless`) is denied or limited in the output, and
    what it asks is asked.

    One word of the table's list in the input asks for one of the wider list in the output, any of them; and what stands
    behind a denial in the input stands in no clause of the output without one. A translation keeps an `if` too. A
    summary, of less than 60 % of the words, may leave it out.
    Not covered: what is denied by a word that no list has, and a denial that moved to another thing.
    """
    before, after, spoken = fold(pair.input), fold(pair.output), input_language or language
    if says(spoken, "ask_for", before[:30]) and not (_ASKS.search(after) or says(language, "begs", after)):
        return rejected("lost_question", "the input is to ask something, the output does not")
    asked = (_ASKS.search(before) and _ASKED.search(before)) or says(spoken, "asked", before)
    if asked and not (_ASKS.search(after) or says(language, "asks", after)):
        return rejected("lost_question", "the input asks something, the output does not")
    translated = spoken != language
    if flipped := _other_way(before, after, spoken, language):
        return rejected("lost_negation", f"the input says {quote(flipped)}, the output the contrary")
    if is_summary(pair) and count_words(pair.input) > _LONG and not translated:
        return passed("a summary may leave things out")
    if lacking := _needless(before, after, spoken, language) or _needless(after, before, language, spoken):
        return rejected("lost_condition", f"{quote(lacking)} is needed on one side, on the other it is not")
    conditions = ("condition", "supposes") if translated else ("condition",)
    for words_asked, told, code in (
        (("negation",), ("negated",), "lost_negation"),
        (conditions, ("conditions", "supposes"), "lost_condition"),
    ):
        word = next(filter(None, (says(spoken, name, before) for name in words_asked)), None)
        known = any(lexicon(language).words(name) for name in told)
        if word and known and not any(says(language, name, after) for name in told):
            return rejected(code, f"the input says {quote(word[0])}, and nothing in the output does")
    if not translated and (flipped := _flipped(before, after, language)):
        return rejected("lost_negation", f"the input denies {quote(flipped)}, the output does not")
    return passed("what is denied, limited or asked stays so")


def _flipped(before: str, after: str, language: str) -> str:
    """A word right behind a denial of one text that the other says, only in clauses that deny nothing."""
    stem = stem_of(language)
    denials, denied, surely = (any_of(language, name) for name in ("denies", "negated", "negation"))
    denies = says(language, "denies", before)
    clauses = [clause for clause in _CLAUSE.split(after) if clause.strip()] if denies else []
    for denial in denials.finditer(before) if denies else ():
        behind = _CLAUSE.split(before[denial.end() :], maxsplit=1)[0]
        word = next((w for w in words(behind)[:4] if len(w) > 3 and w not in lexicon(language).stop), "")
        root = stem(word) if word else ""
        saying = [clause for clause in clauses if root and any(stem(w) == root for w in words(clause))]
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


_DENIES_AT_THE_END = ("de", "nl", "tr", "ja", "ko", "hi")  # a verb that denies may stand behind all that it denies
_STEM = 4


def _denied_in_japanese(before: str, after: str) -> str:
    """A word of two characters or more before a denial of one text that stands before none in the other; or ''."""
    known = lexicon("ja")
    denials = "|".join(sorted(known.words("denial"), key=len, reverse=True))
    for match in re.finditer(rf"([一-鿿]{{2,6}})[ぁ-ん]{{0,4}}?(?:{denials})", before):
        if match[1] in after and not re.search(rf"{match[1]}[ぁ-ん]{{0,5}}(?:{denials})", after):
            return match[1]
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
    found: dict[bool, str] = {}
    if not any(says(language, name, text) for name in (*lists, "forbidden")):
        return None
    for clause in _CLAUSE.split(text):
        if forbids := says(language, "forbidden", clause):
            found[False] = forbids[0]
        elif allows := next(filter(None, (says(language, name, clause) for name in lists)), None):
            found[not says(language, "denial", clause)] = allows[0]
    return next(iter(found.items())) if len(found) == 1 else None


_LONG = 30  # words of an input that a shorter output may sum up
_CLAUSE = re.compile(r"[.,;:!?\n–—]+(?:\s|$)|\s[–—-]\s")
_ASKED = re.compile(r"[?؟][\"'”»)]?\s*\Z|\A[^.!?\n]{0,80}[?؟]")
_ASKS = re.compile(r"[?؟]")
