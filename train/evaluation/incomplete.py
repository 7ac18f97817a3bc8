"""Systems whose answers are cut, empty, refused or missing, in the words of the verdict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from train.evaluation.failures import REFUSAL
from train.evaluation.metrics import MODES, Evaluation, Mode, Output, SystemResult

MAX_UNKNOWN = 0.02
_MORE_COMPLETE = "more answers of {} were complete: "
_OF_CONTEXT = re.compile("context (holds|length|window|size)", re.IGNORECASE)  # the embedded server, vLLM and others
_LONGER_CONTEXT = "the prompt of {} was shorter, or the context of its model longer"
_COMPLETE_ANSWERS = {
    "cut": _MORE_COMPLETE + "raise evaluate.sampling.max_tokens, or look at its answers",
    "looping": _MORE_COMPLETE + "look at what it writes",
    "empty": _MORE_COMPLETE + "look at what it writes",
    "refused": "the server accepted the requests to {}",
    "missing": "the server of {} responded: run the evaluation again",
}


def why_incomplete(evaluation: Evaluation, system: SystemResult, modes: Collection[Mode] = MODES) -> tuple[str, str]:
    """For a system with too few complete answers under these decodings: counts of what its answers are, and what would
    have to change."""
    outputs = [one for one in evaluation.outputs if one.system == system.name and one.mode in modes]
    ways = Counter(map(_kind_of, outputs))
    most = next((way for way, _ in ways.most_common() if way not in ("missing", "complete")), "missing")
    refusals = Counter(one.reasons[REFUSAL] for one in outputs if REFUSAL in one.reasons)
    answered = refusals.most_common(1)[0][0] if most == "refused" and refusals else ""
    message = f' (it answered "{answered}")' if answered else ""
    listed = ", ".join(f"{count} {way}" for way, count in ways.most_common())
    if _OF_CONTEXT.search(answered):
        return f"{listed}{message}", _LONGER_CONTEXT.format(system.label)
    return listed, _COMPLETE_ANSWERS[most].format(system.label) + message


def _kind_of(output: Output) -> str:
    if not output.answered:
        return "missing"
    if output.cut:
        return "looping" if output.loops else "cut"
    return "refused" if output.refused else "complete" if output.whole else "empty"


def incomplete_systems(systems: Iterable[SystemResult]) -> Iterator[str]:
    """Systems with more than a few missing answers; the missing ones may differ from those that arrived."""
    for system in systems:
        asked, answered = system.count("asked"), system.count("answered")
        if asked - answered > MAX_UNKNOWN * asked:
            yield f"{asked - answered} of {asked} answers of {system.label} never arrived, and they may differ"
