"""The report's sentences and figures on the certificate: whether P(good) is calibrated, and how many rows it
accepts."""

from __future__ import annotations

from typing import Any, NamedTuple

from pairsmith.certified import in_words, share_in_words
from pairsmith.style.numbers import bounds, count, percent
from schemas.wording import counted
from train.evaluation.intervals import Interval, share

_MAX_SETS = 8


class LabelledShare(NamedTuple):
    """A group of labelled rows: the share of good ones with its 95 % interval, and the share predicted by P(good),
    drawn hollow."""

    name: str
    note: str
    tone: str
    seen: Interval
    predicted: float | None
    spoken: str


def sentences(certificate: dict[str, Any]) -> list[str]:
    """The result of the last certification, and whether it is still valid."""
    if certificate["id"] and not certificate["holds"]:
        return [f"{in_words(certificate)} It stated: {in_words({'words': certificate['words']})}"]
    share_of_good = share_in_words(certificate["saw"])
    return [in_words(certificate), *filter(None, [share_of_good])]


def figures(certificate: dict[str, Any]) -> list[tuple[str, str, list[LabelledShare]]]:
    """Title, note and lines of the reliability diagram and of the yield curve."""
    saw = certificate["saw"]
    return [
        (
            "Is P(good) calibrated?",
            "Rows that reviewers labelled and that were not used to fit P(good), grouped by P(good). Dot and bar: the"
            " share that is good, with its 95 % interval. Ring: the share predicted by P(good).",
            [_bin_line(of) for of in saw.get("reliability", ())],
        ),
        (
            "What could be accepted?",
            "The tested sets, strictest first: the share of good rows among the labelled ones. Sets in colour pass: at"
            f" least {percent(saw['precision'])} of their rows are good, with the confidence of the certificate at"
            " every look.",
            [_set_line(of, number, saw["passed"]) for number, of in _thin_out(saw) if of["seen"]],
        ),
    ]


def _bin_line(of: dict[str, Any]) -> LabelledShare:
    seen = _share(of["good"], of["rows"])
    name = f"{percent(of['low'])} to {percent(of['high'])}"
    sentence = f"P(good) {name}: {percent(seen.estimate)} of {of['rows']} are good {bounds(seen)}"
    return LabelledShare(name, counted(of["rows"], "label", "labels"), "tuned", seen, of["predicted"], sentence)


def _set_line(of: dict[str, Any], number: int, passed: int) -> LabelledShare:
    seen = _share(of["seen"] - of["bad"], of["seen"])
    name, note = f"{count(of['size'])} rows", f"{counted(of['seen'], 'label', 'labels')}, {count(of['bad'])} bad"
    passes = "passes" if number < passed else "does not pass"
    return LabelledShare(name, note, "tuned" if number < passed else "rest", seen, None, f"{name}: {note}; {passes}")


def _thin_out(saw: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """Some of the sets with their numbers, always with the accepted one and the largest."""
    numbered = list(enumerate(saw.get("sets", ())))
    step = max(1, -(-len(numbered) // _MAX_SETS))
    return [of for of in numbered if of[0] % step == 0 or of[0] in (saw["passed"] - 1, len(numbered) - 1)]


def _share(good: int, rows: int) -> Interval:
    return share([1] * good + [0] * (rows - good), [1] * rows)
