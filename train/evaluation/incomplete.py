"""Systems whose answers are cut, empty, refused or missing, in the words of the verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from train.evaluation.failures import REFUSAL
from train.evaluation.metrics import NO_ANSWER, Evaluation, SystemResult

MAX_UNKNOWN = 0.02
_COMPLETE_ANSWERS = {
    "cut": "{} gave complete answers: raise evaluate.sampling.max_tokens, or look at its answers",
    "empty": "{} gave complete answers: look at what it writes",
    "refused": "the server accepted the requests to {}",
    "missing": "the server of {} responded: run the evaluation again",
}


def why_incomplete(evaluation: Evaluation, system: SystemResult) -> tuple[str, str]:
    """For a system without a complete answer: counts of what its answers are, and what would have to change."""
    outputs = [output for output in evaluation.outputs if output.system == system.name]
    ways = Counter(
        "missing" if not one.answered else "cut" if one.cut else one.reasons.get(NO_ANSWER, "empty") for one in outputs
    )
    most = next((way for way, _ in ways.most_common() if way != "missing"), "missing")
    refusals = Counter(one.reasons[REFUSAL] for one in outputs if REFUSAL in one.reasons)
    message = f' (it answered "{refusals.most_common(1)[0][0]}")' if most == "refused" and refusals else ""
    listed = ", ".join(f"{count} {way}" for way, count in ways.most_common())
    return listed, _COMPLETE_ANSWERS.get(most, _COMPLETE_ANSWERS["empty"]).format(system.label) + message


def incomplete_systems(systems: Iterable[SystemResult]) -> Iterator[str]:
    """Systems with more than a few missing answers; the missing ones may differ from those that arrived."""
    for system in systems:
        asked, answered = system.count("asked"), system.count("answered")
        if asked - answered > MAX_UNKNOWN * asked:
            yield f"{asked - answered} of {asked} answers of {system.label} never arrived, and they may differ"
