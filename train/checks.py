"""Whether an output does the task: the code gates that chose the training data, and checks that no gate uses.

A model can learn to pass the gates because passing them is how its examples were chosen. The spec's `evaluate.checks`
are patterns that played no part in that choice, so passing them as well is the better evidence. `evaluate.user` names
functions of the project for what a pattern over the output cannot tell: they see the input too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curate.gates import GateStep, gates_for, judge_text
from curate.gates.user import user_gate
from curate.pool import fold
from schemas.records import content_id
from schemas.spec import Pattern, Spec


@dataclass(frozen=True)
class Checked:
    """What the checks say of one output. `passed` maps a check's name to True, False, or None for one that crashed;
    `reasons` holds a sentence for each that is not True."""

    passed: Mapping[str, bool | None]
    reasons: Mapping[str, str]

    @property
    def strict(self) -> bool | None:
        """Whether all checks pass. None: no check fails, but one could not judge; that is never a pass."""
        return fold(self.passed.values())


@dataclass(frozen=True)
class Checks:
    """The checks of a project, in the order of their names in a report: gates first."""

    gates: tuple[GateStep, ...]
    patterns: tuple[Pattern, ...]
    user: tuple[GateStep, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """`gate/length@1` is called `length`; a pattern or function that no gate uses is called `check:<name>`."""
        unseen = (*(f"check:{p.name}" for p in self.patterns), *(step.by for step in self.user))
        return (*(_short(step.by) for step in self.gates), *unseen)

    @property
    def fingerprint(self) -> str:
        """A hash of all settings: two evaluations with the same scope judged by the same rules."""
        patterns = [[pattern.name, pattern.pattern] for pattern in self.patterns]
        own = [[step.by, step.fingerprint] for step in self.user]
        gates = [[step.by, step.fingerprint] for step in self.gates]
        return content_id("checks", [gates, patterns, *([own] if own else [])])

    def __call__(self, input: str, output: str) -> Checked:
        """Every check apart. An empty output fails them all: it may not pass a rule that only forbids."""
        if not output.strip():
            return Checked(dict.fromkeys(self.names, False), dict.fromkeys(self.names, "empty: there is no text"))
        passed: dict[str, bool | None] = {}
        reasons: dict[str, str] = {}
        for by, judgement in judge_text(input, output, (*self.gates, *self.user)).items():
            passed[_short(by)] = judgement.keep
            if judgement.keep is not True:
                reasons[_short(by)] = str(judgement.reason)
        for pattern in self.patterns:
            name = f"check:{pattern.name}"
            passed[name] = re.search(pattern.pattern, output) is not None
            if not passed[name]:
                reasons[name] = f"missing:{pattern.name} nothing matches the pattern"
        return Checked({name: passed[name] for name in self.names}, reasons)


def checks_for(spec: Spec, folder: Path) -> Checks:
    """The checks of a spec. Raises SpecError for one that cannot be built (see `curate.gates.gates_for`)."""
    gates = tuple(gates_for(spec.task, spec.curate.gates, folder))
    return Checks(gates, spec.evaluate.checks, tuple(_own(name, folder) for name in spec.evaluate.user))


def _own(name: str, folder: Path) -> GateStep:
    judge, source_hash = user_gate(name, folder, "evaluate.user")
    return GateStep(f"check:{name.partition(':')[2]}", content_id("check", [name, source_hash]), judge)


def _short(by: str) -> str:
    return by.removeprefix("gate/").partition("@")[0]
