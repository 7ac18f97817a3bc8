"""The result of a gate, and which sides of a pair a gate has to check."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, NamedTuple

from curate.gates.folding import shorten_runs
from curate.gates.formatted import is_text_alone, text_pair
from schemas.records import Pair, Reason
from schemas.wording import quote as quote

Side = Literal["output", "input"]


class Judgement(NamedTuple):
    """One gate's result for one pair.

    `keep=None` means that the gate could not judge, so the row waits. `score` is the quantity that the gate measured,
    where it is a number. The code of `reason` is stable (`ok`, `short`, `loop`, `missing:ar_flag`, ...); its detail
    quotes the evidence. `flags` are codes of things that deserve a look; they do not decide anything.
    """

    keep: bool | None
    score: float | None
    reason: Reason
    flags: tuple[str, ...] = ()


Gate = Callable[[Pair], Judgement]


@dataclass(frozen=True)
class GateStep:
    """A gate with its settings bound. `by` is its name (`gate/length@1`), `fingerprint` the hash of its settings.

    `flags` is True for a gate that rejects nothing and only flags.
    """

    by: str
    fingerprint: str
    judge: Gate
    flags: bool = False


def passed(sentence: str = "", score: float | None = None, *, flag: str = "") -> Judgement:
    """Return a judgement without objections, or with a code that flags the row."""
    if flag or score is not None:
        return Judgement(True, score, Reason("ok", sentence), (flag,) if flag else ())
    return _passed(sentence)


@lru_cache(maxsize=256)  # most judgements are the same few
def _passed(sentence: str) -> Judgement:
    return Judgement(True, None, Reason("ok", sentence))


def rejected(word: str, sentence: str, score: float | None = None) -> Judgement:
    """Return a rejection. `word` is the reason code, which tests and reports count."""
    return Judgement(False, score, Reason(word, sentence))


def flagged(gate: Gate) -> Gate:
    """Return `gate` as one that keeps what it would reject and flags it with the code of the reason."""
    return partial(_flag, gate)


def _flag(gate: Gate, pair: Pair) -> Judgement:
    judgement = gate(pair)
    return only_flagged(judgement) if judgement.keep is False else judgement


def only_flagged(judgement: Judgement) -> Judgement:
    """Return a rejection as a judgement that keeps the row and flags it with the code of the reason."""
    return judgement._replace(keep=True, flags=(judgement.reason.code,))


def on_shortened(gate: Gate) -> Gate:
    """Return `gate` as one that sees the texts without overlong runs of one kind of character.

    The running time of its rules grows with the length of such a run, and the rest of the run carries no information.
    """
    return partial(_judge_shortened, gate)


def _judge_shortened(gate: Gate, pair: Pair) -> Judgement:
    return gate(_shortened_pair(pair))


def _shortened_pair(pair: Pair) -> Pair:
    short: Pair | Literal[False] | None = pair.__dict__.get("_short")
    if short is None:  # all gates need it, and a pair never changes
        texts = {"input": shorten_runs(pair.input), "output": shorten_runs(pair.output)}
        changed = (texts["input"], texts["output"]) != (pair.input, pair.output)
        short = pair.__dict__["_short"] = pair.model_copy(update=texts) if changed else False
    return short or pair


def on_text_alone(gate: Gate) -> Gate:
    """Return `gate` as one that sees the texts of a pair without markup that only formats them (`text_pair`)."""
    return partial(_judge_text_alone, gate)


def _judge_text_alone(gate: Gate, pair: Pair) -> Judgement:
    return gate(text_pair(pair))


def run_gate(step: GateStep, pair: Pair) -> Judgement:
    """Run a gate on a pair.

    If the gate raises, the result has `keep=None` and the reason `crashed: ...`, and the row waits.
    """
    return run_gate_on_all(step, (pair,))[0]


def run_gate_on_all(step: GateStep, pairs: Iterable[Pair]) -> list[Judgement]:
    """Run a gate on each pair, with the error handling of `run_gate`."""
    flags, judge = _unwrap(_flag, step.judge)
    alone, judge = _unwrap(_judge_text_alone, judge)
    short, judge = _unwrap(_judge_shortened, judge)
    judgements = list[Judgement]()
    for pair in pairs:
        try:
            shown = text_pair(pair) if alone and not is_text_alone(pair) else pair
            whole = not short or shown.__dict__.get("_short") is False  # it is known to have no overlong run
            judgement = judge(shown if whole else _shortened_pair(shown))
        except Exception as error:
            judgement = crashed(f"{type(error).__name__}: {error}")
        judgements.append(only_flagged(judgement) if flags and judgement.keep is False else judgement)
    return judgements


def _unwrap(wrapper: Callable[..., Judgement], gate: Gate) -> tuple[bool, Gate]:
    """Return whether `wrapper` wraps a gate, and the wrapped gate.

    Unwrapping it once saves one call per pair, which is a large part of the time of a cheap gate.
    """
    is_wrapped = isinstance(gate, partial) and gate.func is wrapper
    return is_wrapped, gate.args[0] if is_wrapped else gate  # type: ignore[attr-defined]


def crashed(sentence: str) -> Judgement:
    """Return the judgement of a gate that could not judge.

    The row waits and is counted; it neither passes nor is rejected.
    """
    return Judgement(None, None, Reason("crashed", " ".join(sentence.split())[:300]))


def sides(pair: Pair) -> tuple[tuple[Side, str], ...]:
    """Return the texts that a model may have damaged: always the output, and the input if it was generated backward.

    A user's own terse seed is never judged by its form, because that is what users type.
    """
    known: tuple[tuple[Side, str], ...] = pair.__dict__.get("_sides", ())
    if not known:  # all gates need it, and a pair never changes
        origin, known = pair.origin, (("output", pair.output),)
        if origin.by == "generated" and origin.generator == "backward":
            known = (("output", pair.output), ("input", pair.input))
        pair.__dict__["_sides"] = known
    return known
