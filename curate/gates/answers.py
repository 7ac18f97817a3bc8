"""Gates for answers that have a form: a label, JSON whose values stand in the input, a translation."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from curate.gates.judgement import Judgement, passed, quote, rejected
from curate.gates.numbers import Number, NumberMentions, may_be_words, required
from curate.gates.phrases import lexicon
from curate.set_join import words
from prompts.answer_form import alternatives, resolved
from schemas.records import Json, Pair

_SHOWN = 12  # labels in a sentence
_ISO_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ].*)?")
_ADDRESS = re.compile(r"https?://[^\s<>\"')\]]+[^\s<>\"')\].,;:!?]|[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
# How digits are grouped differs by language: 1 200, 1'200 and 1.200 are 1200 for all that a translation may do to it.
_GROUPED = re.compile("(?<=\\d)[ \u00a0\u202f\u2009'\u2019](?=\\d{3}(?!\\d))")
_ALIKE_WORDS = 5  # a text of fewer words may be the same in two languages


def label(pair: Pair, labels: Collection[str]) -> Judgement:
    """The output is one of the task's labels, as the spec writes it."""
    if pair.output in labels:
        return passed()
    shown = ", ".join(list(labels)[:_SHOWN]) + (", ..." if len(labels) > _SHOWN else "")
    return rejected("label", f"{quote(pair.output)} is none of the {len(labels)} labels: {shown}")


def values(pair: Pair, schema: Json | None, language: str = "en") -> Judgement:
    """Every text and number in a JSON output stands in the input. Score: the share of them that do.

    Case, blanks, punctuation and the spelling of a number make no difference (`1.200,50` is 1200.5, `three` is 3 where
    the language's number words are known); a date in ISO form stands there if its day and year do. Exempt are true,
    false and null, empty texts, and what the schema draws from a list (`enum`, `const`), which a reader may conclude.
    Not covered: a value of the input that stands at the wrong key. A schema with fields that are put in other words
    (a summary) should switch the gate off.
    """
    try:
        value = json.loads(pair.output)
    except ValueError:
        return passed("it is not JSON, which another gate says")
    folded, numbers = _words(pair.input), NumberMentions(_joined_groups(pair.input), language)
    leaves = list(_leaves(value, schema or {}, schema or {}, "$"))
    raw = pair.input.casefold()
    absent = [(at, leaf) for at, leaf in leaves if not _stands(leaf, folded, numbers) and not _is_sign(leaf, raw)]
    share = 1 - len(absent) / len(leaves) if leaves else 1.0
    if absent:
        at, leaf = absent[0]
        more = f" ({len(absent) - 1} more)" if len(absent) > 1 else ""
        return rejected("value", f"{quote(str(leaf))} at {at} does not stand in the input{more}", share)
    return passed(f"{len(leaves)} values stand in the input", share)


def _leaves(value: Any, schema: Any, root: Json, at: str) -> Iterator[tuple[str, str | int | float]]:
    """The texts and numbers in `value` that are bound to the input, each with its path."""
    ways = alternatives(resolved(schema, root), root)
    if isinstance(value, dict):
        for key, inside in value.items():
            named = [way["properties"][key] for way in ways if key in way.get("properties", {})]
            yield from _leaves(inside, {"anyOf": named} if named else {}, root, f"{at}.{key}")
    elif isinstance(value, list):
        items = [way["items"] for way in ways if isinstance(way.get("items"), dict)]
        for number, inside in enumerate(value):
            yield from _leaves(inside, {"anyOf": items} if items else {}, root, f"{at}[{number}]")
    elif type(value) in (str, int, float) and value != "" and not any("enum" in w or "const" in w for w in ways):
        yield at, value


def _stands(leaf: str | int | float, folded: str, numbers: NumberMentions) -> bool:
    if not isinstance(leaf, str):
        plain = format(abs(leaf), "f") if isinstance(leaf, float) else str(abs(leaf))
        plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
        return Number(plain, frozenset({plain})) in numbers
    if date := _ISO_DATE.fullmatch(leaf.strip()):
        year, _, day = date.groups()
        return _words(leaf) in folded or all(_is_told(part, numbers) for part in (year, day))
    wanted = _words(leaf).strip()
    # An ending may be joined to a word (서울에서), and in scripts without capitals a beginning; to a digit nothing may.
    before = " " if wanted[:1].isascii() else ""
    after = r"(?!\d)" if wanted[-1:].isdigit() else ""
    if re.search(re.escape(before + wanted) + after, folded):
        return True
    plain = re.sub(r"\W", "", leaf)
    return plain.isdigit() and Number(plain, frozenset({plain})) in numbers


def _is_sign(leaf: str | int | float, raw: str) -> bool:
    """Whether a text without a word in it, such as €, stands in the input."""
    return isinstance(leaf, str) and not re.search(r"\w", leaf) and leaf.strip().casefold() in raw


def _is_told(digits: str, numbers: NumberMentions) -> bool:
    short = digits[-2:] if len(digits) == 4 else digits
    return any(Number(form, frozenset({form.lstrip("0") or "0", form})) in numbers for form in (digits, short))


def _words(text: str) -> str:
    """`text` without case, punctuation and runs of blanks, between blanks."""
    return f" {' '.join(words(text))} "


def translated(pair: Pair, language: str, to: str) -> Judgement:
    """The output is another text than the input, and numbers and addresses of the web are kept.

    Numbers by value, however they are grouped or spelt; where the number words of the target language are not known,
    those that may be told in words (below 100, round ones) ask for nothing. The language itself is another gate's.
    Not covered: names, which languages spell and inflect in their own ways; numbers that the translation makes up;
    units that were converted.
    """
    source = words(pair.input)
    if source == words(pair.output) and len(source) >= _ALIKE_WORDS:
        return rejected("untranslated", f"it is the source again: {quote(pair.output)}", 0.0)
    addresses = [
        address for address in _ADDRESS.findall(pair.input) if address.casefold() not in pair.output.casefold()
    ]
    if addresses:
        return rejected("lost_address", f"the source says {quote(addresses[0])}, the translation does not")
    told = NumberMentions(_joined_groups(pair.output), to)
    wanted = [n for n in required(_joined_groups(_ADDRESS.sub(" ", pair.input)), language) if _binds(n, to)]
    lost = [number.text for number in wanted if number not in told and not _in_roman(number, pair.output)]
    if lost:
        missing = ", ".join(map(quote, lost))
        return rejected(
            "lost_number", f"the source says {missing}, the translation does not", 1 - len(lost) / len(wanted)
        )
    return passed(f"{len(wanted)} numbers are kept", 1.0)


def _binds(number: Number, to: str) -> bool:
    """Whether a text in the language `to` has to tell the number in a way that can be seen."""
    if lexicon(to).ones or number.letters:
        return True
    ungrouped = number._replace(text=re.sub(r"[.,](?=\d{3})", "", number.text))
    return number.text[0].isdigit() and not may_be_words(number) and not may_be_words(ungrouped)


def _in_roman(number: Number, text: str) -> bool:
    """Whether the text tells a number up to 39 as I, V and X: the 19th century is le XIXe siècle."""
    digits = next(iter(number.forms))
    if not digits.isdigit() or not 0 < int(digits) < 40:
        return False
    tens, ones = divmod(int(digits), 10)
    roman = "X" * tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[ones]
    return re.search(rf"\b{roman}(?:e|er|re|ème)?\b", text) is not None


def _joined_groups(text: str) -> str:
    return _GROUPED.sub("", text)
