"""Where the tuned model fails on validation inputs, in groups: by the check that failed, and by inputs that are alike.

Looking at test failures and training again would spend the test; validation inputs are there to be looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import AliasChoices, Field

from schemas.records import Record
from schemas.wording import counted
from train.metrics import NO_ANSWER, Evaluation, Output

_ALIKE = 0.2
# The reason of an answer that was turned down: the words of the server, or of the model.
REFUSAL = "refusal"


class Failures(Record):
    """Answers that failed the same check, to inputs that are alike: their `inputs`, the first failing answer, and
    the reason that the check gave (`said` in evidence of versions before)."""

    check: str
    inputs: tuple[str, ...]
    answer: str
    reason: str = Field(validation_alias=AliasChoices("reason", "said"))


def failures(evaluation: Evaluation) -> list[Failures]:
    """The groups of failed validation answers, the largest first; inputs are alike from a Jaccard index of their
    character pairs and triples of 0.2 with the first of the group on."""
    by_check: dict[str, list[Output]] = {}
    for output in evaluation.validation:
        if output.answered and not output.passes:
            by_check.setdefault(why_not(output, evaluation.check_names), []).append(output)
    groups = [
        Failures(
            check=check,
            inputs=tuple(evaluation.validation_inputs[output.seed_id] for output in group),
            answer=group[0].text,
            reason=group[0].reasons.get(check, ""),
        )
        for check, outputs in by_check.items()
        for group in _alike(outputs, evaluation.validation_inputs)
    ]
    return sorted(groups, key=lambda group: (-len(group.inputs), group.check, group.inputs))


def why_not(output: Output, names: Sequence[str]) -> str:
    """The word for why an answer did not pass: that it was cut or none, else the first check that failed, or that could
    not be judged."""
    if output.cut:
        return "cut"
    failed = (name for bad in (False, None) for name in names if output.checks.get(name) is bad)
    return output.reasons.get(NO_ANSWER) or next(failed, "not scored")


def turned_down(evaluation: Evaluation) -> Iterator[str]:
    """Which systems were refused answers, how many, and in what words most of them: a prompt that is longer than the
    model's context is refused, which else looks like a model that has nothing to say."""
    for system in evaluation.systems:
        outputs = (output for output in evaluation.outputs if output.system == system.name)
        words = Counter(output.reasons[REFUSAL] for output in outputs if REFUSAL in output.reasons)
        if words:
            (most, _), *others = words.most_common()
            like = "such as" if others else "all in these words"
            yield f"{counted(words.total(), 'answer', 'answers')} of {system.label} refused, {like}: {most}"


def _alike(outputs: Iterable[Output], inputs: Mapping[str, str]) -> list[list[Output]]:
    from train.retrieval import grams

    groups: list[tuple[set[str], list[Output]]] = []
    for output in outputs:
        these = set(grams(inputs[output.seed_id]))
        home = next((group for first, group in groups if _jaccard(first, these) >= _ALIKE), None)
        if home is None:
            groups.append((these, [output]))
        else:
            home.append(output)
    return [group for _, group in groups]


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0
