"""The answer of a gate, and which side of a pair it has to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal, NamedTuple

from curate.gates.folding import shortened
from schemas.records import Pair, Reason

Side = Literal["output", "input"]


class Judgement(NamedTuple):
    """One gate's answer for one pair.

    `keep=None` means that the gate could not judge: the row waits. `score` is the quantity the gate looked at, if it is
    a number. The code of `reason` is stable (`ok`, `short`, `loop`, `missing:ar_flag`, ...), its detail quotes the
    evidence. `flags` are codes of what is worth a look; they decide nothing.
    """

    keep: bool | None
    score: float | None
    reason: Reason
    flags: tuple[str, ...] = ()


Gate = Callable[[Pair], Judgement]


@dataclass(frozen=True)
class GateStep:
    """A gate with its settings bound: `by` names it (`gate/length@1`), `fingerprint` is the hash of its settings.
    `flags`: it rejects nothing."""

    by: str
    fingerprint: str
    judge: Gate
    flags: bool = False


def passed(sentence: str = "", score: float | None = None) -> Judgement:
    """The gate has nothing against the pair."""
    return _passed(sentence) if score is None else Judgement(True, score, Reason("ok", sentence))


@lru_cache(maxsize=256)  # most judgements are the same few
def _passed(sentence: str) -> Judgement:
    return Judgement(True, None, Reason("ok", sentence))


def rejected(word: str, sentence: str, score: float | None = None) -> Judgement:
    """The gate rejects the pair; `word` is what tests and reports count."""
    return Judgement(False, score, Reason(word, sentence))


def flagged(gate: Gate) -> Gate:
    """`gate`, but what it would reject is kept and flagged with the code of the reason."""
    return partial(_flag, gate)


def _flag(gate: Gate, pair: Pair) -> Judgement:
    judgement = gate(pair)
    return _flags(judgement) if judgement.keep is False else judgement


def _flags(judgement: Judgement) -> Judgement:
    return judgement._replace(keep=True, flags=(judgement.reason.code,))


def on_short(gate: Gate) -> Gate:
    """`gate`, asked about texts without their overlong runs of one kind of character: its rules take time by the length
    of a run, and are told nothing by it."""
    return partial(_shortly, gate)


def _shortly(gate: Gate, pair: Pair) -> Judgement:
    return gate(_short_of(pair))


def _short_of(pair: Pair) -> Pair:
    short: Pair | Literal[False] | None = pair.__dict__.get("_short")
    if short is None:  # every gate asks; a pair never changes
        texts = {"input": shortened(pair.input), "output": shortened(pair.output)}
        changed = (texts["input"], texts["output"]) != (pair.input, pair.output)
        short = pair.__dict__["_short"] = pair.model_copy(update=texts) if changed else False
    return short or pair


def safely(step: GateStep, pair: Pair) -> Judgement:
    """What the gate says; one that raises gives `keep=None` and `crashed: ...`: the row waits."""
    return safely_all(step, (pair,))[0]


def safely_all(step: GateStep, pairs: Iterable[Pair]) -> list[Judgement]:
    """`safely` of each pair."""
    flags, judge = _within(_flag, step.judge)
    short, judge = _within(_shortly, judge)
    judgements = list[Judgement]()
    for pair in pairs:
        try:
            judgement = judge(_short_of(pair) if short else pair)
        except Exception as error:
            judgement = crashed(f"{type(error).__name__}: {error}")
        judgements.append(_flags(judgement) if flags and judgement.keep is False else judgement)
    return judgements


def _within(around: Callable[..., Judgement], gate: Gate) -> tuple[bool, Gate]:
    """Whether a function stands around a gate, and the gate within: a call for each pair is much of its time."""
    inside = isinstance(gate, partial) and gate.func is around
    return inside, gate.args[0] if inside else gate  # type: ignore[attr-defined]


def crashed(sentence: str) -> Judgement:
    """The gate could not judge: the row waits and is counted, it neither passes nor is rejected."""
    return Judgement(None, None, Reason("crashed", " ".join(sentence.split())[:300]))


def quote(text: str, limit: int = 80) -> str:
    """`text` in quotation marks on one line, cut at `limit` characters, as evidence in a reason."""
    flat = " ".join(text.split())
    return f"“{flat if len(flat) <= limit else flat[: limit - 1] + '…'}”"


def sides(pair: Pair) -> tuple[tuple[Side, str], ...]:
    """The texts a model may have spoilt: always the output, and the input if it was generated backward.

    A person's own terse seed is never judged by its form: it is what users type.
    """
    known: tuple[tuple[Side, str], ...] = pair.__dict__.get("_sides", ())
    if not known:  # every gate asks; a pair never changes
        origin, known = pair.origin, (("output", pair.output),)
        if origin.by == "generated" and origin.generator == "backward":
            known = (("output", pair.output), ("input", pair.input))
        pair.__dict__["_sides"] = known
    return known
