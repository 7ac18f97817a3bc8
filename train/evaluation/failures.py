"""Where the tuned model fails on validation inputs, grouped by the failed check and by similar inputs.

Acting on test failures and training again would make the test set worthless; validation inputs are meant for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import AliasChoices, Field

from schemas.records import Record
from schemas.wording import counted
from train.evaluation.metrics import NO_ANSWER, Evaluation, Output

_MIN_SIMILARITY = 0.2
# The key under which a refused answer's reason is stored: the text of the server or of the model.
REFUSAL = "refusal"


class Failures(Record):
    """Answers to similar inputs that failed the same check: their `inputs`, the first failing answer, and the reason
    given by the check (called `said` in evidence of earlier versions)."""

    check: str
    inputs: tuple[str, ...]
    answer: str
    reason: str = Field(validation_alias=AliasChoices("reason", "said"))


TOKEN_LIMIT = "token limit"
"""The check of `Failures` that an answer fails which was cut there."""


def failures(evaluation: Evaluation) -> list[Failures]:
    """The groups of failed validation answers, the largest first. An input joins a group if the Jaccard index of its
    character bigrams and trigrams with those of the group's first input is at least 0.2. Answers that a check could not
    judge have not failed."""
    by_check: dict[str, list[Output]] = {}
    for output in evaluation.validation:
        if output.answered and not output.passes and not output.is_unscored:
            # One of the gates is called `cut` too.
            check = TOKEN_LIMIT if output.cut else why_not(output, evaluation.check_names)
            by_check.setdefault(check, []).append(output)
    groups = [
        Failures(
            check=check,
            inputs=tuple(evaluation.validation_inputs[output.seed_id] for output in group),
            answer=group[0].text,
            reason=group[0].reasons.get(check, ""),
        )
        for check, outputs in by_check.items()
        for group in _group_similar(outputs, evaluation.validation_inputs)
    ]
    return sorted(groups, key=lambda group: (-len(group.inputs), group.check, group.inputs))


def why_not(output: Output, names: Sequence[str]) -> str:
    """Why an answer did not pass: that it was cut or is not an answer, otherwise the first check that failed or could
    not judge."""
    if output.cut:
        return "cut"
    failed = (name for bad in (False, None) for name in names if output.checks.get(name) is bad)
    return output.reasons.get(NO_ANSWER) or next(failed, "not scored")


def describe_refusals(evaluation: Evaluation) -> Iterator[str]:
    """One line for each system with refused answers: how many, and the most frequent message. A prompt longer than the
    model's context is refused, which would otherwise look like a model that gives no answers."""
    for system in evaluation.systems:
        outputs = (output for output in evaluation.outputs if output.system == system.name)
        words = Counter(output.reasons[REFUSAL] for output in outputs if REFUSAL in output.reasons)
        if words:
            (most, _), *others = words.most_common()
            like = "for example" if others else "all with the message"
            yield f"{counted(words.total(), 'answer', 'answers')} of {system.label} refused, {like}: {most}"


def _group_similar(outputs: Iterable[Output], inputs: Mapping[str, str]) -> list[list[Output]]:
    from train.evaluation.retrieval import grams

    groups: list[tuple[set[str], list[Output]]] = []
    for output in outputs:
        own_grams = set(grams(inputs[output.seed_id]))
        match = next((group for first, group in groups if _jaccard(first, own_grams) >= _MIN_SIMILARITY), None)
        if match is None:
            groups.append((own_grams, [output]))
        else:
            match.append(output)
    return [group for _, group in groups]


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0
