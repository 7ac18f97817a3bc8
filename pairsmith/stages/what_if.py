"""What another curation setting would change, without changing anything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from curate.scorers.remote import open_remote_scorers
from curate.what_if import WhatIf, compare, judge_without_asking
from pairsmith.teachers import teachers
from schemas import spec_file
from schemas.blocking import run
from schemas.errors import NoWork, SpecError, UsageError
from schemas.progress import Progress, Say, discard_message, unseen
from schemas.project import Project
from schemas.records import Json
from schemas.store import Store

_ALLOWED_KEYS = ("curate.", "split.", "personal.", "task.labels", "task.schema")


def what_if(
    project: Project, store: Store, overrides: Sequence[str], *, progress: Progress = unseen, say: Say = discard_message
) -> WhatIf:
    """Judge the rows by the present spec and by the spec with `overrides` (`KEY=VALUE`), and compare the results.

    Raises like `changed`, and NoWork before generation.
    """
    other = changed(project, overrides)
    fingerprints = teachers.fingerprints_of(project, say)

    async def both() -> WhatIf:
        pools = []
        for candidate in (project, other):
            async with AsyncExitStack() as opened:
                scorers = await open_remote_scorers(candidate, store, opened, say)
                pools.append(await judge_without_asking(candidate, store, fingerprints, scorers, progress))
        before, after = pools
        return compare(before, after, progress)

    comparison = run(both())
    if not comparison.before.rows_in:
        raise NoWork("there are no rows to judge.", fix="Run `pairsmith generate` first.")
    shares = [override for override in overrides if override.startswith("split.")]
    if shares and comparison.splits_before == comparison.splits_after:
        say(
            f"{', '.join(shares)}: seeds that were already read keep their split; the shares apply to seeds that you "
            "add."
        )
    return comparison


def changed(project: Project, overrides: Sequence[str]) -> Project:
    """The project with these settings. Raises UsageError for one that moves rows in a way that cannot be predicted, or
    not at all, and SpecError for an invalid value."""
    for override in overrides:
        key = override.partition("=")[0].strip()
        if not key.startswith(_ALLOWED_KEYS):
            raise UsageError(
                f"--what-if {override}: '{key}' does not affect curation.",
                why="Only changes that need no teacher can be predicted.",
                fix="Use a key of [curate], [personal] or [split]. `pairsmith preview` tries a changed prompt.",
            )
    other = _load_with(project, overrides)
    if project.spec.personal.kinds("redact") != other.spec.personal.kinds("redact"):
        raise UsageError(
            "--what-if: it would redact other kinds of personal data.",
            why="That changes the rows themselves, and only new verdicts on the same rows can be predicted.",
            fix="Try what would be rejected, for example personal.email=reject, or run `pairsmith generate` with it: "
            "it asks no teacher.",
        )
    return other


def _load_with(project: Project, overrides: Sequence[str]) -> Project:
    try:
        return spec_file.load(project.folder, [*project.overrides, *overrides])
    except SpecError as error:  # the present spec was loaded without errors, so the mistake is in the --what-if setting
        what, where = (part and part.replace("--set", "--what-if", 1) for part in (error.what, error.where))
        raise SpecError(what or "", where=where, why=error.why, fix=error.fix) from None


def as_json(comparison: WhatIf, overrides: Sequence[str]) -> Json:
    before, after = comparison.before, comparison.after
    return {
        "what_if": list(overrides),
        "before": {**before.model_dump(), "reasons": comparison.reasons_before, "splits": comparison.splits_before},
        "after": {**after.model_dump(), "reasons": comparison.reasons_after, "splits": comparison.splits_after},
        "moves": [
            {**move._asdict(), "examples": [example._asdict() for example in move.examples]}
            for move in comparison.moves
        ],
    }
