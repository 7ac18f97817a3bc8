"""The report's sentences on what judges say of an evaluation."""

from __future__ import annotations

from pairsmith.style.numbers import MISSING, bounds, percent
from schemas.wording import capital, counted
from train.judged_table import judged_lines
from train.judgements import ChecklistResult, JudgedEvaluation
from train.metrics import Evaluation


def method(evaluation: Evaluation) -> str:
    """Who was asked what about which answers."""
    judged = _of(evaluation)
    return (
        f"{', '.join(judged.judges)} answered {counted(len(judged.questions), 'question', 'questions')} about the first"
        f" sampled answer of every system: {' '.join(judged.questions.values())} \u201cAll yes\u201d is the share of"
        " answers with no \u201cno\u201d, the other columns are the mean probability of yes. A judge is another"
        " model\u2019s opinion: it decides nothing here."
    )


def cells(evaluation: Evaluation, result: ChecklistResult) -> list[str]:
    """A system's row: the share that passes the whole checklist, then each question."""
    rate = result.pass_rate
    passed = f"{percent(rate.estimate)} {bounds(rate)}" if rate else "not measured"
    if result.not_scored:
        passed += f", {result.not_scored} not scored"
    shares = (percent(result.questions[name]) if result.questions else MISSING for name in _of(evaluation).questions)
    return [passed, *shares]


def sentences(evaluation: Evaluation) -> list[str]:
    """Who is preferred, what the place in the prompt does, and what should be known of the judges."""
    return [f"{capital(line)}." for line in judged_lines(evaluation)]


def _of(evaluation: Evaluation) -> JudgedEvaluation:
    assert evaluation.judged is not None, "somebody judged"
    return evaluation.judged
