"""The ladder as tables for a terminal, and as plain lines for a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.bootstrap import Interval
from train.evaluation import MODES, Evaluation, ModeResult

if TYPE_CHECKING:
    from rich.table import Table

_CONTRASTS = (("tuned", "base"), ("tuned", "few-shot"), ("tuned", "teacher"))


def label(names: tuple[str, ...]) -> str:
    """How a rung is called: merged ones are joined with an equals sign."""
    return " = ".join(names)


def ladder_table(evaluation: Evaluation) -> Table:
    """One row a rung: the strict share with its interval, sampled and greedy; then length, time, tokens (sampled)."""
    from rich.table import Table

    level = f"{_level(evaluation):.0%}"
    title = f"Strict pass on {evaluation.seeds} held-out seeds, {evaluation.samples} samples each, {level} intervals"
    table = Table(title=title)
    table.add_column("rung")
    for heading in ("sampled", "greedy", "words", "s/request", "tokens/answer"):
        table.add_column(heading, justify="right")
    for rung in evaluation.rungs:
        sampled = rung.sampled
        table.add_row(
            label(rung.names),
            _share(sampled),
            _share(rung.greedy),
            f"{sampled.words.p50:.0f}" if sampled.words else "-",
            f"{sampled.seconds.p50:.1f}" if sampled.seconds else "-",
            f"{sampled.usage.completion_tokens / sampled.answered:.0f}" if sampled.answered else "-",
        )
    return table


def checks_table(evaluation: Evaluation) -> Table:
    """One row a check, one column a rung: the share of sampled answers that pass it. Checks no gate uses come last."""
    from rich.table import Table

    table = Table(title="Each check apart (sampled); those named check: were used by no gate")
    table.add_column("check")
    for rung in evaluation.rungs:
        table.add_column(label(rung.names), justify="right")
    for name in evaluation.check_names:
        table.add_row(name, *(_percent(rung.sampled.checks.get(name)) for rung in evaluation.rungs))
    for name in ("empty", "truncated", "not_scored"):
        table.add_row(f"({name.replace('_', ' ')})", *(str(getattr(rung.sampled, name)) for rung in evaluation.rungs))
    return table


def contrast_lines(evaluation: Evaluation) -> list[str]:
    """What the differences of tuned against the others are, whichever way they fall, in words."""
    lines = []
    for a, b in _CONTRASTS:
        if b == "teacher" and "few-shot" in evaluation.rung("teacher").names:
            continue
        for mode in MODES:
            if (found := evaluation.comparison(a, b, mode)) is None:
                continue
            gap = found.difference
            verdict = "cannot be told apart" if not gap.excludes_zero else "better" if gap.low > 0 else "worse"
            against = label(evaluation.rung(b).names)
            lines.append(f"{a} against {against}, {mode}: {_interval(gap, sign='+')}: {verdict}")
    return lines


def _level(evaluation: Evaluation) -> float:
    return next((rung.sampled.strict.level for rung in evaluation.rungs if rung.sampled.strict), 0.95)


def _share(result: ModeResult) -> str:
    return _interval(result.strict) if result.strict else "no answers"


def _interval(interval: Interval, sign: str = "") -> str:
    return f"{interval.estimate:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
