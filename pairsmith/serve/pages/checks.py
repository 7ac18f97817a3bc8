"""The checks of a project on its setup page: which reject a row, which only mark it, which are off, and how many rows
each kept out when they were last counted; what is trained and for how long; and the test, with checks of its own."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from starlette.datastructures import ImmutableMultiDict

from pairsmith.new_project import keys_for_base
from pairsmith.serve.pages.figures import Snapshot
from pairsmith.style.reasons import OF_GATES, SENTENCES
from schemas.errors import UsageError
from schemas.project import Project
from schemas.spec.curate import GateSettings
from schemas.spec.train import SplitSettings
from schemas.step_names import By

MODES = {"reject": "keeps the row out", "flag": "marks the row", "off": "is not asked"}
_NAMES = """
    repetition echo preamble thinking placeholder encoding cut fenced broken_json answered lost_content language
    mixed_language invented contacts invented_name swapped limits sums instructed facts injection toxic pii values
    translated"""
# A gate that is called as its reason is says the same of a check as of a row.
ABOUT = {name: OF_GATES.get(name) or SENTENCES[name] for name in _NAMES.split()}
_REPEATS = "duplicates"
_WORDS = {"least_words": "min_words", "most_words": "max_words"}


class CheckRow(NamedTuple):
    """A check with its mode, and how many rows it rejected or marked when rows were last counted; None: not known."""

    name: str
    about: str
    mode: str
    rejected: int | None
    flagged: int | None


def checks(now: Snapshot) -> list[CheckRow]:
    """Every check: those that kept most rows out first, those that are off last."""
    counts = _told(now)
    spec = now.project.spec.curate
    checks = [
        CheckRow(name, about, mode_of(getattr(spec.gates, name)), *counts.get(name, (None, None)))
        for name, about in ABOUT.items()
    ]
    repeats = "reject" if spec.duplicates.enabled else "off"
    checks.append(
        CheckRow(_REPEATS, "It nearly repeats an accepted row.", repeats, *counts.get(_REPEATS, (None, None)))
    )
    return sorted(checks, key=lambda check: (check.mode == "off", -(check.rejected or 0)))


def mode_of(mode: object) -> str:
    return "flag" if mode == "flag" else "reject" if mode else "off"


def _told(now: Snapshot) -> dict[str, tuple[int, int]]:
    """By the name of a check: the rows that it rejected and marked, as the last curation tells."""
    receipt = now.counted if now.counted and now.counted.command == "curate" else None
    steps: Mapping[str, Mapping[str, Any]] = receipt.facts.get("steps") or {} if receipt else {}
    counted = {}
    for step, counts in zip(map(By.read, steps), steps.values(), strict=True):
        name = _REPEATS if (step.kind, step.name) == ("pool", "duplicate") else step.name if step.kind == "gate" else ""
        counted[name] = (int(counts.get("rejected") or 0), int(counts.get("flagged") or 0))
    return counted


def fields(project: Project) -> dict[str, Any]:
    """What stands in the fields of these steps: what the spec has."""
    spec = project.spec
    return {
        **_words_of(spec.curate.gates),
        "base": spec.train.base,
        "epochs": f"{spec.train.epochs:g}",
        "test_share": _test_share(spec.split),
        "answer_tokens": spec.evaluate.sampling.max_tokens or "",
        "patterns": [{"name": check.name, "pattern": check.pattern} for check in spec.evaluate.checks],
    }


def _words_of(gates: GateSettings) -> dict[str, int | str]:
    """The bounds on the words of an output, as the fields have them; empty where length is not asked."""
    return {name: getattr(gates.length, key) if gates.length else "" for name, key in _WORDS.items()}


def check_keys(project: Project, texts: Mapping[str, str]) -> dict[str, Any]:
    """The keys of the spec that the form changes. Raises UsageError for a mode or a number that is none."""
    spec = project.spec.curate
    keys: dict[str, Any] = {}
    for name in (*ABOUT, _REPEATS):
        mode = texts.get(f"check_{name}")
        if mode is None:
            continue
        if mode not in MODES:
            fix = f"Take one of {', '.join(MODES)}."
            raise UsageError(f"'{mode[:40]}' is nothing that a check does.", where=name, fix=fix)
        if name == _REPEATS:
            if (mode != "off") != spec.duplicates.enabled:
                keys["curate.duplicates.enabled"] = mode != "off"
        elif mode != mode_of(getattr(spec.gates, name)):
            keys[f"curate.gates.{name}"] = {"reject": True, "flag": "flag", "off": False}[mode]
    held = _words_of(spec.gates)
    if not spec.gates.length and any(texts.get(name, "").strip() for name in _WORDS):
        keys["curate.gates.length"] = {}
    for name, key in _WORDS.items():
        given = texts.get(name, "").strip()
        if given and given != str(held[name]):
            if not given.isdecimal() or len(given) > 9:
                raise UsageError(f"'{given[:40]}' is no number of words.", where=key, fix="Write it as in 12.")
            keys[f"curate.gates.length.{key}"] = int(given)
    return keys


def bases(project: Project) -> list[tuple[str, str]]:
    """The base models that may be chosen, each with its size and licence; the one of the spec stands first."""
    from train.models import KNOWN

    known = {k.name: f"{k.billions:g} billion weights, {k.licence}" for k in KNOWN}
    held = project.spec.train.base
    return [(held, known.pop(held, "as the spec says")), *known.items()]


def _test_share(split: SplitSettings) -> str:
    """The share of the seeds that is kept for the test, in percent; empty where each kind of seed has its own."""
    return f"{100 * split.test:g}" if isinstance(split.test, float) else ""


def model_keys(project: Project, texts: Mapping[str, str]) -> dict[str, Any]:
    """The keys of the spec that the form changes. Raises UsageError for a number that is none."""
    train = project.spec.train
    base = texts.get("base", "").strip() or train.base
    epochs = _number(texts, "epochs", 1000)
    keys: dict[str, Any] = {} if base == train.base else keys_for_base(base, train)
    if epochs is not None and epochs != train.epochs:
        keys["train.epochs"] = int(epochs) if epochs.is_integer() else epochs
    return keys


def test_keys(project: Project, texts: ImmutableMultiDict[str, str]) -> dict[str, Any]:
    """The keys of the spec that the form changes: the share of the seeds, the length of an answer, and the checks that
    no gate uses. Raises UsageError for a number that is none and for half a check."""
    share, tokens = _number(texts, "test_share", 90), _number(texts, "answer_tokens", 100_000)
    split, sampling = project.spec.split, project.spec.evaluate.sampling
    keys: dict[str, Any] = {}
    if share is not None and f"{share:g}" != _test_share(split):
        keys["split.test"] = round(share / 100, 4)
    if tokens is not None and math.ceil(tokens) != sampling.max_tokens:
        keys["evaluate.sampling"] = sampling.model_dump(exclude_defaults=True) | {"max_tokens": math.ceil(tokens)}
    patterns = typed_patterns(texts)
    for number, pattern in enumerate(patterns, 1):
        for side in ("name", "pattern"):
            if not pattern[side]:
                raise UsageError(f"check {number} has no {side}.", fix="Write it, or leave both fields empty.")
    if "check_name" in texts and patterns != fields(project)["patterns"]:
        keys["evaluate.checks"] = patterns or None
    return keys


def typed_patterns(texts: ImmutableMultiDict[str, str]) -> list[dict[str, str]]:
    """The checks that stand in the form. A name in words becomes one that a report can have; a pattern is kept to the
    letter, because a blank may be meant."""
    typed = zip(texts.getlist("check_name"), texts.getlist("check_pattern"), strict=False)
    rows = ((re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"), pattern) for name, pattern in typed)
    return [{"name": name, "pattern": pattern} for name, pattern in rows if name or pattern]


STEPS: Mapping[str, Callable[[Project, ImmutableMultiDict[str, str]], dict[str, Any]]] = {
    "checks": check_keys,
    "model": model_keys,
    "test": test_keys,
}


def _number(texts: Mapping[str, str], name: str, most: float) -> float | None:
    given = texts.get(name, "").strip().rstrip("%").strip()
    if not given:
        return None
    try:
        number = float(given)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        what = f"'{given[:40]}' is not a number above 0 and at most {most:g}."
        raise UsageError(what, where=name, fix="Write it as in 3 or 25.")
    return number
