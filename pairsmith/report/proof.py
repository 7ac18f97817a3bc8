"""The report's sentences on an evaluation: the systems, the direction of the differences, and the answers side by
side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from pairsmith.style.numbers import MISSING, bounds, count, percent, points, rounded
from pairsmith.style.reasons import detail_of
from schemas.step_names import INDEPENDENT, REFERENCE
from schemas.wording import capital, counted, quote
from train.evaluation.comparison import Comparison
from train.evaluation.failures import REFUSAL, TOKEN_LIMIT
from train.evaluation.metrics import (
    MODES,
    NO_ANSWER,
    TUNED,
    Evaluation,
    Mode,
    ModeResult,
    Output,
    SystemResult,
)
from train.evaluation.relation import unmeasured_modes, untuned
from train.evaluation.results_table import MEASURES, UNSCORED_NOTE, describe_sampling, reference_cells
from train.evaluation.shortened import examples_shown
from train.evaluation.verdict import FORM_ONLY_NOTE, is_form_only

BASE = "base"
_NO_ANSWER = {
    "cut": "it was cut at the token limit",
    "refused": "the model refused",
    "schema": "it violates the prompt's schema",
}


class DrawnInput(NamedTuple):
    """A sampled input with its reference, if it has one, and one answer of every system, in the report's order; None
    for a system without an answer."""

    input: str
    reference: str | None
    answers: tuple[tuple[SystemResult, Output | None], ...]


def against(evaluation: Evaluation, mode: Mode) -> list[Comparison]:
    """Tuned minus every other system, in the report's order."""
    return [gap for gap in evaluation.comparisons if gap.a == TUNED and gap.mode == mode]


def merged(evaluation: Evaluation) -> bool:
    """True if some systems turned out to be the same."""
    return any(len(system.names) > 1 for system in evaluation.systems)


def headline(evaluation: Evaluation) -> str:
    """Tuned compared with the best untuned system, sampled and greedy, in numbers, or that one was not measured. Its
    lead over a base whose answers are all cut would flatter it where a prompt does as well; so would its lead over one
    prompt sampled where another prompt does better. The best may therefore be another system under each decoding."""
    best = {mode: best_untuned(evaluation, mode) for mode in MODES}
    modes_of: dict[str, list[Mode]] = {}
    for mode, rival in best.items():
        modes_of.setdefault(rival.name, []).append(mode)
    sides = [_side("tuned", evaluation.system(TUNED), MODES)]
    for of, modes in modes_of.items():
        rival = evaluation.system(of)
        name = "its base" if BASE in rival.names else f"{rival.label}, without any training,"
        sides.append(_side(name, rival, modes))
    gaps = [
        f"{points(gap.shown)} {mode}"
        for mode, rival in best.items()
        if (gap := evaluation.comparison(TUNED, rival.name, mode)) is not None and gap.shown is not None
    ]
    difference = f" Difference {', '.join(gaps)}." if gaps else ""
    unmeasured = {
        of.label: [mode for mode in unmeasured_modes(of) if best[mode].name != of.name] for of in untuned(evaluation)
    }
    unknown = [f" {capital(of)} was not measured {' and '.join(modes)}." for of, modes in unmeasured.items() if modes]
    return f"{capital('; '.join(sides))}.{difference}{''.join(unknown)}"


def best_untuned(evaluation: Evaluation, mode: Mode) -> SystemResult:
    """The system on the untuned base that passes most often under this decoding; of equals the one that passes more
    often under both together, then the first."""

    def passes(system: SystemResult) -> tuple[float, float]:
        rates = {of: result.estimate for of in MODES if (result := getattr(system, of).pass_rate) is not None}
        return rates.get(mode, -1.0), sum(rates.values())

    return max(untuned(evaluation), key=passes, default=evaluation.system(BASE))


def _side(name: str, system: SystemResult, modes: Sequence[Mode]) -> str:
    results: dict[Mode, ModeResult] = {mode: getattr(system, mode) for mode in modes}
    rates = [
        f"{percent(result.pass_rate.estimate)} {bounds(result.pass_rate)} of {mode}"
        for mode, result in results.items()
        if result.pass_rate is not None
    ]
    if not rates:
        return f"{name} was not measured, because too few of its answers are complete"
    rest = "".join(f" ({mode} not measured)" for mode, result in results.items() if result.pass_rate is None)
    return f"{name} passes all checks on {' and '.join(rates)} answers{rest}"


def describe_difference(evaluation: Evaluation, comparison: Comparison) -> str:
    """A difference in words, whatever its direction."""
    than, gap, inputs = evaluation.system(comparison.b).label, comparison.difference, comparison.more_inputs
    if gap is None:
        return f"Tuned against {than} was not measured: too few answers of one of them are complete."
    level = percent(gap.level)
    if comparison.outcome == "not enough evidence":
        more = f" About {evaluation.more_inputs(inputs)} would be needed." if inputs else ""
        few = counted(gap.seeds, "input", "inputs") + (
            f" of {counted(gap.groups, 'group', 'groups')}" if gap.groups else ""
        )
        return f"There is not enough evidence about tuned and {than}: {few} cannot prove a difference.{more}"
    if comparison.outcome == "inconclusive":
        more = (
            f" About {evaluation.more_inputs(inputs)} would decide it if the difference stayed the same."
            if inputs
            else ""
        )
        return (
            f"There is no significant difference between tuned and {than} in the {comparison.mode} answers"
            f"{_why_not(comparison, level)}.{more}"
        )
    often, side = ("more", "above") if comparison.outcome == "better" else ("less", "below")
    shown = comparison.shown or gap
    p = f"(p\u00a0{_p(comparison)})"
    reason = (
        f"the {level} interval of the difference is {side} zero, and the exact test agrees {p}."
        if shown.excludes_zero
        else f"the exact test, adjusted for all comparisons, confirms it {p}; the interval that holds for all of them"
        " at once still includes zero."
    )
    return f"Tuned passes {often} often than {than}: {reason}"


def _why_not(comparison: Comparison, level: str) -> str:
    gap = comparison.difference
    if comparison.hangs_on_unscored:
        return f": {UNSCORED_NOTE}"
    if gap is not None and not gap.excludes_zero:
        return f": the {level} interval of the difference includes zero"
    return f": the exact test, adjusted for all comparisons, does not confirm one (p\u00a0{_p(comparison)})"


def _p(comparison: Comparison) -> str:
    p = comparison.p_holm
    return MISSING if p is None else "< 0.001" if p < 0.001 else f"= {p:.3f}"


def in_words(evaluation: Evaluation) -> list[str]:
    """The `caution`, and the `sampled_differences`; without these if none can be told, for which the verdict gives the
    reason once."""
    outcomes = {gap.outcome for gap in against(evaluation, "sampled")}
    differences = [] if outcomes <= {"not enough evidence", "not measured"} else sampled_differences(evaluation)
    return [*caution(evaluation), *differences]


def sampled_differences(evaluation: Evaluation) -> list[str]:
    """A sentence for each sampled difference, with its numbers unless they are in the headline."""
    sentences = []
    in_headline = best_untuned(evaluation, "sampled").name
    for gap in against(evaluation, "sampled"):
        value = "" if gap.b == in_headline or gap.shown is None else f"; the difference is {points(gap.shown)}"
        first, stop, rest = describe_difference(evaluation, gap).partition(". ")
        sentences.append(f"{first.removesuffix('.')}{value}.{' ' + rest if stop else ''}")
    return sentences


def caution(evaluation: Evaluation) -> list[str]:
    """That only the form of answers was judged, if so. That only gates judged is a reason of the verdict."""
    return [f"{capital(FORM_ONLY_NOTE)}."] if is_form_only(evaluation.check_names) else []


def greedy_differences(evaluation: Evaluation) -> str:
    """The same differences under greedy decoding, each with its outcome."""
    gaps = [
        f"tuned \u2212 {evaluation.system(gap.b).label} {points(gap.shown)}, {gap.outcome}"
        for gap in against(evaluation, "greedy")
        if gap.shown is not None
    ]
    return f"With greedy decoding: {'; '.join(gaps)}." if gaps else "No difference was measured with greedy decoding."


def method(evaluation: Evaluation) -> str:
    """The measurement method in a paragraph."""
    assumption = (
        "treat inputs as independent: for parts of one document or mails of one thread the intervals are too narrow"
    )
    if evaluation.groups:
        assumption = f"treat each of the {evaluation.number_of_groups} groups of inputs as one unit"
    return (
        f"The same {counted(evaluation.seeds, 'input', 'inputs')} of the locked test split for every system,"
        f" {counted(evaluation.samples, 'sampled answer', 'sampled answers')} each and one greedy."
        f" {decodings(evaluation)} Intervals of shares are 95\u202f% score intervals. They account for the similarity"
        f" of answers to one input, and {assumption}. Those of the differences hold for all comparisons at once. “More”"
        " and “less” are used only if the exact sign-flip test, adjusted for all comparisons (Holm), confirms it. An"
        " answer that was cut never passes."
    )


def decodings(evaluation: Evaluation) -> str:
    """The decoding of the systems, and whether it is the same for all."""
    systems: dict[str, list[str]] = {}
    for system in evaluation.systems:
        systems.setdefault(decoding(evaluation, system), []).append(system.label)
    if len(systems) == 1:
        return f"All are decoded in the same way ({next(iter(systems))})."
    each = "; ".join(f"{', '.join(names)} with {settings}" for settings, names in systems.items())
    return f"They are decoded differently, so part of a difference may come from the decoding: {each}."


def decoding(evaluation: Evaluation, system: SystemResult) -> str:
    """The settings of a system's sampled answers."""
    named = describe_sampling(evaluation.sampling_of(system))
    return f"{named} (as in generation)" if system.decoding == "generation" else named


def measures(evaluation: Evaluation) -> dict[str, str] | None:
    """The measures against references apart from the exact match, with their headings; None if there are no
    references."""
    results = [getattr(system, mode).by_reference for system in evaluation.systems for mode in MODES]
    if not any(results):
        return None
    return {
        name: heading for name, heading in MEASURES.items() if any(getattr(result, name, None) for result in results)
    }


def references(evaluation: Evaluation) -> str:
    """What was compared, and how to read it."""
    of_them = counted(len(evaluation.void), "of them is", "of them are")
    void = f" {of_them} not valid for the task, so no answer can match."
    asked = counted(evaluation.seeds, "test input", "test inputs")
    equals = "equals it in every value" if "field_f1" in (measures(evaluation) or ()) else "is identical to it"
    rest = "The other measures" if REFERENCE in evaluation.check_names else "These measures"
    return (
        f"Of {asked}, {counted(len(evaluation.references), 'has', 'have')} a reference output."
        f"{void if evaluation.void else ''} Exact: the answer {equals}. {rest} do not affect the verdict."
        f"{_untested_labels(evaluation)}"
    )


def _untested_labels(evaluation: Evaluation) -> str:
    result = evaluation.system(TUNED).sampled.by_reference
    if not (labels := result.untested if result else ()):
        return ""
    which = f"{'the label' if len(labels) == 1 else 'any of the labels'} {', '.join(labels)}"
    return f" No test input has {which}: macro F1 is the mean of the others, and its interval is wider for that reason."


def against_people(result: ModeResult, measures: dict[str, str]) -> list[str]:
    """A row of the table of references."""
    return reference_cells(result, [*measures], MISSING)


def confusions(evaluation: Evaluation) -> str:
    """The most frequent wrong labels of the tuned model; empty if there are none."""
    result = evaluation.system(TUNED).sampled.by_reference
    table = (result.confusion if result else None) or {}
    cells = [(times, right, given) for right, row in table.items() for given, times in row.items()]
    most = sorted((cell for cell in cells if cell[1] != cell[2]), key=lambda cell: (-cell[0], *cell[1:]))[:5]
    return "; ".join(f"{right} as {given} {counted(times, 'time', 'times')}" for times, right, given in most)


def adapter(evaluation: Evaluation) -> str:
    """The evidence that base and tuned are two different models."""
    check = evaluation.adapter_check
    is_single = check.texts == 1
    measure = (
        f"one text of {check.tokens} tokens has"
        if is_single
        else f"{check.texts} texts of {check.tokens} tokens together have"
    )
    if check.base_again is None:
        return (
            f"The merged model contains the adapter: {measure} log-probability {rounded(check.base)} under the base"
            f" and {rounded(check.tuned)} under the merged model."
        )
    return (
        f"The adapter is active for tuned only: {measure} log-probability {rounded(check.base)} under the base,"
        f" {rounded(check.tuned)} with the adapter, and {rounded(check.base_again)} under the base again."
    )


def described(evaluation: Evaluation, system: SystemResult) -> str:
    """A system in one line: its model, its examples, its decoding."""
    model = f"{evaluation.system(BASE).model} + adapter" if TUNED in system.names else system.model
    shown = examples_shown(system.names, system.exemplars, system.shortened)
    return f"{model}, {shown}, {decoding(evaluation, system)}"


def spoken(system: SystemResult) -> str:
    """A system's pass rate in words, for screen readers."""
    if system.sampled.pass_rate is None:
        return f"{system.label}: not measured"
    sampled = f"{system.label}: {percent(system.sampled.pass_rate.estimate)} {bounds(system.sampled.pass_rate)} sampled"
    if system.greedy.pass_rate is None:
        return sampled
    return f"{sampled}, {percent(system.greedy.pass_rate.estimate)} {bounds(system.greedy.pass_rate)} greedy"


def check_name(name: str) -> tuple[str, bool]:
    """The display name of a check, and whether it is independent of the gates."""
    return name.removeprefix(INDEPENDENT), name.startswith(INDEPENDENT)


def sizes(evaluation: Evaluation) -> str:
    """How to read the table of lengths, times and prices."""
    drawn = "" if evaluation.samples == 1 else f" A request for sampled answers returns {evaluation.samples} of them."
    kept = (
        " A teacher's tokens and cost include the attempts that generation did not accept."
        if any("teacher" in system.names for system in evaluation.systems)
        else ""
    )
    return (
        f"Words: median (10th\u201390th percentile). Seconds: median and 95th percentile.{drawn} Tokens per second are"
        " those of one answer with others in flight. Requests that failed or were rate-limited before the one that was"
        f" answered are not in the seconds. Cost uses the provider's price; local models have none.{kept}"
    )


def tokens_per_answer(result: ModeResult) -> float | None:
    """Mean answer tokens."""
    return result.usage.completion_tokens / result.answered if result.answered else None


def flaws(result: ModeResult) -> str:
    """Counts of answers that are missing, empty, refused, cut off or not scored; empty if there are none."""
    missing = result.asked - result.answered
    counts = [
        (missing, "without an answer"),
        (result.empty, "empty"),
        (result.refused, "refused"),
        (result.truncated, "cut off"),
        (result.not_scored, "not scored"),
    ]
    shares = [f"{count(number)} {word}" for number, word in counts if number]
    if result.invented and result.invented.estimate:
        shares.append(f"{percent(result.invented.estimate)} with an invented detail")
    return ", ".join(shares)


def drawn(evaluation: Evaluation) -> list[DrawnInput]:
    """The sampled inputs with the first sampled answer of every system."""
    first = {(o.system, o.seed_id): o for o in evaluation.outputs if o.mode == "sampled" and o.sample == 0}
    return [
        DrawnInput(
            example.input,
            evaluation.references.get(example.seed_id),
            tuple((s, first.get((s.name, example.seed_id))) for s in evaluation.systems),
        )
        for example in evaluation.side_by_side
    ]


def watched(evaluation: Evaluation) -> str:
    """The tuned model's results on validation inputs, and why they may be used."""
    answers = evaluation.validation
    passed, unscored = (sum(map(attrgetter(of), answers)) for of in ("passes", "is_unscored"))
    return (
        f"Of {counted(len(answers), 'validation input', 'validation inputs')}, {counted(passed, 'passes', 'pass')}"
        f" (greedy){f', and a check could not judge {unscored:,}' if unscored else ''}."
        + (
            " You may look at these failures and act on them; acting on test failures would invalidate the test. Below,"
            " failures are grouped by the first failed check and by similar inputs."
            if passed + unscored < len(answers)
            else ""
        )
    )


def how_drawn(evaluation: Evaluation) -> str:
    """How the displayed answers were selected."""
    return (
        f"{counted(len(evaluation.side_by_side), 'input', 'inputs')} of the {count(evaluation.seeds)}, drawn at random"
        f" with seed {evaluation.side_by_side_seed}, and for each the first sampled answer of every system. They were"
        " not hand-picked, so they include bad answers as well as good ones."
    )


def failed_checks(output: Output, patterns: Mapping[str, str] = MappingProxyType({})) -> list[tuple[str, str]]:
    """(check, reason) for every check that the answer did not pass, and before them why it is no answer at all;
    without the `patterns` by check that are shown elsewhere."""
    code = "cut" if output.cut else output.reasons.get(NO_ANSWER)
    why = output.reasons.get(REFUSAL) or (code and _NO_ANSWER.get(code, code))
    failed = [(TOKEN_LIMIT if output.cut else str(code or "refused"), why)] if why else []
    for name, passed in output.checks.items():
        if passed is not True:
            reason = detail_of(output.reasons.get(name, MISSING))
            shown = f"nothing matches {quote(patterns[name])}; " if name in patterns else ""
            failed.append((check_name(name)[0], reason.removeprefix(shown)))
    return failed


def limits(evaluation: Evaluation) -> list[str]:
    checks = [check_name(name) for name in evaluation.check_names]
    independent = [name for name, unseen in checks if unseen]
    gates = len(checks) - len(independent)
    expected = (
        "the gates that chose the training rows. A model trained on those rows is expected to pass them: that is the"
        " point of the training, and no proof of quality."
    )
    if not independent:
        only = "only check is one of" if gates == 1 else f"{count(gates)} checks are"
        used = f"The {only} {expected}"
    else:
        used = f"{counted(len(independent), 'check is', 'checks are')} not used by any gate ({', '.join(independent)})."
        used += f" The other {'is one of' if gates == 1 else f'{count(gates)} are'} {expected}" if gates else ""
    return [
        used,
        f"The intervals cover the random variation of these {count(evaluation.seeds)} inputs with"
        f" {counted(evaluation.samples, 'sample', 'samples')} each. They do not cover inputs of another kind or"
        " language, or a second training run: one adapter with one random seed was trained.",
        "Seconds are per request with others in flight, including waiting; they compare systems and do not describe an"
        " idle server.",
    ]
