"""The checks of an output: the code gates that chose the training data, and checks that no gate uses.

A model can learn to pass the gates because passing them is how its examples were chosen. The spec's `evaluate.checks`
are patterns that played no part in that choice, so passing them as well is the better evidence. `evaluate.user` names
functions of the project for what a pattern over the output cannot see: they get a pair with the input, and the
reference where the test input has one. From Python a check may also be a function of input and output. Where a task has
one right answer and every test input has its reference, to match it is a check of its own.
"""

from __future__ import annotations

import inspect
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from curate.gates import GateStep, gates_of, judge_text
from curate.gates.json_schema import json_schema
from curate.gates.judgement import quote
from curate.gates.user import guarded, user_gate
from curate.rows import fold
from prompts.answer_form import AnswerForm
from schemas.errors import UsageError
from schemas.own_modules import OwnName
from schemas.project import Project
from schemas.records import content_id
from schemas.spec import Pattern, Spec
from schemas.step_names import INDEPENDENT, By
from schemas.time_limit import TookTooLong, search
from schemas.wording import counted

Check = Pattern | str | Callable[..., bool | None]
"""A named pattern, a regular expression that a good output holds, or a function (input, output) or (input, output,
reference) -> pass; the reference is None where the input has none. A function may answer None: not scored."""

REFERENCE = f"{INDEPENDENT}reference"
_SHOWN = 3


@dataclass(frozen=True)
class Checked:
    """The checks of one output. `passed` maps a check's name to True, False, or None for one that crashed; `reasons`
    holds a sentence for each that is not True."""

    passed: Mapping[str, bool | None]
    reasons: Mapping[str, str]

    @property
    def all_pass(self) -> bool | None:
        """True if all checks pass. None: no check fails, but one could not judge; that is never a pass."""
        return fold(self.passed.values())


@dataclass(frozen=True)
class Checks:
    """Gates, and checks that no gate uses: patterns and functions, and the reference where `exact`. `void` has the
    references that no answer can match, since they are no answer to the task themselves, and why."""

    gates: tuple[GateStep, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    functions: tuple[GateStep, ...] = ()
    exact: bool = False
    void: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of a report, gates first. `gate/length@1` is called `length`; a check that no gate uses is
        called `check:<name>`."""
        patterns = (f"{INDEPENDENT}{pattern.name}" for pattern in self.patterns)
        exact = (REFERENCE,) if self.exact else ()
        return (*(_short(step.by) for step in self.gates), *patterns, *(step.by for step in self.functions), *exact)

    @property
    def fingerprint(self) -> str:
        """A hash of all settings: two evaluations with the same fingerprint judged by the same rules."""
        gates, functions = ([[step.by, step.fingerprint] for step in steps] for steps in (self.gates, self.functions))
        patterns = [[pattern.name, pattern.pattern] for pattern in self.patterns]
        further = [functions, "exact by value, null as absent"] if self.exact else [functions] if functions else []
        return content_id("checks", [gates, patterns, *further, *([sorted(self.void)] if self.void else [])])

    def __call__(self, input: str, output: str, reference: str | None = None) -> Checked:
        """Every check by itself. An empty output fails them all: it may not pass a rule that only forbids."""
        if not output.strip():
            return Checked(dict.fromkeys(self.names, False), dict.fromkeys(self.names, "empty: there is no text"))
        passed: dict[str, bool | None] = {}
        reasons: dict[str, str] = {}
        for by, judgement in judge_text(input, output, (*self.gates, *self.functions), reference=reference).items():
            passed[_short(by)] = judgement.keep
            if judgement.keep is not True:
                reasons[_short(by)] = str(judgement.reason)
        for pattern in self.patterns:
            name = f"{INDEPENDENT}{pattern.name}"
            try:
                passed[name] = search(re.compile(pattern.pattern), output, name, quote(input, 30)) is not None
            except TookTooLong as late:
                passed[name], reasons[name] = None, f"crashed: {late}"
            if passed[name] is False:
                reasons[name] = f"missing:{pattern.name} nothing matches the pattern"
        if self.exact:
            void = self.void.get(reference or "")
            passed[REFERENCE] = None if reference is None else not void and is_reference(output, reference)
            if not passed[REFERENCE]:
                wrong = "missing: no reference" if reference is None else f"wrong: it is {quote(reference)}"
                reasons[REFERENCE] = f"void: no answer matches a reference like this, {void}" if void else wrong
        return Checked({name: passed[name] for name in self.names}, reasons)


def is_reference(output: str, reference: str) -> bool:
    """Whether an answer in the form of its task is the reference; of a record, whether it says the same. `true` is
    not 1."""
    if output == reference or not reference.startswith(("{", "[")):
        return output == reference
    try:
        return json.dumps(values_of(output), sort_keys=True) == json.dumps(values_of(reference), sort_keys=True)
    except (ValueError, RecursionError):
        return False


def values_of(record: str) -> Any:
    """A JSON text by its values: 4.0 is the number 4, and a key with null, or with an object in which nothing is known,
    says as little as one that is left out. Raises ValueError or RecursionError for what is no such text."""

    def number(digits: str) -> int | float:
        value = float(digits)
        return int(value) if value.is_integer() else value

    def known(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: value for key, value in pairs if value is not None and value != {}}

    return json.loads(record, parse_float=number, object_pairs_hook=known)


def checks_for(spec: Spec, folder: Path) -> Checks:
    """The checks of a spec; a gate that only flags fails nothing, so it is none. What `[personal]` rejects fails, as it
    does in training rows. Raises SpecError for one that cannot be built (see `curate.gates.gates_for`)."""
    gates = tuple(step for step in gates_of(Project(folder, spec)) if not step.flags)
    return Checks(gates, spec.evaluate.checks, tuple(_of_the_user(name, folder) for name in spec.evaluate.user))


def _of_the_user(name: str, folder: Path) -> GateStep:
    judge, source_hash = user_gate(name, folder, "evaluate.user")
    return GateStep(f"{INDEPENDENT}{OwnName.read(name).name}", content_id("check", [name, source_hash]), judge)


def checks_of(checks: Sequence[Check]) -> Checks:
    """Checks without a spec. A regular expression is named `pattern_1` by its place, a function by its own name; the
    second function of one name, as two lambdas have, is numbered. Raises UsageError for two `Pattern`s of one name."""
    patterns: list[Pattern] = []
    functions: list[GateStep] = []
    for number, check in enumerate(checks, 1):
        if isinstance(check, str):
            patterns.append(Pattern(name=f"pattern_{number}", pattern=check))
        elif isinstance(check, Pattern):
            patterns.append(check)
        else:
            step, names = _function(check), [step.by.partition("#")[0] for step in functions]
            again = names.count(step.by)
            functions.append(replace(step, by=f"{step.by}#{again + 1}") if again else step)
    together = Checks((), tuple(patterns), tuple(functions))
    if twice := [name for name, times in Counter(together.names).items() if times > 1]:
        raise UsageError(
            f"two checks are called '{twice[0].removeprefix(INDEPENDENT)}'.",
            why="The answer to one would stand for both.",
            fix="Give each a name of its own.",
        )
    return together


def _function(check: Callable[..., bool | None]) -> GateStep:
    name = getattr(check, "__name__", type(check).__name__)
    try:
        source = inspect.getsource(check)
    except (OSError, TypeError):  # typed at a prompt, or not written in Python
        source = repr(check)
    judge = guarded(lambda pair: check(*(pair.input, pair.output, pair.reference)[: _takes(check)]), name)
    return GateStep(f"{INDEPENDENT}{name}", content_id("check", [name, source]), judge)


def _takes(check: Callable[..., bool | None]) -> int:
    """How many of input, output and reference a check wants: the third where it cannot be called without it."""
    try:
        inspect.signature(check).bind(None, None)
    except TypeError:
        return 3
    except ValueError:  # a builtin that tells no signature
        pass
    return 2


def _short(by: str) -> str:
    return by if by.startswith(INDEPENDENT) else By.read(by).name


def void_references(references: Iterable[str], form: AnswerForm) -> dict[str, str]:
    """Those that are none of the task's labels or break its schema, each with why; where the schema cannot judge one,
    it stands."""
    if form.labels:
        return {text: f"{quote(text)} is none of the task's labels" for text in references if text not in form.labels}
    if form.schema is None:
        return {}
    gate = GateStep("gate/json_schema", "", json_schema(form.schema, form.model))
    judged = {text: judge_text("", text, [gate])[gate.by] for text in references}
    return {text: str(judgement.reason) for text, judgement in judged.items() if judgement.keep is False}


def void_in_words(void: Sequence[str]) -> Iterator[str]:
    """What is wrong with void references, of which `void` has the places with why; nothing where there are none."""
    if void:
        are = counted(len(void), "reference is", "references are")
        more = f"; and {len(void) - _SHOWN} more" if len(void) > _SHOWN else ""
        yield f"{are} no answer to the task, so nothing matches there: {'; '.join(void[:_SHOWN])}{more}."
