"""Generation from Python: `generate` blocks until all seeds are done, and returns a `Generation` to build a pool
from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from schemas import progress_line
from schemas.blocking import run
from schemas.errors import UsageError, is_missing, several
from schemas.html_table import SHOWN, html_table
from schemas.money import Cost, total
from schemas.python_terms import in_python, python_terms
from schemas.records import Candidate, Counts, Pair, Seed, Usage
from schemas.store import Store
from schemas.store.shared import DEFAULT, is_open, reader, shared, url_of
from schemas.streamed import batched
from schemas.wording import counted
from synth import engine
from synth.functions import AT_ONCE, Function
from synth.generators import Backward, Forward, Generator

_SOURCE = "python"


@dataclass(frozen=True)
class Generation:
    """The result of `generate`, which is in the store: the slots of `seed_ids` under `fingerprints`.

    `forward_n` is the number of forward candidates per seed that count, if all generators agree on one: an earlier run
    may have made more. `counts` are slots: failed, or waiting for curation. `reasons` counts failures by their code,
    `failures` by their text (of many different texts, the first).
    `pairs_made` are new, `pairs_kept` existed before. `usage` (tokens), `usd` (None: unknown) and `calls_sent` are for
    this call of `generate` only.
    """

    store: str
    fingerprints: tuple[str, ...]
    seed_ids: frozenset[str]
    forward_n: int | None
    counts: Counts
    reasons: Mapping[str, int]
    failures: Mapping[str, int]
    pairs_made: int
    pairs_kept: int
    calls_sent: int
    usage: Usage
    usd: float | None

    def candidates(self, store: Store) -> Iterator[Candidate]:
        """Every slot, read from `store` one page at a time."""
        for fingerprint in self.fingerprints:
            yield from (c for c in store.each_candidate(fingerprint) if c.seed_id in self.seed_ids)

    def pairs(self) -> Iterator[Pair]:
        """The pairs, read from the store a few at a time."""
        store = reader(self.store)
        ids = (candidate.pair_id for candidate in self.candidates(store) if candidate.pair_id)
        for chunk in batched(ids, SHOWN):
            yield from store.pairs(chunk)

    def __repr__(self) -> str:
        failed = ", ".join(f"{code} {count}" for code, count in self.reasons.items())
        new = f"{counted(self.pairs_made, 'pair', 'pairs')} new, {self.pairs_kept:,} kept"
        commonest = max(self.failures, key=self.failures.__getitem__, default="")
        why = f" ({failed}), mostly {commonest:.200}" if commonest else ""
        return f"Generation({new}, {self.counts.failed:,} failed{why})"

    def _repr_html_(self) -> str:
        rows = ((pair.input, pair.output) for pair in islice(self.pairs(), SHOWN))
        return html_table(repr(self), ("input", "output"), rows)


@python_terms()
def generate(
    seeds: Iterable[str | Seed],
    *generators: Generator | Callable[[str], Any],
    store: str | Path | None = None,
    progress: bool = True,
) -> Generation:
    """Run `generators` on `seeds` (texts or `Seed`s), and save the results in the store.

    A generator is a `Forward`, a `Backward`, or your own function from a seed's text to outputs. If all generators take
    the same kind of seed, texts are seeds of that kind. Results that are already in the store are not requested again,
    so calling this again resumes a stopped run. `store` is the teacher's, or without a teacher `pairsmith.db` in the
    working folder.

    Raises UsageError for generators and seeds that do not fit together, TeacherError (or a subclass) for a failure that
    concerns every row, and StoreError.
    """
    if not generators:
        raise UsageError("there is no generator.", fix="Pass one, as in generate(texts, Forward(teacher, style)).")
    ways = [_generator(one) for one in generators]
    records = _seeds(seeds, ways)
    forward_n = {way.samples for way in ways if way.name == "forward"}
    ledgers = list({id(way.ledger): way.ledger for way in ways if way.ledger is not None}.values())
    used = {ledger.store.url for ledger in ledgers} | ({url_of(store)} if store is not None else set())
    if len(used) > 1:
        raise UsageError("the generators' teachers use different stores.", fix="Use one store for all of them.")
    sent, before = sum(ledger.sent for ledger in ledgers), total(c for ledger in ledgers for c in ledger.costs)
    with ExitStack() as opened:
        kept = opened.enter_context(shared(used.pop() if used else DEFAULT))
        shown = opened.enter_context(progress_line.shown(silent=not progress))
        kept.write(*records)
        concurrency = max((ledger.concurrency for ledger in ledgers), default=AT_ONCE)
        result = run(engine.generate(kept, records, ways, concurrency=concurrency, progress=shown))
    return Generation(
        kept.url,
        tuple(way.fingerprint for way in ways),
        frozenset(seed.id for seed in records),
        forward_n.pop() if len(forward_n) == 1 else None,
        result.counts,
        dict(result.reasons),
        {in_python(text): count for text, (count, _) in result.sentences.items()},
        result.pairs_made,
        result.pairs_kept,
        sum(ledger.sent for ledger in ledgers) - sent,
        *_spent(before, total(c for ledger in ledgers for c in ledger.costs)),
    )


def _generator(given: Generator | Callable[[str], Any]) -> Generator:
    ledger = getattr(given, "ledger", None)
    has_none = ledger is None and isinstance(given, Forward | Backward)
    if has_none or (ledger is not None and not (hasattr(ledger, "store") and is_open(ledger.store))):
        raise UsageError(
            f"the teacher of a {type(given).__name__} is not open.",
            why="A teacher is open only inside its with block.",
            fix=f"with teacher(...) as t: generate(texts, {type(given).__name__}(t, style=...)).",
        )
    if hasattr(given, "fingerprint") and not isinstance(given, type):
        return given  # type: ignore[return-value]  # one of ours, or an object of the same shape
    if not callable(given) or isinstance(given, type):
        raise UsageError(
            f"{given!r:.80} is not a generator.",
            fix="Pass Forward(t, style=...), Backward(t, style=...), or a function from text to outputs.",
        )
    return Function(given)


def _seeds(seeds: Iterable[str | Seed], generators: Sequence[Generator]) -> list[Seed]:
    """The seeds without duplicates. Raises UsageError if there is none, if one is blank, or if the kind of a text is
    ambiguous."""
    kinds = {kind for generator in generators for kind in generator.takes}
    records: dict[str, Seed] = {}
    for number, seed in enumerate(several(seeds, "seeds"), 1):
        if isinstance(seed, str):
            if len(kinds) != 1:
                raise UsageError(
                    "a text could be an input or an output: these generators take both.",
                    fix='Pass a seed with its kind: Seed(kind="output", text=..., source="python").',
                )
            if not seed.strip():
                raise UsageError(f"seed {number} is blank.")
            seed = Seed(kind=next(iter(kinds)), text=seed.strip(), source=f"{_SOURCE}:{number}")
        if not isinstance(seed, Seed):
            if is_missing(seed):
                raise UsageError(f"seed {number} is missing.", fix='Leave it out: list(table["text"].dropna()).')
            raise UsageError(
                f"seed {number} is of type {type(seed).__name__}, neither a text nor a Seed.",
                fix='Pass texts: ["an old lighthouse", ...].',
            )
        if seed.kind not in kinds:
            raise UsageError(f"seed {number} is of kind {seed.kind}, which no generator takes.")
        records.setdefault(seed.id, seed)
    if not records:
        raise UsageError("there are no seeds.", fix="Pass at least one text.")
    return list(records.values())


def _spent(before: Cost, after: Cost) -> tuple[Usage, float | None]:
    """Tokens and US dollars spent between two totals; the dollars are None if any part of them is unknown."""
    names = Usage.model_fields
    usage = Usage(**{name: getattr(after.usage, name) - getattr(before.usage, name) for name in names})
    unknown = (after.unpriced, after.lost) != (before.unpriced, before.lost)
    return usage, None if unknown else after.usd - before.usd
