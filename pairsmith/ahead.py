"""What a later stage would refuse, known before a teacher is asked: a name that leads nowhere is worth a sentence
before the answers are paid for, not after."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.errors import SpecError
from schemas.project import Project
from schemas.records import Seed

_SCORERS = ("auto", "pmi", "judge", "similarity", "none")


class Look(NamedTuple):
    """One thing to look at; `at` raises PairsmithError where a later stage would."""

    about: str
    at: Callable[[], object]


def refuse_ahead(project: Project, seeds: Sequence[Seed]) -> None:
    """Raise the PairsmithError of a stage that comes later and cannot work: with gates, checks, scorers, gold rows and
    models as the spec names them. What only a hub or a loaded model could tell passes."""
    for look in looks(project, seeds):
        look.at()


def looks(project: Project, seeds: Sequence[Seed]) -> Iterator[Look]:
    """What can be looked at without a network, a model or money."""
    from curate.gates import gates_for
    from curate.review.gold import read_gold
    from curate.spread import refuse_unknown
    from train.checks import checks_for

    spec, folder = project.spec, project.folder
    yield Look("gates", lambda: gates_for(spec.task, spec.curate.gates, folder))
    yield Look("checks", lambda: checks_for(spec, folder))
    yield Look("gold", lambda: read_gold(project))
    columns = {name for seed in seeds for name in seed.columns}
    yield Look("spread", lambda: refuse_unknown(spec.curate.select.spread, columns))
    yield Look("score", lambda: _score(project, seeds))
    if spec.curate.nli is not None:
        yield Look("nli", lambda: _named_model(folder, spec.curate.nli or "", "curate.nli"))


def _score(project: Project, seeds: Sequence[Seed]) -> None:
    score = project.spec.curate.score
    if score.teacher is not None:
        return
    if score.model == "similarity" and not any(seed.reference for seed in seeds):
        raise SpecError(
            "'similarity' compares outputs with references, and no seed brings one.",
            where="curate.score.model",
            why="Every row would wait without a score.",
            fix='Name the column of the references, as in [[seeds]] reference = "...", or take another scorer.',
        )
    if score.model not in _SCORERS:
        _named_model(project.folder, score.model, "curate.score.model", _SCORERS)


def _named_model(folder: Path, name: str, key: str, words: Sequence[str] = ()) -> None:
    """Refuse a model that can only be a folder and is none, or one of our words misspelt."""
    if (folder / name).is_dir():
        return
    parent, _, last = name.rpartition("/")
    local = name.startswith((".", "/", "~")) or name.count("/") > 1 or (parent and (folder / parent).is_dir())
    near = [] if parent else difflib.get_close_matches(last, words, 1)
    if not (local or near):
        return
    raise SpecError(
        f"there is no folder '{name}'.",
        where=key,
        why="Curation would stop there, after the answers were paid for.",
        fix=f"Did you mean '{near[0]}'?" if near else "Paths are relative to the spec.",
    )
