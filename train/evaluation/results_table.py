"""The systems of an evaluation, and its judges' results, as tables for a terminal and as plain lines for a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from curate.split import LEAST_TEST_INPUTS
from schemas.money import dollars
from schemas.records import Sampling
from schemas.wording import counted
from train.evaluation.comparison import Comparison
from train.evaluation.intervals import format_estimate, format_interval, format_p_value
from train.evaluation.judgements import JudgedEvaluation, WinRate
from train.evaluation.metrics import MODES, TUNED, Evaluation, MeanEstimate, ModeResult

if TYPE_CHECKING:
    from rich.table import Table

NOT_MEASURED = "not measured"
_OUTCOMES = {"inconclusive": "no significant difference", "not preferred": f"the other is preferred to {TUNED}"}
_SHORT = {"temperature": "T", "repetition_penalty": "rep", "no_repeat_ngram_size": "no-repeat"}


def new_table(title: str, words: Sequence[str], numbers: Sequence[str]) -> Table:
    """A table without rows; its columns of numbers, which follow those of words, are aligned to the right. In a narrow
    terminal a cell has several lines, and is never cut."""
    from rich.table import Column, Table

    texts = (Column(heading, overflow="fold") for heading in words)
    return Table(*texts, *(Column(heading, justify="right", overflow="fold") for heading in numbers), title=title)


def size_of_test(evaluation: Evaluation) -> str:
    """How many inputs and answers the pass rates rest on."""
    inputs = counted(evaluation.seeds, "held-out input", "held-out inputs") + evaluation.group_note
    return f"{inputs}, {counted(evaluation.samples, 'sample', 'samples')} each"


def systems_table(evaluation: Evaluation) -> Table:
    """One row per system: the pass rate with its interval, sampled and greedy, then length, time, speed (sampled) and
    price. `decoding_lines` says how each was decoded."""
    level = f"{_level(evaluation):.0%}"
    title = f"Pass rate on {size_of_test(evaluation)}, {level} intervals"
    numbers = ("sampled", "greedy", "words", "s p50/p95", "tokens/s", "$/1,000")
    table = new_table(title, ["system"], numbers)
    for system in evaluation.systems:
        sampled = system.sampled
        table.add_row(
            system.label,
            _format_rate(sampled),
            _format_rate(system.greedy),
            f"{sampled.words.p50:.0f}" if sampled.words else "-",
            "/".join(map(_format_figure, (sampled.seconds.p50, sampled.seconds.p95 or 0))) if sampled.seconds else "-",
            _format_figure(sampled.tokens_per_s) if sampled.tokens_per_s else "-",
            "-" if system.usd_per_1000 is None else dollars(system.usd_per_1000),
        )
        if system.priced_by:
            table.caption = (
                f"$ of {system.label}: at the current price ({system.priced_by}); that of single requests was not"
                " recorded"
            )
    return table


def _format_figure(value: float) -> str:
    """Seconds or tokens per second, with a decimal below 100: a busy machine's 0.4 is not 0."""
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def checks_table(evaluation: Evaluation) -> Table:
    """One row per check, one column per system: the share of sampled answers that pass it. Independent checks come
    last."""
    systems = evaluation.systems
    title = "Each check separately (sampled); those named check: are not used by any gate"
    table = new_table(title, ["check"], [system.label for system in systems])
    for name in evaluation.check_names:
        table.add_row(name, *(_format_percent(system.sampled.checks.get(name)) for system in systems))
    if any(system.sampled.invented for system in systems):
        rates = (system.sampled.invented for system in systems)
        table.add_row("(invented detail)", *(_format_percent(rate.estimate if rate else None) for rate in rates))
    refused = ("refused",) if any(system.sampled.refused for system in systems) else ()
    for name in ("empty", *refused, "truncated", "not_scored"):
        table.add_row(f"({name.replace('_', ' ')})", *(str(getattr(system.sampled, name)) for system in systems))
    return table


def references_table(evaluation: Evaluation) -> Table | None:
    """One row per system: its answers compared with those that people wrote; None if the test inputs have none."""
    results = [(system, mode, getattr(system, mode)) for system in evaluation.systems for mode in MODES]
    compared = [result.by_reference for _, _, result in results if result.by_reference]
    if not compared:
        return None
    inputs = max(result.inputs for result in compared)
    measures = [name for name in MEASURES if any(getattr(result, name, None) for result in compared)]
    title = f"Against the references of {counted(inputs, 'test input', 'test inputs')}"
    table = new_table(title, ["system", "decoding"], ["exact", *(MEASURES[name] for name in measures)])
    for system, mode, result in results:
        table.add_row(system.label, mode, *reference_cells(result, measures))
    return table


MEASURES = {
    "macro_f1": "macro F1",
    "field_f1": "field F1",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
    "similarity": "similarity",
}


def reference_cells(result: ModeResult, measures: Sequence[str], missing: str = "-") -> list[str]:
    """The exact share and the measures, each with its interval, or that the system was not measured."""
    comparison = result.by_reference
    if comparison is None:
        return [missing if result.pass_rate else NOT_MEASURED, *[missing] * len(measures)]
    estimates: list[MeanEstimate | None] = [getattr(comparison, name) for name in measures]
    cells = (missing if e is None else format_estimate(e.value, e.low, e.high) for e in estimates)
    return [format_interval(comparison.exact), *cells]


def comparison_lines(evaluation: Evaluation) -> list[str]:
    """The tuned model against the others in words, whatever the outcome; why an interval may include zero beside a
    "better"; how each was decoded; and whether all checks are also gates."""
    order = [system.name for system in evaluation.systems]
    lines = [
        f"{TUNED} against {evaluation.system(gap.b).label}, {gap.mode}: {_in_words(gap, evaluation)}"
        for gap in sorted(evaluation.comparisons, key=lambda gap: order.index(gap.b))
        if gap.a == TUNED
    ]
    decided = [gap.shown for gap in evaluation.comparisons if gap.outcome in ("better", "worse")]
    lines += [] if all(shown and shown.excludes_zero for shown in decided) else [SIMULTANEOUS_NOTE]
    return [*lines, *decoding_lines(evaluation)]


UNSCORED_NOTE = "the answers that a check could not judge may have passed"
SIMULTANEOUS_NOTE = (
    "the intervals hold for all comparisons at once, so one may still include zero although the exact test, which is"
    " adjusted for all of them too, confirms the difference"
)


def decoding_lines(evaluation: Evaluation) -> list[str]:
    """One line for each decoding with its systems, and one more if there are several decodings."""
    systems: dict[str, list[str]] = {}
    for system in evaluation.systems:
        decoding = f"{system.decoding} ({describe_sampling(evaluation.sampling_of(system))})"
        systems.setdefault(decoding, []).append(system.label)
    lines = [f"decoded as in {named}: {', '.join(names)}" for named, names in systems.items()]
    return [*lines, "decodings differ, so part of a difference may come from them"] if len(lines) > 1 else lines


def describe_sampling(sampling: Sampling) -> str:
    """A decoding in short: `T 0.9, top_k 50, rep 1.1`. The random seed is left out."""
    named = [f"{_SHORT.get(name, name)} {value}" for name, value in sampling.body().items() if name != "seed"]
    return ", ".join(named) or "the server's defaults"


def _in_words(comparison: Comparison, evaluation: Evaluation) -> str:
    """The difference, the adjusted p-value and the outcome of a comparison."""
    if comparison.difference is None:
        return comparison.outcome
    numbers = format_interval(comparison.shown or comparison.difference, sign="+")
    if comparison.p_holm is not None:
        numbers += f", {format_p_value(comparison.p_holm)}"
    if comparison.outcome == "not enough evidence":
        inputs = comparison.more_inputs
        more = f"; it needs about {evaluation.more_inputs(inputs)}" if inputs else ""
        return f"{numbers}: {comparison.outcome}{more}"
    if comparison.outcome != "inconclusive":
        return f"{numbers}: {comparison.outcome}"
    confirmed = comparison.p_holm is not None and comparison.p_holm <= 1 - comparison.difference.level
    why = ", because the interval of this difference alone includes zero too" if confirmed else ""
    why = f", because {UNSCORED_NOTE}" if comparison.hangs_on_unscored else why
    return f"{numbers}: no significant difference{why}"


def judged_table(evaluation: Evaluation) -> Table | None:
    """One row per system: the share of answers that pass the whole checklist, and the share of yes to each question.
    None if there were no judges."""
    if (judged := evaluation.judged) is None:
        return None
    title = f"Checklist of {', '.join(judged.judges)}, the first sampled answer to each input"
    table = new_table(title, ["system"], ["all yes", *judged.questions, "(not scored)"])
    for result in judged.checklists:
        shares = (f"{result.questions[name]:.2f}" if result.questions else "-" for name in judged.questions)
        passed = format_interval(result.pass_rate) if result.pass_rate else NOT_MEASURED
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
    wins = [
        f"{TUNED} preferred to {evaluation.system(w.against).label}: {_win_in_words(w)}{_unasked(judged, w.against)}"
        for w in judged.win_rates
    ]
    return [*wins, *_position_lines(judged), *([missing] if judged.unanswered else []), *judged.warnings]


def _position_lines(judged: JudgedEvaluation) -> list[str]:
    """How often the judges choose the answer shown first, and in how many comparisons only the order decided."""
    if judged.first is None:
        return []
    if not judged.first.low <= 0.5 <= judged.first.high:
        effect = "a position bias, which showing both orders evens out"
    else:
        few = judged.first.units < LEAST_TEST_INPUTS
        effect = "too few inputs to tell whether there is a position bias" if few else "no position bias found"
    lines = [f"the judges choose the answer shown first in {format_interval(judged.first)} of requests: {effect}"]
    asked = [(as_first, as_second) for choice in judged.choices if choice.asked for as_first, as_second in choice.wins]
    if undecided := sum(as_first != as_second for as_first, as_second in asked):
        lines.append(f"the order alone decided {undecided} of {counted(len(asked), 'comparison', 'comparisons')}: ties")
    return lines


def _unasked(judged: JudgedEvaluation, against: str) -> str:
    """How many comparisons were won or lost without a judge: without it, they would be read as a preference."""
    of = [choice for choice in judged.choices if choice.against == against and choice.wins]
    decided = sum(not choice.asked and not choice.is_equal for choice in of)
    return f"; {decided} of {len(of)} decided without a judge: an answer was cut or empty" if decided else ""


def _win_in_words(win: WinRate) -> str:
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


def _level(evaluation: Evaluation) -> float:
    rates = (system.sampled.pass_rate for system in evaluation.systems)
    return next((rate.level for rate in rates if rate), 0.95)


def _format_rate(result: ModeResult) -> str:
    return format_interval(result.pass_rate) if result.pass_rate else NOT_MEASURED


def _format_percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
