"""The judges' results of an evaluation as a table and as plain lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.wording import counted
from train.intervals import format_estimate, format_interval, format_p_value
from train.judgements import JudgedEvaluation, WinRate
from train.metrics import TUNED, Evaluation
from train.results_table import new_table

if TYPE_CHECKING:
    from rich.table import Table

_OUTCOMES = {"inconclusive": "no significant difference", "not preferred": f"the other is preferred to {TUNED}"}


def judged_table(evaluation: Evaluation) -> Table | None:
    """One row per system: the share of answers that pass the whole checklist, and the share of yes to each question.
    None if there were no judges."""
    if (judged := evaluation.judged) is None:
        return None
    title = f"Checklist of {', '.join(judged.judges)}, the first sampled answer to each input"
    table = new_table(title, ["system"], ["all yes", *judged.questions, "(not scored)"])
    for result in judged.checklists:
        shares = (f"{result.questions[name]:.2f}" if result.questions else "-" for name in judged.questions)
        passed = format_interval(result.pass_rate) if result.pass_rate else "not measured"
        table.add_row(evaluation.system(result.system).label, passed, *shares, str(result.not_scored))
    return table


def judged_lines(evaluation: Evaluation) -> list[str]:
    """How often the tuned model is preferred to each other system, the effect of the position in the prompt, and
    cautions about the judges."""
    judged = evaluation.judged
    if judged is None:
        return []
    silent = counted(judged.unanswered, "checklist or comparison is", "checklists and comparisons are")
    missing = f"{silent} missing, because a judge did not answer: `pairsmith evaluate` requests only those"
    wins = [f"{TUNED} preferred to {evaluation.system(w.against).label}: {in_words(w)}" for w in judged.win_rates]
    return [*wins, *position_lines(judged), *([missing] if judged.unanswered else []), *judged.warnings]


def position_lines(judged: JudgedEvaluation) -> list[str]:
    """How often the judges choose the answer shown first, and in how many comparisons only the order decided."""
    if judged.first is None:
        return []
    biased = not judged.first.low <= 0.5 <= judged.first.high
    effect = "a position bias, which showing both orders evens out" if biased else "no position bias"
    lines = [f"the judges choose the answer shown first in {format_interval(judged.first)} of requests: {effect}"]
    asked = [(as_first, as_second) for choice in judged.choices if choice.asked for as_first, as_second in choice.wins]
    if undecided := sum(as_first != as_second for as_first, as_second in asked):
        lines.append(f"the order alone decided {undecided} of {counted(len(asked), 'comparison', 'comparisons')}: ties")
    return lines


def in_words(win: WinRate) -> str:
    """A win rate with its outcome, and the win rate at equal length."""
    if win.rate is None:
        return win.outcome
    p = "" if win.p_holm is None else f", {format_p_value(win.p_holm)}"
    controlled = win.length_controlled
    if controlled is not None:
        at_equal_length = f"at equal length {format_estimate(controlled.value, controlled.low, controlled.high)}"
    else:
        at_equal_length = f"{TUNED} is longer in {win.longer:.0%}, so the effect of length cannot be separated"
    unscored = f" ({win.not_scored} of {win.not_scored + win.rate.seeds} not scored)" if win.not_scored else ""
    return f"{format_interval(win.rate)}{p}: {_OUTCOMES.get(win.outcome, win.outcome)}{unscored}; {at_equal_length}"
