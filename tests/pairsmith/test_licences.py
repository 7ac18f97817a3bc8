"""Tests of the licence ledger: what is declared for every row, and that a policy keeps rows that it does not allow from
being exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

import pairsmith
from curate.export.licences import DeclaredTerms, ledger, refuse_unlicensed, terms_of
from pairsmith.registry import refuse_unlicensed_model
from schemas import spec_file
from schemas.errors import NotLicensed
from schemas.records import Artifact, Candidate, Generated, Pair, Sampling
from schemas.store import Store

SPEC = """
[task]
kind = "reply"
name = "own"
style = "A short, kind answer."

[[seeds]]
path = "free.jsonl"
kind = "pair"
license = "CC0-1.0"

[[seeds]]
path = "unknown.jsonl"
kind = "pair"
{license}

[teacher]
model = "big"
terms = "no rivals"

[split]
test = 0
validation = 0
{export}
"""


def write(folder: Path, license: str = "", export: str = "") -> pairsmith.Project:
    (folder / "pairsmith.toml").write_text(SPEC.format(license=license, export=export), encoding="utf-8")
    return pairsmith.Project(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, animal in (("free", "hedgehogs"), ("unknown", "zebras")):
        line = {"input": f"Where do {animal} sleep?", "output": f"Most {animal} sleep outside, under the open sky."}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(line), encoding="utf-8")
    own = write(tmp_path)
    own.generate()
    own.curate()
    return tmp_path


def test_undeclared_licenses_are_not_stated_and_a_policy_applies(folder: Path) -> None:
    """Only licenses on the policy's list may be exported, with `not stated` a name like any other, and case ignored. A
    license corrected in the spec takes effect without asking a teacher."""
    exported = write(folder).export()
    manifest = json.loads((folder / "export" / "export.json").read_text("utf-8"))
    assert exported.ids
    assert sorted((of["licenses"], of["terms"], of["rows"]) for of in manifest["licences"]) == [
        (["CC0-1.0"], [], 1),
        (["not stated"], [], 1),
    ]
    strict = '[export]\nlicenses = ["cc0-1.0"]'
    with pytest.raises(NotLicensed, match="1 with license 'not stated'"):
        write(folder, export=strict).export()
    assert write(folder, export='[export]\nlicenses = ["CC0-1.0", "Not stated"]').export().ids
    own = write(folder, 'license = "CC0-1.0"', strict)
    own.generate()
    own.curate()
    assert own.export().ids


def test_the_policy_applies_to_the_random_arm(folder: Path) -> None:
    """The random arm consists of rows that were not selected: the policy applies to them too."""
    chosen = 'select = { rows = 1, spread = "random" }\n'
    strict = '[export]\nlicenses = ["CC0-1.0"]'
    with (folder / "free.jsonl").open("a", encoding="utf-8") as file:
        for n in range(12):
            file.write("\n" + json.dumps({"input": f"What does bird {n} eat?", "output": f"Bird {n} eats worm {n}."}))
    for salt in range(40):  # until the selected rows are free and those of the random arm are not
        own = write(folder, export=f"[review]\nseed = {salt}\n[curate]\n{chosen}{strict}")
        own.generate()
        own.curate()
        of = {name: (folder / "dataset" / name).read_text("utf-8") for name in ("random_arm.jsonl", "data/train.jsonl")}
        if "zebras" in of["random_arm.jsonl"]:
            break
    assert "zebras" not in of["data/train.jsonl"]
    with pytest.raises(NotLicensed, match="1 with license 'not stated'"):
        own.export()


def test_terms_are_those_of_the_teacher_of_the_row(folder: Path) -> None:
    """A teacher's terms apply to the rows that it wrote and not to imported ones; terms that are not declared are not
    stated."""
    write(folder, export='[export]\nterms = ["fine"]').export()
    project = spec_file.load(folder)
    assert terms_of(project) == {"big": ("no rivals",)}
    other = '[teachers.other]\nurl = "http://127.0.0.1:9/v1"\nmodel = "big"\nterms = "fine"\n'
    write(folder, export=other)
    assert terms_of(spec_file.load(folder)) == {"big": ("fine", "no rivals")}, "which of the two wrote a row is unknown"
    write(folder)
    with Store.open(Store.url_for(project)) as store:
        seed = next(iter(store.active_seeds()))
        for n, teacher in enumerate(("big", "other")):
            origin = Generated(
                generator="forward", prompt="p", teacher=teacher, sampling=Sampling(), calls=((f"{n}", 1),)
            )
            pair = Pair(seed_id=seed.id, input="a", output=f"answer {n}", system="", origin=origin)
            place = Candidate(fingerprint="f", seed_id=seed.id, generator="forward", sample=n, pair_id=pair.id)
            store.write(pair, place)
        pairs = [pair.id for pair in store.find_pair("") if pair.output.startswith("answer")]
        counts = ledger(project, store, pairs)
    assert counts == {DeclaredTerms(("CC0-1.0",), ("no rivals",)): 1, DeclaredTerms(("CC0-1.0",), ("not stated",)): 1}


def test_licences_of_some_rows_are_looked_up_by_their_seeds(folder: Path) -> None:
    """A download checks the licences of its rows. It read every seed and the members of every dataset for that."""
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        statements: list[str] = []
        sa.event.listen(store.engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: statements.append(sql))
        counts = ledger(project, store, [store.artifacts("dataset")[0].members[0][0]])
    assert counts.total() == 1
    reading = [" ".join(sql.split()) for sql in statements if "FROM seeds" in sql]
    assert reading
    assert all("WHERE seeds.id IN" in sql for sql in reading)


def test_the_policy_applies_to_the_rows_that_a_model_was_trained_on(folder: Path) -> None:
    """Also to those of an earlier dataset: the present dataset may be exported, a model trained on the other may
    not."""
    own = write(folder)
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        (before,) = store.artifacts("dataset")
        store.write(Artifact(id="a" * 32, kind="adapter", path="adapters/a", parents=(before.id,)))
        store.write(Artifact(id="b" * 32, kind="evaluation", path="evaluations/b", parents=("a" * 32,)))
        refuse_unlicensed(project, store, store.artifacts())  # without a policy nothing is refused
    (folder / "unknown.jsonl").write_text('{"input": "Where do owls sleep?", "output": "Most owls sleep in trees."}')
    own = write(folder, 'license = "CC0-1.0"', '[export]\nlicenses = ["CC0-1.0"]')
    own.generate()
    own.curate()
    strict = spec_file.load(folder)
    with Store.open(Store.url_for(strict)) as store:
        refuse_unlicensed(strict, store, store.artifacts("dataset")[-1:])
        for kind in ("adapter", "evaluation"):
            with pytest.raises(NotLicensed, match="1 with license 'not stated'"):
                refuse_unlicensed(strict, store, store.artifacts(kind))


def test_the_policy_applies_to_the_inputs_of_an_evaluation(folder: Path) -> None:
    """Its file contains the text of every test seed, also of one whose row is in no dataset."""
    strict = write(folder, export='[export]\nlicenses = ["CC0-1.0"]') and spec_file.load(folder)
    with Store.open(Store.url_for(strict)) as store:
        of = {seed.source.partition(".")[0]: seed.id for seed in store.active_seeds()}
        (folder / "evaluations").mkdir()
        for name, held in (("inputs", {of["unknown"]: "text"}), ("side_by_side", [{"seed_id": of["unknown"]}])):
            (folder / "evaluations" / "one.json").write_text(json.dumps({"inputs": {of["free"]: "text"}, name: held}))
            one = Artifact(id="d" * 32, kind="evaluation", path="evaluations/one.json")
            with pytest.raises(NotLicensed, match="1 with license 'not stated'"):
                refuse_unlicensed(strict, store, [one])
        (folder / "evaluations" / "one.json").write_text(json.dumps({"inputs": {of["free"]: "text"}}))
        refuse_unlicensed(strict, store, [one])


def test_the_policy_applies_to_releases(folder: Path) -> None:
    """A model that the store does not know is refused; without a policy nothing is."""
    release = folder / "registry" / "own" / "v1"
    release.mkdir(parents=True)
    (release / "export.json").write_text(json.dumps({"adapter": "c" * 32}))
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        refuse_unlicensed_model(project, store, release)
        write(folder, export='[export]\nlicenses = ["CC0-1.0"]')
        strict = spec_file.load(folder)
        with pytest.raises(NotLicensed, match="the store does not know this model"):
            refuse_unlicensed_model(strict, store, release)
        (dataset,) = store.artifacts("dataset")
        store.write(Artifact(id="c" * 32, kind="adapter", path="adapters/c", parents=(dataset.id,)))
        with pytest.raises(NotLicensed, match="1 with license 'not stated'"):
            refuse_unlicensed_model(strict, store, release)
