"""The systems of an evaluation as tables for a terminal, and as plain lines for a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.records import Sampling
from train.evaluation import TUNED, Comparison, Evaluation, ModeResult, Rung
from train.intervals import Interval

if TYPE_CHECKING:
    from rich.table import Table

_SHORT = {"temperature": "T", "repetition_penalty": "rep", "no_repeat_ngram_size": "no-repeat"}


def label(names: tuple[str, ...]) -> str:
    """How a rung is called: merged ones are joined with an equals sign."""
    return " = ".join(names)


def ladder_table(evaluation: Evaluation) -> Table:
    """One row a system: whose decoding it had, the strict share with its interval, sampled and greedy; then length,
    time and tokens (sampled)."""
    from rich.table import Table

    level = f"{_level(evaluation):.0%}"
    title = f"Strict pass on {evaluation.seeds} held-out seeds, {evaluation.samples} samples each, {level} intervals"
    table = Table(title=title)
    table.add_column("system")
    table.add_column("decoded as in")
    for heading in ("sampled", "greedy", "words", "s/request", "tokens/answer"):
        table.add_column(heading, justify="right")
    for rung in evaluation.rungs:
        sampled = rung.sampled
        table.add_row(
            label(rung.names),
            rung.decoding,
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
    """What may be said of tuned against the others, whichever way it falls, in words; then how each was decoded."""
    lines = [
        f"{TUNED} against {label(evaluation.rung(one.b).names)}, {one.mode}: {_told(one)}"
        for one in sorted(evaluation.comparisons, key=lambda one: [rung.name for rung in evaluation.rungs].index(one.b))
        if one.a == TUNED
    ]
    return [*lines, *decoding_lines(evaluation)]


def decoding_lines(evaluation: Evaluation) -> list[str]:
    """How the systems were decoded: one line for each decoding, and whether there is more than one."""
    systems: dict[str, list[str]] = {}
    for rung in evaluation.rungs:
        systems.setdefault(f"{rung.decoding} ({settings(evaluation, rung)})", []).append(label(rung.names))
    lines = [f"decoded as in {named}: {', '.join(names)}" for named, names in systems.items()]
    return [*lines, "decodings differ, so part of a difference may come from them"] if len(lines) > 1 else lines


def settings(evaluation: Evaluation, rung: Rung) -> str:
    """A rung's sampled decoding in short: `T 0.9, top_k 50, rep 1.1`. The random seed is left out."""
    return brief(evaluation.sampling_of(rung, "sampled"))


def brief(sampling: Sampling) -> str:
    """A decoding in short."""
    named = [f"{_SHORT.get(name, name)} {value}" for name, value in sampling.body().items() if name != "seed"]
    return ", ".join(named) or "as the server likes"


def _told(one: Comparison) -> str:
    """The difference, the adjusted p and the outcome of a comparison."""
    if one.difference is None:
        return one.outcome
    numbers = _interval(one.difference, sign="+")
    if one.p_holm is not None:
        numbers += f", p {one.p_holm:.3f}" if one.p_holm >= 0.001 else ", p < 0.001"
    if one.outcome == "not enough evidence":
        more = f": about {one.more_inputs} more test inputs are needed" if one.more_inputs else ""
        return f"{numbers}: {one.outcome}{more}"
    return f"{numbers}: {'cannot be told apart' if one.outcome == 'inconclusive' else one.outcome}"


def _level(evaluation: Evaluation) -> float:
    return next((rung.sampled.strict.level for rung in evaluation.rungs if rung.sampled.strict), 0.95)


def _share(result: ModeResult) -> str:
    return _interval(result.strict) if result.strict else "not measured"


def _interval(interval: Interval, sign: str = "") -> str:
    return f"{interval.estimate:{sign}.2f} [{interval.low:{sign}.2f}, {interval.high:{sign}.2f}]"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
