"""Tests of `pairsmith erase`: what came from a source or a reviewer is gone from all files, which a scan of them
proves."""

from __future__ import annotations

import html
import json
import os
import shutil
from pathlib import Path
from typing import Any

import markupsafe
import pytest

import pairsmith
from pairsmith.commands import start
from pairsmith.commands.status import status_of
from pairsmith.erasing import erased
from pairsmith.plan import plan
from pairsmith.report.gather import gather
from pairsmith.report.sentences import seeds_read
from pairsmith.rows.curated import read_rows
from pairsmith.serve.rows_view import Filters, RowsView
from pairsmith.serve.workspace import Workspace
from pairsmith.stages.generate import load_seeds
from pairsmith.terminal.watching import Watcher
from schemas import spec_file
from schemas.errors import UsageError
from schemas.progress import discard_message
from schemas.records import Artifact, Call, Candidate, Generated, Pair, Reason, Sampling, Seed, Usage, content_id
from schemas.reviews import Review
from schemas.store import Store
from schemas.store.latest import latest_answers, probe_key
from synth.sources.seeds import read_seeds
from tests.curate.argilla.small_disk import small_disk
from tests.pairsmith.conftest import Project as Command

SPEC = """
[task]
kind = "reply"
name = "own"
style = "A short, kind answer."

[[seeds]]
path = "ours.jsonl"
kind = "pair"

[[seeds]]
path = "theirs.jsonl"
kind = "pair"

[split]
test = 0
validation = 0
"""
OURS, THEIRS = "hedgehogs winter in leaves", 'Zebras "gallop" across\nthe Łódź plains — née'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("ours", OURS), ("theirs", THEIRS)):
        lines = [
            {"input": f"{text}? asked person {n}", "output": f"{text}, that is so, says {n} of {name}."}
            for n in range(4)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    own = pairsmith.Project(tmp_path)
    own.generate()
    own.curate()
    own.export()
    return tmp_path


def _files_with(folder: Path, text: str) -> list[str]:
    """The files of the project that contain a text, in any usual escaping."""
    spellings = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and any(s.encode() in path.read_bytes() for s in spellings)
    )


def test_status_marks_an_output_whose_files_are_gone(folder: Path) -> None:
    """After an erasure deleted the dataset, `status` does not list it as if it were there."""
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        before = status_of(project, store)["artifacts"]
        erased(project, store, source="theirs.jsonl")
        after = status_of(project, store)["artifacts"]
    assert [one["exists"] for one in before if one["kind"] == "dataset"] == [True]
    assert [one["exists"] for one in after if one["kind"] == "dataset"] == [False]


def _call(store: Store, text: str, n: int) -> None:
    """Store an evaluation's call that asks what the seed asks."""
    store.write(
        Call(
            key=f"key {n}",
            attempt=1,
            status="ok",
            request={"messages": [{"role": "user", "content": f"{text}? asked person {n}"}]},
            raw={"message": {"content": json.dumps({"answer": text})}},
            usage=Usage(prompt_tokens=10),
            usd=0.5,
            request_id=f"r{n}",
            sample=0,
            teacher="t",
            endpoint="e",
            seconds=1.0,
        )
    )


def _later_turn(store: Store, text: str, n: int) -> None:
    """Store a call whose request contains a seed's text in an earlier turn."""
    turns = [("user", f"{text}? asked person 1"), ("assistant", "Yes."), ("user", "And then?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    kept = {"status": "ok", "raw": {}, "sample": 0, "teacher": "t", "endpoint": "e", "seconds": 1.0}
    fields = {"key": f"key {n}", "attempt": 1, "request_id": f"r{n}", "request": {"messages": messages}}
    store.write(Call.model_validate(kept | fields))


def _erase(folder: Path, **of: Any) -> Any:
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        return erased(project, store, **of)


def test_an_erased_source_is_gone_from_all_files(folder: Path) -> None:
    """Seeds, pairs, calls, reviews, the dataset and the export: a scan of every byte finds the source's texts only in
    the source file itself. Everything from elsewhere stays, and models trained on the source, released ones too, are
    listed. A damaged release stops nothing: it is listed as one that may have learned from it."""
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        _call(store, THEIRS, 1)
        _call(store, OURS, 2)
        _later_turn(store, THEIRS, 3)
        _later_turn(store, OURS, 4)
        (dataset,) = store.artifacts("dataset")
        adapter = Artifact(id=content_id("artifact", [1]), kind="adapter", path="adapters/x", parents=(dataset.id,))
        store.write(adapter)
        theirs = [pair for pair in store.find_pair("") if THEIRS in pair.output]
        store.write(
            Review(pair_id=theirs[0].id, reviewer="argilla:here/1", decision="edit", edited=f"{THEIRS}, edited")
        )
    for version, released in (("v1", "another"), ("v2", adapter.id)):
        (folder / "registry" / "a-task" / version).mkdir(parents=True)
        (folder / "registry" / "a-task" / version / "export.json").write_text(json.dumps({"adapter": released}))
    for version, mark in (("v3", "{"), ("v4", None), ("v5", "{}")):
        (folder / "registry" / "a-task" / version).mkdir()
        if mark:
            (folder / "registry" / "a-task" / version / "export.json").write_text(mark)
    (folder / "registry" / "a-task" / "aliases.json").write_text("{")
    assert len(_files_with(folder, THEIRS)) > 4
    erased = _erase(folder, source="theirs.jsonl")
    assert (erased["seeds"], erased["pairs"]) == (4, 4)
    assert erased["models"] == [
        {"kind": "adapter", "id": adapter.id, "path": "adapters/x"},
        {"kind": "release", "id": adapter.id, "path": "registry/a-task/v2"},
        {"kind": "release", "id": "unknown", "path": "registry/a-task/v3"},
        {"kind": "release", "id": "unknown", "path": "registry/a-task/v4"},
        {"kind": "release", "id": "unknown", "path": "registry/a-task/v5"},
    ]
    assert erased["left_in_store"] == 0
    assert erased["left_in_files"] == ["theirs.jsonl"]
    assert _files_with(folder, THEIRS) == ["theirs.jsonl"]
    with Store.open(Store.url_for(project)) as store:
        assert len(store.find_pair("")) == 4
        assert store.reviews() == {}
        assert [call.key for call in store.calls("key 2")] == ["key 2"]
        assert store.calls("key 1") == store.calls("key 3") == []
        assert store.calls("key 4")[0].request["messages"][0]["content"] == f"{OURS}? asked person 1"
    with Store.open(Store.url_for(project), write=False) as store:
        held = status_of(project, store)
    assert (held["seeds"], held["pairs"]) == ({"pair": 4}, 4), "status counts what the store contains now"
    (folder / "theirs.jsonl").unlink()
    (folder / "pairsmith.toml").write_text(SPEC.replace('[[seeds]]\npath = "theirs.jsonl"\nkind = "pair"\n', ""))
    own = pairsmith.Project(folder)
    own.generate()
    assert own.curate().counts.rows_in == 4


def test_texts_shared_with_other_rows_stay(tmp_path: Path) -> None:
    """A label, or a value that recurs in a column, does not belong to the erased row alone: answers of other rows that
    quote it stay unchanged, and the shared texts are listed. `status` counts what is left, also if a row had failed."""
    spec = SPEC.replace(
        'kind = "pair"', 'kind = "pair"\ncolumns = { input = "input", output = "output", shop = "shop" }'
    )
    (tmp_path / "pairsmith.toml").write_text(spec, encoding="utf-8")
    for name, text in (("ours", OURS), ("theirs", THEIRS)):
        rows = [
            {"input": f"{text}? {n}", "output": "complaint about a parcel", "shop": "Main Street"} for n in range(3)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    own = pairsmith.Project(tmp_path)
    generated = own.generate()
    project = spec_file.load(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        _call(store, f"{OURS}: complaint about a parcel in Main Street", 1)
        (failed, *_) = store.active_seeds()
        store.write(
            Candidate(
                fingerprint=next(iter(generated.fingerprints.values())),
                seed_id=failed.id,
                generator="forward",
                sample=9,
                failure=Reason(code="truncated", detail="complaint about a parcel"),
            )
        )
    erased = _erase(tmp_path, source="theirs.jsonl")
    assert (erased["seeds"], erased["pairs"], erased["left_in_store"]) == (3, 3, 0)
    assert erased["shared_texts"] == ["Main Street", "complaint about a parcel"]
    with Store.open(Store.url_for(project), write=False) as store:
        assert [call.key for call in store.calls("key 1")] == ["key 1"]
        assert "[erased]" not in str([candidate.failure for candidate in store.candidates()])
        assert status_of(project, store)["pairs"] == 3


def test_the_answer_to_a_repeated_request_is_erased_too(tmp_path: Path) -> None:
    """A run may repeat a request only to check whether the teacher still answers. That answer is located by the key of
    the request, because short texts are not searched for: they occur in texts of others. The repeated request may be
    repeated in turn."""
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    question = {"messages": [{"role": "user", "content": "dog 1"}]}
    kept = {"status": "ok", "attempt": 1, "request": question, "raw": {}, "sample": 0, "teacher": "t"}
    kept |= {"endpoint": "e", "seconds": 1.0}
    seed = Seed(kind="input", text="dog 1", source="theirs.jsonl:1")
    origin = Generated(generator="forward", prompt="p/v1@0", teacher="t", sampling=Sampling(), calls=(("asked", 1),))
    first = probe_key("asked")
    keys = ("asked", first, probe_key(first))
    with Store.open(Store.url_for(spec_file.load(tmp_path))) as store:
        store.write(seed, Pair(seed_id=seed.id, input="dog 1", output="a dog", system="", origin=origin))
        for number, key in enumerate((*keys, "another")):
            store.write(Call.model_validate({**kept, "key": key, "request_id": f"r{number}"}))
    _erase(tmp_path, source="theirs.jsonl")
    with Store.open(Store.url_for(spec_file.load(tmp_path)), write=False) as store:
        assert [store.calls(key) for key in keys] == [[], [], []]
        assert [call.key for call in store.calls("another")] == ["another"]


def test_costs_survive_erasure(folder: Path) -> None:
    """The answers are erased and their cost is not: it still counts towards the cap, also after a second erasure, and
    later lookups ignore what is left of them."""
    with Store.open(Store.url_for(spec_file.load(folder))) as store:
        for n, text in enumerate((OURS, THEIRS, THEIRS)):
            _call(store, text, n)
        paid = store.costs()
    assert (paid[0].requests, paid[0].usage.prompt_tokens, paid[0].usd) == (3, 30, 1.5)
    for source in ("theirs.jsonl", "ours.jsonl"):
        _erase(folder, source=source)
        with Store.open(Store.url_for(spec_file.load(folder)), write=False) as store:
            assert store.costs() == paid
            assert store.spent().usd == 1.5
    with Store.open(Store.url_for(spec_file.load(folder)), write=False) as store:
        assert [store.calls(f"key {n}") for n in range(3)] == [[], [], []]
        assert list(latest_answers(store, "t", "")) == []


def test_exports_in_other_folders_are_deleted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Exports written with `export --out` are deleted wherever they are. A copy that is no longer an export, because
    `export.json` was removed, is left alone."""
    outside = tmp_path_factory.mktemp("elsewhere")
    own = pairsmith.Project(folder)
    for out in (outside / "release", folder / "second", outside / "taken"):
        own.export(out=out)
    (outside / "taken" / "export.json").unlink()
    erased = _erase(folder, source="theirs.jsonl")
    assert not (outside / "release").exists()
    assert not (folder / "second").exists()
    assert (outside / "taken" / "dataset").is_dir()
    assert {f"{outside / 'release'}/", "second/"} <= set(erased["files"])
    assert erased["left_in_files"] == ["theirs.jsonl"]


def test_a_single_row_of_a_source_can_be_erased(folder: Path) -> None:
    """`--source FILE:2` erases that row only."""
    assert _erase(folder, source="theirs.jsonl:2")["seeds"] == 1
    with Store.open(Store.url_for(spec_file.load(folder)), write=False) as store:
        assert len(list(store.each_seed())) == 7


def test_generate_mentions_erased_rows(folder: Path) -> None:
    """`run` does not read erased rows again by itself, so `generate` counts as done; the plan says why and which
    command reads them again."""

    def generate_step() -> Any:
        project = spec_file.load(folder)
        with Store.open(Store.url_for(project), write=False) as store:
            return plan(project, store)[0]

    assert generate_step() == ("generate", True, "")
    _erase(folder, source="theirs.jsonl:2")
    assert generate_step().done
    assert generate_step().why.startswith("rows were erased since; `pairsmith generate` reads again")
    pairsmith.Project(folder).generate()
    assert generate_step() == ("generate", True, "")


def test_an_erasure_killed_midway_leaves_nothing_behind(folder: Path) -> None:
    """Files are deleted first and the store's rows last, because without the rows nothing would know what to look for.
    Rows are overwritten when deleted, and the next command that opens the store checkpoints its log."""
    here = Command(folder)
    killed = here.run("erase", "--source", "theirs.jsonl", "--yes", PAIRSMITH_FAILPOINT="mid_erase")
    assert killed.returncode == -9
    assert here.run("status").returncode == 0
    assert _files_with(folder, THEIRS) == ["theirs.jsonl"]


def test_erasure_without_room_for_a_second_copy_of_the_store() -> None:
    """The store's file is rewritten if there is room for that; otherwise its pages stay and the erased content is
    overwritten in them."""
    with small_disk("8m") as disk:
        (disk / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
        with Store.open(Store.url_for(spec_file.load(disk))) as store:
            store.write(*(Seed(kind="input", text=f"{OURS} {n} " * 9, source=f"ours.jsonl:{n}") for n in range(3_000)))
            store.write(Seed(kind="input", text=THEIRS, source="theirs.jsonl:1"))
        assert _files_with(disk, THEIRS) == ["pairsmith.db"]
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filled").write_bytes(b"x" * (room - 600_000))
        assert (disk / "pairsmith.db").stat().st_size > 1_000_000
        erased = _erase(disk, source="theirs.jsonl")
        assert (erased["seeds"], erased["left_in_store"]) == (1, 0)
        assert _files_with(disk, THEIRS) == []


def test_a_folder_is_a_source_and_its_neighbours_stay(tmp_path: Path) -> None:
    """A folder of documents is erased like a file; a folder whose name only starts the same is another source, and an
    empty name is refused."""
    spec = SPEC.replace("ours.jsonl", "notes/*.txt").replace("theirs.jsonl", "notes-of-others/*.txt")
    (tmp_path / "pairsmith.toml").write_text(spec.replace('kind = "pair"', 'kind = "output"\nformat = "document"'))
    for name, text in (("notes", THEIRS), ("notes-of-others", OURS)):
        (tmp_path / name).mkdir()
        for n in range(2):
            (tmp_path / name / f"{n}.txt").write_text(f"{text}\n\nasked person {n}", encoding="utf-8")
    project = spec_file.load(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        store.write(*read_seeds(project.spec.seeds, tmp_path).seeds)
    with pytest.raises(UsageError, match="no seed was read from ''"):
        _erase(tmp_path, source="")
    assert _erase(tmp_path, source="notes/")["seeds"] == 2
    with pytest.raises(UsageError, match="no seed was read from 'notes'"):
        _erase(tmp_path, source="notes")
    with Store.open(Store.url_for(project), write=False) as store:
        assert [seed.source for seed in store.each_seed()] == [
            "notes-of-others/0.txt:1",
            "notes-of-others/1.txt:1",
        ]


def test_an_identical_edit_by_another_reviewer_stays(folder: Path) -> None:
    """Two reviewers edited rows to the same text: one is erased, the other's review stays, and the scan reports nothing
    left."""
    project, alike = spec_file.load(folder), "It is a complaint about a parcel."
    with Store.open(Store.url_for(project)) as store:
        for pair, who in zip(store.find_pair(""), ("ann", "bob"), strict=False):
            edit: Any = {"reviewer": f"argilla:here/{who}", "name": who, "decision": "edit", "edited": alike}
            store.write(Review(pair_id=pair.id, **edit))
    erased = _erase(folder, person="ann")
    assert (erased["reviews"], erased["left_in_store"], erased["shared_texts"]) == (1, 0, [alike])
    with Store.open(Store.url_for(project), write=False) as store:
        assert [review.name for reviews in store.reviews().values() for review in reviews] == ["bob"]


@pytest.mark.parametrize("person", ["Ann Example", "argilla:here/11111111"])
def test_an_erased_reviewer_is_gone_from_all_files(folder: Path, person: str) -> None:
    """Reviews, the text of edits and the pairs made from them are erased by the reviewer's name or id; another
    reviewer's stay."""
    project, secret = spec_file.load(folder), "My neighbour's cat is called Olga Petrovna."
    with Store.open(Store.url_for(project)) as store:
        pairs = store.find_pair("")
        for n, (who, name) in enumerate((("argilla:here/11111111", "Ann Example"), ("argilla:here/22222222", "bob"))):
            for decision in ("accept", "reject"):
                store.write(Review(pair_id=pairs[n].id, reviewer=who, name=name, decision=decision))
        edit: Any = {"reviewer": "argilla:here/11111111", "name": "Ann Example", "decision": "edit", "edited": secret}
        store.write(Review(pair_id=pairs[2].id, **edit))
    own = pairsmith.Project(folder)
    own.curate()
    own.export()
    assert len(_files_with(folder, secret)) > 1
    erased = _erase(folder, person=person)
    assert (erased["reviews"], erased["pairs"], erased["left_in_store"], erased["left_in_files"]) == (3, 1, 0, [])
    for text in (secret, "Ann Example", "argilla:here/11111111"):
        assert _files_with(folder, text) == []
    with Store.open(Store.url_for(project)) as store:
        assert {r.name for reviews in store.reviews().values() for r in reviews} == {"bob"}
    assert own.curate().counts.adds_up


def test_models_that_learned_from_the_reviewer_are_listed(folder: Path) -> None:
    """`train-reward`, DPO and ORPO learn from verdicts and rankings, which no artifact lists: after erasing a reviewer
    only adapters that learned from edits were. A model fitted without reviews is not."""
    with Store.open(Store.url_for(spec_file.load(folder))) as store:
        (pair, *_) = store.find_pair("")
        store.write(Review(pair_id=pair.id, reviewer="argilla:here/1", name="Ann Example", decision="reject"))
        facts: Any
        for name, facts in (
            ("learned", {"by": {"verdict": 70, "gate": 9}}),
            ("fitted", {}),
            ("gates", {"by": {"gate": 9}}),
        ):
            store.write(Artifact(id=name, kind="reward_model", path=f"reward-models/{name}", facts=facts))
        for objective in ("sft", "dpo", "orpo"):
            facts = {"settings": {"objective": objective}}
            store.write(Artifact(id=objective, kind="adapter", path=f"adapters/{objective}", facts=facts))
    assert [model["id"] for model in _erase(folder, person="Ann Example")["models"]] == ["learned", "dpo", "orpo"]


def test_worse_answers_of_an_erased_file_are_searched_for(tmp_path: Path) -> None:
    """An answer that a file rejects is in preferences and their exports, and in no row of its own."""
    rows = [
        {"prompt": f"why {n}", "chosen": f"so {n}", "rejected": f"Throw your pump number {n} away."} for n in range(3)
    ]
    (tmp_path / "theirs.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "ours.jsonl").write_text(json.dumps(rows[0] | {"prompt": "what else", "rejected": "no"}))
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    own = pairsmith.Project(tmp_path)
    own.generate()
    (tmp_path / "notes.txt").write_text(rows[1]["rejected"], encoding="utf-8")
    assert _erase(tmp_path, source="theirs.jsonl")["left_in_files"] == ["notes.txt", "theirs.jsonl"]


def test_pages_and_copies_of_the_store_are_searched(tmp_path: Path) -> None:
    """A page spells an apostrophe in another way, so a report with such a text was kept. A copy of the store beside it,
    made by hand or when a damaged one was saved, was taken for the store, whose scan then found no trace."""
    text = 'Don\'t call Jürgen & "Łukasz" <now>'
    (tmp_path / "ours.jsonl").write_text(json.dumps({"input": "what is it?", "output": "It is so."}), encoding="utf-8")
    (tmp_path / "theirs.jsonl").write_text(json.dumps({"input": text, "output": "No."}), encoding="utf-8")
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    own = pairsmith.Project(tmp_path)
    own.generate()
    with Store.open(Store.url_for(spec_file.load(tmp_path))):
        pass  # the write-ahead log is in the file now
    for spelt in (html.escape(text), str(markupsafe.escape(text))):
        (tmp_path / "report.html").write_text(f"<p>{spelt}</p>", encoding="utf-8")
        shutil.copy(tmp_path / "pairsmith.db", tmp_path / "pairsmith.db.saved-20260101-000000")
        erased = _erase(tmp_path, source="theirs.jsonl")
        assert erased["files"] == ["report.html"]
        assert erased["left_in_files"] == ["pairsmith.db.saved-20260101-000000", "theirs.jsonl"]
        own.generate()


@pytest.mark.parametrize("home", ["", "projects"])
def test_what_the_service_keeps_beside_the_project_is_erased(
    folder: Path, home: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Commands show rows in the logs of their jobs, and the table of the rows has every text: its pages showed erased
    rows until the next curation, because the end of the store had not moved. What else of a job contains a text is
    listed."""
    root = tmp_path_factory.mktemp("space")
    shutil.copytree(folder, root / home / "own")
    workspace = Workspace(root)
    view = RowsView(workspace)
    assert len(view.page("own", Filters(q="hedgehogs"), "asked", None, 50).rows) == 4
    for name, text in (("one", f"for example '{OURS}? asked person 1'"), ("two", "nothing of it")):
        log = workspace.jobs_folder / name / "log"
        log.mkdir(parents=True)
        (log / "000000000000000.txt").write_text(text, encoding="utf-8")
    (workspace.jobs_folder / "one" / "exit-1.json").write_text(json.dumps(f"{OURS}? asked person 1"))
    erased = _erase(root / home / "own", source="ours.jsonl")
    assert {"logs of jobs", "the service's view of the rows"} <= {*erased["files"]}
    assert [path.rpartition("/.serve/")[2] for path in erased["left_in_files"][:1]] == ["jobs/one/exit-1.json"]
    assert [path.parts[-3] for path in workspace.jobs_folder.glob("*/log/*.txt")] == ["two"]
    assert len(view.page("own", Filters(), "asked", None, 50).rows) == 4
    assert view.page("own", Filters(q="hedgehogs"), "asked", None, 50).rows == []


def test_what_links_lead_to_is_erased(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A dataset on another disk ended the command halfway, a linked report stayed there unseen, and the service's pages
    kept showing the rows of a project that is linked into its workspace. In a linked folder that may be somebody else's
    too, files without these texts stay."""
    root, disk = tmp_path_factory.mktemp("space"), tmp_path_factory.mktemp("disk")
    (root / "own").symlink_to(folder)
    workspace = Workspace(root)
    workspace.jobs_folder.mkdir(parents=True, exist_ok=True)
    view = RowsView(workspace)
    assert len(view.page("own", Filters(q="hedgehogs"), "asked", None, 50).rows) == 4
    for name, file in (("dataset", "train.jsonl"), ("evaluations", "one.json"), ("report.html", "")):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).symlink_to(disk / name)
        place = disk / name / file
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"{OURS}? asked person 1", encoding="utf-8")
    (disk / "dataset" / "manifest.json").touch()
    (disk / "evaluations" / "theirs.json").touch()
    erased = _erase(root / "own", source="ours.jsonl")
    assert {"dataset/", "evaluations/", "report.html", "the service's view of the rows"} <= {*erased["files"]}
    assert [path.name for path in disk.rglob("*")] == ["evaluations", "theirs.json"]
    assert view.page("own", Filters(q="hedgehogs"), "asked", None, 50).rows == []


def test_an_unknown_source_or_reviewer_is_refused(folder: Path) -> None:
    """A typo deletes nothing, and the error lists the sources that exist."""
    with pytest.raises(UsageError, match=r"ours\.jsonl"):
        _erase(folder, source="their.jsonl")
    with pytest.raises(UsageError, match="there are no reviews by"):
        _erase(folder, person="nobody")
    spec_text = (folder / "pairsmith.toml").read_text(encoding="utf-8")
    (folder / "new").mkdir()
    (folder / "new" / "pairsmith.toml").write_text(spec_text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"Sources in the store: none\."):
        _erase(folder / "new", source="gone.jsonl")


def test_nothing_is_erased_without_confirmation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe and with --json the user cannot be asked: without --yes nothing is touched. What is to be erased is
    asked for first: on a terminal the question was whether to erase None."""
    source = ["--source", "a.csv"]
    for words, fix in ((source, "Add --yes"), ([*source, "--json"], "Add --yes"), ([], "Pass one of them")):
        (tmp_path / "pairsmith.toml").write_text('[task]\nname = "t"\nstyle = "Say it well."\n')
        assert start(["erase", *words, "--project", str(tmp_path)]) == 2
        captured = capsys.readouterr()
        assert fix in captured.err + captured.out
        assert [path.name for path in tmp_path.iterdir()] == ["pairsmith.toml"]


def test_the_summary_is_worded_and_counts_once() -> None:
    """The screen used to show "0 answers" beside "1 reviews", and listed an export's folder without saying that it was
    deleted."""
    from pairsmith.commands.erase import _lines

    data = {"seeds": 1, "pairs": 4, "reviews": 1, "records": {"seeds": 1, "row_states": 8, "reviews": 1}, "models": []}
    data |= {
        "files": ["dataset/", "/data/out/"],
        "argilla": "1 row deleted there",
        "left_in_files": [],
        "short_texts": [],
    }
    shown = dict(_lines({**data, "left_in_store": 0, "shared_texts": ["a text"]}))
    assert shown["erased"] == "1 seed, 4 pairs, 1 review"
    assert shown["records"] == "seeds 1, row states 8, reviews 1"
    assert shown["files"].startswith("deleted: dataset/, /data/out/; ")
    assert shown["proof"].endswith("1 text also appears in rows of other sources, and stays there")


def test_rows_erased_since_the_last_run_are_mentioned(folder: Path) -> None:
    """Counts are those of the last generation and curation, so they include rows that were erased since: `rows` and the
    report say how many. `rows` used to list fewer rows than it counted, and the report counted erased seeds, without a
    hint."""
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project), write=False) as store:
        before = read_rows(store, state=None, code=None, limit=0)
        assert len(list(before["rows"])) == before["counts"]["rows_in"]
    assert before["erased"] == 0
    _erase(folder, source="theirs.jsonl:2")
    with Store.open(Store.url_for(project), write=False) as store:
        data, evidence = read_rows(store, state=None, code=None, limit=0), gather(project, store)
        assert data["erased"] == data["counts"]["rows_in"] - len(list(data["rows"])) > 0
    assert evidence.erased_seeds == 1
    assert "1 seed erased since" in (seeds_read(evidence) or "")


@pytest.mark.parametrize("curated", [True, False])
def test_seeds_that_left_their_file_are_not_called_erased(folder: Path, curated: bool) -> None:
    """A user shortens a file, and `preview` reads it: the other seeds are no longer active, but their rows are all
    there, and neither the report nor `rows`, before and after curation, may say that they were erased."""
    if not curated:
        (folder / "pairsmith.db").unlink()
        pairsmith.Project(folder).generate()
    lines = (folder / "ours.jsonl").read_text(encoding="utf-8").splitlines()
    (folder / "ours.jsonl").write_text(lines[0], encoding="utf-8")
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        assert len(load_seeds(project, store, discard_message)[1]) == 5
        data, evidence = read_rows(store, state=None, code=None, limit=0), gather(project, store)
    assert (data["erased"], evidence.erased_seeds) == (0, 0)


def test_erasing_and_reporting_show_what_they_do(folder: Path) -> None:
    """Both read everything that is stored, which takes 5 to 20 seconds of CPU for 100,000 rows."""
    stages: list[str] = []
    watcher = Watcher(progress=lambda stage, numbers: stages.append(f"{stage}: {numbers['message']}"))
    assert start(["report", "--project", str(folder), "--json"], watcher) == 0
    source = "ours.jsonl"
    assert start(["erase", "--source", source, "--yes", "--project", str(folder), "--json"], watcher) == 0
    assert [stage.partition(":")[0] for stage in stages] == ["report", *["erase"] * 5]
    assert stages[-1] == "erase: searching for remaining traces"
