"""Gates on the form of a text: its length, loops in it, and outputs that only repeat the input."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cache, lru_cache
from itertools import islice, pairwise
from math import floor
from unicodedata import category

from curate.gates.content import in_code, is_query, is_short_code
from curate.gates.coverage import count_repeated_roots, has_known_stop_words, roots
from curate.gates.folding import CACHE_SIZE, fold
from curate.gates.frames import sentences
from curate.gates.judgement import Judgement, only_flagged, passed, quote, rejected, sides
from curate.gates.phrases import lexicon, says
from curate.gates.repeated_parts import copied_example, is_unspaced_alphabet, letter_loop, repeated_part, without_spaces
from curate.gates.same_words import CLOSING, FULL_STOPS, is_confirmed, is_corrected
from curate.gates.words import cached_per_word, count_words, filler, stemmer_for, without_options, words
from schemas.kinds import KINDS, KindName
from schemas.records import Pair
from schemas.spec import LengthSettings

_JSON_KEY = re.compile(r'"[^"\n]{1,80}"\s*:')
_CLAUSE_END = re.compile(r"[,.;:!?\n\u3001\u3002][,.;:!?\n\u3001\u3002]*(?:\s|$)")
_LEAK_WORDS = 6  # first words of an instruction; a later sentence of a style may be one that it asks for
_MANY_ITEMS = 6  # items of a list
_MIN_WORDS = 3  # words from which on an input is more than a title
_STUTTER = re.compile(r"\b(\w+)(?: \1\b){3,}", re.IGNORECASE)
_SAME_CHARACTER = re.compile(r"([^\s\-=_*.~#\dfF])\1{11,}|([\dfF])\2{64,}")
_MAY_BE_SAME = re.compile(r"([^\s\-=_*.~#])\1\1")  # of 12 characters in a row, three are fourth ones


def length(pair: Pair, bounds: LengthSettings) -> Judgement:
    """The words of the output, and their ratio to the words of the input, are within `bounds`. Score: the words.

    Words are counted as a word counter does (by whitespace; by character in scripts without spaces), so an option such
    as `--ar 3:2` counts as two. In the ratio, four letters of Thai, Lao, Khmer or Burmese are a word.
    Not covered: a text of the right length that ends in mid-sentence.
    """
    output = count_words(pair.output)
    if output < bounds.min_words:
        return rejected("short", f"it has {output} words, at least {bounds.min_words} are required", output)
    if output > bounds.max_words:
        return rejected("long", f"it has {output} words, at most {bounds.max_words} are allowed", output)
    of_output, of_input = (
        max(1, count_words(text) - without_spaces(text) * 3 // 4) for text in (pair.output, pair.input)
    )
    ratio = of_output / of_input
    measured = f"{of_output} words are {ratio:.2f} times the {of_input} of the input"
    if of_output < floor(bounds.min_ratio * of_input):  # a fifth of 12 words is 2
        return rejected("short", f"{measured}, at least {bounds.min_ratio:g} times are required", output)
    if ratio > bounds.max_ratio:
        return rejected("long", f"{measured}, at most {bounds.max_ratio:g} times are allowed", output)
    return passed(measured, output)


def repetition(pair: Pair, language: str = "en") -> Judgement:
    """A text from a model contains no loop. Score: the share of words in a repeated run of four words.

    A loop is any of the following:

        - one character 12 times in a row; a digit or F, as in 0.30000000000000004 or a mask of 64 bits, 65 times
        - a phrase repeated directly: one word 4 times (7 times with commas between), two words 4 times, more 3 times
        - a clause of two words or more 3 times (two in verse and `choo choo` 5 times), unless differing items share it
        - a quarter of the words, and at least six, in repeated runs of four
        - a pair of content words 5 times, making up a quarter of the text
        - fewer than 40 % distinct words in a stretch of 100
        - a list of six or more items, more than half of which repeat earlier ones

    The shares follow the rules on repeated n-grams of Rae et al. 2021 (table A1); counts are added because these texts
    are short. The keys of JSON do not count, nor do repeated lines of verse, of which at least half must be distinct. A
    loop in such verse, in a log or in code is only flagged: the lines of a song may differ by one word, those of a log
    by their time. Up to twelve lines of code that all differ are none, unless a
    word is repeated directly.
    Not covered: the same idea in other words, and a loop inside one long word.
    """
    share = 0.0
    for side, text in sides(pair):
        if _MAY_BE_SAME.search(text[::4]) and (run := _SAME_CHARACTER.search(text)):
            return rejected("loop", f"one character is repeated in the {side} text: {quote(run[0], 20)}", 1.0)
        whole = text
        if '":' in text or '" :' in text:
            text = _JSON_KEY.sub(" ", text)
        text = _without_shared_ends(_without_refrain(text)) if "\n" in text else text
        tokens = tuple(fold(text).split()) if is_unspaced_alphabet(text) else words(text)
        # A repeated run, clause or pair requires two equal pairs, and one that occurs three times, three.
        repeats = max(0, len(tokens) - 1 - len(set(pairwise(tokens))))
        repeated, example = _repeated_runs(tokens) if repeats else (0.0, "")
        share = max(share, repeated)
        stop = lexicon(language).stop
        loop = _find_loop(text, tokens, repeats, repeated, example, stop) if repeats else _few_words(tokens)
        loop = loop or _repeated_item(text) or letter_loop(text)
        if loop and (not is_short_code(whole) or _STUTTER.search(text)):
            looped = rejected("loop", f"{loop} in the {side} text", share)
            wanted = (
                is_verse(text)
                or _is_log(text)
                or in_code(whole)
                or (side == "output" and says("any", "repeats", fold(pair.input)))
            )
            return only_flagged(looped) if wanted else looped
        other = pair.input if side == "output" else pair.output
        twice = _repeated_sentence(whole, other) or _contained_sentence(whole, other, language)
        if again := twice or repeated_part(whole, other):
            return passed(f"the {side} text repeats {quote(again)}", share, flag="twice")
    return passed(f"{share:.0%} of the words repeat a run of four", share)


def _without_refrain(text: str) -> str:
    """Return verse with each line once, and other text unchanged. A loop repeats most lines, a refrain only some."""
    lines = _lines(text)
    return "\n".join({_REFRAIN_KEY.sub("", fold(line)): line for line in lines}.values()) if is_verse(text) else text


def _without_shared_ends(text: str) -> str:
    """Return a list with a last clause that differing items share kept only once: `30 seconds a side`.

    The clause must be at most half of each item.
    """
    items = [line[number.end() :] for line in _lines(text) if (number := _ITEM.match(line))]
    if len(items) < 3:
        return text
    ends = Counter(_CLAUSE_END.split(item.rstrip(" .!;"))[-1].strip() for item in set(items))
    shared = {end for end, times in ends.items() if end and times > 2}
    for end in shared if len(set(items)) == len(items) else ():
        first, end_once, rest = text.partition(end)
        if all(len(item.split()) >= 2 * len(end.split()) for item in items if end in item):
            text = f"{first}{end_once}{rest.replace(end, '')}"
    return text


@lru_cache(maxsize=CACHE_SIZE)
def is_verse(text: str) -> bool:
    """Whether a text has four or more short lines without numbers or bullets, of which at least half are distinct."""
    lines = _lines(text)
    if len(lines) < 4 or sum(map(len, lines)) > 60 * len(lines) or any(map(_ITEM.match, lines)):
        return False
    return len({_REFRAIN_KEY.sub("", fold(line)) for line in lines}) >= 0.5 * len(lines)


def _is_log(text: str) -> bool:
    """Whether a text has three or more lines and each begins with its own time or date."""
    starts = [_STAMP.match(line) for line in _lines(text)]
    return len(starts) > 2 and all(starts) and len({start[0] for start in starts if start}) == len(starts)


@lru_cache(maxsize=CACHE_SIZE)
def _lines(text: str) -> tuple[str, ...]:
    return tuple(filter(None, map(str.strip, text.splitlines())))


_ITEM = re.compile(r"[-*•·] |\d{1,2}[.)]\s")
_STAMP = re.compile(r"\W?\d[\d.:/T,-]{3,}")
_FORMULA_SYMBOL = re.compile(r"[a-z]|\d+")  # a symbol of a formula or table rather than a word
_REFRAIN_KEY = re.compile(r"\W+")


def _repeated_runs(tokens: Sequence[str]) -> tuple[float, str]:
    """Return the share of words in a second or later occurrence of a run of four words, and the first such run."""
    grams = list(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
    if len(set(grams)) == len(grams):
        return 0.0, ""
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    example = ""
    for at, gram in enumerate(grams):
        if gram in seen:
            covered.update(range(at, at + 4))
            example = example or " ".join(gram)
        seen.add(gram)
    return len(covered) / len(tokens), example


def _find_loop(
    text: str, tokens: Sequence[str], repeats: int, repeated: float, example: str, stop: Collection[str]
) -> str:
    """Describe the loop in a text, as the start of a message; '' if there is none."""
    pairs = Counter(pairwise(tokens)) if repeats > 1 else Counter[tuple[str, str]]()
    often = max(pairs.values(), default=0) > 2  # anything that repeats three times in a row contains such a pair
    # Chinese or Japanese characters, each of which is less than a word
    characters = sum(map(len, tokens)) < 1.5 * len(tokens)
    if repeated >= 0.25 and repeated * len(tokens) >= (12 if characters else 6):
        return f"{repeated:.0%} of the words repeat an earlier run such as {quote(example)}"
    stutters = often and any(times >= 3 and one == other for (one, other), times in pairs.items())
    if stutters and (stutter := _STUTTER.search(text)):
        return f"{quote(stutter[0])} repeats directly"
    if often and (run := _immediate_repeat(tokens)):
        return f"{quote(run)} repeats directly"
    clauses = [clause for part in _CLAUSE_END.split(fold(text)) if " " in (clause := " ".join(part.split()))]
    if len(clauses) - len(set(clauses)) > 1:
        clause, times = Counter(clauses).most_common(1)[0]
        parts = clause.split()
        if times >= (5 if len(parts) == 2 and ("\n" in text or parts[0] == parts[1]) else 3):
            return f"the phrase {quote(clause)} occurs {times} times"
    if often and len(tokens) >= 12:
        of_content = [
            (n, p)
            for p, n in pairs.items()
            if n >= 5 and p[0] != p[1] and not all(word in stop or _FORMULA_SYMBOL.fullmatch(word) for word in p)
        ]
        times, pair = max(of_content, key=lambda counted: counted[0], default=(0, ("", "")))
        if 2 * times >= 0.25 * len(tokens):
            return f"{quote(' '.join(pair))} occurs {times} times in {len(tokens)} words"
    return _few_words(tokens)


def _few_words(tokens: Sequence[str]) -> str:
    if len(tokens) - len(set(tokens)) <= 18:  # a stretch of 30 with fewer than 40 % distinct words repeats more
        return ""
    tokens = [
        token for token in tokens if (len(token) > 1 and not token.isdecimal()) or not _FORMULA_SYMBOL.fullmatch(token)
    ]
    for start in range(0, len(tokens), 100):
        stretch = tokens[start : start + 100]
        if len(stretch) >= 30 and len(set(stretch)) < 0.4 * len(stretch):
            return f"only {len(set(stretch))} of {len(stretch)} words are distinct"
    return ""


def _repeated_item(text: str) -> str:
    """Describe a list whose items repeat, as the start of a message; '' if they do not."""
    if len(lines := _lines(text)) < _MANY_ITEMS:
        return ""
    items = [fold(line[number.end() :]).strip(" .;,") for line in lines if (number := _ITEM.match(line))]
    if len(items) < _MANY_ITEMS or len(items) <= 2 * len(set(items)):
        return ""
    item, times = Counter(items).most_common(1)[0]
    return f"the item {quote(item)} occurs {times} times in a list"


def _repeated_sentence(text: str, other: str) -> str:
    """Return a long sentence, or line of two sentences, that prose has twice and the other side has not; or ''."""
    if "```" in text or "|" in text:
        return ""
    whole = () if is_verse(text) else sentences(fold(text))
    known = set(whole)
    lines = [line for line in fold(text).splitlines() if line not in known]
    parts = [part.strip(" *_") for part in (*lines, *whole) if len(part) >= _LONG_SENTENCE]
    if len(set(parts)) == len(parts):
        return ""
    lines = [line for line in fold(text).splitlines() if len(sentences(line)) > 1]
    least = _MANY_ITEMS + 1 if any(map(_ITEM.match, _lines(text))) else _MIN_WORDS
    often = Counter(part.strip(" *_") for part in (*lines, *whole) if len(part) >= _LONG_SENTENCE)
    again = (part for part, times in often.items() if times > 1 and count_words(part) >= least)
    return next((part for part in islice(again, _MAX_LOOKUPS) if fold(other).count(part) < 2), "")


def _contained_sentence(text: str, other: str, language: str) -> str:
    """Return a sentence whose content another sentence contains completely, or ''.

    Not if the other side repeats it as well, or if there are many sentences.
    """
    if "```" in text or "|" in text or not has_known_stop_words(language) or is_verse(text):
        return ""
    every = [] if any(map(_ITEM.match, _lines(text))) else sentences(fold(text))
    parts = [part for part in every if count_words(part) >= _MIN_WORDS and part.rstrip(CLOSING).endswith(FULL_STOPS)]
    if not 1 < len(parts) <= _MAX_SENTENCES or count_repeated_roots(text, language) < _MIN_WORDS:
        return ""
    held = [roots(part, language) for part in parts]
    for one, (part, content) in enumerate(zip(parts, held, strict=True)):
        for another, more in enumerate(held):
            whole = one != another and len(content) >= _MIN_WORDS and content <= more
            if whole and (len(content) < len(more) or one > another) and fold(other).count(part) < 2:
                return part
    return ""


_MAX_SENTENCES = 6  # sentences
_LONG_SENTENCE, _MAX_LOOKUPS = 16, 20  # characters; repeated sentences to look up in the other side


def _immediate_repeat(tokens: Sequence[str]) -> str:
    """Return a word that occurs 7 times in a row, two words 4 times, or 3 to 6 words 3 times; or ''."""
    for size in range(1, 7):
        needed = 6 if size < 3 else 2 * size
        run = 0
        for at in range(size, len(tokens)):
            run = run + 1 if tokens[at] == tokens[at - size] else 0
            if run == needed:
                return " ".join(tokens[at - size + 1 : at + 1])
    return ""


def echo(
    pair: Pair,
    style: str = "",
    language: str = "en",
    kind: KindName = "rewrite",
    exemplars: Sequence[tuple[str, str]] = (),
) -> Judgement:
    """The output is more than the input repeated. Score: the share of its distinct content words that are new.

    Order, inflection, options (`--ar 3:2`) and filler (`an image of`) make no difference. A text is an echo if fewer
    than 15 % of the content words are new, 80 % of the input's are present, and the text is not much longer or in
    another form (a list or code made from a sentence). It is rejected if it is the exact input apart from a first
    capital and the last full stop (only flagged for a single clean sentence to rewrite, or if the style asks for
    corrections), or the input plus words about the request, if the style does not ask to be polite; a reply also if it
    has the same words, an answer to a free prompt only if it is the exact prompt. Others are flagged, unless at most
    one word in twenty of a finished sentence changed (a correction). Rejected is also a text with the first six words
    of the system prompt or of the style (in a reply flagged), unless the input has them too, and a copied worked
    example (`copied_example`; flagged for kinds of task in which different inputs naturally have one output).
    Not covered: an echo padded with words of its own.
    """
    if number := copied_example(pair, exemplars, language):
        echoed = rejected("echo", f"it repeats worked example {number}")
        return only_flagged(echoed) if KINDS[kind].outputs_recur else echoed
    given, text = without_options(pair.input), without_options(pair.output)
    input, output = (side.split() if is_unspaced_alphabet(given) else words(side) for side in (given, text))
    asks_for_corrections = says("any", "mends", fold(f"{style}\n{pair.system}"))
    copied = _normalised_copy(given) == _normalised_copy(text)
    if not output and not copied and kind != "free":
        pictured = kind == "reply" and any(category(sign) == "So" for sign in text)
        return passed("an emoji answers") if pictured else rejected("echo", f"it has no words: {quote(text)}", 0.0)
    if copied:
        echoed = rejected("echo", f"it adds nothing to {quote(pair.input)}", 0.0)
        clean = kind == "rewrite" and _is_clean(given, language)
        return only_flagged(echoed) if (asks_for_corrections or clean) and output else echoed
    repeats_message = _repeated_message(given, text, kind) if kind in ("free", "reply") else ""
    if kind == "free" and not repeats_message:
        return passed("it differs from the input")
    before, after = _content_stems(input, language), _content_stems(output, language)
    added = [word for root, word in after.items() if root not in before]
    new = len(added) / len(after) if after else 1.0
    shared = sum(root in after for root in before) / len(before) if before else 0.0
    mostly_repeated = new < 0.15 and shared >= 0.8 and len(output) <= 1.7 * len(input) + 2
    if kind != "free" and (input == output or mostly_repeated) and not _has_other_form(pair):
        if (confirms := kind == "reply" and is_confirmed(given, text, language)) and set(output) - set(input):
            return passed("it confirms what the message asks", new)
        echoed = rejected("echo", f"it is the input with {', '.join(added) or 'no content word'} added", new)
        plain, now = ([word for word in side if word not in filler(language)] for side in (input, output))
        if plain == now and not confirms and (kind == "reply" or _speaks_of_request(input, output, style, language)):
            return echoed
        if asks_for_corrections or (kind != "reply" and is_corrected(given, text, language)):
            return passed("the input was a finished text, and this corrects it", new)
        return only_flagged(echoed)
    if not repeats_message and len(input) >= _MIN_WORDS and output[: len(input)] == input and _continues_after(pair):
        repeats_message = f"it repeats the input before it begins: {quote(pair.input)}"
    if repeats_message:
        return only_flagged(rejected("echo", repeats_message, new))
    if start := _repeated_instruction((pair.system, style), input, output):
        leaked = rejected("echo", f"it repeats the instruction: {quote(start)}", new)
        return only_flagged(leaked) if kind == "reply" else leaked  # which may repeat what a style says of the subject
    return passed(f"{new:.0%} of its content words are new", new)


def _speaks_of_request(input: Sequence[str], output: Sequence[str], style: str, language: str) -> bool:
    """Whether an output has words about the request that its input lacks, and the style does not ask to be polite."""
    asking = lexicon(language).words("asking").intersection(output).difference(input)
    return bool(asking) and not any(says(code, "manners", fold(style)) for code in ("en", language))


def _repeated_instruction(instructions: Sequence[str], input: Sequence[str], output: Sequence[str]) -> str:
    """Return the first words of an instruction that the output contains and the input does not, or ''."""
    for start in (words(instruction)[:_LEAK_WORDS] for instruction in instructions):
        if len(start) == _LEAK_WORDS and _has_run(output, start) and not _has_run(input, start):
            return " ".join(start)
    return ""


_QUOTED = re.compile(
    r"[\"\u201c\u201e\u00ab\u300c]([^\"\u201d\u201c\u00bb\u300d\n]{8,400})[\"\u201d\u201c\u00bb\u300d]"
)


def _repeated_message(given: str, text: str, kind: str) -> str:
    """Describe how an answer only repeats its message, or ''.

    This is a message with a few words around it (`You ask: where is the bus?`), or a quoted text that was to be
    corrected and is unchanged.
    """
    few = count_words(text) - count_words(given) <= _MANY_ITEMS and "\n" not in text.strip()
    if (
        few
        and not (kind == "free" and is_query(text) and not is_query(given))
        and count_words(given) >= _MIN_WORDS
        and _normalised_copy(fold(given)) in fold(text)
    ):
        return f"it repeats the input and adds little: {quote(text)}"
    quotes = _QUOTED.findall(given) if kind == "free" else []
    quoted = next((part for part in quotes if _normalised_copy(part) == _normalised_copy(text)), "")
    to_correct = quoted and says("any", "mends", fold(given))
    return f"it should be corrected but is unchanged: {quote(quoted)}" if to_correct else ""


def _is_clean(given: str, language: str) -> bool:
    """Whether a text is a single sentence ready for print: it begins with a capital and ends with a full stop."""
    first = given.lstrip()[:1]
    joined = not lexicon(language).stop.isdisjoint(words(given))
    return first.isupper() and given.rstrip().endswith(FULL_STOPS) and joined and len(sentences(fold(given))) == 1


def _normalised_copy(text: str) -> str:
    """Normalise what any copy may change: whitespace, a capital at the start, punctuation at the end."""
    plain = " ".join(text.split()).rstrip("".join(FULL_STOPS) + " ,")
    return plain[:1].casefold() + plain[1:]


def _continues_after(pair: Pair) -> bool:
    """Whether a text that begins with the input continues after it on a new line or after an arrow."""
    behind = fold(pair.output).strip().removeprefix(fold(pair.input).strip())
    return re.match(r"\W*?(?:\n|[-=]+>|\u2192|\u21d2)", behind) is not None and len(words(behind)) >= _MIN_WORDS


def _has_other_form(pair: Pair) -> bool:
    """Whether one or two lines became three or more lines, or code."""
    before, after = (len(_lines(without_options(text))) for text in (pair.input, pair.output))
    return (after >= 3 and after > 2 * before) or (in_code(without_options(pair.output)) and not in_code(pair.input))


def _content_stems(tokens: Sequence[str], language: str) -> dict[str, str]:
    """Return the distinct words other than filler, by stem."""
    words = dict(zip(map(_stem_of_weight(language), tokens), tokens, strict=True))
    words.pop(None, None)
    return words  # type: ignore[return-value]


@cache
def _stem_of_weight(language: str) -> Callable[[str], str | None]:
    filler_words, stem = filler(language), stemmer_for(language)
    return cached_per_word(lambda word: None if word in filler_words else stem(word))


def _has_run(tokens: Sequence[str], run: Sequence[str]) -> bool:
    return f" {' '.join(run)} " in f" {' '.join(tokens)} "
