"""What the report says of an evaluation: who is compared, which way the numbers fall, and the answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pairsmith.report.numbers import MISSING, bounds, count, counted, percent, points, rounded
from train.evaluation import MODES, NO_ANSWER, TUNED, Comparison, Evaluation, Mode, ModeResult, Output, Rung
from train.results_table import brief

BASE = "base"
_UNSEEN = "check:"
_NO_ANSWER = {
    "cut": "it was cut at the token limit",
    "refused": "the model refused",
    "schema": "it breaks the prompt's schema",
}


class Row(NamedTuple):
    """A drawn input and one answer of every rung, in the ladder's order; None where the rung gave none."""

    input: str
    answers: tuple[tuple[Rung, Output | None], ...]


def against(evaluation: Evaluation, mode: Mode) -> list[Comparison]:
    """Tuned minus every other rung, lowest rung first."""
    return [one for one in evaluation.comparisons if one.a == TUNED and one.mode == mode]


def title(evaluation: Evaluation, name: str) -> str:
    """A rung's name with those of the rungs that are one with it."""
    return " = ".join(evaluation.rung(name).names)


def merged(evaluation: Evaluation) -> bool:
    """Whether some rungs turned out to be one."""
    return any(len(rung.names) > 1 for rung in evaluation.rungs)


def headline(evaluation: Evaluation) -> str:
    """Tuned beside its base, sampled and greedy, in numbers, or that one of them was not measured."""
    sides = [_side("tuned", evaluation.rung(TUNED)), _side("its base", evaluation.rung(BASE))]
    said = "; ".join(sides)
    gaps = [
        f"{points(gap.difference)} {gap.mode}"
        for gap in (evaluation.comparison(TUNED, BASE, mode) for mode in MODES)
        if gap is not None and gap.difference is not None
    ]
    return f"{said[0].upper()}{said[1:]}." + (f" Difference {', '.join(gaps)}." if gaps else "")


def _side(name: str, rung: Rung) -> str:
    modes = (("sampled", rung.sampled), ("greedy", rung.greedy))
    rates = [
        f"{percent(result.strict.estimate)} {bounds(result.strict)} of {mode} answers"
        for mode, result in modes
        if result.strict is not None
    ]
    if not rates:
        return f"{name} was not measured, because it gave no whole answer"
    rest = "".join(f" ({mode} not measured)" for mode, result in modes if result.strict is None)
    return f"{name} passes all checks on {' and '.join(rates)}{rest}"


def which_way(evaluation: Evaluation, comparison: Comparison) -> str:
    """What may be said of a difference, whichever way it falls."""
    than, gap, inputs = title(evaluation, comparison.b), comparison.difference, comparison.more_inputs
    if gap is None:
        return f"Tuned against {than} was not measured: one of them gave no whole answer."
    level = percent(gap.level)
    if comparison.outcome == "not enough evidence":
        more = f" About {counted(inputs, 'more test input', 'more test inputs')} would be needed." if inputs else ""
        return (
            f"There is not enough evidence about tuned and {than}: {counted(gap.seeds, 'input', 'inputs')} cannot prove"
            f" a difference.{more}"
        )
    if comparison.outcome == "inconclusive":
        more = (
            f" About {counted(inputs, 'more test input', 'more test inputs')} would decide it if the difference stayed"
            " as it is."
            if inputs
            else ""
        )
        return f"These answers do not tell tuned and {than} apart{_why_not(comparison, level)}.{more}"
    often, side = ("more", "above") if comparison.outcome == "better" else ("less", "below")
    return (
        f"Tuned passes {often} often than {than}: the {level} interval of the difference lies {side} zero, and so says"
        f" the exact test (p\u00a0{_p(comparison)})."
    )


def _why_not(comparison: Comparison, level: str) -> str:
    gap = comparison.difference
    if gap is not None and not gap.excludes_zero:
        return f": the {level} interval of the difference includes zero"
    return f": the exact test, adjusted for all comparisons, does not (p\u00a0{_p(comparison)})"


def _p(comparison: Comparison) -> str:
    p = comparison.p_holm
    return MISSING if p is None else "< 0.001" if p < 0.001 else f"= {p:.3f}"


def in_words(evaluation: Evaluation) -> list[str]:
    """Which way each sampled difference falls, with its numbers where the headline does not have them."""
    said = []
    for one in against(evaluation, "sampled"):
        value = "" if one.b == BASE or one.difference is None else f" ({points(one.difference)})"
        first, stop, rest = which_way(evaluation, one).partition(". ")
        said.append(f"{first.removesuffix('.')}{value}.{' ' + rest if stop else ''}")
    return said


def greedy_differences(evaluation: Evaluation) -> str:
    """The same differences under greedy decoding, each with what may be said of it."""
    found = [
        f"tuned \u2212 {title(evaluation, one.b)} {points(one.difference)}, {one.outcome}"
        for one in against(evaluation, "greedy")
        if one.difference is not None
    ]
    return f"With greedy decoding: {'; '.join(found)}." if found else "No difference was measured with greedy decoding."


def method(evaluation: Evaluation) -> str:
    """How the systems were measured."""
    return (
        f"The same {counted(evaluation.seeds, 'input', 'inputs')} of the locked test split for every system,"
        f" {counted(evaluation.samples, 'sampled answer', 'sampled answers')} each and one greedy."
        f" {decodings(evaluation)} Intervals are 95\u202f% score intervals that reckon with answers to one input being"
        " alike. “More” and “less” are said only where the exact sign-flip test, adjusted for all comparisons (Holm),"
        " agrees with the interval. An answer that was cut never passes."
    )


def decodings(evaluation: Evaluation) -> str:
    """How the sampled answers were drawn, and in words whether alike."""
    systems: dict[str, list[str]] = {}
    for rung in evaluation.rungs:
        systems.setdefault(decoding(evaluation, rung), []).append(" = ".join(rung.names))
    if len(systems) == 1:
        return f"All are decoded alike ({next(iter(systems))})."
    each = "; ".join(f"{', '.join(names)} with {settings}" for settings, names in systems.items())
    return f"They are not decoded alike, so part of a difference may come from the decoding: {each}."


def decoding(evaluation: Evaluation, rung: Rung) -> str:
    """The settings of a system's sampled answers."""
    named = brief(evaluation.sampling_of(rung, "sampled"))
    return f"{named} (as in generation)" if rung.decoding == "generation" else named


def adapter(evaluation: Evaluation) -> str:
    """The proof that base and tuned are two models."""
    check = evaluation.adapter_check
    return (
        f"The adapter is really on and off: one fixed text of {counted(check.tokens, 'token', 'tokens')} has"
        f" log-probability {rounded(check.base)} under the base, {rounded(check.tuned)} with the adapter, and"
        f" {rounded(check.base_again)} under the base again."
    )


def told(evaluation: Evaluation, rung: Rung) -> str:
    """What a rung is, in a line."""
    model = f"{evaluation.rung(BASE).model} + adapter" if TUNED in rung.names else rung.model
    shown = counted(rung.exemplars, "example", "examples") if rung.exemplars else "no examples"
    return f"{model}, {shown}, {decoding(evaluation, rung)}"


def seen(rung: Rung) -> str:
    """A rung's strict pass share in words, for those who do not see the track."""
    name = " = ".join(rung.names)
    if rung.sampled.strict is None:
        return f"{name}: not measured"
    said = f"{name}: {percent(rung.sampled.strict.estimate)} {bounds(rung.sampled.strict)} sampled"
    if rung.greedy.strict is not None:
        said += f", {percent(rung.greedy.strict.estimate)} {bounds(rung.greedy.strict)} greedy"
    return said


def check_name(name: str) -> tuple[str, bool]:
    """A check's name for people, and whether no gate uses it."""
    return name.removeprefix(_UNSEEN), name.startswith(_UNSEEN)


def tokens_an_answer(result: ModeResult) -> float | None:
    """Mean answer tokens."""
    return result.usage.completion_tokens / result.answered if result.answered else None


def flaws(result: ModeResult) -> str:
    """Answers that are missing, empty, cut off or not scored; empty if there are none."""
    missing = result.asked - result.answered
    found = [
        (missing, "without an answer"),
        (result.empty, "empty"),
        (result.truncated, "cut off"),
        (result.not_scored, "not scored"),
    ]
    return ", ".join(f"{count(number)} {word}" for number, word in found if number)


def drawn(evaluation: Evaluation) -> list[Row]:
    """The drawn inputs with the first sampled answer of every rung."""
    first = {(o.rung, o.seed_id): o for o in evaluation.outputs if o.mode == "sampled" and o.sample == 0}
    return [
        Row(one.input, tuple((rung, first.get((rung.name, one.seed_id))) for rung in evaluation.rungs))
        for one in evaluation.side_by_side
    ]


def how_drawn(evaluation: Evaluation) -> str:
    """How the shown answers were chosen."""
    return (
        f"{counted(len(evaluation.side_by_side), 'input', 'inputs')} of the {count(evaluation.seeds)}, drawn at random"
        f" with seed {evaluation.side_by_side_seed}, and for each the first sampled answer of every rung. Nobody chose"
        " them: bad ones stand beside good ones."
    )


def failed_checks(output: Output) -> list[tuple[str, str]]:
    """(check, what it said) for every check that the answer did not pass."""
    bad = "cut" if output.cut else output.reasons.get(NO_ANSWER)
    none = [("answer", _NO_ANSWER.get(bad, bad))] if bad else []
    return none + [
        (check_name(name)[0], output.reasons.get(name, MISSING))
        for name, passed in output.checks.items()
        if passed is not True
    ]


def limits(evaluation: Evaluation) -> list[str]:
    """What the evaluation does not show."""
    names: Sequence[tuple[str, bool]] = [check_name(name) for name in evaluation.check_names]
    own = [name for name, unseen in names if unseen]
    return [
        f"{counted(len(own), 'check is', 'checks are')} used by no gate ({', '.join(own)}). The other"
        f" {count(len(names) - len(own))} are the gates that chose the rows, so a model trained on them is expected to"
        " pass those: that is the point of the training, and no proof of quality.",
        f"The intervals cover chance in these {count(evaluation.seeds)} inputs with {count(evaluation.samples)} samples"
        " each. They do not cover inputs of another kind or language, or a"
        " second training run: one adapter with one random seed was trained.",
        "Seconds are per request with others in flight, waiting included; they compare systems and say nothing of a"
        " server at rest.",
    ]
