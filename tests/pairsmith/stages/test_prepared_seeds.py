"""Tests of the work done for each seed before a teacher is asked, counted in function calls because time depends on the
machine."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from curate.similarity.gram_index import GramIndex
from curate.similarity.overlap import contaminated
from curate.split import assign_splits
from pairsmith.stages.generate import load_seeds, without_test_overlap
from schemas.project import Project
from schemas.records import Message, Seed
from schemas.spec import SplitSettings
from schemas.spec_file import parse
from schemas.spooled_seeds import SpooledSeeds, seed_bodies, seed_body
from schemas.store import Store

SPEC = """
[task]
name = "t"
style = "s"
[[seeds]]
path = "seeds.jsonl"
[[exemplars]]
input = "a harbour"
output = "A harbour at dawn, 35 mm photograph"
"""


def project_of(folder: Path, seeds: int) -> Project:
    folder.mkdir()
    lines = (json.dumps({"text": f"lighthouse number {number}"}) for number in range(seeds))
    (folder / "seeds.jsonl").write_text("\n".join(lines))
    return parse(SPEC, folder)


def count_calls(project: Project) -> int:
    """The number of function calls, Python and C, in any thread."""
    counts = Counter[str]()

    def count(_frame: Any, event: str, _argument: Any) -> None:
        counts[event] += 1

    with Store.open(Store.url_for(project)) as store:
        threading.setprofile(count)
        sys.setprofile(count)
        try:
            _, seeds = load_seeds(project, store, lambda line: None)
            kept, _ = without_test_overlap(project, seeds, lambda line: None)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        assert len(kept) == len(seeds)
    return counts["call"] + counts["c_call"]


def test_a_seed_is_prepared_in_few_calls(tmp_path: Path) -> None:
    """Reading a seed, assigning its split, storing it and comparing it with the test takes fewer than 185 calls: the
    settings of its source are resolved once, no seed is validated twice, and none is looked up to be marked active."""
    few, many = (project_of(tmp_path / str(seeds), seeds) for seeds in (200, 1_200))
    count_calls(project_of(tmp_path / "first", 100))  # caches that are filled once
    assert (count_calls(many) - count_calls(few)) / 1_000 < 185


def test_new_seeds_are_activated_in_one_statement(tmp_path: Path) -> None:
    """If all seeds are new, they are stored in order and become active with a single statement. If some existed before,
    as after a reading that was killed, the result is the same seeds in the same order."""
    seeds = [Seed(kind="input", text=f"seed {number}", source=f"s:{number}") for number in range(3_000)]
    updated: list[int] = []
    with Store.open(f"sqlite:///{tmp_path / 'pairsmith.db'}") as store:

        @sa.event.listens_for(store.engine, "before_cursor_execute")
        def _count(_c: Any, _cursor: Any, sql: str, given: Any, _context: Any, many: bool) -> None:
            if sql.startswith("UPDATE seeds"):
                updated.append(len(given) if many else 1)

        store.set_active_seeds(seeds)
        assert sum(updated) == 2
        assert list(store.active_seeds()) == seeds
        store.write(*(Seed(kind="input", text=f"late {number}", source="s:1") for number in (7, 3)))
        later = [Seed(kind="input", text=f"late {number}", source="s:1") for number in range(10)]
        store.set_active_seeds([*later, seeds[5]])
        assert list(store.active_seeds()) == [*later, seeds[5]]


def test_spooled_seeds_are_stored_with_their_present_split() -> None:
    """The store gets the JSON that was written while seeds were read, with the split of an earlier run replaced by the
    present one; a text that looks like a split is left alone."""
    spooled, one = SpooledSeeds(), {"kind": "input", "source": "s:1"}
    odd = ',"split":"train"}'
    spoken = (Message(role="user", content="Hello"), Message(role="assistant", content="Yes?"))
    given = [
        Seed(**one, text=odd),
        Seed(**one, text="a", columns={"tone": odd, "split": "train"}),
        Seed(**one, text="b", split="test"),
        Seed(**one, text="c", meta={"split": "train"}),
        Seed(**one, text="d", meta={"use": "test"}, split="validation"),
        Seed(kind="conversation", messages=spoken, reference=odd, source="s:9", split="train"),
    ]
    for seed in given:
        spooled.append(seed)
    spooled[1] = Seed(**one, text="e", split="train")
    for settings in (SplitSettings(test=0, validation=0.9), SplitSettings(test=0.5, validation=0)):
        seeds = assign_splits(spooled, settings)
        assert list(seed_bodies(seeds)) == [(seed.id, seed_body(seed)) for seed in seeds]
        assert [Seed.model_validate_json(body) for _, body in seed_bodies(seeds)] == list(seeds)


def test_unneeded_overlap_indexes_are_not_built() -> None:
    """For thousands of texts from one template that differ in a number: if none has the number of a held-out text, only
    numbers are compared, and a text longer than all held-out ones needs no character index."""
    held, built = [f"lighthouse number {number}" for number in range(0, 2_000, 5)], Counter[str]()

    def count(frame: Any, event: str, _argument: Any) -> None:
        if event == "call" and frame.f_code is GramIndex.__init__.__code__:
            built[frame.f_locals["grams"].__name__] += 1

    rows = [(f"lighthouse number {number}",) for number in range(2_000) if number % 5]
    for more, indices in (([], {}), ([("A harbour at dawn, 35 mm photograph, " * 4,)], {"bigrams": 1})):
        built.clear()
        sys.setprofile(count)
        try:
            assert contaminated(lambda more=more: [*rows, *more], held, 0.7, equal_numbers=True) == {}
        finally:
            sys.setprofile(None)
        assert built == indices
    assert set(contaminated(lambda: [*rows, (held[7],)], held, 0.7, equal_numbers=True)) == {len(rows)}
