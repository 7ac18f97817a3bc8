"""Synthetic negatives: good texts corrupted on purpose, to fit and test a reward model without any human preference.

Every corrupted text has as many words as the good one, give or take one (split at whitespace or, where a script has
none, into short pieces). Of several tries the one nearest in characters is taken. Length therefore reveals little (a
first attempt without this learned length and nothing else). Line breaks stay where they were. Corruptions are in
groups; a fair test holds out a whole group, because a model that saw one way of looping recognises the others.

Not covered: factual errors, taste, and anything that needs knowledge of the world.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from curate.words import SIGNS

_WIDE_MARKS = "\u3001\u3002\uff0c\uff1b\uff01\uff1f"  # Japanese , and . and full-width , ; ! ?
_OTHER_MARKS = _WIDE_MARKS + "\u060c\u061b\u061f\u0964"  # Arabic , ; ? and the full stop of Hindi
_MARKS = ",.;!?" + _OTHER_MARKS
_CLAUSE = re.compile(rf"(?<=[{_MARKS}])\s+")
# Chinese, Japanese, Thai, Lao, Burmese and Khmer have no spaces between words. Their texts are cut into pieces as long
# as typical words, with adjacent punctuation. A Japanese word seldom continues in another script.
_HAN, _KANA = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff", "\u3040-\u30ff"
_THAI = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_UNSPACED = f"[{_HAN}{_KANA}{_THAI}]"
_SIGNS = "[\u0e31\u0e33-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3]"
_PIECES = (f"[{_HAN}]{{1,2}}", "[\u3040-\u309f]{1,2}", "[\u30a0-\u30ff]{1,6}", f"(?:[{_THAI}]{_SIGNS}*){{1,4}}")
_OPENING = "(\\[\u300c\u300e\uff08\u300a\u201c"
_PIECE = re.compile(
    rf"[{_OPENING}]*(?:{'|'.join(_PIECES)})(?:(?!{_UNSPACED})[^\w\s{_OPENING}])*|(?:(?!{_UNSPACED})\S)+"
)
_WITHOUT_SPACE = re.compile(f"{_UNSPACED}|[{_WIDE_MARKS}]")
_FLAGS = re.compile(r"\s+--\w.*$", re.DOTALL)
# With short and with long words, so that one of the tries can match the length of the original in characters.
_FILLER = (
    "very nice and of high quality",
    "absolutely wonderful and professional quality",
    "with a lot of good detail in it",
    "with countless interesting details throughout",
    "and so on and so on, as it is",
    "and various other remarkable things",
    "which is really good to see",
    "which everybody certainly appreciates",
    "as well as much more of it all",
)
_CHATTY = (
    ("Sure! Here is the text you asked for:", "I hope this is a help to you!"),
    ("Of course, as an AI I can do that.", "Let me know if I can do more."),
    ("Certainly! Here's what you requested, slightly reworded:", "Would you appreciate further changes?"),
    ("Absolutely, as an assistant I'd suggest this:", "Remember, additional suggestions are available."),
)
_TRIES = 8


@lru_cache(maxsize=8_192)  # every text serves as `others` of many texts
def segmented(text: str) -> str:
    """`text` with spaces between the pieces where its script has none; other texts unchanged."""
    if not re.search(_UNSPACED, text):
        return text
    return " ".join(_PIECE.findall(text))


def is_segmented_differently(text: str) -> bool:
    """Whether the first version of the corruptions would have split the text differently."""
    return re.search(f"{_UNSPACED}|[{_OTHER_MARKS}{SIGNS}]", text) is not None


def content_words(text: str, letters: int) -> list[str]:
    """The words of at least `letters` letters; in a script without spaces, its runs of characters and pieces of two or
    more."""
    return re.findall(rf"[{_HAN}]+|{_UNSPACED}{{2,}}|[\w{SIGNS}]{{{letters},}}", segmented(text))


Corruption = Callable[[str, str, Sequence[str], random.Random], str | None]


def corrupt(corruption: str, text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    """`text` corrupted by the corruption of that name, or None if that does not apply (e.g. too few clauses).

    `input` is what the text answers, `others` are other good texts to take foreign words from. The result has as many
    words as `text`, +-1, and differs from it in more than whitespace.
    """
    spaced, spaced_others = segmented(text), list(map(segmented, others))
    words = spaced.split()
    tries = [CORRUPTIONS[corruption](spaced, segmented(input), spaced_others, rng) for _ in range(_TRIES)]
    fits = [t for t in tries if t and t.split() != words and abs(len(t.split()) - len(words)) <= 1]
    nearest = min(fits, key=lambda t: abs(len(t) - len(spaced)), default=None)
    return nearest and _spaced_like(text.strip(), words, nearest.split())


def _spaced_like(text: str, words: Sequence[str], corrupted: Sequence[str]) -> str:
    """`corrupted` with the whitespace that `text` has between its `words`: missing line breaks would give it away."""
    gaps, at = list[str](), 0
    for word in words:
        begin = text.index(word, at)
        gaps.append(text[at:begin])
        at = begin + len(word)
    spaced = corrupted[0]
    for word, gap in zip(corrupted[1:], [*gaps[1:], ""], strict=False):
        spaced += (gap or ("" if _WITHOUT_SPACE.search(spaced[-1] + word[0]) else " ")) + word
    return spaced


def _parts(text: str) -> tuple[str, str]:
    """The body and the trailing command-line flags (with their leading whitespace), which may be empty."""
    flags = _FLAGS.search(text)
    return (text[: flags.start()], flags[0]) if flags else (text, "")


def _clauses(body: str) -> list[str]:
    return [clause for clause in _CLAUSE.split(body) if clause]


def _sized(texts: Sequence[str], words: int, rng: random.Random) -> str | None:
    """A random clause of `texts` with `words` words, +-1."""
    fits = [c for text in texts for c in _clauses(_parts(text)[0]) if abs(len(c.split()) - words) <= 1]
    return rng.choice(fits) if fits else None


def _same_end(clause: str, like: str) -> str:
    """`clause` with the closing punctuation mark of `like`."""
    end = like[-1] if like[-1] in _MARKS else ""
    return clause.rstrip(_MARKS) + end


def _clauses_shuffled(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    clauses = _clauses(body)
    if len(clauses) < 3:
        return None
    order = list(range(len(clauses)))
    while order[0] == 0 or order == sorted(order):
        rng.shuffle(order)
    return " ".join(_same_end(clauses[i], clauses[at]) for at, i in enumerate(order)) + flags


def _words_shuffled(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    words = body.split()
    rng.shuffle(words)
    return " ".join(words) + flags


def _clause_from_elsewhere(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    clauses = _clauses(body)
    if len(clauses) < 3:
        return None
    at = rng.randrange(1, len(clauses))
    foreign = _sized(others, len(clauses[at].split()), rng)
    if foreign is None:
        return None
    clauses[at] = _same_end(foreign, clauses[at])
    return " ".join(clauses) + flags


def _subject_lost(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    """Replace every content word that the text shares with the input by a word of another text."""
    subject = {w.casefold() for w in content_words(input, 3)}
    pool = [w for other in others for w in content_words(_parts(other)[0], 4) if w.casefold() not in subject]
    words, lost = text.split(), 0
    for at, word in enumerate(words):
        core = word.strip(_MARKS + "\"'")
        if core.casefold() in subject and pool:
            words[at] = word.replace(core, rng.choice(pool))
            lost += 1
    return " ".join(words) if lost else None


def _words_swapped(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    pool = [w for other in others for w in content_words(_parts(other)[0], 4)]
    words = body.split()
    places = [at for at, word in enumerate(words) if len(word) > 3 or content_words(word, 4)]
    if not pool or not places:
        return None
    for at in rng.sample(places, max(1, len(places) * 2 // 5)):
        core = words[at].strip(_MARKS + "\"'")
        words[at] = words[at].replace(core, rng.choice(pool)) if core else words[at]
    return " ".join(words) + flags


def _phrase_looped(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    words = body.split()
    span = rng.randint(3, 6)
    if len(words) < 4 * span:
        return None
    start = rng.randrange(0, len(words) // 2 - span + 1)
    keep = words[: start + span]
    while len(keep) < len(words):
        keep += words[start : start + span]
    return " ".join(keep[: len(words)]) + flags


def _stuttered(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    words = body.split()
    every = rng.randint(2, 4)
    doubled = [w for at, word in enumerate(words) for w in ([word] * 2 if at % every == 0 else [word])]
    return " ".join(doubled[: len(words)]) + flags


def _echoed(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    words_of_input, room = input.split(), len(body.split())
    if not words_of_input:
        return None
    mark = rng.choice((",", ".", ""))
    echo = [*words_of_input[:-1], words_of_input[-1] + mark]
    return " ".join((echo * (room // len(echo) + 1))[:room]).rstrip(",") + flags


def _ending_wrong(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    """Missing or malformed flags; if a text has none, its last clause is replaced by one from inside another text."""
    body, flags = _parts(text)
    if flags:
        words = flags.split()
        broken = (
            [("other", "similar", "things")[at % 3] for at in range(len(words))],
            [word.lstrip("-") + "." for word in words],
            [word.replace("--", "-").replace(":", "to") for word in words],
        )
        return body + " " + " ".join(rng.choice(broken))
    clauses = _clauses(body)
    inner = [" ".join(_clauses(_parts(other)[0])[1:-1]) for other in others]
    foreign = _sized(inner, len(clauses[-1].split()), rng)
    return " ".join([*clauses[:-1], foreign]) if foreign and len(clauses) > 2 else None


def _cut_and_padded(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    words = text.split()
    if len(words) < 10 or not others:
        return None
    keep = rng.randint(len(words) * 2 // 5, len(words) * 7 // 10)
    rest = len(words) - keep
    foreign = [w for other in rng.sample(list(others), min(3, len(others))) for w in _parts(other)[0].split()[3:]]
    start = rng.randrange(0, max(1, len(foreign) - rest))
    return " ".join(words[:keep] + foreign[start : start + rest])


def _filler(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    words = body.split()
    keep = rng.randint(len(words) // 4, len(words) * 3 // 5)
    filler = [word for phrase in rng.sample(_FILLER, 3) for word in phrase.split()]
    rest = len(words) - keep
    return " ".join(words[:keep] + (filler * (rest // len(filler) + 1))[:rest]) + flags


def _chatty(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    opening, closing = rng.choice(_CHATTY)
    room = len(text.split()) - len(opening.split()) - len(closing.split())
    return " ".join([opening, *text.split()[:room], closing]) if room >= 4 else None


GROUPS: dict[str, dict[str, Corruption]] = {
    "order": {"clauses_shuffled": _clauses_shuffled, "words_shuffled": _words_shuffled},
    "foreign": {
        "clause_from_elsewhere": _clause_from_elsewhere,
        "subject_lost": _subject_lost,
        "words_swapped": _words_swapped,
    },
    "loop": {"phrase_looped": _phrase_looped, "stuttered": _stuttered, "echoed": _echoed},
    "form": {"ending_wrong": _ending_wrong, "cut_and_padded": _cut_and_padded},
    "voice": {"filler": _filler, "chatty": _chatty},
}
ENGLISH = "voice"  # the group that inserts English, which would give it away in another language
CORRUPTIONS: dict[str, Corruption] = {
    corruption: make for group in GROUPS.values() for corruption, make in group.items()
}
