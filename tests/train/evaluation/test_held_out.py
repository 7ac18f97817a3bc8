"""Tests of the inputs of an evaluation."""

from __future__ import annotations

from pathlib import Path

from curate.groups import groups_of
from curate.split import assign_splits
from schemas.project import Project
from schemas.records import Message, Seed
from schemas.store import Store
from tests.curate import tiny
from train.evaluation.held_out import held_out_seeds, validation_seeds


def test_conversations_with_a_greeting_are_inputs_of_their_own(tmp_path: Path) -> None:
    """What a greeting is depends on all conversations: few of those in the test, or under validation, begin with it,
    and they are not one group. They were, and so could prove nothing."""
    project = Project(tmp_path, tiny.spec())
    turns = [("user", "Hi"), ("assistant", "How can I help?")]

    def chat(number: int) -> Seed:
        roles = [*(turns if number % 3 == 0 else []), ("user", f"My router {number} is broken.")]
        messages = tuple(Message(role=role, content=text) for role, text in roles)  # type: ignore[arg-type]
        return Seed(kind="conversation", messages=messages, reference="ok", source="s")

    with Store.open(Store.url_for(project)) as store:
        store.set_active_seeds(assign_splits([chat(number) for number in range(60)], project.spec.split))
        for some in (held_out_seeds(store, project.spec), validation_seeds(store, project.spec)):
            assert 1 < sum(len(seed.turns) == 2 for seed in some) < 10
            assert not groups_of(some)
