"""Tests of reviewers' decisions on a project's rows: each holds, or is named, wherever rows are counted or shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pairsmith
from curate.groups import draw_key
from curate.review.status import elsewhere_notice
from pairsmith.rows.curated import read_rows
from pairsmith.rows.lineage import lineage_of
from schemas import spec_file
from schemas.records import Json
from schemas.reviews import Draw, Review, Sampled
from schemas.store import Store
from train.evaluation.held_out import held_out_seeds, rejected_references, validation_seeds

SPEC = """
[task]
kind = "reply"
name = "own"
style = "A short, kind answer."
{system}

[[seeds]]
path = "pairs.jsonl"
kind = "pair"
columns = {{ shop = "shop" }}

[split]
test = 0
validation = 0
"""
LINES = [
    ("Wo bleibt mein Paket?", "Es kommt am Montag mit der Post.", "Berlin"),
    ("Wo bleibt mein Paket?", "Es kommt am Montag mit der Post.", "Wien"),
    ("Can I still cancel my order?", "Yes, until it leaves our warehouse.", "Leeds"),
    ("Le chat dort-il dehors ?", "Non, il dort toujours à la maison.", "Lyon"),
    ("Is the blue kettle sold out?", "It is, but it will be back in May.", "Leeds"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five rows, of which the first two only differ in the shop."""
    rows = [{"input": asked, "output": output, "shop": shop} for asked, output, shop in LINES]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    curated(tmp_path)
    return tmp_path


def curated(folder: Path, system: str = "") -> Any:
    (folder / "pairsmith.toml").write_text(SPEC.format(system=system), encoding="utf-8")
    own = pairsmith.Project(folder)
    own.generate()
    return own.curate()


def rows(folder: Path) -> list[Json]:
    """All rows as `pairsmith rows` lists them, in the order of the file."""
    with Store.open(Store.url_for(spec_file.load(folder)), write=False) as store:
        return list(read_rows(store, state=None, code=None, limit=0)["rows"])


def explained(folder: Path, pair_id: str) -> Json:
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project), write=False) as store:
        (pair,) = store.pairs([pair_id])
        return lineage_of(project, store, pair)


def answer(folder: Path, pair_id: str, decision: Any, edited: str | None = None) -> None:
    draw = Draw(seed=1, population=5, size=5, frame="all")
    sampled = Sampled(pair_id=pair_id, reason="certify", sampling_probability=1, draw=draw, dataset="own")
    with Store.open(Store.url_for(spec_file.load(folder))) as store:
        store.write(sampled, Review(pair_id=pair_id, reviewer="argilla:here/1", decision=decision, edited=edited))


def test_a_rejected_text_does_not_come_back_in_a_copy(folder: Path) -> None:
    """Of two rows with the same texts, the second was a duplicate; once reviewers rejected the first, it was
    accepted in its place. The copy's reason names the reviewed row, and reviewers can still accept the copy."""
    first, second, *_ = before = rows(folder)
    assert sorted(row["state"] for row in (first, second)) == ["accepted", "rejected"]
    better, copy = sorted((first, second), key=lambda row: str(row["state"]))
    answer(folder, better["pair_id"], "reject")
    outcome = curated(folder)
    assert (outcome.counts.accepted, outcome.reasons) == (3, {"review": 2})
    by_id = {row["pair_id"]: row for row in rows(folder)}
    reason = f"review: pair {better['pair_id']} with the same texts was rejected in review"
    assert (by_id[copy["pair_id"]]["reason"], by_id[copy["pair_id"]]["step"]) == (reason, "review")
    assert explained(folder, copy["pair_id"])["rows"][0]["reason"] == reason
    assert outcome.more["reviewed"] == 1, "nobody reviewed the copy"
    answer(folder, copy["pair_id"], "accept")
    assert curated(folder).counts.accepted == 4
    answer(folder, better["pair_id"], "withdrawn")
    answer(folder, copy["pair_id"], "withdrawn")
    assert curated(folder).counts.accepted == 4
    assert [(row["pair_id"], row["state"]) for row in rows(folder)] == [(r["pair_id"], r["state"]) for r in before]


def test_explain_connects_a_row_with_its_edit(folder: Path) -> None:
    """The row that an edit replaced was in no state, and the edit had no review."""
    replaced = rows(folder)[2]["pair_id"]
    answer(folder, replaced, "edit", "Yes, as long as it has not left.")
    assert explained(folder, replaced)["rows"][0]["state"] == "accepted", "not before it is curated"
    curated(folder)
    (edit,) = (row for row in rows(folder) if row["output"] == "Yes, as long as it has not left.")
    assert explained(folder, replaced)["replaced_by"] == edit["pair_id"]
    of_edit = explained(folder, edit["pair_id"])
    assert ([review["decision"] for review in of_edit["reviews"]], of_edit["replaced_by"]) == (["edit"], None)


def test_answers_to_rows_of_other_settings_are_counted(folder: Path) -> None:
    """Another system prompt makes other rows: the answers to the earlier ones no longer counted, which nothing said.
    They count again once the setting is back. The edit of an edit is one row."""
    first, _, third, *_ = rows(folder)
    answer(folder, third["pair_id"], "edit", "Yes, as long as it has not left.")
    answer(folder, first["pair_id"], "reject")
    assert curated(folder).review["elsewhere"] == 0
    answer(folder, next(r["pair_id"] for r in rows(folder) if "not left" in r["output"]), "accept")
    outcome = curated(folder, 'system = "Answer in one sentence."')
    assert outcome.review["elsewhere"] == 2
    (notice,) = elsewhere_notice(outcome.review)
    assert notice.startswith("2 rows that people answered are not among the present ones")
    back = curated(folder)
    assert (back.review["elsewhere"], elsewhere_notice(back.review), back.reasons) == (0, [], {"review": 2})


@pytest.mark.parametrize("use", ["test", "validation"])
def test_a_corrected_reference_is_the_reference(folder: Path, use: str) -> None:
    """Inputs were measured against the imported output even after reviewers had corrected it, there or in the copy that
    is not asked. A rejected one is named; its input stays."""
    for path in folder.glob("pairsmith.db*"):
        path.unlink()
    text = SPEC.format(system="").replace('kind = "pair"\n', f'kind = "pair"\nuse = "{use}"\n')
    (folder / "pairsmith.toml").write_text(text)
    project, own = spec_file.load(folder), pairsmith.Project(folder)
    own.generate()
    own.curate()
    first, copy, rejected, edited, fine = rows(folder)
    twins = {row["seed_id"]: row["pair_id"] for row in (first, copy)}
    answer(folder, twins[max(twins)], "edit", "It comes on Tuesday.")
    answer(folder, rejected["pair_id"], "reject")
    answer(folder, edited["pair_id"], "edit", "A first correction.")
    own.curate()
    answer(folder, next(row["pair_id"] for row in rows(folder) if "first" in row["output"]), "edit", fine["output"])
    answer(folder, fine["pair_id"], "accept")
    own.curate()
    with Store.open(Store.url_for(project), write=False) as store:
        seeds = held_out_seeds(store, project.spec) if use == "test" else validation_seeds(store, project.spec)
        assert {seed.body: seed.reference for seed in seeds} == {
            first["input"]: "It comes on Tuesday.",
            rejected["input"]: rejected["output"],
            edited["input"]: fine["output"],
            fine["input"]: fine["output"],
        }
        assert min(twins) not in {seed.id for seed in seeds}, "the id of a seed covers its reference"
        assert len({draw_key(seed) for seed in seeds} & {row["seed_id"] for row in rows(folder)}) == len(seeds)
        assert [seed.body for seed in rejected_references(store, seeds)] == [rejected["input"]]
