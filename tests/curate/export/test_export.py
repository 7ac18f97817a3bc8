"""Export of the dataset folder."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curate.export.dataset import export_dataset, rows
from curate.export.files import hashes
from curate.outcome import CurateResult, curate_project
from curate.split import SPLITS
from schemas.errors import InputError, NoWork, RowCountMismatch, UsageError
from schemas.project import Project
from schemas.reviews import Review
from schemas.store import Store
from tests.curate import tiny

ANSWERS = {
    f"input {n}": [f"must {a} {b} {n} as “ü”", f"must {c} {n} {a} {b} instead"]
    for n, (a, b, c) in enumerate(zip(tiny.WORDS, tiny.WORDS[20:], tiny.WORDS[40:], strict=False))
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, tiny.spec())


def curated(project: Project, store: Store, **answers: Any) -> CurateResult:
    fingerprint = tiny.pool(store, project, answers.get("answers", ANSWERS), {"bad": "empty: nothing came"})
    return asyncio.run(curate_project(project, store, fingerprints=[fingerprint]))


@pytest.fixture
def store(project: Project) -> Any:
    with Store.open(Store.url_for(project)) as opened:
        yield opened


def test_all_three_formats_have_the_same_rows(project: Project, store: Store) -> None:
    """JSONL, Parquet and the `datasets` folder agree row by row and split by split, including non-ASCII text."""
    import datasets
    import pyarrow.parquet as pq

    result = curated(project, store)
    folder = project.folder / "dataset"
    export_dataset(project, store, result, folder)
    saved = datasets.load_from_disk(str(folder / "arrow"))
    for split in SPLITS:
        lines = [json.loads(line) for line in (folder / "data" / f"{split}.jsonl").read_text("utf-8").splitlines()]
        assert lines
        assert pq.read_table(folder / "data" / f"{split}.parquet").to_pylist() == lines
        assert saved[split].to_list() == lines
        assert list(rows(folder, split)) == lines
        assert [r["pair_id"] for r in lines] == [k.pair.id for k in result.accepted if k.split == split]


def test_both_chat_forms_are_the_same_chat(project: Project, store: Store) -> None:
    """messages == prompt + completion: system, user with the input, assistant with the output."""
    export_dataset(project, store, curated(project, store), project.folder / "dataset")
    for row in rows(project.folder / "dataset", "train"):
        assert row["messages"] == row["prompt"] + row["completion"]
        assert row["prompt"] == [
            {"role": "system", "content": "Rewrite."},
            {"role": "user", "content": row["input"]},
        ]
        assert row["completion"] == [{"role": "assistant", "content": row["output"]}]


def test_no_seed_is_in_two_splits(project: Project, store: Store) -> None:
    """All rows of a seed are in the same split."""
    export_dataset(project, store, curated(project, store), project.folder / "dataset")
    seeds = [{row["seed_id"] for row in rows(project.folder / "dataset", split)} for split in SPLITS]
    assert not seeds[0] & seeds[1]
    assert not seeds[0] & seeds[2]
    assert not seeds[1] & seeds[2]


def test_manifest_lists_every_file_and_row(project: Project, store: Store) -> None:
    """Every file except the manifest is listed with its SHA-256; every row with its seed, prompt, calls and
    verdicts."""
    result = curated(project, store)
    folder = project.folder / "dataset"
    artifact = export_dataset(project, store, result, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    present = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert set(manifest["files"]) == set(present) - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256(present[name].read_bytes()).hexdigest() == digest
    assert manifest["id"] == artifact.id
    assert store.artifacts("dataset") == [artifact]
    assert [(r["pair_id"], r["split"]) for r in manifest["rows"]] == list(artifact.members)
    first = manifest["rows"][0]
    assert first["seed"]["source"].startswith("seeds.jsonl:")
    assert first["origin"]["prompt"] == "enhance/v1@0"
    assert first["origin"]["calls"] == [["k0", 1]]
    assert {v[0] for v in first["verdicts"]} == {
        "gate/must:must@1",
        "pool/contamination@4",
        "pool/duplicate@4",
        "pool/split@1",
    }
    assert first["score"] is None
    assert first["scorer"] is None


def test_the_same_rows_give_the_same_bytes(project: Project, store: Store) -> None:
    """Two exports differ only in the time in the manifest, and a repeated export leaves the files untouched."""
    result = curated(project, store)
    a, b = project.folder / "a", project.folder / "b"
    first = export_dataset(project, store, result, a)
    second = export_dataset(project, store, result, b)
    assert first.id == second.id
    manifests = [json.loads((f / "manifest.json").read_text("utf-8")) for f in (a, b)]
    assert manifests[0] | {"written": ""} == manifests[1] | {"written": ""}
    before = {p: p.stat().st_mtime_ns for p in a.rglob("*")}
    export_dataset(project, store, result, a)
    assert {p: p.stat().st_mtime_ns for p in a.rglob("*")} == before


def test_changed_dataset_replaces_the_old_one_completely(project: Project, store: Store) -> None:
    """No file of the old dataset is left, and no temporary folder."""
    folder = project.folder / "dataset"
    export_dataset(project, store, curated(project, store), folder)
    (folder / "stray.txt").write_text("from the old one")
    fewer = dict(list(ANSWERS.items())[:12])
    artifact = export_dataset(project, store, curated(project, store, answers=fewer), folder)
    assert sum(len(list(rows(folder, split))) for split in SPLITS) == len(artifact.members) < 2 * len(ANSWERS)
    assert not (folder / "stray.txt").exists()
    assert [p.name for p in project.folder.iterdir() if "dataset" in p.name] == ["dataset"]


def test_damaged_dataset_is_written_again(project: Project, store: Store) -> None:
    """Exporting the same rows again repairs a folder in which a file is missing."""
    folder, result = project.folder / "dataset", curated(project, store)
    export_dataset(project, store, result, folder)
    (folder / "data" / "train.parquet").unlink()
    export_dataset(project, store, result, folder)
    assert (folder / "data" / "train.parquet").is_file()


def test_tables_of_unchanged_rows_are_not_written_again(project: Project) -> None:
    """Another name only changes the card, so the tables are copied, without importing what writes them; a damaged one
    is written again."""
    folder = project.folder / "dataset"
    export_as("before", project.folder)
    before = hashes(folder)
    assert not export_in_a_process("after", project.folder)
    after = hashes(folder)
    assert {name for name, digest in after.items() if before[name] != digest} == {"README.md", "manifest.json"}
    (folder / "data" / "train.parquet").write_bytes(b"damaged")
    assert export_in_a_process("after", project.folder)
    assert hashes(folder)["data/train.parquet"] == before["data/train.parquet"]


def export_as(name: str, folder: Path) -> None:
    spec = tiny.spec()
    project = Project(folder, spec.model_copy(update={"task": spec.task.model_copy(update={"name": name})}))
    with Store.open(Store.url_for(project)) as store:
        export_dataset(project, store, curated(project, store), folder / "dataset")


def export_in_a_process(name: str, folder: Path) -> bool:
    """Whether the process imported `datasets`."""
    code = "import sys; from pathlib import Path; from tests.curate.export.test_export import export_as"
    code += "; export_as(sys.argv[1], Path(sys.argv[2])); print('datasets' in sys.modules)"
    command = [sys.executable, "-c", code, name, str(folder)]
    process = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True)
    return process.stdout.strip() == "True"


def test_a_file_that_was_edited_is_refused(project: Project, store: Store) -> None:
    """A model trained on it could not be traced to its rows."""
    folder = project.folder / "dataset"
    export_dataset(project, store, curated(project, store), folder)
    train = folder / "data" / "train.jsonl"
    train.write_text(train.read_text("utf-8").replace("must", "shall", 1), "utf-8")
    with pytest.raises(InputError, match="SHA-256 differs"):
        rows(folder, "train")
    with pytest.raises(InputError, match="not a dataset"):
        rows(project.folder, "train")


def test_folder_that_is_not_a_dataset_is_not_replaced(project: Project, store: Store) -> None:
    """The files in it are left alone."""
    other = project.folder / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not a dataset of pairsmith"):
        export_dataset(project, store, curated(project, store), other)
    assert (other / "chapter.txt").read_text() == "years of work"


def test_row_without_a_verdict_from_every_step_is_not_exported(project: Project, store: Store) -> None:
    """The error names the step, and nothing at all is written if one row was not judged."""
    result = curated(project, store)
    row = result.accepted[0]
    incomplete = type(row)(row.pair, row.split, row.score, row.verdicts[1:], row.reviews)
    broken = CurateResult(result.counts, result.reasons, (incomplete, *result.accepted[1:]), result.steps, result.facts)
    with pytest.raises(RowCountMismatch, match="has no verdict from gate/must:must@1"):
        export_dataset(project, store, broken, project.folder / "dataset")
    assert not (project.folder / "dataset").exists()


def test_no_accepted_row_is_an_error(project: Project, store: Store) -> None:
    """An empty dataset is not a success. The message gives the most frequent reasons, and the spec key of the gate that
    rejected most rows, for users who consider them good."""
    result = curated(project, store, answers={"input": ["refused by the gate"]})
    with pytest.raises(NoWork, match=r"no row was accepted.*Why, in rows: \w+ 1.*change curate\.gates\.must; in the"):
        export_dataset(project, store, result, project.folder / "dataset")


def test_rows_that_no_scorer_could_score_are_not_blamed_on_a_gate(project: Project, store: Store) -> None:
    """With a scorer that needs references, and none there, all rows wait: relaxing a gate would change nothing."""
    before = curated(project, store, answers={"input": ["refused by the gate"]})
    result = CurateResult(before.counts, {"unscored": 9, "must": 1}, (), before.steps, before.facts)
    with pytest.raises(NoWork, match=r"unscored 9, must 1\. .*set curate\.score\.model") as error:
        export_dataset(project, store, result, project.folder / "dataset")
    assert "curate.gates" not in str(error.value)


def test_dataset_card_has_what_the_hub_and_readers_need(project: Project, store: Store) -> None:
    """Front matter that the hub parses, the funnel, the teacher, that nobody reviewed the rows, and what the numbers do
    not show."""
    import datasets
    from huggingface_hub import DatasetCard

    folder = project.folder / "dataset"
    result = curated(project, store)
    export_dataset(project, store, result, folder)
    card = DatasetCard.load(folder / "README.md")
    assert card.data.license == "unknown"
    assert card.data.language == ["en"]
    counts = result.counts
    assert f"| {counts.rows_in} | {counts.accepted} | 0 | 0 | 1 |" in card.text
    assert "- Teacher: t. Its terms of use apply to what it wrote." in card.text
    assert "Not reviewed by humans" in card.text
    assert "What the numbers do not show" in card.text
    # The configuration in the card loads as on the hub.
    loaded = datasets.load_dataset(str(folder), cache_dir=str(project.folder / "cache"))
    assert {split: len(loaded[split]) for split in loaded} == {
        split: len(list(rows(folder, split))) for split in SPLITS
    }


def test_reviewed_rows_are_recorded_in_card_and_manifest(project: Project, store: Store) -> None:
    """How many rows were reviewed, and for a corrected row which row it replaces. A dataset of corrected rows only was
    once neither synthetic nor written by a teacher."""
    parent = curated(project, store).accepted[0].pair
    at = datetime(2026, 1, 1, tzinfo=UTC)
    store.write(Review(pair_id=parent.id, reviewer="ana", decision="edit", edited="must be by hand", at=at))
    folder, result = project.folder / "dataset", curated(project, store)
    export_dataset(project, store, result, folder)
    assert f"1 of {result.counts.accepted} rows were reviewed by people." in (folder / "README.md").read_text("utf-8")
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    (edited,) = [r for r in manifest["rows"] if r["replaces"]]
    assert edited["replaces"] == [parent.id]
    assert edited["origin"]["prompt"] == "enhance/v1@0"
    assert edited["reviews"][0]["reviewer"] == "ana"
    (row,) = curated(project, store, answers={"another": ["must be once"]}).accepted
    store.write(Review(pair_id=row.pair.id, reviewer="ana", decision="edit", edited="must be twice", at=at))
    export_dataset(project, store, curated(project, store, answers={"another": ["must be once"]}), folder)
    card = (folder / "README.md").read_text("utf-8")
    assert "\n- synthetic\n" in card
    assert "- Teacher: t. Its terms" in card


@pytest.mark.slow
def test_an_interrupted_export_leaves_the_old_dataset(project: Project, store: Store) -> None:
    """Files are written next to the dataset and moved into place with one rename: an export that fails on its last row
    changes nothing, and leftovers of a killed one are removed by the next export."""
    folder = project.folder / "dataset"
    result = curated(project, store)
    export_dataset(project, store, result, folder)
    old, last = hashes(folder), result.accepted[-1]
    incomplete = type(last)(last.pair, last.split, last.score, (), last.reviews)
    rows_in = (*result.accepted[:-1], incomplete)
    broken = CurateResult(result.counts, result.reasons, rows_in, result.steps, result.facts)
    with pytest.raises(RowCountMismatch):
        export_dataset(project, store, broken, folder)
    assert hashes(folder) == old
    assert [path.name for path in project.folder.iterdir() if "dataset" in path.name] == ["dataset"]
    leftover = project.folder / ".dataset.1.partial"
    shutil.copytree(folder / "data", leftover / "data")
    os.utime(leftover, (0, 0))
    assert len(list(rows(folder, "train"))) == sum(k.split == "train" for k in result.accepted)
    fewer = dict(list(ANSWERS.items())[:12])
    export_dataset(project, store, curated(project, store, answers=fewer), folder)
    assert not leftover.exists()


# The most memory that Arrow held while 6,000 rows of one group were written, and the size of their table.
GROUP_MEMORY = """
import sys
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.export.files import write_tables
from schemas.progress import unseen

folder = Path(sys.argv[1])
(folder / "data").mkdir()
same = {"seed_id": "s", "system": "", "score": 0.5, "made_by": "m"}
lines = []
for number in range(6_000):
    text = f"{number} " * 200
    chats = dict.fromkeys(("messages", "prompt", "completion"), [{"role": "user", "content": text}])
    lines.append(orjson.dumps({"pair_id": str(number), "input": text, "output": text, **chats, **same}))
for split in ("train", "validation", "test"):
    (folder / "data" / f"{split}.jsonl").write_bytes(b"\\n".join(lines) if split == "train" else b"")
write_tables(folder, (), unseen)
print(pa.default_memory_pool().max_memory(), pq.read_table(folder / "data" / "train.parquet").nbytes)
"""


def test_group_of_rows_is_in_memory_once(tmp_path: Path) -> None:
    """A row group of Parquet has 32,000 rows, which were in memory twice while their parts were joined: 195 MB more for
    rows of 12 KB."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", GROUP_MEMORY, str(tmp_path)]
    measured = subprocess.run(command, capture_output=True, check=True, env=environment)
    most, size = map(int, measured.stdout.split())
    assert most < 1.5 * size
