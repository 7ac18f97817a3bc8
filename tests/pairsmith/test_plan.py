"""Tests of the plan: whether a stage is done is decided by content, and the plan names what made it due. Stages run
without the command line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from curate.export.dataset import mark_not_reviewed
from curate.gate_versions import VERSIONS
from curate.rows import CONTAMINATION, DUPLICATE, JUDGE
from pairsmith.plan import STAGES, inputs_of, plan
from pairsmith.receipts import fingerprints, legacy_receipts
from pairsmith.receipts.outcome import (
    CurateOutcome,
    EvaluateOutcome,
    GenerateOutcome,
    ReviewOutcome,
    RunOutcome,
    StageOutcome,
    TrainOutcome,
)
from pairsmith.receipts.receipt import recording
from pairsmith.stages.table import Audience, stage
from pairsmith.terminal.standard_input import piped
from schemas.errors import InputError, MissingDependency, NoWork
from schemas.files import sha256
from schemas.records import Counts
from schemas.spec_file import load
from schemas.store import Store
from tests.pairsmith.conftest import SPEC, answer, write_seeds
from tests.synth.loopback import LoopbackTeacher

GATE = "def polite(pair):\n    return True\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A project with pairs and a dataset, produced by running the stages from the stage table."""
    folder = tmp_path / "project"
    folder.mkdir()
    write_seeds(folder)
    (folder / "rules.py").write_text(GATE)
    with LoopbackTeacher(answer) as teacher:
        text = SPEC.format(url=teacher.url).replace("[curate.gates]", '[curate.gates]\nuser = ["rules:polite"]')
        (folder / "pairsmith.toml").write_text(text)
        project = load(folder)
        with Store.open(Store.url_for(project)) as store:
            assert stage("generate").do(project, store).pairs_made == 24
            assert stage("curate").do(project, store).counts.accepted > 0
        yield folder


def todo(folder: Path, *overrides: str) -> dict[str, str]:
    """stage -> why it is due, for the stages that are not done."""
    project = load(folder, overrides)
    with Store.open(Store.url_for(project), write=False) as store:
        return {step.stage: step.why for step in plan(project, store) if not step.done}


def finish(folder: Path, *, not_reviewed: bool = True, missing: int = 0, reused: bool = False) -> None:
    """Write receipts of training, evaluation and the run, as `run --no-review` leaves them."""
    project = load(folder, ["review.enabled=false"] if not_reviewed else [])
    rows = Counts(rows_in=1 + missing, accepted=1, failed=missing)
    with Store.open(Store.url_for(project)) as store:
        for name, empty in (("train", TrainOutcome()), ("evaluate", EvaluateOutcome(reused=reused))):
            with recording(project, store, name, empty) as record:
                inputs = inputs_of(name, project, store)._asdict()
                record.outcome = replace(empty, **inputs, counts=rows, artifact_id=f"made by {name}")
        dataset = store.artifacts("dataset")[-1].id
        with recording(project, store, "run", RunOutcome()) as ran:
            ran.outcome = RunOutcome(counts=rows, not_reviewed=dataset if not_reviewed else None)


def test_a_stage_runs_without_a_command_line(folder: Path) -> None:
    """A stage returns a typed outcome, its receipt contains the same, and progress goes to the caller's callback."""
    project, seen = load(folder), []
    with Store.open(Store.url_for(project)) as store:
        outcome = stage("curate").do(project, store, Audience(lambda name, numbers: seen.append(name)))
        receipt = store.receipts("curate")[-1]
    assert isinstance(outcome, CurateOutcome)
    assert CurateOutcome.of(receipt) == outcome
    assert "gates" in seen
    assert outcome.files == ("dataset",)


def test_finished_training_is_accepted_on_a_machine_that_could_not_train(folder: Path) -> None:
    """`train` uses the existing adapter of a project that was trained on a GPU, also on a machine without one."""
    pytest.importorskip("trl", reason="training needs the train extra")
    project = load(folder, ["review.enabled=false", "train.packing=true", "train.base=dataset"])
    with Store.open(Store.url_for(project)) as store:
        with recording(project, store, "train", TrainOutcome()) as record:
            inputs = inputs_of("train", project, store)._asdict()
            record.outcome = replace(TrainOutcome(), **inputs, counts=Counts(rows_in=1, accepted=1))
        with pytest.raises(InputError, match="this folder contains no model"):  # it got as far as the base
            stage("train").do(project, store)
        with pytest.raises(MissingDependency, match="needs a CUDA GPU"):  # because now no training is finished
            stage("train").do(project, store)


@pytest.mark.parametrize("way", ["cp", "mv", "clone"])
def test_copied_or_moved_project_stays_done(folder: Path, way: str) -> None:
    """A different path, other timestamps and other inodes do not make a stage due."""
    before = todo(folder)
    assert list(before) == ["review", "train", "evaluate"]
    other = folder.parent / "elsewhere"
    if way == "mv":
        folder.rename(other)
    else:
        shutil.copytree(folder, other, copy_function=shutil.copy if way == "clone" else shutil.copy2)
        for number, path in enumerate(sorted(other.rglob("*"))):
            os.utime(path, (1e9 + number, 1e9 + number))
    assert todo(other) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "undone", "why"),
    [
        ("seeds.jsonl", "a red kite", "a bad kite", "generate", "seeds.jsonl has changed"),
        ("rules.py", "True", "None", "curate", "the file of rules:polite has changed"),
    ],
    ids=["seeds", "gate"],
)
def test_changed_content_makes_the_stage_due_and_is_named(
    folder: Path, name: str, old: str, new: str, undone: str, why: str
) -> None:
    """A changed file is noticed even if its size and its modification time are unchanged."""
    file = folder / name
    assert undone not in todo(folder)
    was, text = file.stat(), file.read_text()
    file.write_text(text.replace(old, new))
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    assert file.read_text() != text
    assert todo(folder)[undone] == why


def test_a_changed_key_is_named_and_a_comment_changes_nothing(folder: Path) -> None:
    """A comment in the spec makes no stage due; a changed setting does, and is named by its key."""
    spec, before = folder / "pairsmith.toml", todo(folder)
    spec.write_text("# a comment\n" + spec.read_text())
    assert todo(folder) == before
    spec.write_text(spec.read_text().replace("max_tokens = 64", "max_tokens = 65"))
    assert todo(folder)["generate"] == "generate.forward.sampling.max_tokens has changed"


def test_an_override_is_named_as_the_cause(folder: Path) -> None:
    """A --set override is named as the cause, whether it is given now or was given to the previous run."""
    hot = "generate.forward.sampling.temperature=0.5"
    assert todo(folder, hot)["generate"] == f"because of --set {hot}"
    with LoopbackTeacher(answer) as teacher:
        project = load(folder, [hot, f"teacher.url={teacher.url}"])
        with Store.open(Store.url_for(project)) as store:
            stage("generate").do(project, store)
    assert todo(folder)["generate"] == f"it was run with --set {hot}"


def test_an_empty_pool_names_the_override_that_emptied_it(folder: Path) -> None:
    """For `curate` with another --set than `generate`, the error names the override and not only the empty pool."""
    project = load(folder, ["generate.forward.sampling.temperature=0.5"])
    named = "--set generate.forward.sampling.temperature=0.5"
    with Store.open(Store.url_for(project)) as store, pytest.raises(NoWork) as raised:
        stage("curate").do(project, store)
    assert named in str(raised.value)


def test_a_finished_run_without_review_is_done(folder: Path) -> None:
    """A run without review is done with and without `--no-review`, until the run was one with review: then review and
    all after it are due."""
    finish(folder)
    assert todo(folder) == {}
    assert todo(folder, "review.enabled=false") == {}
    finish(folder, not_reviewed=False)
    assert list(todo(folder)) == ["review", "train", "evaluate"]


def test_an_evaluation_with_missing_answers_is_not_done(folder: Path) -> None:
    """If a system stopped answering midway, the next run asks it again; the evaluation does not stay on half of its
    answers."""
    finish(folder, missing=2)
    assert todo(folder) == {"evaluate": "2 answers are missing"}
    finish(folder)
    assert todo(folder) == {}


def test_missing_answers_are_requested_twice_at_most(folder: Path) -> None:
    """A server that always fails at one input does not leave a project unfinished for ever; the missing answers are
    still reported. An evaluation that was only reused, as older versions did, does not count as an attempt, and one
    that gained an answer continues."""
    finish(folder, missing=2)
    finish(folder, missing=2, reused=True)
    assert todo(folder) == {"evaluate": "2 answers are missing"}
    finish(folder, missing=1)
    assert todo(folder) == {"evaluate": "1 answer is missing"}
    finish(folder, missing=1)
    assert todo(folder) == {}
    project = load(folder)
    with Store.open(Store.url_for(project), write=False) as store:
        (evaluated,) = (step for step in plan(project, store) if step.stage == "evaluate")
    assert evaluated.why == "1 answer is missing, although requested twice (`pairsmith evaluate` asks again)"


def test_dataset_card_mentions_review_without_changing_the_id(folder: Path) -> None:
    """The card of a dataset built with review switched off, or used by a run without review, says so once. The dataset
    keeps its id, and its manifest has the hash of each file as it is now."""
    with Store.open(Store.url_for(load(folder))) as store:
        before = store.artifacts("dataset")[-1].id
        card = folder / "dataset" / "README.md"
        assert "switched off" not in card.read_text()

        def hashes() -> dict[str, str]:
            present = (path for path in card.parent.rglob("*") if path.is_file() and path.name != "manifest.json")
            return {path.relative_to(card.parent).as_posix(): sha256(path) for path in present}

        off = load(folder, ["review.enabled=false"])
        assert stage("curate").do(off, store).artifact_id == before
        assert card.read_text().count("switched off") == 1
        assert json.loads((card.parent / "manifest.json").read_text())["files"] == hashes()
        assert stage("curate").do(load(folder), store).artifact_id == before
        assert "switched off" not in card.read_text()
        assert json.loads((card.parent / "manifest.json").read_text())["files"] == hashes()
        for _ in range(2):  # as each `run --no-review` does
            mark_not_reviewed(card.parent)
            assert card.read_text().count("switched off") == 1
            manifest = json.loads((card.parent / "manifest.json").read_text())
            assert (manifest["id"], manifest["files"]) == (before, hashes())


def test_piped_input_is_compared_with_what_was_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cat other | pairsmith run` does not count generate as done; piping nothing, or the same content, does."""
    import io
    import sys

    def pipe(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        forget()

    def forget() -> None:
        if piped.cache_info().currsize:
            piped().content.close()
        piped.cache_clear()

    with LoopbackTeacher(answer) as teacher:
        text = SPEC.format(url=teacher.url).replace('path = "seeds.jsonl"', 'path = "-"')
        (tmp_path / "pairsmith.toml").write_text(text)
        project = load(tmp_path)
        with Store.open(Store.url_for(project)) as store:
            pipe("a fox\na boat\n")
            stage("generate").do(project, store)
            stage("curate").do(project, store)

            def first(*, stdin: bool = True) -> list[bool]:
                return [step.done for step in plan(project, store, stdin=stdin)][:2]

            assert first() == [True, True]
            pipe("")
            assert first() == [True, True]
            pipe("a fox\nan owl\n")
            assert first() == [False, False]
            assert first(stdin=False) == [True, True], "only a run reads standard input"
    forget()


def test_sources_that_were_added_are_named(folder: Path) -> None:
    """What they say and how they are read are new settings, which were counted: "seeds.1.use and 1 more"."""
    spec = folder / "pairsmith.toml"
    (folder / "more.jsonl").write_text('{"text": "one more"}\n')
    spec.write_text(spec.read_text() + '\n[[seeds]]\npath = "more.jsonl"\nuse = "test"\n')
    assert todo(folder)["generate"] == "more.jsonl is new"
    spec.write_text(spec.read_text() + '\n[[seeds]]\npath = "seeds.jsonl"\n')
    assert todo(folder)["generate"] == "more.jsonl and seeds.jsonl are new"
    spec.write_text(spec.read_text().replace('style = "', 'style = "Briefly. '))
    assert todo(folder)["generate"].endswith("have changed")


def test_each_file_of_a_glob_counts(folder: Path) -> None:
    """Adding a file behind `path = "seed*.jsonl"` makes generation due and removing it again makes it done; a file that
    does not match the pattern changes nothing."""
    spec = folder / "pairsmith.toml"
    spec.write_text(spec.read_text().replace('path = "seeds.jsonl"', 'path = "seed*.jsonl"'))
    assert "generate" not in todo(folder), "the glob matches the same rows"
    (folder / "other.jsonl").write_text('{"text": "a hen"}\n')
    assert "generate" not in todo(folder)
    (more := folder / "seeds-2.jsonl").write_text('{"text": "one more"}\n')
    assert todo(folder)["generate"] == "seed*.jsonl has changed"
    more.unlink()
    assert "generate" not in todo(folder)


def test_fingerprint_of_a_folder_depends_on_its_files_only(tmp_path: Path) -> None:
    """The same files in another folder have the same fingerprint; a changed byte or file name changes it."""
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "a.arrow").write_bytes(b"1")
    one = fingerprints.of_path(tmp_path / "one")
    assert one == fingerprints.of_path(tmp_path / "two")
    (tmp_path / "two" / "sub" / "a.arrow").write_bytes(b"2")
    assert one != fingerprints.of_path(tmp_path / "two")
    (tmp_path / "one" / "sub" / "a.arrow").rename(tmp_path / "one" / "a.arrow")
    assert one != fingerprints.of_path(tmp_path / "one")


def test_hash_of_a_large_file_is_cached_per_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached hash belongs to one file on one disk: it is used neither for a copy nor after the content changed."""
    monkeypatch.setenv("PAIRSMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fingerprints, "LARGE_BYTES", 3)
    large = tmp_path / "large.jsonl"
    large.write_bytes(b"12345")
    first = fingerprints.of_path(large)
    (kept,) = (tmp_path / "cache" / "hashes").iterdir()
    kept.write_text("0" * 64)
    assert fingerprints.of_path(large) == f"sha256:{'0' * 16}", "it was not read again"
    copy = tmp_path / "copy.jsonl"
    shutil.copy2(large, copy)
    assert fingerprints.of_path(copy) == first
    was = large.stat()
    while large.stat().st_ctime_ns == was.st_ctime_ns:  # a file system's clock may not advance for milliseconds
        large.write_bytes(b"54321")
        os.utime(large, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert fingerprints.of_path(large) not in (first, f"sha256:{'0' * 16}")


def test_questions_for_an_evaluation_do_not_make_curation_due(folder: Path) -> None:
    """`curate.judge.questions` are also those of `evaluate.judges`. Without a judge of the rows curation asks none of
    them, and a warning that the training data is out of date would be false."""
    asked = '[[curate.judge.questions]]\nname = "calm"\nquestion = "Is it calm?"\n'
    (folder / "pairsmith.toml").write_text(f"{(folder / 'pairsmith.toml').read_text()}\n{asked}")
    assert "curate" not in todo(folder)


def test_a_renamed_key_makes_nothing_due(folder: Path) -> None:
    """A receipt with settings under their old names matches the same settings under the new names, in the spec and with
    --set; another value makes the stage due, and the new name is shown."""
    shares = "estimation = 0.4\ncalibration = 0.2\n"
    spec = (folder / "pairsmith.toml").read_text()
    (folder / "pairsmith.toml").write_text(f"{spec}\n[review]\nmargin_of_error = 0.3\n[review.shares]\n{shares}")
    project = load(folder)
    old = {"review.half_width": 0.3, "review.shares.certify": 0.4, "review.shares.fit": 0.2}
    with (
        Store.open(Store.url_for(project)) as store,
        recording(project, store, "review", ReviewOutcome()) as record,
    ):
        inputs = inputs_of("review", project, store)._replace(shaped_by=old)
        counts = Counts(rows_in=1, accepted=1)
        record.outcome = ReviewOutcome(**inputs._asdict(), artifact_id=inputs.source, counts=counts)
    assert "review" not in todo(folder)
    assert todo(folder, "review.half_width=0.2")["review"] == "because of --set review.half_width=0.2"
    (folder / "pairsmith.toml").write_text(f"{spec}\n[review]\nmargin_of_error = 0.2\n[review.shares]\n{shares}")
    assert todo(folder)["review"] == "review.margin_of_error has changed"


def test_rows_not_redacted_by_an_older_version_are_due(folder: Path) -> None:
    """If an older version redacted only the seeds, `generate` is due and says why. Otherwise `curate` would find no
    rows for the present settings, and each command would refer to the other."""
    spec = (folder / "pairsmith.toml").read_text()
    (folder / "pairsmith.toml").write_text(f'{spec}\n[personal]\nemail = "redact"\n')
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        assert stage("generate").do(project, store).calls_sent == 0
        assert "generate" not in todo(folder)
        receipt = store.receipts("generate")[-1]
        shaped = {key: value for key, value in receipt.facts["shaped_by"].items() if "redacts" not in key}
        store.write(receipt.model_copy(update={"facts": {**receipt.facts, "shaped_by": shaped}}))
    assert todo(folder)["generate"] == "what [personal] redacts in answers has changed"


# Receipts of version 0.1


def downgrade_to_version_01(folder: Path) -> None:
    """Change the store to what version 0.1 wrote: a hash over size and time instead of the settings that shaped a
    stage."""
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        for receipt in [r for r in store.receipts() if r.command in STAGES]:
            facts = {k: v for k, v in receipt.facts.items() if k not in ("shaped_by", "overrides")}
            facts["inputs"] = "0" * 32
            old = legacy_receipts.spec_hash(project, reviewed=True)
            store.write(receipt.model_copy(update={"facts": facts, "spec_hash": old}))


GOLDEN = """
[task]
name = "golden"
style = "Rewrite richly."
[[seeds]]
path = "seeds.jsonl"
[[exemplars]]
input = "a fox"
output = "a fox at dawn"
[generate.forward]
n = 2
[curate.gates]
length = false
must = [{ name = "ends", pattern = "END" }]
[evaluate]
checks = [{ name = "a", pattern = "x" }, { name = "b", pattern = "y" }]
"""


def test_spec_hash_of_version_01_can_still_be_computed(tmp_path: Path) -> None:
    """The hashes are those that version 0.1 computed, whatever keys were added since; a new key counts only where it is
    set."""
    (tmp_path / "pairsmith.toml").write_text(GOLDEN)
    project = load(tmp_path)
    assert legacy_receipts.spec_hash(project, reviewed=True) == "8c75f08eba37cd657f6640827e36b03a"
    assert legacy_receipts.spec_hash(project, reviewed=False) == "42a92a092810ef2082429a36692b9acf"
    spec = {"task": {"name": "x", "brand_new": 1}, "budget": {"usd": 3}}
    assert legacy_receipts.as_known(spec, {"task": {"name": "x"}}) == {"task": {"name": "x"}}
    scored = {"curate": {"score": {"model": "pmi", "batch_tokens": 4096}}}
    assert legacy_receipts.as_known(scored, scored) == {
        "curate": {"score": {"model": "relevance", "batch_tokens": 4096}}
    }
    assert legacy_receipts.as_known(spec, {"task": {"name": "x", "brand_new": 1}}) == {
        "task": {"name": "x", "brand_new": 1}
    }


def test_stages_done_by_version_01_stay_done(folder: Path) -> None:
    """Stages finished by version 0.1 are done, also after a copy, until the seeds, a gate's file or the spec change or
    the dataset is deleted."""
    downgrade_to_version_01(folder)
    other = folder.parent / "copied"
    shutil.copytree(folder, other)
    assert list(todo(other)) == ["review", "train", "evaluate"]
    (other / "rules.py").write_text(f"{GATE}# stricter\n")
    assert todo(other)["curate"] == "a file of curate.gates has changed"
    (other / "rules.py").write_text(GATE)
    shutil.rmtree(other / "dataset")
    assert todo(other)["curate"] != ""
    write_seeds(folder, ("another seed",))
    assert todo(folder)["generate"] == "the seeds have changed"
    write_seeds(folder)
    spec = (folder / "pairsmith.toml").read_text()
    (folder / "pairsmith.toml").write_text(spec.replace("best = 2", "best = 1"))
    assert todo(folder)["generate"] == "pairsmith.toml has changed since an older pairsmith ran it"


def test_outcomes_read_receipts_of_every_version(tmp_path: Path) -> None:
    """A field missing from a receipt gets its default; a field unknown to this version is kept."""
    (tmp_path / "pairsmith.toml").write_text(GOLDEN)
    project = load(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        with recording(project, store, "generate", GenerateOutcome()) as record:
            record.outcome = GenerateOutcome(counts=Counts(rows_in=1, waiting=1), fingerprints={"forward": "f" * 32})
        (receipt,) = store.receipts()
    facts = {"scopes": {"forward": "f" * 32}, "from": "", "what_comes_later": [1]}
    parsed = GenerateOutcome.of(receipt.model_copy(update={"facts": facts}))
    assert (parsed.fingerprints, parsed.pairs_made, parsed.shaped_by) == ({"forward": "f" * 32}, 0, None)
    assert parsed.facts["what_comes_later"] == [1]
    assert GenerateOutcome.of(receipt) == record.outcome
    assert ReviewOutcome.of(receipt.model_copy(update={"facts": {"waits": "3 rows"}})).waits == "3 rows"
    assert StageOutcome.of(receipt.model_copy(update={"facts": {"from": "x", "made": "y"}})).source == "x"


def test_every_step_whose_rules_changed_is_named_once(tmp_path: Path) -> None:
    """Gates, pool steps and a judge with outdated rules are named once each; current steps and a model's scores are
    not."""
    write_seeds(tmp_path)
    (tmp_path / "pairsmith.toml").write_text(SPEC.format(url="http://127.0.0.1:9/v1"))
    project = load(tmp_path)
    with Store.open(Store.url_for(project)) as store:
        with recording(project, store, "curate", CurateOutcome()) as record:
            record.outcome = CurateOutcome(counts=Counts(rows_in=1, waiting=1))
        (receipt,) = store.receipts()

    def of(*steps: str) -> str:
        return legacy_receipts.outdated_rules_note(
            receipt.model_copy(update={"facts": {"steps": {step: {} for step in steps}}})
        )

    assert of("gate/cut@1", "gate/language@1", "pool/duplicate@2", "judge/checklist@1").startswith(
        "by older rules (gates, duplicate, judge);"
    )
    current = f"gate/schema@{VERSIONS['schema']}"
    assert of(current, DUPLICATE, CONTAMINATION, JUDGE, "pool/split@1", "score/reward:m@abc") == ""
