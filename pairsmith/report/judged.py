"""The report's sentences on the judges' results of an evaluation."""

from __future__ import annotations

from pairsmith.style.numbers import MISSING, bounds, percent
from schemas.wording import capital, counted
from train.evaluation.judgements import ChecklistResult, JudgedEvaluation
from train.evaluation.metrics import Evaluation
from train.evaluation.results_table import judged_lines


def method(evaluation: Evaluation) -> str:
    """Which judges were asked which questions about which answers."""
    judged = _of(evaluation)
    return (
        f"{', '.join(judged.judges)} answered {counted(len(judged.questions), 'question', 'questions')} about the first"
        f" sampled answer of every system: {' '.join(judged.questions.values())} \u201cAll yes\u201d is the share of"
        " answers for which every question was answered yes; the other columns are the mean probability of yes. A"
        " judge is another model\u2019s opinion and does not affect the verdict."
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
    """Which system is preferred, the effect of the position in the prompt, and cautions about the judges."""
    return [f"{capital(line)}." for line in judged_lines(evaluation)]


def _of(evaluation: Evaluation) -> JudgedEvaluation:
    assert evaluation.judged is not None, "the evaluation was judged"
    return evaluation.judged
