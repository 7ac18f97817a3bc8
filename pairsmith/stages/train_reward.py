"""Trains a reward model on the preferences of the project's reviewers and gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from curate.groups import groups_of
from pairsmith.receipts.outcome import RewardOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.stages.table import NO_AUDIENCE, Audience, Stage
from pairsmith.teachers import teachers
from schemas.blocking import run
from schemas.project import Project
from schemas.records import Counts, Json
from schemas.store import Store

REWARD_MODELS = "reward-models"


def train_reward(project: Project, store: Store, audience: Audience = NO_AUDIENCE) -> RewardOutcome:
    """Train a reward model on the preferences of the present pool. With the same preferences and settings, the existing
    one is reused.

    It does not drain: `stop` ends it at once. Raises NoWork for too few preferences.
    """
    progress, say = audience.progress, audience.say
    with recording(project, store, "train-reward", RewardOutcome()) as record:
        from train.base_models.base_model import find_base
        from train.reward_training import own_preferences, refuse_few, train_reward, with_near_questions

        preferred = run(own_preferences(project, store, teachers.fingerprints_of(project, say), progress))
        groups = with_near_questions(preferred, groups_of(store.active_seeds()), project)
        refuse_few(preferred, groups)  # before a base model of several gigabytes is downloaded
        settings = project.spec.train
        base = find_base(settings, project.folder, progress)
        result = train_reward(preferred, base, project, project.folder / REWARD_MODELS, progress, groups)
        path = project.inside(Path(result.folder))
        store.write(result.artifact.model_copy(update={"path": path}))
        facts = {**result.model_dump(mode="json", exclude={"folder"}), "beats_length": result.beats_length}
        left_out = {"too_long": result.left_out} if result.left_out else {}
        counts = Counts(
            rows_in=result.preferences + result.left_out, accepted=result.preferences, rejected=result.left_out
        )
        record.outcome = replace(
            record.outcome, counts=counts, reasons=left_out, result=facts, artifact_id=result.id, files=(path,)
        )
    return record.outcome


def summary(outcome: RewardOutcome) -> list[tuple[str, str]]:
    """What it learned from, its accuracy compared with a length rule, and how to use it."""
    facts, path = outcome.result, outcome.files[0]
    by = ", ".join(f"{count:,} by {name}" for name, count in facts["by"].items())
    use = f"to score with it, set curate.score.model = '{path}'"
    without = f"not shown to be better than a length rule, so do not score with it ({path})"
    return [
        ("learned from", f"{by}, on {facts['base']}"),
        ("held out", f"{facts['held_out']:,} preferences of {facts['held_out_inputs']:,} inputs"),
        ("accuracy", f"{_share(facts['accuracy'])}; the {facts['length_rule']} one {_share(facts['length_only'])}"),
        ("", f"gain over length {_share(facts['gain'], '+')}"),
        ("", use if facts["beats_length"] else without),
    ]


def _share(interval: Json, sign: str = "") -> str:
    estimate, low, high = (f"{interval[name]:{sign}.2f}" for name in ("estimate", "low", "high"))
    return f"{estimate} [{low}, {high}]"


STAGE = Stage[RewardOutcome](
    "train-reward",
    train_reward,
    """Train a reward model on the preferences of reviewers and gates, and compare it with a length rule.

    It is not a stage of `run`. If it is better than the length rule, use it by setting curate.score.model.
    """,
    summary=summary,
)
