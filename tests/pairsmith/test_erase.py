"""`pairsmith erase`: what was read from a source, or said by a person, is nowhere afterwards, and a scan shows it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import pairsmith
from pairsmith.commands import start
from pairsmith.commands.status import status_of
from pairsmith.erasing import erased
from pairsmith.plan import plan
from pairsmith.report.gather import gather
from pairsmith.report.sentences import seeds_read
from pairsmith.rows import read_rows
from schemas import spec_file
from schemas.errors import UsageError
from schemas.records import Artifact, Call, Candidate, Generated, Pair, Reason, Sampling, Seed, Usage, content_id
from schemas.reviews import Review
from schemas.store import Store
from schemas.store.latest import latest_answers, probe_key
from synth.seeds import read_seeds
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


def _bytes(folder: Path, text: str) -> list[str]:
    """The files of the project in which a text stands, in any usual spelling."""
    spellings = {text, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and any(s.encode() in path.read_bytes() for s in spellings)
    )


def _call(store: Store, text: str, n: int) -> None:
    """An answer of an evaluation, which asks what the seed asks."""
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
    """An answer whose request says what a seed asks in an earlier turn."""
    turns = [("user", f"{text}? asked person 1"), ("assistant", "Yes."), ("user", "And then?")]
    messages = [{"role": role, "content": content} for role, content in turns]
    kept = {"status": "ok", "raw": {}, "sample": 0, "teacher": "t", "endpoint": "e", "seconds": 1.0}
    fields = {"key": f"key {n}", "attempt": 1, "request_id": f"r{n}", "request": {"messages": messages}}
    store.write(Call.model_validate(kept | fields))


def _erase(folder: Path, **of: Any) -> Any:
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project)) as store:
        return erased(project, store, **of)


def test_a_source_is_nowhere_afterwards(folder: Path) -> None:
    """Seeds, pairs, calls, reviews, the dataset and the export: a scan of every byte finds the texts in the source's
    own file alone; what came from elsewhere stays, and models that learned from it are named."""
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
    assert len(_bytes(folder, THEIRS)) > 4
    erased = _erase(folder, source="theirs.jsonl")
    assert (erased["seeds"], erased["pairs"]) == (4, 4)
    assert erased["models"] == [{"kind": "adapter", "id": adapter.id, "path": "adapters/x"}]
    assert erased["left_in_store"] == 0
    assert erased["left_in_files"] == ["theirs.jsonl"]
    assert _bytes(folder, THEIRS) == ["theirs.jsonl"]
    with Store.open(Store.url_for(project)) as store:
        assert len(store.find_pair("")) == 4
        assert store.reviews() == {}
        assert [call.key for call in store.calls("key 2")] == ["key 2"]
        assert store.calls("key 1") == store.calls("key 3") == []
        assert store.calls("key 4")[0].request["messages"][0]["content"] == f"{OURS}? asked person 1"
    with Store.open(Store.url_for(project), write=False) as store:
        held = status_of(project, store)
    assert (held["seeds"], held["pairs"]) == ({"pair": 4}, 4), "status tells what the store holds now"
    (folder / "theirs.jsonl").unlink()
    (folder / "pairsmith.toml").write_text(SPEC.replace('[[seeds]]\npath = "theirs.jsonl"\nkind = "pair"\n', ""))
    own = pairsmith.Project(folder)
    own.generate()
    assert own.curate().counts.rows_in == 4


def test_what_rows_of_others_hold_as_well_takes_nothing_of_theirs(tmp_path: Path) -> None:
    """A label, or a column's value that comes back, is not the erased row's alone: the answers of others that quote it
    stay, their records say what they said, the scan finds nothing, and the screen says which texts were not looked
    for. `status` counts what is left, where a row had failed, too."""
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
        (failed, *_) = store.seeds()
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


def test_a_short_text_that_was_asked_once_more_goes_too(tmp_path: Path) -> None:
    """A run may ask a question again only to see whether the teacher still answers. What came is found by the key of
    that question, for a text of a few letters is not looked for: it stands in texts of others."""
    (tmp_path / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    question = {"messages": [{"role": "user", "content": "dog 1"}]}
    kept = {"status": "ok", "attempt": 1, "request": question, "raw": {}, "sample": 0, "teacher": "t"}
    kept |= {"endpoint": "e", "seconds": 1.0}
    seed = Seed(kind="input", text="dog 1", source="theirs.jsonl:1")
    origin = Generated(generator="forward", prompt="p/v1@0", teacher="t", sampling=Sampling(), calls=(("asked", 1),))
    with Store.open(Store.url_for(spec_file.load(tmp_path))) as store:
        store.write(seed, Pair(seed_id=seed.id, input="dog 1", output="a dog", system="", origin=origin))
        for number, key in enumerate(("asked", probe_key("asked"), "another")):
            store.write(Call.model_validate({**kept, "key": key, "request_id": f"r{number}"}))
    _erase(tmp_path, source="theirs.jsonl")
    with Store.open(Store.url_for(spec_file.load(tmp_path)), write=False) as store:
        assert [store.calls(key) for key in ("asked", probe_key("asked"))] == [[], []]
        assert [call.key for call in store.calls("another")] == ["another"]


def test_what_was_paid_stays_paid(folder: Path) -> None:
    """An answer goes, and what it has cost does not: a cap of the project still counts it, by stage and teacher, also
    after a second erasure, and a run after it neither finds the answer nor stumbles over what is left."""
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


def test_an_export_elsewhere_is_no_longer_there(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `export --out` wrote is ours, wherever it is: it goes too, and a copy of it that was changed by hand or that
    is no export any more is left alone; an export that holds nothing of the source stays."""
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


def test_one_row_of_a_source_goes_and_the_others_stay(folder: Path) -> None:
    """FILE:2 is that row."""
    assert _erase(folder, source="theirs.jsonl:2")["seeds"] == 1
    with Store.open(Store.url_for(spec_file.load(folder)), write=False) as store:
        assert len(store.seeds(active=False)) == 7


def test_what_was_erased_is_told_of_the_stage_that_read_it(folder: Path) -> None:
    """`run` reads no erased row again by itself, so `generate` is done; status says why, and what reads it again."""

    def generated() -> Any:
        project = spec_file.load(folder)
        with Store.open(Store.url_for(project), write=False) as store:
            return plan(project, store)[0]

    assert generated() == ("generate", True, "")
    _erase(folder, source="theirs.jsonl:2")
    assert generated().done
    assert generated().why.startswith("rows were erased since; `pairsmith generate` reads again")
    pairsmith.Project(folder).generate()
    assert generated() == ("generate", True, "")


def test_who_is_killed_while_it_erases_leaves_nothing_behind(folder: Path) -> None:
    """The files go first and the store's rows last, overwritten as they are deleted: after them nothing would know what
    to look for. The next command that opens the store puts its log in place."""
    here = Command(folder)
    killed = here.run("erase", "--source", "theirs.jsonl", "--yes", PAIRSMITH_FAILPOINT="mid_erase")
    assert killed.returncode == -9
    assert here.run("status").returncode == 0
    assert _bytes(folder, THEIRS) == ["theirs.jsonl"]


def test_a_disk_without_room_for_a_second_store_keeps_nothing() -> None:
    """The file of a store is written anew where that has room; elsewhere its pages stay, without what stood there."""
    with small_disk("8m") as disk:
        (disk / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
        with Store.open(Store.url_for(spec_file.load(disk))) as store:
            store.write(*(Seed(kind="input", text=f"{OURS} {n} " * 9, source=f"ours.jsonl:{n}") for n in range(3_000)))
            store.write(Seed(kind="input", text=THEIRS, source="theirs.jsonl:1"))
        assert _bytes(disk, THEIRS) == ["pairsmith.db"]
        room = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filled").write_bytes(b"x" * (room - 600_000))
        assert (disk / "pairsmith.db").stat().st_size > 1_000_000
        erased = _erase(disk, source="theirs.jsonl")
        assert (erased["seeds"], erased["left_in_store"]) == (1, 0)
        assert _bytes(disk, THEIRS) == []


def test_a_folder_of_files_goes_and_its_neighbours_stay(tmp_path: Path) -> None:
    """A folder of documents is a source like a file; one whose name only begins so is another, and nothing is none."""
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
        assert [seed.source for seed in store.seeds(active=False)] == [
            "notes-of-others/0.txt:1",
            "notes-of-others/1.txt:1",
        ]


def test_what_two_people_wrote_alike_stays_that_of_the_other(folder: Path) -> None:
    """Both corrected a row to the same text: one is erased, the other's answer stays, and the scan finds nothing that
    should be gone."""
    project, alike = spec_file.load(folder), "It is a complaint about a parcel."
    with Store.open(Store.url_for(project)) as store:
        for pair, who in zip(store.find_pair(""), ("ann", "bob"), strict=False):
            edit: Any = {"reviewer": f"argilla:here/{who}", "name": who, "decision": "edit", "edited": alike}
            store.write(Review(pair_id=pair.id, **edit))
    erased = _erase(folder, person="ann")
    assert (erased["reviews"], erased["left_in_store"], erased["shared_texts"]) == (1, 0, [alike])
    with Store.open(Store.url_for(project), write=False) as store:
        assert [review.name for reviews in store.reviews().values() for review in reviews] == ["bob"]


def test_a_person_is_nowhere_afterwards(folder: Path) -> None:
    """Answers, the text of edits and the pairs they became, by name or by id; another person's stay."""
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
    assert len(_bytes(folder, secret)) > 1
    erased = _erase(folder, person="Ann Example")
    assert (erased["reviews"], erased["pairs"], erased["left_in_store"], erased["left_in_files"]) == (3, 1, 0, [])
    for text in (secret, "Ann Example", "argilla:here/11111111"):
        assert _bytes(folder, text) == []
    with Store.open(Store.url_for(project)) as store:
        assert {r.name for reviews in store.reviews().values() for r in reviews} == {"bob"}
    assert own.curate().counts.adds_up


def test_a_name_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    """Nothing is deleted on a typo."""
    with pytest.raises(UsageError, match=r"ours\.jsonl"):
        _erase(folder, source="their.jsonl")
    with pytest.raises(UsageError, match="there are no reviews by"):
        _erase(folder, person="nobody")
    with pytest.raises(UsageError, match="either"):
        _erase(folder)
    spec_text = (folder / "pairsmith.toml").read_text(encoding="utf-8")
    (folder / "new").mkdir()
    (folder / "new" / "pairsmith.toml").write_text(spec_text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"Sources in the store: none\."):
        _erase(folder / "new", source="gone.jsonl")


def test_nothing_is_erased_without_a_yes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe and for a program nobody can be asked: --yes has to say it, and until then nothing is touched."""
    for words in (["erase", "--source", "a.csv"], ["erase", "--source", "a.csv", "--json"]):
        (tmp_path / "pairsmith.toml").write_text('[task]\nname = "t"\nstyle = "Say it well."\n')
        assert start([*words, "--project", str(tmp_path)]) == 2
        captured = capsys.readouterr()
        assert "Add --yes" in captured.err + captured.out
        assert [path.name for path in tmp_path.iterdir()] == ["pairsmith.toml"]


def test_what_was_erased_is_told_once_and_in_words() -> None:
    """The screen said "0 answers" beside "1 reviews", and named an export's folder without the word that it is gone."""
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


def test_rows_that_were_erased_are_told_beside_counts_that_hold_them(folder: Path) -> None:
    """The counts are those of the last curation and of generation: `rows` listed fewer than it counted, and the report
    called the erased seeds its seeds, without a word."""
    project = spec_file.load(folder)
    with Store.open(Store.url_for(project), write=False) as store:
        before = read_rows(store, state=None, code=None, limit=0)
    assert before["erased"] == 0
    assert len(before["rows"]) == before["counts"]["rows_in"]
    _erase(folder, source="theirs.jsonl:2")
    with Store.open(Store.url_for(project), write=False) as store:
        data, evidence = read_rows(store, state=None, code=None, limit=0), gather(project, store)
    assert data["erased"] == data["counts"]["rows_in"] - len(data["rows"]) > 0
    assert evidence.erased_seeds == 1
    assert "1 seed erased since" in (seeds_read(evidence) or "")
