"""Synthetic negatives: good texts corrupted on purpose, to fit and test a reward model without any human preference.

Every corrupted text has as many words (split at white space) as the good one, within one word, and of several tries
the one nearest to it in characters is taken, so that length tells little (a first attempt without this learned
length and nothing else); line breaks stay where they were. Corruptions stand in groups; a fair test holds out a
whole group, because a model that saw one way of looping recognises the others.

Not covered: errors of fact, taste, and anything that needs knowledge of the world.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

_CLAUSE = re.compile(r"(?<=[,.;!?])\s+")
_FLAGS = re.compile(r"\s+--\w.*$", re.DOTALL)
# Of short and of long words, so that one of the tries can match the length of the original in characters.
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

Corruption = Callable[[str, str, Sequence[str], random.Random], str | None]


def corrupt(corruption: str, text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    """`text` under the corruption of that name, or None where it does not apply (too few clauses, say).

    `input` is what the text answers, `others` are other good texts to take foreign words from. The result has the
    words of `text` in number, +-1, and differs from it in more than white space.
    """
    words = text.split()
    tries = [CORRUPTIONS[corruption](text, input, others, rng) for _ in range(_TRIES)]
    fits = [t for t in tries if t and t.split() != words and abs(len(t.split()) - len(words)) <= 1]
    nearest = min(fits, key=lambda t: abs(len(t) - len(text)), default=None)
    return nearest and _spaced_like(text, nearest)


def _spaced_like(text: str, corrupted: str) -> str:
    """`corrupted` with the white space of `text` between its words: lost line breaks would give it away."""
    gaps = [*re.findall(r"\s+", text.strip()), " "]
    words = corrupted.split()
    return "".join(word + gap for word, gap in zip(words, gaps, strict=False)).rstrip() + (
        " " + words[-1] if len(words) > len(gaps) else ""
    )


def _parts(text: str) -> tuple[str, str]:
    """The body and the trailing command-line flags (with their leading white space), which may be empty."""
    flags = _FLAGS.search(text)
    return (text[: flags.start()], flags[0]) if flags else (text, "")


def _clauses(body: str) -> list[str]:
    return [clause for clause in _CLAUSE.split(body) if clause]


def _sized(texts: Sequence[str], words: int, rng: random.Random) -> str | None:
    """One of the clauses of `texts` that has `words` words, +-1, at random."""
    fits = [c for text in texts for c in _clauses(_parts(text)[0]) if abs(len(c.split()) - words) <= 1]
    return rng.choice(fits) if fits else None


def _same_end(clause: str, like: str) -> str:
    """`clause` with the closing mark of `like`."""
    end = like[-1] if like[-1] in ",.;!?" else ""
    return clause.rstrip(",.;!?") + end


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
    """Every content word that the input shares with the good one becomes a word of another text."""
    wanted = {w.casefold() for w in re.findall(r"\w{3,}", input)}
    pool = [w for other in others for w in re.findall(r"\w{4,}", _parts(other)[0]) if w.casefold() not in wanted]
    words, lost = text.split(), 0
    for at, word in enumerate(words):
        core = word.strip(",.;!?\"'")
        if core.casefold() in wanted and pool:
            words[at] = word.replace(core, rng.choice(pool))
            lost += 1
    return " ".join(words) if lost else None


def _words_swapped(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    body, flags = _parts(text)
    pool = [w for other in others for w in re.findall(r"\w{4,}", _parts(other)[0])]
    words = body.split()
    places = [at for at, word in enumerate(words) if len(word) > 3]
    if not pool or not places:
        return None
    for at in rng.sample(places, max(1, len(places) * 2 // 5)):
        core = words[at].strip(",.;!?\"'")
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
    asked, room = input.split(), len(body.split())
    if not asked:
        return None
    mark = rng.choice((",", ".", ""))
    echo = [*asked[:-1], asked[-1] + mark]
    return " ".join((echo * (room // len(echo) + 1))[:room]).rstrip(",") + flags


def _ending_wrong(text: str, input: str, others: Sequence[str], rng: random.Random) -> str | None:
    """Missing or malformed flags; where a text has none, its last clause is replaced by one from inside another."""
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
CORRUPTIONS: dict[str, Corruption] = {
    corruption: make for group in GROUPS.values() for corruption, make in group.items()
}
