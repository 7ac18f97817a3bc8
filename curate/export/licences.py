"""The licence ledger: the licence and terms under which each row may be used, as declared and never inferred.

A row depends on the licence of its seed, for every source that the seed was read from, and on the terms of the teacher
that wrote it. A row whose text no teacher wrote depends on its seed only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from curate.export.files import pair_ids_next_to
from curate.review.decision import replaced_pairs
from schemas.errors import NotLicensed
from schemas.project import Project
from schemas.records import Artifact, Generated, Json, Pair, Seed
from schemas.spec.export import NOT_STATED, ExportSettings
from schemas.store import Store
from schemas.store.latest import listed_artifacts, members_of
from schemas.streamed import batched

_AT_ONCE = 1_000  # rows whose records are in memory at a time


class DeclaredTerms(NamedTuple):
    """The licences and terms declared for a row. `terms` is empty if no teacher wrote it."""

    licenses: tuple[str, ...]
    terms: tuple[str, ...]


def ledger(project: Project, store: Store, pair_ids: Iterable[str]) -> Counter[DeclaredTerms]:
    """Count the rows by their declared licences and terms; seeds as they were last read."""
    terms = terms_of(project)
    counts: Counter[DeclaredTerms] = Counter()
    for ids in batched(sorted(set(pair_ids)), _AT_ONCE):
        pairs = store.pairs(ids)
        seeds = store.seeds_by_id(pair.seed_id for pair in pairs)
        generated = [[pair, *replaced_pairs(pair, store)][-1] for pair in pairs]
        counts.update(_declared(pair, seeds.get(pair.seed_id), terms) for pair in generated)
    return counts


def terms_of(project: Project) -> dict[str, tuple[str, ...]]:
    """Map a teacher's name in call keys to the terms that the spec declares for it.

    If two tables of one name declare terms, both apply, because it is not known which of them an answer came from.
    """
    declared: dict[str, dict[str, None]] = {}
    for teacher in (project.spec.teacher, *project.spec.teachers.values()):
        if teacher.terms:
            declared.setdefault(teacher.known_as, {})[teacher.terms] = None
    return {name: tuple(sorted(terms)) for name, terms in declared.items()}


def refuse_unlicensed(
    project: Project,
    store: Store,
    artifacts: Iterable[Artifact] = (),
    pair_ids: Iterable[str] = (),
    seed_ids: Iterable[str] = (),
) -> None:
    """The check before any export of rows, or of anything made from them.

    Raises NotLicensed if `[export]` does not allow a row of `artifacts`, a row stored next to them, a row that they
    were made from (a model inherits the terms of the rows that it was trained on), a row of `pair_ids`, or a seed
    without a pair, such as those of an evaluation.
    """
    if project.spec.export == ExportSettings():
        return
    known, queue = {each.id: each for each, _ in listed_artifacts(store)}, list(artifacts)
    rows, used = set(pair_ids), set[str]()
    bare_seed_ids = set(seed_ids)
    for each in queue:
        if each.kind == "dataset":
            rows |= pair_ids_next_to(project.folder / each.path)
        elif each.kind == "evaluation":
            bare_seed_ids |= _evaluated_seed_ids(project.folder / each.path)
    while queue:
        each = queue.pop()
        used.add(each.id)
        queue += [known[parent] for parent in each.parents if parent in known]
    for _, members in members_of(store, used):
        rows |= members.keys()
    counts = ledger(project, store, rows)
    if bare_seed_ids:
        seeds = store.seeds_by_id(bare_seed_ids).values()
        counts += Counter(DeclaredTerms(_licenses(seed), ()) for seed in seeds)
    check(counts, project.spec.export)


def _evaluated_seed_ids(evaluation: Path) -> set[str]:
    """The seeds whose texts are in the file of an evaluation."""
    if not evaluation.is_file():
        return set()
    measured = orjson.loads(evaluation.read_bytes())
    return {*measured.get("inputs", ()), *(example["seed_id"] for example in measured.get("side_by_side", ()))}


def _declared(pair: Pair, seed: Seed | None, terms: Mapping[str, tuple[str, ...]]) -> DeclaredTerms:
    teacher = terms.get(pair.origin.teacher, (NOT_STATED,)) if isinstance(pair.origin, Generated) else ()
    return DeclaredTerms(_licenses(seed), teacher)


def _licenses(seed: Seed | None) -> tuple[str, ...]:
    return tuple(sorted({license or NOT_STATED for license in (seed.licenses if seed else (None,))}))


def as_json(counts: Counter[DeclaredTerms]) -> list[Json]:
    return [{**declared._asdict(), "rows": rows} for declared, rows in counts.most_common()]


def check(counts: Counter[DeclaredTerms], allowed: ExportSettings) -> None:
    """Raise NotLicensed for rows with a licence or terms that are not allowed. All licences of a row must be
    allowed."""
    refused: Counter[str] = Counter()
    for declared, rows in counts.items():
        for what, names, legal in (
            ("license", declared.licenses, allowed.licenses),
            ("teacher terms", declared.terms, allowed.terms),
        ):
            folded = {name.casefold() for name in legal}
            for name in names:
                if legal and name.casefold() not in folded:
                    refused[f"{what} '{name}'"] += rows
    if refused:
        listed = ", ".join(f"{rows:,} with {what}" for what, rows in refused.most_common())
        raise NotLicensed(
            f"the export policy of the spec does not allow some rows: {listed}.",
            where="[export]",
            why="Their declared licenses or terms are not in export.licenses or export.terms.",
            fix="Correct `license` of the source and run `pairsmith generate` (which sends no request again) and"
            " `pairsmith curate`, leave the source out, or allow it. A model trained on such rows has to be retrained.",
        )
