"""The checks of an output: the code gates that chose the training data, and independent checks that no gate uses.

A model can learn to pass the gates, because passing them is how its examples were chosen. The spec's `evaluate.checks`
are patterns that played no part in that choice, so passing them as well is the better evidence. `evaluate.user` names
functions of the project for checks that a pattern over the output cannot express. They get a pair with the input, and
the reference if the test input has one. From Python a check may also be a function of input and output. If a task has
one right answer and every test input has a reference, matching the reference is a check of its own.
"""

from __future__ import annotations

import inspect
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import Parameter
from pathlib import Path
from types import MappingProxyType
from typing import Any

from curate.gates import GateStep, gates_of, judge_text
from curate.gates.json_schema import json_schema
from curate.gates.judgement import quote
from curate.gates.user import guarded, user_gate
from curate.rows import fold
from prompts.answer_form import AnswerForm
from schemas.errors import UsageError
from schemas.project import Project
from schemas.records import Pair, Seed, content_id
from schemas.spec import Pattern, Spec
from schemas.step_names import INDEPENDENT, REFERENCE, By
from schemas.strict_json import unique_keys
from schemas.time_limit import CheckTimedOut, search
from schemas.user_modules import UserReference
from schemas.wording import counted, listed

Check = Pattern | str | Callable[..., bool | None]
"""A named pattern, a regular expression that a good output matches, or a function (input, output) -> bool or (input,
output, reference) -> bool. The reference is None if the input has none. A function may return None: not scored."""

_MAX_LISTED = 3


@dataclass(frozen=True)
class Checked:
    """The check results of one output. `passed` maps a check's name to True, False, or None for a check that crashed.
    `reasons` has an explanation for each result that is not True."""

    passed: Mapping[str, bool | None]
    reasons: Mapping[str, str]

    @property
    def all_pass(self) -> bool | None:
        """True if all checks pass. None if no check fails but one could not judge; that never counts as a pass."""
        return fold(self.passed.values())


@dataclass(frozen=True)
class Checks:
    """Gates, and independent checks that no gate uses: patterns, functions, and the exact match with the reference if
    `exact`. `void` maps references that no answer can match, because they are not valid answers to the task, to the
    reason; `gate_patterns` maps the gates that are a regular expression to it."""

    gates: tuple[GateStep, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    functions: tuple[GateStep, ...] = ()
    exact: bool = False
    void: Mapping[str, str] = field(default_factory=dict)
    gate_patterns: Mapping[str, str] = field(default_factory=dict)

    @property
    def by_pattern(self) -> dict[str, str]:
        """The checks that are a regular expression, and the expression."""
        return {**self.gate_patterns, **{f"{INDEPENDENT}{one.name}": one.pattern for one in self.patterns}}

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the order of a report, gates first. `gate/length@1` is called `length`; an independent check is
        called `check:<name>`."""
        patterns = (f"{INDEPENDENT}{pattern.name}" for pattern in self.patterns)
        exact = (REFERENCE,) if self.exact else ()
        return (
            *(_short_name(step.by) for step in self.gates),
            *patterns,
            *(step.by for step in self.functions),
            *exact,
        )

    @property
    def fingerprint(self) -> str:
        """A hash of all settings: two evaluations with the same fingerprint used the same rules."""
        gates, functions = ([[step.by, step.fingerprint] for step in steps] for steps in (self.gates, self.functions))
        patterns = [[pattern.name, pattern.pattern] for pattern in self.patterns]
        further = [functions, "exact by value, null as absent"] if self.exact else [functions] if functions else []
        return content_id("checks", [gates, patterns, *further, *([sorted(self.void)] if self.void else [])])

    def __call__(self, input: str, output: str, reference: str | None = None) -> Checked:
        """Run every check independently. An empty output fails all of them, because it could otherwise pass a rule that
        only forbids something."""
        if not output.strip():
            return Checked(dict.fromkeys(self.names, False), dict.fromkeys(self.names, "empty: there is no text"))
        passed: dict[str, bool | None] = {}
        reasons: dict[str, str] = {}
        for by, judgement in judge_text(input, output, (*self.gates, *self.functions), reference=reference).items():
            passed[_short_name(by)] = judgement.keep
            if judgement.keep is not True:
                reasons[_short_name(by)] = str(judgement.reason)
        for pattern in self.patterns:
            name = f"{INDEPENDENT}{pattern.name}"
            try:
                passed[name] = search(re.compile(pattern.pattern), output, name, quote(input, 30)) is not None
            except CheckTimedOut as timeout:
                passed[name], reasons[name] = None, f"crashed: {timeout}"
            if passed[name] is False:
                reasons[name] = f"missing:{pattern.name} nothing matches the pattern"
        if self.exact:
            void = self.void.get(reference or "")
            passed[REFERENCE] = None if reference is None else not void and matches_reference(output, reference)
            if not passed[REFERENCE]:
                wrong = "missing: no reference" if reference is None else f"wrong: the reference is {quote(reference)}"
                reasons[REFERENCE] = f"void: the reference cannot be matched, {void}" if void else wrong
        return Checked({name: passed[name] for name in self.names}, reasons)


def matches_reference(output: str, reference: str) -> bool:
    """Whether an answer, in the form of its task, equals the reference. JSON records are compared by value; `true` is
    not equal to 1. An accented letter equals the same letter and its accent as two characters (NFC)."""
    output, reference = (unicodedata.normalize("NFC", text) for text in (output, reference))
    if output == reference or not reference.startswith(("{", "[")):
        return output == reference
    try:
        return json.dumps(parse_values(output), sort_keys=True) == json.dumps(parse_values(reference), sort_keys=True)
    except (ValueError, RecursionError):
        return False


def parse_values(record: str) -> Any:
    """A JSON text by its values. 4.0 equals 4, and a key whose value is null or an object without any known value is
    treated as absent. Raises ValueError (also for a key repeated in one object) or RecursionError for text that is not
    such JSON."""

    def to_number(digits: str) -> int | float:
        value = float(digits)
        return int(value) if value.is_integer() else value

    def drop_unknown(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in unique_keys(pairs).items() if value is not None and value != {}}

    record = unicodedata.normalize("NFC", record)
    return json.loads(record, parse_float=to_number, object_pairs_hook=drop_unknown)


def checks_for(spec: Spec, folder: Path, seeds: Sequence[Seed] = ()) -> Checks:
    """The checks of a spec. Gates that only flag are left out, because they fail nothing. Whatever `[personal]` rejects
    in training rows fails here too. Raises SpecError for a check that cannot be built (see `curate.gates.gates_for`).
    """
    gates = tuple(step for step in gates_of(Project(folder, spec), seeds) if not step.flags)
    functions = tuple(_user_check(name, folder) for name in spec.evaluate.user)
    both = (("must", spec.curate.gates.must), ("must_not", spec.curate.gates.must_not))
    patterns = {f"{kind}:{one.name}": one.pattern for kind, of in both for one in of}
    return Checks(gates, spec.evaluate.checks, functions, gate_patterns=patterns)


def _user_check(name: str, folder: Path) -> GateStep:
    judge, source_hash = user_gate(name, folder, "evaluate.user")
    return GateStep(f"{INDEPENDENT}{UserReference.read(name).name}", content_id("check", [name, source_hash]), judge)


def build_checks(checks: Sequence[Check]) -> Checks:
    """Checks without a spec. A regular expression is named `pattern_1` by its position, a function by its own name;
    further functions of the same name (such as lambdas) are numbered. Raises UsageError for two `Pattern`s of one name.
    """
    patterns: list[Pattern] = []
    functions: list[GateStep] = []
    for number, check in enumerate(checks, 1):
        if isinstance(check, str):
            patterns.append(Pattern(name=f"pattern_{number}", pattern=check))
        elif isinstance(check, Pattern):
            patterns.append(check)
        else:
            step, names = _function_check(check), [step.by.partition("#")[0] for step in functions]
            earlier = names.count(step.by)
            functions.append(replace(step, by=f"{step.by}#{earlier + 1}") if earlier else step)
    checks_ = Checks((), tuple(patterns), tuple(functions))
    if duplicates := [name for name, times in Counter(checks_.names).items() if times > 1]:
        raise UsageError(
            f"two checks are called '{duplicates[0].removeprefix(INDEPENDENT)}'.",
            why="Their results could not be distinguished.",
            fix="Give each check its own name.",
        )
    return checks_


def _function_check(check: Callable[..., bool | None]) -> GateStep:
    name = getattr(check, "__name__", type(check).__name__)
    try:
        source = inspect.getsource(check)
    except (OSError, TypeError):  # defined interactively, or not written in Python
        source = repr(check)
    return GateStep(f"{INDEPENDENT}{name}", content_id("check", [name, source]), guarded(_caller(check), name))


def _caller(check: Callable[..., bool | None]) -> Callable[[Pair], bool | None]:
    """Calls a check with input, output, and the reference if it has a further parameter called reference (not one that
    functools.partial has bound) or requires a third argument."""
    try:
        parameters = inspect.signature(check).parameters
    except (TypeError, ValueError):  # not callable, or a builtin without a signature
        parameters = MappingProxyType({})
    by_name = {"reference"} & {*[*parameters][2:]} - {*getattr(check, "keywords", ())}
    if by_name and parameters["reference"].kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
        return lambda pair: check(pair.input, pair.output, reference=pair.reference)
    places = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    required = [one for one in parameters.values() if one.kind in places and one.default is Parameter.empty]
    if len(required) > 2:
        return lambda pair: check(pair.input, pair.output, pair.reference)
    return lambda pair: check(pair.input, pair.output)


def _short_name(by: str) -> str:
    return by if by.startswith(INDEPENDENT) else By.read(by).name


def void_references(references: Iterable[str], form: AnswerForm) -> dict[str, str]:
    """References that are not one of the task's labels or that break its schema, each with the reason. A reference that
    the schema gate cannot judge is kept."""
    if form.labels:
        return {
            text: f"{quote(text)} is not one of the task's labels" for text in references if text not in form.labels
        }
    if form.schema is None:
        return {}
    gate = GateStep("gate/json_schema", "", json_schema(form.schema, form.model))
    judged = {text: judge_text("", text, [gate])[gate.by] for text in references}
    return {text: str(judgement.reason) for text, judgement in judged.items() if judgement.keep is False}


def describe_void_references(void: Sequence[str]) -> Iterator[str]:
    """A message about void references; `void` lists each with its reason. Yields nothing if there are none."""
    if void:
        are = counted(len(void), "reference is", "references are")
        yield f"{are} not valid for the task, so no answer can match: {listed(void, _MAX_LISTED, '; ')}."
