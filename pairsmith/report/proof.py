"""What the report says of an evaluation: who is compared, which way the numbers fall, and the answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pairsmith.report.numbers import MISSING, bounds, count, counted, percent, points, rounded
from train.bootstrap import Interval
from train.evaluation import Comparison, Evaluation, Mode, ModeResult, Output, Rung

TUNED, BASE, FEW_SHOT, TEACHER = "tuned", "base", "few-shot", "teacher"
_UNSEEN = "check:"


class Row(NamedTuple):
    """A drawn input and one answer of every rung, in the ladder's order; None where the rung gave none."""

    input: str
    answers: tuple[tuple[Rung, Output | None], ...]


def strict(evaluation: Evaluation, name: str) -> Interval | None:
    """The sampled strict pass share of a rung."""
    rung = next((rung for rung in evaluation.rungs if name in rung.names), None)
    return None if rung is None else rung.sampled.strict


def against(evaluation: Evaluation, mode: Mode) -> list[Comparison]:
    """Tuned minus every other rung, lowest rung first."""
    return [one for one in evaluation.comparisons if one.a == TUNED and one.mode == mode]


def title(evaluation: Evaluation, name: str) -> str:
    """A rung's name with those of the rungs that are one with it."""
    return " = ".join(evaluation.rung(name).names)


def merged(evaluation: Evaluation) -> bool:
    """Whether some rungs turned out to be one."""
    return any(len(rung.names) > 1 for rung in evaluation.rungs)


def headline(evaluation: Evaluation) -> str | None:
    """Tuned beside its base, in numbers; None if either was not measured."""
    tuned, base = strict(evaluation, TUNED), strict(evaluation, BASE)
    if tuned is None or base is None:
        return None
    said = (
        f"Tuned passes all checks on {percent(tuned.estimate)} of answers {bounds(tuned)};"
        f" its base on {percent(base.estimate)} {bounds(base)}."
    )
    gap = evaluation.comparison(TUNED, BASE)
    return said if gap is None else f"{said} Difference {points(gap.difference)}."


def which_way(evaluation: Evaluation, comparison: Comparison) -> str:
    """What a difference's interval says, whichever way it falls."""
    than, gap = title(evaluation, comparison.b), comparison.difference
    level = percent(gap.level)
    if gap.low > 0:
        return f"Tuned passes more often than {than}: the {level} interval of the difference lies above zero."
    if gap.high < 0:
        return f"Tuned passes less often than {than}: the {level} interval of the difference lies below zero."
    return f"These answers do not tell tuned and {than} apart: the {level} interval of the difference includes zero."


def in_words(evaluation: Evaluation) -> list[str]:
    """Which way each sampled difference falls, with its numbers where the headline does not have them."""
    said = []
    for one in against(evaluation, "sampled"):
        value = "" if one.b == BASE else f" ({points(one.difference)})"
        said.append(which_way(evaluation, one)[:-1] + value + ".")
    return said


def greedy_differences(evaluation: Evaluation) -> str:
    """The same differences under greedy decoding."""
    found = [
        f"tuned \u2212 {title(evaluation, one.b)} {points(one.difference)}" for one in against(evaluation, "greedy")
    ]
    return f"With greedy decoding: {'; '.join(found)}." if found else "No difference was measured with greedy decoding."


def method(evaluation: Evaluation) -> str:
    """How the ladder was measured."""
    return (
        f"The same {counted(evaluation.seeds, 'input', 'inputs')} of the locked test split for every rung,"
        f" {counted(evaluation.samples, 'sampled answer', 'sampled answers')} each and one greedy, decoded alike"
        f" ({decoding(evaluation)}). Intervals are 95 % bootstrap intervals over {count(evaluation.resamples)} draws of"
        " whole inputs, because answers to one input are alike."
    )


def decoding(evaluation: Evaluation) -> str:
    """The settings of the sampled answers."""
    body = evaluation.sampling.body()
    return ", ".join(f"{name} {value}" for name, value in body.items())


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
    return f"{model}, {shown}"


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
    return [
        (check_name(name)[0], output.reasons.get(name, MISSING))
        for name, passed in output.checks.items()
        if passed is not True
    ]


def limits(evaluation: Evaluation) -> list[str]:
    """What the evaluation does not show."""
    names: Sequence[tuple[str, bool]] = [check_name(name) for name in evaluation.check_names]
    own = [name for name, unseen in names if unseen]
    said = [
        f"{counted(len(own), 'check is', 'checks are')} used by no gate ({', '.join(own)}). The other"
        f" {count(len(names) - len(own))} are the gates that chose the rows, so a model trained on them is expected to"
        " pass those: that is the point of the training, and no proof of quality.",
        f"The intervals cover chance in these {count(evaluation.seeds)} inputs with {count(evaluation.samples)} samples"
        " each. They do not cover inputs of another kind or language, several comparisons looked at together, or a"
        " second training run: one adapter with one random seed was trained.",
        "Seconds are per request with others in flight, waiting included; they compare rungs and say nothing of a"
        " server at rest.",
    ]
    tuned, teacher = strict(evaluation, TUNED), strict(evaluation, TEACHER)
    if tuned is not None and teacher is not None and tuned.estimate > teacher.estimate:
        said.append(
            "Tuned stands above its teacher because it learned from the answers that passed, not from all of them. It"
            " follows the form more often; it does not know more."
        )
    return said
