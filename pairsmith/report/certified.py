"""The report's sentences and figures on the certificate: whether P(good) is what it says, and what it is worth."""

from __future__ import annotations

from typing import Any, NamedTuple

from pairsmith.style.numbers import bounds, count, percent
from schemas.wording import capital, counted
from train.intervals import Interval, share

_SHOWN = 8  # sets


class LabelledShare(NamedTuple):
    """Labelled rows: the share of good ones with its 95 % interval, and what P(good) says of them (hollow)."""

    name: str
    note: str
    tone: str
    seen: Interval
    predicted: float | None
    spoken: str


def sentences(certificate: dict[str, Any]) -> list[str]:
    """What the last look said, and whether it still holds."""
    words = capital(certificate["words"]).rstrip(".") + "."
    if certificate["id"] and not certificate["holds"]:
        return [f"The certificate holds no longer: {certificate['why']}. It said: {words}"]
    of = certificate["saw"].get("share")
    if not of:
        return [words]
    good = (
        f"Of the {count(of['rows'])} rows that the programs accept, {percent(of['value'])} are good"
        f" ({percent(of['low'])} to {percent(of['high'])} with {percent(of['confidence'])} confidence), from"
        f" {counted(of['labels'], 'label', 'labels')} and P(good), which together say as much as"
        f" {count(round(of['effective']))} labels alone."
    )
    return [words, good]


def figures(certificate: dict[str, Any]) -> list[tuple[str, str, list[LabelledShare]]]:
    """Title, note and lines of the reliability diagram and of the yield curve."""
    saw = certificate["saw"]
    return [
        (
            "Is P(good) what it says?",
            "Rows that people labelled and that P(good) never saw, by their P(good). Dot and bar: the share that is"
            " good, with its 95 % interval. Ring: what P(good) says.",
            [_bin(of) for of in saw.get("reliability", ())],
        ),
        (
            "What could be accepted?",
            "The sets that were tested, strict ones first: the share of good rows among those that are labelled. In"
            f" colour are the sets that pass: at least {percent(saw['precision'])} are good, with the confidence of the"
            " certificate at every look.",
            [_set(of, number, saw["passed"]) for number, of in _some(saw.get("sets", ())) if of["seen"]],
        ),
    ]


def _bin(of: dict[str, Any]) -> LabelledShare:
    seen = _share(of["good"], of["rows"])
    name = f"{percent(of['low'])} to {percent(of['high'])}"
    spoken = f"P(good) {name}: {percent(seen.estimate)} of {of['rows']} are good {bounds(seen)}"
    return LabelledShare(name, counted(of["rows"], "label", "labels"), "tuned", seen, of["predicted"], spoken)


def _set(of: dict[str, Any], number: int, passed: int) -> LabelledShare:
    seen = _share(of["seen"] - of["bad"], of["seen"])
    name, note = f"{count(of['size'])} rows", f"{counted(of['seen'], 'label', 'labels')}, {count(of['bad'])} bad"
    passes = "passes" if number < passed else "does not pass"
    return LabelledShare(name, note, "tuned" if number < passed else "rest", seen, None, f"{name}: {note}; {passes}")


def _some(sets: Any) -> list[tuple[int, dict[str, Any]]]:
    numbered = list(enumerate(sets))
    step = max(1, -(-len(numbered) // _SHOWN))
    return [of for of in numbered if of[0] % step == 0 or of[0] == len(numbered) - 1]


def _share(good: int, rows: int) -> Interval:
    return share([1] * good + [0] * (rows - good), [1] * rows)
