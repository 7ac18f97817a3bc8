"""The setup steps Checks, Model and Test.

Checks lists every check with its mode (reject, flag or off) and how many rows it rejected in the last curation. Model
sets the base model and the number of epochs, Test the test split and its additional checks."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from starlette.datastructures import ImmutableMultiDict

from pairsmith.new_project import keys_for_base
from pairsmith.serve.pages.figures import Snapshot
from pairsmith.serve.pages.shell import parse_positive
from pairsmith.style.reasons import OF_GATES, SENTENCES
from schemas.errors import UsageError
from schemas.project import Project
from schemas.spec.curate import GateSettings
from schemas.spec.train import SplitSettings
from schemas.step_names import By

MODES = {"reject": "reject the row", "flag": "flag the row", "off": "turned off"}
_NAMES = """
    repetition echo preamble thinking placeholder encoding cut fenced broken_json answered lost_content language
    mixed_language invented contacts invented_name swapped limits sums instructed facts injection toxic pii values
    translated"""
# Where a gate has the same name as its reason code, the text of the reason describes the check too.
ABOUT = {name: OF_GATES.get(name) or SENTENCES[name] for name in _NAMES.split()}
_DUPLICATES = "duplicates"
_WORD_FIELDS = {"least_words": "min_words", "most_words": "max_words"}


class CheckRow(NamedTuple):
    """A check with its mode, and how many rows it rejected and flagged in the last curation. None: not known."""

    name: str
    about: str
    mode: str
    rejected: int | None
    flagged: int | None


def checks(now: Snapshot) -> list[CheckRow]:
    """Every check, those that rejected the most rows first and those that are off last."""
    counts = _counts_by_check(now)
    spec = now.project.spec.curate
    checks = [
        CheckRow(name, about, mode_of(getattr(spec.gates, name)), *counts.get(name, (None, None)))
        for name, about in ABOUT.items()
    ]
    repeats = "reject" if spec.duplicates.enabled else "off"
    checks.append(
        CheckRow(_DUPLICATES, "It nearly duplicates an accepted row.", repeats, *counts.get(_DUPLICATES, (None, None)))
    )
    return sorted(checks, key=lambda check: (check.mode == "off", -(check.rejected or 0)))


def mode_of(mode: object) -> str:
    return "flag" if mode == "flag" else "reject" if mode else "off"


def _counts_by_check(now: Snapshot) -> dict[str, tuple[int, int]]:
    """How many rows each check rejected and flagged in the last curation, by the name of the check."""
    receipt = now.count_receipt if now.count_receipt and now.count_receipt.command == "curate" else None
    steps: Mapping[str, Mapping[str, Any]] = receipt.facts.get("steps") or {} if receipt else {}
    counted = {}
    for step, counts in zip(map(By.read, steps), steps.values(), strict=True):
        name = (
            _DUPLICATES if (step.kind, step.name) == ("pool", "duplicate") else step.name if step.kind == "gate" else ""
        )
        counted[name] = (int(counts.get("rejected") or 0), int(counts.get("flagged") or 0))
    return counted


def fields(project: Project) -> dict[str, Any]:
    """The values of the form fields of these steps, from the spec."""
    spec = project.spec
    return {
        **_word_bounds(spec.curate.gates),
        "base": spec.train.base,
        "epochs": f"{spec.train.epochs:g}",
        "test_share": _test_share(spec.split),
        "answer_tokens": spec.evaluate.sampling.max_tokens or "",
        "patterns": [{"name": check.name, "pattern": check.pattern} for check in spec.evaluate.checks],
    }


def _word_bounds(gates: GateSettings) -> dict[str, int | str]:
    """The bounds on the words of an output, by form field; empty if the spec sets no length."""
    return {name: getattr(gates.length, key) if gates.length else "" for name, key in _WORD_FIELDS.items()}


def check_keys(project: Project, texts: Mapping[str, str]) -> dict[str, Any]:
    """The spec keys that the Checks form changes. Raises UsageError for an invalid mode or number."""
    spec = project.spec.curate
    keys: dict[str, Any] = {}
    for name in (*ABOUT, _DUPLICATES):
        mode = texts.get(f"check_{name}")
        if mode is None:
            continue
        if mode not in MODES:
            fix = f"Choose one of {', '.join(MODES)}."
            raise UsageError(f"'{mode[:40]}' is not a mode of a check.", where=name, fix=fix)
        if name == _DUPLICATES:
            if (mode != "off") != spec.duplicates.enabled:
                keys["curate.duplicates.enabled"] = mode != "off"
        elif mode != mode_of(getattr(spec.gates, name)):
            keys[f"curate.gates.{name}"] = {"reject": True, "flag": "flag", "off": False}[mode]
    bounds = _word_bounds(spec.gates)
    if not spec.gates.length and any(texts.get(name, "").strip() for name in _WORD_FIELDS):
        keys["curate.gates.length"] = {}
    for name, key in _WORD_FIELDS.items():
        given = texts.get(name, "").strip()
        if given and given != str(bounds[name]):
            if not given.isdecimal() or len(given) > 9:
                raise UsageError(
                    f"'{given[:40]}' is not a number of words.", where=key, fix="Enter a number such as 12."
                )
            keys[f"curate.gates.length.{key}"] = int(given)
    return keys


def bases(project: Project) -> list[tuple[str, str]]:
    """The base models to choose from, each with its size and licence. The one in the spec comes first."""
    from train.base_models.models import KNOWN

    known = {k.name: f"{k.billions:g} billion parameters, {k.licence}" for k in KNOWN}
    chosen = project.spec.train.base
    return [(chosen, known.pop(chosen, "from the spec")), *known.items()]


def _test_share(split: SplitSettings) -> str:
    """The share of seeds held out for the test, in percent. Empty if each kind of seed has its own share."""
    return f"{100 * split.test:g}" if isinstance(split.test, float) else ""


def model_keys(project: Project, texts: Mapping[str, str]) -> dict[str, Any]:
    """The spec keys that the Model form changes. Raises UsageError for an invalid number."""
    train = project.spec.train
    base = texts.get("base", "").strip() or train.base
    epochs = parse_positive(texts.get("epochs", ""), float, "epochs", 1000)
    keys: dict[str, Any] = {} if base == train.base else keys_for_base(base, train)
    if epochs is not None and epochs != train.epochs:
        keys["train.epochs"] = int(epochs) if epochs == int(epochs) else epochs
    return keys


def test_keys(project: Project, texts: ImmutableMultiDict[str, str]) -> dict[str, Any]:
    """The spec keys that the Test form changes: the test share, the maximum answer length, and the additional checks.
    Raises UsageError for an invalid number and for a check without a name or a pattern."""
    share = parse_positive(texts.get("test_share", ""), float, "test_share", 90, "%")
    tokens = parse_positive(texts.get("answer_tokens", ""), float, "answer_tokens", 100_000)
    split, sampling = project.spec.split, project.spec.evaluate.sampling
    keys: dict[str, Any] = {}
    if share is not None and f"{share:g}" != _test_share(split):
        keys["split.test"] = round(share / 100, 4)
    if tokens is not None and math.ceil(tokens) != sampling.max_tokens:
        keys["evaluate.sampling"] = sampling.model_dump(exclude_defaults=True) | {"max_tokens": math.ceil(tokens)}
    patterns = typed_patterns(texts)
    refuse_incomplete(patterns, "check")
    if "check_name" in texts and patterns != fields(project)["patterns"]:
        keys["evaluate.checks"] = patterns or None
    return keys


def refuse_incomplete(rows: Sequence[Mapping[str, str]], what: str) -> None:
    """Raises UsageError that names the first of these rows of a form, each a `what`, with an empty field."""
    for number, row in enumerate(rows, 1):
        for name, text in row.items():
            if not text:
                raise UsageError(f"{what} {number} has no {name}.", fix="Fill it in, or leave both fields empty.")


def typed_patterns(texts: ImmutableMultiDict[str, str]) -> list[dict[str, str]]:
    """The checks typed into the form. Names are normalised to lower case, digits and underscores for use in a report.
    Patterns are kept unchanged, because whitespace in them may be intended."""
    typed = zip(texts.getlist("check_name"), texts.getlist("check_pattern"), strict=False)
    rows = ((re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"), pattern) for name, pattern in typed)
    return [{"name": name, "pattern": pattern} for name, pattern in rows if name or pattern]


STEPS: Mapping[str, Callable[[Project, ImmutableMultiDict[str, str]], dict[str, Any]]] = {
    "checks": check_keys,
    "model": model_keys,
    "test": test_keys,
}
