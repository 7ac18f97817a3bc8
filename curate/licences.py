"""The licence ledger: under what each row of a dataset may be used, as it was declared and never inferred.

A row stands on the license of its seed, under every place that it was read from, and on the terms of the teacher that
wrote it. A row whose text a person wrote stands on its seed and on nothing else that is declared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import orjson

from curate.dataset_files import beside
from schemas.errors import NotLicensed
from schemas.project import Project
from schemas.records import Artifact, Generated, Json, Pair, Seed
from schemas.spec.export import NOT_STATED, ExportSettings
from schemas.store import Store


class Declared(NamedTuple):
    """What was declared of a row. `terms` is empty where no teacher wrote it."""

    licenses: tuple[str, ...]
    terms: tuple[str, ...]


def ledger(project: Project, store: Store, pair_ids: Iterable[str]) -> Counter[Declared]:
    """What was declared, with the number of rows that it holds for; seeds as they were read last."""
    seeds = {seed.id: seed for seed in store.seeds(active=False)}
    terms = terms_of(project)
    counts: Counter[Declared] = Counter()
    for pair in store.pairs(pair_ids):
        counts[_declared(_written(store, pair), seeds.get(pair.seed_id), terms)] += 1
    return counts


def terms_of(project: Project) -> dict[str, tuple[str, ...]]:
    """A teacher's name in call keys -> the terms that the spec declares of it; all of those that two tables of one name
    declare, for which of them an answer came from is not known."""
    declared: dict[str, dict[str, None]] = {}
    for teacher in (project.spec.teacher, *project.spec.teachers.values()):
        if teacher.terms:
            declared.setdefault(teacher.identity or teacher.model, {})[teacher.terms] = None
    return {name: tuple(sorted(terms)) for name, terms in declared.items()}


def refuse_unlicensed(
    project: Project,
    store: Store,
    artifacts: Iterable[Artifact] = (),
    pair_ids: Iterable[str] = (),
    seed_ids: Iterable[str] = (),
) -> None:
    """What everything asks that hands on rows, or what was made of them. Raises NotLicensed where `[export]` keeps in a
    row of `artifacts`, one that lies beside them, one of what they were made of (a model has its terms from the rows
    that it learnt), one of `pair_ids`, or a seed without a pair, as an evaluation asks about."""
    if project.spec.export == ExportSettings():
        return
    known, left, rows = {each.id: each for each in store.artifacts()}, list(artifacts), set(pair_ids)
    wanted = set(seed_ids)
    for each in left:
        if each.kind == "dataset":
            rows |= beside(project.folder / each.path)
        elif each.kind == "evaluation":
            wanted |= _tested(project.folder / each.path)
    while left:
        each = left.pop()
        rows |= {id_ for id_, _ in each.members}
        left += [known[parent] for parent in each.parents if parent in known]
    counts = ledger(project, store, rows)
    if wanted:
        seeds = (seed for seed in store.seeds(active=False) if seed.id in wanted)
        counts += Counter(Declared(_licenses(seed), ()) for seed in seeds)
    check(counts, project.spec.export)


def _tested(evaluation: Path) -> set[str]:
    """The seeds whose texts stand in the file of an evaluation."""
    if not evaluation.is_file():
        return set()
    measured = orjson.loads(evaluation.read_bytes())
    return {*measured.get("inputs", ()), *(example["seed_id"] for example in measured.get("side_by_side", ()))}


def _written(store: Store, pair: Pair) -> Pair:
    """The pair that a teacher wrote, of one that a person corrected."""
    while pair.origin.by == "edited":
        (pair,) = store.pairs([pair.origin.parent_id])
    return pair


def _declared(pair: Pair, seed: Seed | None, terms: Mapping[str, tuple[str, ...]]) -> Declared:
    teacher = terms.get(pair.origin.teacher, (NOT_STATED,)) if isinstance(pair.origin, Generated) else ()
    return Declared(_licenses(seed), teacher)


def _licenses(seed: Seed | None) -> tuple[str, ...]:
    return tuple(sorted({license or NOT_STATED for license in (seed.licenses if seed else (None,))}))


def as_json(counts: Counter[Declared]) -> list[Json]:
    return [{**declared._asdict(), "rows": rows} for declared, rows in counts.most_common()]


def check(counts: Counter[Declared], allowed: ExportSettings) -> None:
    """Raise NotLicensed where rows have a license or terms that are not allowed; all of a row's licenses have to be."""
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
            f"rows may not leave by the policy of the spec: {listed}.",
            where="[export]",
            why="What is declared of them is not in export.licenses or export.terms.",
            fix="Correct `license` of the source, run `pairsmith generate` (no teacher is asked again) and `pairsmith"
            " curate`, leave the source out, or allow it. A model that learnt from such rows is trained again.",
        )
