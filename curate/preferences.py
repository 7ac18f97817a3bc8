"""Preferences: pairs of a better and a worse answer to one input, for reward models and for DPO.

Two answers are compared only if something has judged both (`PreferredBy`):

    edit     a reviewer's corrected text > the text it replaced
    verdict  accepted in review > rejected in review
    ranking  ranked higher in review > ranked lower, if no other reviewer ranks them the other way round
    file     an accepted row that was imported > an answer that its file marks as rejected
    gate     an accepted row > one that a gate rejected
    score    an accepted row > one whose score is lower by at least the usual deviation of scores within an input

Each answer loses at most once, to the better answer whose length is nearest. Preferences by programs are thinned out so
that the better answer is as often longer as it is shorter, at every size of the difference; those by reviewers and
files all stay. Left out are rows of the test split, answers that repeat held-out texts, and answers with personal data
that the spec rejects.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import compress
from typing import Literal, NamedTuple, get_args

from curate.gates import rejected_personal_kinds
from curate.gates.personal import pii
from curate.pool import Pool
from curate.review.decision import current_answers
from curate.review.sampling import in_estimation_half
from curate.rows import ROWS, Row, pair_of
from curate.similarity.contamination import collect_held_out, with_test_rows
from curate.split import SPLITS, recorded_splits, split_of
from prompts.answer_form import AnswerForm
from schemas.id_map import IdList, IdMap
from schemas.identity import changed_copy
from schemas.project import Project
from schemas.records import Imported, Json, Pair, Seed, Split
from schemas.spooled_seeds import SpooledSeeds
from schemas.streamed import Streamed, batched
from schemas.wording import counted as counted_as

PreferredBy = Literal["edit", "verdict", "ranking", "file", "gate", "score"]
BY_PEOPLE: tuple[PreferredBy, ...] = ("edit", "verdict", "ranking")
_NEVER_REMOVED = (*BY_PEOPLE, "file")
_EQUAL = 0.05  # a difference in log length up to which two answers count as equally long
_BIN = 0.1  # bin width of that difference; within a bin, longer and shorter winners are balanced
# Why a row is the better answer of no preference: there is no worse answer to its input; the worse one repeats a
# held-out text, or contains personal data; or it was removed so that winners are as often longer as shorter.
NO_WORSE = "no_worse_answer"
_LEFT_OUT = ("held_out", "personal", "length")


class Preference(NamedTuple):
    """`chosen` is better than `rejected`; both answer one input. `gap` is the difference of their scores if both have
    one. `rests_on` holds the rows whose reviews it is based on."""

    by: PreferredBy
    split: Split
    chosen: Pair
    rejected: Pair
    gap: float | None = None
    rests_on: tuple[str, ...] = ()

    @property
    def log_ratio(self) -> float:
        """The logarithm of the length ratio of the better to the worse answer, in characters."""
        return _log_ratio(self.chosen, self.rejected)

    @property
    def longer(self) -> int:
        """1 if the better answer is longer, -1 if it is shorter, 0 if both are about equally long."""
        return _longer(self.log_ratio)

    @property
    def ids(self) -> tuple[str, str]:
        return self.chosen.id, self.rejected.id


class PreferenceIds(NamedTuple):
    """A preference without its texts."""

    by: PreferredBy
    split: Split
    ids: tuple[str, str]
    log_ratio: float
    gap: float | None
    rests_on: tuple[str, ...]

    @property
    def longer(self) -> int:
        return _longer(self.log_ratio)


class PreferenceTable:
    """Preferences without their texts, 50 bytes each."""

    def __init__(self) -> None:
        self._ids, self._named, self._log_ratios, self._gaps = IdList(), array("B"), array("d"), array("d")
        self._rests_on: dict[int, tuple[str, ...]] = {}  # sparse

    def add(self, one: Preference | PreferenceIds) -> None:
        if one.rests_on:
            self._rests_on[len(self)] = one.rests_on
        for id_ in one.ids:
            self._ids.append(id_)
        self._named.extend((get_args(PreferredBy).index(one.by), SPLITS.index(one.split)))
        self._log_ratios.append(one.log_ratio)
        self._gaps.append(math.nan if one.gap is None else one.gap)

    def __len__(self) -> int:
        return len(self._gaps)

    def __getitem__(self, number: int) -> PreferenceIds:
        if number >= len(self):
            raise IndexError(number)
        by, split = self._named[2 * number : 2 * number + 2]
        ids = self._ids[2 * number] or "", self._ids[2 * number + 1] or ""
        gap = None if math.isnan(self._gaps[number]) else self._gaps[number]
        rests_on = self._rests_on.get(number, ())
        return PreferenceIds(get_args(PreferredBy)[by], SPLITS[split], ids, self._log_ratios[number], gap, rests_on)


class RejectedByFiles:
    """The answers that imported files mark as rejected, by seed; 32 bytes per seed are in memory."""

    def __init__(self, project: Project, seeds: Iterable[Seed]) -> None:
        self._form = AnswerForm.of(project.spec.task, project.folder)
        self._seeds, self._places = SpooledSeeds(), IdMap()
        for seed in seeds:
            if seed.meta.get("rejected"):
                self._places[seed.id] = len(self._seeds)
                self._seeds.append(seed)

    def __len__(self) -> int:
        """The number of seeds with such answers."""
        return len(self._seeds)

    def rejected_answers(self, pair: Pair) -> Iterator[Pair]:
        """The rejected answers to the input of `pair`, as pairs."""
        if (place := self._places.get(pair.seed_id)) is not None:
            seed = self._seeds[place]
            for text in seed.meta["rejected"]:
                output, origin = self._form.canonical(text), Imported(source=seed.file)
                yield changed_copy(pair, {"output": output, "origin": origin, "meta": {}})


class Preferences(Streamed[Preference]):
    """The preferences of a pool with the given `numbers` in a table. Their texts are read during iteration.

    `left_out` are the numbers that were left out for each reason of `_LEFT_OUT`; the rest was left out for the last.
    """

    def __init__(
        self,
        pool: Pool,
        files: RejectedByFiles,
        table: PreferenceTable,
        numbers: Sequence[int],
        left_out: Sequence[Container[int]] = (),
    ) -> None:
        self._pool, self._files, self._table, self._numbers, self._left_out = pool, files, table, numbers, left_out

    def rows_without(self, rows: int) -> dict[str, int]:
        """Why rows, of `rows` in the training and validation splits, are the better answer of no preference, and of how
        many that is true."""
        better = IdMap()
        for number in self._numbers:
            better[self._table[number].ids[0]] = 0
        counts = Counter[str]()
        for number in range(len(self._table)):
            if (id_ := self._table[number].ids[0]) not in better:
                better[id_] = 0
                known = zip(_LEFT_OUT, self._left_out, strict=False)
                counts[next((why for why, of in known if number in of), _LEFT_OUT[-1])] += 1
        return {why: n for why, n in [(NO_WORSE, rows - len(better)), *counts.items()] if n > 0}

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Preference]:
        edited = {pair.id: pair for pair in self._pool.edited}
        for some in batched(map(self._table.__getitem__, self._numbers), ROWS):
            stored = (kept.ids[:1] if kept.by == "file" else kept.ids for kept in some)
            ids = dict.fromkeys(id_ for ids_ in stored for id_ in ids_ if id_ not in edited)
            pairs = edited | {pair.id: pair for pair in self._pool.source.pairs(ids)}
            for by, split, (chosen, rejected), _, gap, rests_on in some:
                candidates = self._files.rejected_answers(pairs[chosen]) if by == "file" else (pairs[rejected],)
                worse = next(pair for pair in candidates if pair.id == rejected)
                yield Preference(by, split, pairs[chosen], worse, gap, rests_on)


def _longer(log_ratio: float) -> int:
    return 0 if abs(log_ratio) <= _EQUAL else 1 if log_ratio > 0 else -1


def chat_of(pair: Pair) -> tuple[list[Json], list[Json]]:
    """Prompt and completion of a pair as message lists: system, earlier turns and input; and the output."""
    system = [{"role": "system", "content": pair.system}] if pair.system else []
    prompt = [*system, *(turn.model_dump() for turn in pair.turns), {"role": "user", "content": pair.input}]
    return prompt, [{"role": "assistant", "content": pair.output}]


def preferences(
    project: Project,
    pool: Pool,
    seeds: Sequence[Seed],
    unusable: Callable[[Preference], bool] = lambda preference: False,
) -> Sequence[Preference]:
    """The preferences in a curated pool, in pool order; `seeds` are the active ones. An answer is compared only with
    better ones for which the preference is not `unusable`; lengths are balanced among the rest."""
    settings = project.spec.split
    recorded, least, table = recorded_splits(seeds, settings), pool.score_deviation() or math.inf, PreferenceTable()
    files = RejectedByFiles(project, seeds if any(source.imported for source in project.spec.seeds) else ())
    for rows in pool.by_input(several=not files):
        seed_id = rows[0].candidate.seed_id
        split = recorded.get(seed_id) or split_of(seed_id, settings)
        if split != "test":
            for one in _preferences_of_input(rows, split, _originals(pool, rows), least, files, unusable):
                table.add(one)
    held = with_test_rows(pool, collect_held_out(project.spec, project.folder, seeds))
    jaccard = project.spec.curate.duplicates.jaccard
    losers = Preferences(pool, files, table, range(len(table)))

    def texts() -> Iterator[tuple[str, str]]:
        return ((p.rejected.asked, p.rejected.output) for p in losers)

    touched = held.repeated_by(texts, jaccard)
    kinds = rejected_personal_kinds(project.spec)
    personal = [number for number, p in enumerate(losers) if not pii(p.rejected, kinds).keep] if kinds else []
    kept = balance_lengths(table, {*touched, *personal})
    return Preferences(pool, files, table, kept, ({*touched}, {*personal}))


def balance_lengths(table: PreferenceTable, left_out: Container[int] = ()) -> Sequence[int]:
    """The indices of the preferences to keep, without those `left_out`.

    Of the preferences by programs, as many are removed as needed to make the better answer as often longer as shorter
    in every bin of the length difference. Those by reviewers or files always stay, and count towards the balance.
    """
    bins: dict[int, dict[bool, array[int]]] = defaultdict(lambda: {True: array("I"), False: array("I")})
    kept_rows = bytearray(number not in left_out for number in range(len(table)))
    for number in compress(range(len(table)), kept_rows):
        if (one := table[number]).longer:
            bins[int(abs(one.log_ratio) / _BIN)][one.longer > 0].append(number)
    for sides in bins.values():
        for side in (True, False):
            programs = (number for number in sides[side] if table[number].by not in _NEVER_REMOVED)
            surplus = max(0, len(sides[side]) - len(sides[not side]))
            for number in nsmallest(surplus, programs, key=lambda number: table[number].ids[::-1]):
                kept_rows[number] = False
    return array("I", compress(range(len(table)), kept_rows))


def rests_on_estimates(preference: Preference, seed: int, drawn: Collection[str] = ()) -> bool:
    """Whether a preference is based on a review from the estimation half (`seed` is `review.seed`), which certificates
    and estimates depend on, or of a row that was `drawn` for an estimate (possibly all rows)."""
    return any(id_ in drawn or in_estimation_half(seed, id_) for id_ in preference.rests_on)


def as_row(preference: Preference) -> Json:
    """A line of `preferences.jsonl`: TRL's conversational format with provenance."""
    prompt, chosen = chat_of(preference.chosen)
    return {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": chat_of(preference.rejected)[1],
        "split": preference.split,
        "by": preference.by,
        "chosen_id": preference.chosen.id,
        "rejected_id": preference.rejected.id,
        "score_gap": preference.gap,
    }


def counted(given: Sequence[Preference], rows: int = 0) -> Json:
    """The number of preferences by kind, how often the better answer is longer (ties count half), which is the accuracy
    of a rule that looks at length only, and why others of the `rows` in the training and validation splits have none
    (`rows_without`)."""
    by = Counter(preference.by for preference in given)
    longer = sum((1 + preference.longer) / 2 for preference in given)
    facts = {**{name: by[name] for name in get_args(PreferredBy)}, "longer": longer / len(given) if given else None}
    return facts | ({"rows_without": given.rows_without(rows)} if isinstance(given, Preferences) else {})


def without_in_words(without: Mapping[str, int], objective: str) -> str:
    """How many rows are the better answer of no preference, and why (`Preferences.rows_without`). DPO begins with
    supervised training on all rows."""
    causes = {
        NO_WORSE: "no worse answer of their own to compare with",
        "length": "removed so that the better answer is not always the longer, or the shorter, one",
        "held_out": "the worse answer repeats a held-out text",
        "personal": "the worse answer contains personal data",
    }
    listed = "; ".join(f"{count:,} ({causes.get(why, why)})" for why, count in without.items())
    rows = counted_as(sum(without.values()), "training or validation row is", "training and validation rows are")
    used = "used in the supervised stage only" if objective == "dpo" else "not used"
    return f"{rows} not in any preference as the better answer, and {used}: {listed}"


def _originals(pool: Pool, rows: Sequence[Row]) -> dict[str, Pair]:
    """The pairs that reviewers' edits replaced, by id."""
    originals: dict[str, Pair] = {}
    edited = list(map(pair_of, rows))
    while parent_ids := [pair.origin.parent_id for pair in edited if pair.origin.by == "edited"]:
        edited = pool.source.pairs(parent_ids)
        originals |= {pair.id: pair for pair in edited}
    return originals


def _preferences_of_input(
    rows: Sequence[Row],
    split: Split,
    originals: Mapping[str, Pair],
    least_gap: float,
    files: RejectedByFiles,
    unusable: Callable[[Preference], bool],
) -> Iterator[Preference]:
    """The preferences among the rows of one input. An answer that has lost is not compared again."""
    accepted = [row for row in rows if row.keep]
    lost, good = set[str](), {pair_of(row).output.strip() for row in accepted if row.by_people}
    for by, loser, winners in _comparisons(rows, accepted, originals, least_gap, files):
        worse = pair_of(loser)
        if (text := worse.output.strip()) in lost or (text in good and by in ("gate", "score")):
            continue
        better = list[Preference]()
        for row in winners:
            if _comparable(chosen := pair_of(row), worse):
                gap = None if row.score is None or loser.score is None else row.score - loser.score
                rests_on = _rests_on(by, row, loser, rows) if by in BY_PEOPLE else ()
                better.append(Preference(by, split, chosen, worse, gap, rests_on))
        if usable := [one for one in better if not unusable(one)]:
            lost.add(text)
            yield min(usable, key=lambda one: (abs(one.log_ratio), one.chosen.id))


def _rests_on(by: PreferredBy, winner: Row, loser: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """The rows whose reviews a preference is based on, also those of a pair with the same texts. A ranking covers more
    rows than the one that it was given with."""
    judged = rows if by == "ranking" else (winner, loser)
    ids = [review.pair_id for row in judged for review in row.reviews]
    ids += [row.decision.review.pair_id for row in judged if row.decision]
    return tuple(dict.fromkeys([*ids, *([pair_of(winner).id, pair_of(loser).id] if by == "ranking" else [])]))


def _comparisons(
    rows: Sequence[Row],
    accepted: Sequence[Row],
    originals: Mapping[str, Pair],
    least_gap: float,
    files: RejectedByFiles,
) -> Iterator[tuple[PreferredBy, Row, list[Row]]]:
    """Every answer that may lose, with the accepted rows that are better; those by reviewers first."""
    for row in accepted:
        pair = pair_of(row)
        while pair.origin.by == "edited":
            pair = originals[pair.origin.parent_id]
            yield "edit", row._replace(pair=pair, score=None), [row]
    by_people = [row for row in accepted if row.by_people]
    for row in rows:
        if row.decision and row.decision.verdict == "reject":
            yield "verdict", row, by_people
    ranks = [dict(review.ranking) for row in rows for review in current_answers(row.reviews)]
    for row in rows if any(ranks) else ():
        yield "ranking", row, [other for other in accepted if _ranked_above(other, row, ranks)]
    for row in accepted:
        for worse in files.rejected_answers(pair_of(row)):
            yield "file", row._replace(pair=worse, score=None), [row]
    unseen = [row for row in accepted if row.decision is None]
    for row in rows:
        if row.decision is None and row.keep is False and (row.step or "").startswith("gate/"):
            yield "gate", row, unseen
    for row in rows:
        if row.decision is None and (score := row.score) is not None:
            above = [other for other in unseen if other.score is not None and other.score - score >= least_gap]
            yield "score", row, above


def _ranked_above(a: Row, b: Row, ranks: Sequence[Mapping[str, int]]) -> bool:
    """Whether some reviewer ranks `a` above `b` and none ranks `b` above `a`."""
    first, second = pair_of(a).id, pair_of(b).id
    orders = [rank[first] - rank[second] for rank in ranks if first in rank and second in rank]
    return min(orders, default=0) < 0 and max(orders) <= 0


def _comparable(a: Pair, b: Pair) -> bool:
    """Whether they are different answers to the same prompt."""
    return a.output.strip() != b.output.strip() and chat_of(a)[0] == chat_of(b)[0]


def _log_ratio(a: Pair, b: Pair) -> float:
    return math.log((len(a.output) + 1) / (len(b.output) + 1))
