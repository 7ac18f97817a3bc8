"""How a text addresses its reader: the person and the form of address that are asked for, and lapses in register.

wrong_addressee("to Ms Hale: Rob's ring is ready. Kit", "Dear Rob,\\n\\nIt is ready.\\n\\nKit", "en") == "rob"
informal_slip("to bank manager: request meeting", "dear sir,\\n\\nthursday if poss, cos i'm off lol.", "en") == "cos"
wrong_address_form("Sie-Form, höflich.", "Wir prüfen deine Unterlagen.", "de") == "deine"
wrong_address_form("Tutoyer.", "Envoyez votre dossier.", "fr") == "votre"
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import cache
from itertools import chain

from curate.gates.folding import fold
from curate.gates.phrases import NEVER, lexicon, says, says_one, sections, words_of
from curate.gates.phrases.lists import alternation
from curate.gates.phrases.word_patterns import listed, word_pattern
from curate.gates.words import words

_ROOT_LETTERS = 5  # letters by which an inflected name is recognised
_LAST_LINE = re.compile(r"\n[^\S\n]*([^\W\d_][^\n,.!?:]{1,40}?)\W*\Z")


def wrong_addressee(given: str, text: str, language: str, kind: str = "rewrite", style: str = "") -> str:
    """Return the wrong person that a text greets or is signed by, or ''.

    The instruction (`to Ms Hale: ...`) names the addressee. A greeting is wrong if it names somebody whom the
    instruction only mentions. A signature is wrong if it is the addressee's, or in a reply, that of the person who
    wrote the message.
    """
    folded, signed = fold(given), _LAST_LINE.search(text.strip())
    signature = _names(signed[1]) if signed else frozenset[str]()
    if kind == "reply":
        if own := _own_greeting(given, text, language):
            return own
        if other := _greets_another(given, text, language, style):
            return other
        writers = [_names(name) for name in _writers().findall(given)]
        return (signed or "")[1] if signature and any(signature <= writer for writer in writers) else ""
    if turned := _turned_letter(given, text):
        return turned
    if not (to := _to().match(folded)):
        return ""
    addressee, rest = _names(to[1]), _names(folded[to.end() :])
    greeted = _greeted(language).search(fold(text))
    names = _names(greeted[1]) if greeted else frozenset[str]()
    if greeted and names and addressee and names.isdisjoint(addressee) and names <= rest:
        return greeted[1].strip()
    return signed[1] if signed and signature and signature <= addressee and not signature <= rest else ""


def _own_greeting(given: str, text: str, language: str) -> str:
    """Return the name that a reply greets, if its message greets it too and somebody else signed the message; or ''."""
    here, there = (_greeted(language).search(fold(side)) for side in (given, text))
    signed = _SIGNED.search(given)
    if not here or not there or not signed or not given[: here.end(1)].split()[-1][0].isupper():
        return ""
    greeted, same = (_names(greeting[1]) for greeting in (here, there))
    named = " ".join(word for word in words(here[1]) if word[:_ROOT_LETTERS] not in _ignored_words())
    if says(language, "addressees", named):
        return ""
    return there[1].strip() if greeted and greeted == same and _names(signed[1]).isdisjoint(greeted) else ""


def _greets_another(given: str, text: str, language: str, style: str) -> str:
    """Return the name that a reply greets, if its message is signed by somebody else; or ''.

    The message only mentions that person, or the name is that of the writer with one or two letters changed. Not if the
    style names that person, or the message is written for somebody.
    """
    greeted = _greeted_name(text)
    writer = (_signature(given) or _introduction(given)) if greeted else []
    if not writer or says(language, "addressees", fold(" ".join(greeted))):
        return ""
    if any(name in style for name in greeted) or _for_somebody(fold(given)):
        return ""
    rest = given.replace(writer[-1], " ")
    if not any(_is_same_name(one, other, language) for one in writer for other in greeted):
        mentioned = all(
            re.search(rf"(?<!\w){re.escape(name[: max(3, min(_ROOT_LETTERS, len(name) - 1))])}", rest)
            for name in greeted
        )
        return " ".join(greeted) if mentioned else ""
    wrong = [name for name in greeted if name not in given]
    misspelt = wrong and all(any(_is_near(fold(name), fold(own), language) for own in writer) for name in wrong)
    return " ".join(greeted) if misspelt else ""


_for_somebody = listed("written_for")


def _turned_letter(given: str, text: str) -> str:
    """Return the name that a rewritten letter wrongly greets, the writer's, or is signed by, the addressee's; or ''."""
    to = frozenset(map(_root, _greeted_name(given)))
    by = frozenset(map(_root, _signature(given))) if to else to
    if not by or not to.isdisjoint(by):
        return ""
    greeted = _greeted_name(text)
    names, signed = frozenset(map(_root, greeted)), frozenset(map(_root, _signature(text)))
    if names and names <= by:
        return " ".join(greeted)
    return " ".join(_signature(text)) if signed and signed <= to else ""


def _is_same_name(one: str, other: str, language: str) -> bool:
    """Whether two names begin alike; in a language with cases, their last letter may differ: Anna, Anno."""
    if language in words_of("without_cases"):
        return _root(one) == _root(other)
    stem = max(3, min(len(one), len(other), _ROOT_LETTERS + 1) - 1)
    return fold(one)[:stem] == fold(other)[:stem]


def _root(name: str) -> str:
    return fold(name)[:_ROOT_LETTERS]


def _signature(text: str) -> list[str]:
    """Return the names at the very end of a text, behind the end of a line or sentence or a comma; with those before
    the comma where they are a sentence of their own: `Zoe Lund, Leeds`. The end of an address is no name."""
    text = (_FORWARDED.sub("", text) if ">" in text else text).rstrip()[-_MAX_END:]
    if placed := _SIGNED_AT.search(text):
        return [] if placed[1] else _without_titles(f"{placed[2]} {placed[3]}")
    signed = _SIGNATURE.search(text) or _SIGNED_AS.search(text)
    return _without_titles(signed[1]) if signed else []


def _introduction(text: str) -> list[str]:
    """Return the name after `this is` or `I am`."""
    introduced = _writers().search(_FORWARDED.sub("", text))
    return _without_titles(introduced[1]) if introduced else []


def _greeted_name(text: str) -> list[str]:
    """Return the names after a greeting at the start of a text, or before a first comma or line end."""
    text = text.lstrip()[:_MAX_START]
    if not _GREETS_SOMEBODY.match(text):
        return []
    greets = _greeting().match(fold(text))
    begun = _GREETED.match(text, greets.end() if greets and len(fold(text)) == len(text) else 0)
    return _without_titles(begun[1]) if begun else []


def _without_titles(names: str) -> list[str]:
    listed = [name.removesuffix("'s") for name in _NAME.findall(names) if _root(name) not in _greeting_roots()]
    return listed if all(name[0].isupper() for name in listed) else []


@cache
def _greeting_roots() -> frozenset[str]:
    greetings = chain.from_iterable(re.split(r"[_*]", word) for name in _GREETINGS for word in words_of(name))
    return frozenset(word[:_ROOT_LETTERS] for word in chain(greetings, words_of("titles")) if word)


def _is_near(one: str, other: str, language: str) -> bool:
    """Whether two different names differ by one letter, or by two letters of at least six, and not only by an ending
    where names are inflected (Basia, Basiu)."""
    if one == other or one[0] != other[0] or abs(len(one) - len(other)) > 2:
        return False
    stem = min(len(one), len(other)) - 1
    if language not in words_of("without_cases") and one[:stem] == other[:stem]:
        return False
    same = sum(block.size for block in SequenceMatcher(None, one, other, autojunk=False).get_matching_blocks())
    return max(len(one), len(other)) - same <= (1 if max(len(one), len(other)) < 6 else 2)


_GREETINGS = ("greet", "greets_elsewhere", "sign_offs")
_NAME = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_CAPITAL = "[A-ZÀ-ÞĀ-ŽА-ЯЁЄІЇҐΑ-Ω]"
_FORWARDED = re.compile(r"(?m)^\s*>.*\n?")
_MAX_START, _MAX_END = 80, 160  # characters of a text in which it greets and is signed
_NAMES = rf"({_CAPITAL}[\w'\u2019.-]*(?:\s{_CAPITAL}[\w'\u2019.-]*){{0,3}})"
_SIGNATURE = re.compile(rf"[\n.?!,\u2026][^\S\n]*{_NAMES}\W{{0,3}}\Z")
_SIGNED_AS = re.compile(rf"[\n.?!\u2026][^\S\n]*{_NAMES},[^\n.?!]{{1,50}}\W?\Z")  # Ada, flat 4
_SIGNED_AT = re.compile(rf"(?:[\n.?!\u2026]|(\d\w*\s))[^\S\n]*{_NAMES},\s*{_NAMES}\W{{0,3}}\Z")
_greeting = word_pattern(r"\W*(?:{greet|greets_elsewhere}(?!\w),?\s?)+")
_GREETS_SOMEBODY = re.compile(rf"(?=[^\n]*?(?<!\w){_CAPITAL})[^\n.!?:]{{2,60}}(?:[.,!:\n])")
_GREETED = re.compile(
    r"\W*([^\W\d_][\w'\u2019.-]*(?:[^\S\n]+[^\W\d_][\w'\u2019.-]*){0,4})(?:[^\S\n]*[,!:\n]|(?<=\.)\s)"
)
_SIGNED = re.compile(r"[\n.!?,][^\S\n]*([A-ZÀ-ÞА-Я][^\n.!?:]{1,40})\W*\Z")


def _names(text: str) -> frozenset[str]:
    """Return the beginnings of the words of a text, without titles and the like."""
    return (
        frozenset(word[:_ROOT_LETTERS] for word in words(fold(text).replace("'s", "")) if len(word) > 2)
        - _ignored_words()
    )


@cache
def _ignored_words() -> frozenset[str]:
    known = *words_of("titles"), *words_of("greet"), *words_of("articles"), *words_of("to_whom"), *words_of("mine")
    return frozenset(word[:_ROOT_LETTERS] for word in known)


# An instruction that begins with its addressee.
_to = word_pattern(r"\W*{to_whom}\s+((?:[^\n:.,;]|(?<=\w[rsf]|ra)\.){2,40})[:,\n]")


@cache
def _greeted(language: str) -> re.Pattern[str]:
    greetings = alternation(lexicon(language).words("greet"))
    return re.compile(rf"\A\W*(?:{greetings}),? ([^\n,!:]{{2,40}})[,!:\n]" if greetings else "(?!)")


# The writer of a message: `it's Daniel`, `this is Ada`.
_writers = word_pattern(r"(?<!\w)(?i:{it_is_i})\s+([A-ZÀ-ÞА-Я][^\W\d_]+)")


_EMOJI = re.compile("[\U0001f600-\U0001f64f\U0001f917-\U0001f978\U0001f92a-\U0001f92f\U0001f389\U0001f44d]")
_OPENS, _CLOSES = r"\"\u201c\u201e\u00ab\u300c\u2018", r"\"\u201d\u201c\u00bb\u300d\u2019"
_QUOTED = re.compile(rf"[{_OPENS}][^{_CLOSES}\n]{{2,}}[{_CLOSES}]")
_DENIAL_REACH = 16  # characters before a form of address that may deny it: do not use du


def informal_slip(given: str, text: str, language: str) -> str:
    """Return an informal expression in a text that should be formal, or ''.

    It should be if it has a formal greeting or closing, or if a formal text was asked for. What the input contains
    itself and what is quoted does not count. Both texts are folded.
    """
    asked = says_one(language, "formal_asked", given) and not says_one(language, "casual_asked", given)
    if not (asked or _formal_lines(language).search(text)):
        return ""
    plain = _QUOTED.sub(" ", text)
    familiar = says(language, "familiar", plain)
    if familiar and not says(language, "familiar", given):
        return familiar[0]
    emoji = _EMOJI.search(plain)
    return emoji[0] if emoji and not _EMOJI.search(given) else ""


@cache
def _formal_lines(language: str) -> re.Pattern[str]:
    """Return a pattern for the start of a line of a formal text."""
    lines, ends = alternation(lexicon(language).words("formal_lines")), lexicon(language).after
    return re.compile(rf"(?m)^[^\w\n]*(?:{lines}){ends}") if lines else NEVER


def wrong_address_form(style: str, text: str, language: str) -> str:
    """Return a word of a text with the other form of `you` than its style asks for, or ''.

    A familiar text may also contain the other form (`vous` to two friends), so there it counts only if it is the only
    one.
    """
    formal = _asks_formal(fold(style))
    forms = _forms(language)
    if formal is None or forms is None:
        return ""
    plain = _QUOTED.sub(" ", text)
    familiar, polite = (form.search(plain) for form in forms)
    if formal:
        return familiar[0].strip() if familiar else ""
    return polite[0].strip() if polite and not familiar else ""


def _asks_formal(style: str) -> bool | None:
    """Return whether a folded style asks for formal (True) or familiar (False) address; None for neither or both."""
    asked = set[bool]()
    for name, formal in (("address_formal", True), ("address_familiar", False)):
        if named := says("any", name, style):
            before = style[max(0, named.start() - _DENIAL_REACH) : named.start()]
            asked.add(formal != bool(says("any", "address_denied", before)))
    return asked.pop() if len(asked) == 1 else None


@cache
def _forms(language: str) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    """Return patterns for the familiar and the formal `you` in a language that has both."""
    forms = sections("any")["address"].get(language)
    return (re.compile(forms["familiar"]), re.compile(forms["formal"])) if forms else None
