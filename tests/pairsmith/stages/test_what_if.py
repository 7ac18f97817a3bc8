"""Tests of `pairsmith curate --what-if`, which shows what another setting would change and changes nothing."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

import pairsmith
from pairsmith.commands import start
from pairsmith.stages.what_if import as_json, what_if
from schemas import spec_file
from schemas.errors import SpecError, UsageError
from schemas.store import Store
from tests.pairsmith.conftest import Project

SPEC = """
[task]
kind = "reply"
name = "own"
style = "A short, kind answer."

[[seeds]]
path = "pairs.jsonl"
kind = "pair"

[curate.gates]
length = { max_words = 8 }

[split]
test = 0
validation = 0
"""
ANIMALS = ["fox", "wolf", "bear", "owl", "hare", "toad", "pike", "moth", "crow", "deer"]
POND = (
    " It sits in the barn of the old mill, looks at every person who walks past, and hides from dogs and from the rain."
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten answers of 3 to 12 words, each about a different animal. The question about the owl is long."""
    lines = [
        json.dumps(
            {
                "input": f"Which {name} is this?{POND if name == 'owl' else ''}",
                "output": f"A {name} " + " ".join([f"{name}like"] * n + ["one."]),
            }
        )
        for n, name in enumerate(ANIMALS)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    own = pairsmith.Project(tmp_path, ["curate.gates.repetition=false"])
    own.generate()
    own.curate()
    return tmp_path


def _file_hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal", ".lock"))
    }


def test_moves_are_reported_and_nothing_changes(folder: Path) -> None:
    """Reports counts and reasons before and after and the rows that move, with why. No file of the project changes, and
    curating with that setting gives the reported counts."""
    before, off = _file_hashes(folder), ["curate.gates.repetition=false"]
    project = spec_file.load(folder, off)
    with Store.open(Store.url_for(project), write=False) as store:
        forecast = what_if(project, store, ["curate.gates.length.max_words=10"])
        backwards = what_if(project, store, ["curate.gates.length.max_words=5"])
        same = what_if(project, store, ["curate.select.best=3"])
    assert (forecast.before.accepted, forecast.after.accepted) == (5, 7)
    assert (forecast.reasons_before, forecast.reasons_after) == ({"long": 4, "echo": 1}, {"long": 2, "echo": 1})
    (move,) = forecast.moves
    assert (move.before, move.after, move.code, move.rows) == ("rejected", "accepted", "long", 2)
    assert {of.output.split()[1] for of in move.examples} == set(ANIMALS[6:8])
    assert all(of.why.endswith("words, at most 8 are allowed") for of in move.examples)
    assert [(m.before, m.after, m.rows) for m in backwards.moves] == [("accepted", "rejected", 3)]
    assert same.moves == ()
    assert json.dumps(as_json(forecast, ["x"]))
    assert _file_hashes(folder) == before
    curated = pairsmith.Project(folder, [*off, "curate.gates.length.max_words=10"]).curate()
    assert curated.counts == forecast.after


@pytest.mark.parametrize("setting", ["curate.gates.length.min_words=21", "curate.gates.length.max_words=19"])
def test_examples_include_the_rows_at_both_bounds(tmp_path: Path, setting: str) -> None:
    """Of many rows that move, those nearest the present bound and those nearest the other one are shown."""
    pairs = [{"input": f"Say {n}", "output": " ".join(f"{word}x{n}" for word in range(n)) + "."} for n in range(8, 33)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)), encoding="utf-8")
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    present = ["curate.gates.length.min_words=8", "curate.gates.length.max_words=32", "curate.gates.language=false"]
    own = pairsmith.Project(tmp_path, present)
    own.generate()
    own.curate()
    project = spec_file.load(tmp_path, present)
    with Store.open(Store.url_for(project), write=False) as store:
        (move,) = what_if(project, store, [setting]).moves
    lengths = [len(row.output.split()) for row in move.examples]
    assert (move.rows, lengths) == ((13, [8, 9, 10, 19, 20]) if "min" in setting else (13, [20, 21, 22, 31, 32]))


def test_only_curation_settings_are_accepted(folder: Path) -> None:
    """A task setting or a malformed value is refused with advice on what to do instead."""
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project), write=False) as store:
        with pytest.raises(UsageError, match="does not affect curation"):
            what_if(project, store, ["task.style=Another."])
        for mistake in ("curate.select.best=none", "curate.gates", "curate.gates.must.0.name=x"):
            with pytest.raises(SpecError, match="--what-if curate") as caught:
                what_if(project, store, [mistake])
            assert "--set curate" not in str(caught.value)


def test_personal_data_gate_is_supported_and_redaction_is_not(folder: Path) -> None:
    """Rejecting personal data is a gate and can be tried; redacting changes the rows themselves and is refused with
    advice."""
    seeds = (folder / "pairs.jsonl").read_text(encoding="utf-8")
    (folder / "pairs.jsonl").write_text(seeds.replace("A wolf wolflike", "wolf@example.org"), encoding="utf-8")
    project = spec_file.load(folder)
    pairsmith.Project(folder).generate()
    with Store.open(Store.url_for(project), write=False) as store:
        forecast = what_if(project, store, ["personal.email=reject"])
        assert [(move.after, move.code, move.rows) for move in forecast.moves] == [("rejected", "pii_email", 1)]
        with pytest.raises(UsageError, match="would redact"):
            what_if(project, store, ["personal.email=redact"])


def test_the_command_shows_the_changes(folder: Path) -> None:
    """The command shows the rows that move, with a mark where a text is cut, and the counts of the reason that
    differs."""
    done = Project(folder).run(
        "curate", "--what-if", "curate.gates.length.max_words=5", "--set", "curate.gates.repetition=false"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 rows accepted -> rejected (long)" in done.stdout
    assert "4 -> 7" in done.stdout
    assert "and hides from dogs and f…" in " ".join(done.stdout.split())
    assert "A deer" not in done.stdout


def test_rows_that_change_places_are_moves(folder: Path) -> None:
    """All sums are equal; the screen said that no row would move, and then listed those that do."""
    must = "curate.gates.must=[{{name='animal', pattern='fox|{}'}}]"
    arguments = ("curate", "--what-if", must.format("bear"), "--set", must.format("wolf"))
    done = Project(folder).run(*arguments, "--set", "curate.gates.repetition=false")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 row accepted -> rejected (missing:animal)" in done.stdout
    assert "1 row rejected -> accepted" in done.stdout
    assert "No row would move" not in done.stdout


def test_split_shares_are_explained_and_splits_counted(folder: Path) -> None:
    """Seeds that were already read keep their split, and the command says so instead of only "no row would move". Rows
    that leave or enter a split are counted."""
    same = Project(folder).run("curate", "--what-if", "split.test=0.5", "--set", "curate.gates.repetition=false")
    assert same.returncode == 0, same.stdout + same.stderr
    assert (
        "split.test=0.5: seeds that were already read keep their split; the shares apply to seeds that you add."
        in same.stderr
    )
    assert "No row would move." in same.stdout
    fewer = Project(folder).json(
        "curate", "--what-if", "curate.gates.length.max_words=5", "--set", "curate.gates.repetition=false"
    )
    assert (fewer["before"]["splits"], fewer["after"]["splits"]) == ({"train": 5}, {"train": 2})


def test_a_misspelt_setting_is_named_before_the_empty_store(tmp_path: Path) -> None:
    """In a project in which nothing has been generated, the setting is the first mistake that is reported."""
    (tmp_path / "pairs.jsonl").write_text('{"input": "a", "output": "b"}')
    (tmp_path / "pairsmith.toml").write_text(SPEC)
    what_if = ["curate", "--project", str(tmp_path), "--what-if"]
    assert start([*what_if, "curate.gates.lenght=3"]) == 3
    assert start([*what_if, "task.style=Another."]) == 2
    assert start([*what_if, "curate.gates.echo=false"]) == 6
