"""A dataset folder: the same rows as JSONL, Parquet and a `datasets` folder, a card, and a manifest with provenance.

    data/{train,validation,test}.jsonl    data/{train,validation,test}.parquet
    arrow/                                `datasets.load_from_disk`
    preferences.{jsonl,parquet}           pairs of a better and a worse answer in TRL's format; absent if there are none
    random_arm.jsonl                      as many training rows, drawn at random; absent if all rows were selected
    README.md                             the dataset card
    manifest.json                         SHA-256 of every file; provenance of every row

The same rows give the same bytes. The time of writing is only in the manifest, which no hash covers.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from curate.export.card import CardFacts, card, with_review_switched_off
from curate.export.files import (
    BATCH,
    MANIFEST,
    PREFERENCES,
    RANDOM_ARM,
    change_manifest,
    copied_tables,
    hashes,
    read_lines,
    read_manifest,
    write_manifest,
    write_preference_table,
    write_tables,
)
from curate.outcome import CurateResult
from curate.preferences import as_row, chat_of, counted
from curate.review.decision import replaced_pairs
from curate.split import SPLITS
from curate.states import Accepted
from curate.steps import UNCERTIFIED
from curate.tallies import spec_key_of_gate
from schemas.errors import InputError, NoWork, RowCountMismatch, Uncertified, UsageError
from schemas.files import replaced, replaced_folder, sha256
from schemas.identity import content_id_of
from schemas.progress import Progress, reporting, unseen
from schemas.project import Project
from schemas.records import Artifact, Generated, Json, Pair, Seed, Split, now
from schemas.spec import GateSettings
from schemas.store import Store
from schemas.streamed import batched

FORMAT = "pairsmith-dataset@1"
_REASONS = 3
_PROVENANCE = ".provenance.jsonl"  # temporary file with the rows of the manifest


def export_dataset(
    project: Project, store: Store, result: CurateResult, folder: Path, progress: Progress = unseen
) -> Artifact:
    """Write the accepted rows of `result` to `folder` and record the dataset in the store.

    An older dataset of ours in `folder` is replaced atomically; an identical one is left as it is. Raises NoWork if no
    row was accepted, RowCountMismatch for a row without a verdict from every step, and UsageError if `folder` holds
    anything else.
    """
    if not result.accepted:
        raise _no_rows_error(result)
    _refuse_foreign(folder)
    with replaced_folder(folder) as new:
        (new / "data").mkdir()
        totals, before = _write_rows(new, result, store, progress), _manifest(folder)
        if before is None or not copied_tables(folder, before["files"], new):
            write_tables(new, sorted(totals.columns), progress)
        id_ = _write_card(new, project, result, totals, before)
        if result.preferences:  # not part of the id: it identifies the rows of the dataset
            _write_lines(new / PREFERENCES, map(as_row, result.preferences))
            write_preference_table(new)
        if result.random_arm:
            _write_lines(new / RANDOM_ARM, map(chat_row, result.random_arm))
        files = hashes(new)
        del files[_PROVENANCE]
        head = {
            "format": FORMAT,
            "id": id_,
            "written": now().isoformat(timespec="seconds"),
            "files": files,
            "counts": result.counts.model_dump(),
            "reasons": result.reasons,
            "steps": [[step.by, step.settings] for step in result.steps],
            "preferences": (
                preferred := counted(result.preferences, totals.splits["train"] + totals.splits["validation"])
            ),
            "selection": result.facts.get("choice"),
        }
        write_manifest(new / MANIFEST, head, read_lines(new / _PROVENANCE))
        (new / _PROVENANCE).unlink()
        if _is_same_dataset(folder, head):
            shutil.rmtree(new)
    artifact = Artifact(
        id=id_,
        kind="dataset",
        path=project.inside(folder),
        parents=_reward_models(store, result),
        members=tuple(totals.members),
        facts={
            "format": FORMAT,
            "rows": {split: totals.splits[split] for split in SPLITS},
            "rows_without_preference": preferred.get("rows_without", {}),
            "counts": result.counts.model_dump(),
            "scorer": result.facts["scorer"] and result.facts["scorer"]["by"],
        },
    )
    store.write(artifact)
    return artifact


def _no_rows_error(result: CurateResult) -> NoWork:
    """The error with the most frequent reasons and, if there is no certificate, how to get one."""
    commonest = sorted(result.reasons.items(), key=lambda of: -of[1])[:_REASONS]
    why = f"Why, in rows: {', '.join(f'{code} {rows:,}' for code, rows in commonest)}."
    nothing = "no row was accepted, so there is no dataset to write."
    if commonest and commonest[0][0] == "unscored":
        fix = 'No score, no selection: set curate.score.model to one that can score these rows, or to "none".'
        return NoWork(nothing, why=why, fix=f"{fix} `pairsmith rows` shows the reason for each row.")
    if not result.reasons.get(UNCERTIFIED):
        return NoWork(nothing, why=why, fix=f"`pairsmith rows` shows the reason for each row.{_gate_hint(result)}")
    return Uncertified(
        nothing,
        why=f"{why} With curate.select.certified only certified rows are kept, and the others wait for review.",
        fix="Run `pairsmith review push` to send rows to reviewers and `pairsmith certify` to evaluate their answers,"
        " or leave curate.select.certified out until there is a certificate.",
    )


def _gate_hint(result: CurateResult) -> str:
    """How to relax the gate that rejects most rows, in case they are good; empty if no gate rejects any."""
    rejected = {
        by: counts["rejected"] for by, counts in result.facts.get("steps", {}).items() if by.startswith("gate/")
    }
    most = max(rejected, key=lambda by: rejected[by], default=None)
    if most is None or not rejected[most]:
        return ""
    key = spec_key_of_gate(most)
    has_mode = isinstance(getattr(GateSettings(), key.rpartition(".")[2], None), bool | str)
    ways = f'{key} = "flag" keeps and flags them' if has_mode else f"change {key}"
    return f" If these rows are good as they are, {ways}; in the browser this is under Setup, Checks."


def _write_card(folder: Path, project: Project, result: CurateResult, totals: CardFacts, before: Json | None) -> str:
    """Write the card and return the dataset's id, a hash of rows, files and provenance.

    The card says whether review was switched off, but this does not change the id, which is computed from the card
    without that notice. Older versions included it: an identical dataset keeps the id that they gave it.
    """
    text, files = card(project, result, totals), hashes(folder)
    del files[_PROVENANCE]
    steps = [[step.by, step.settings] for step in result.steps]
    ids = []
    for version in (with_review_switched_off(text), text):
        (folder / "README.md").write_text(version, encoding="utf-8")
        files = {**files, "README.md": sha256(folder / "README.md")}
        ids.append(content_id_of("artifact", ["dataset", files, steps], read_lines(folder / _PROVENANCE)))
    if not project.spec.review.enabled:
        (folder / "README.md").write_text(with_review_switched_off(text), encoding="utf-8")
    return str(before["id"]) if before and before["id"] in ids else ids[-1]


def mark_not_reviewed(folder: Path) -> None:
    """Add to the card of a dataset that human review was skipped. The dataset and its id stay the same."""
    manifest, about = _manifest(folder), folder / "README.md"
    if manifest is None or not about.is_file():
        return
    before = about.read_text(encoding="utf-8")
    text = with_review_switched_off(before)
    if text == before:
        return
    with replaced(about) as partial:
        partial.write_text(text, encoding="utf-8")
    manifest["files"]["README.md"] = sha256(about)
    change_manifest(folder / MANIFEST, manifest)


def rows(folder: Path, split: Split) -> Iterator[Json]:
    """The rows of one split of an exported dataset, in its order.

    Raises InputError if `folder` is not a dataset of ours, or if the split's file does not match its hash in the
    manifest.
    """
    return _verified_lines(folder, f"data/{split}.jsonl", _manifest_of(folder))


def preference_rows(folder: Path, split: Split) -> Iterator[Json]:
    """The preferences of one split of an exported dataset, in TRL's conversational form; none if it has none.

    Raises InputError as `rows` does.
    """
    manifest = _manifest_of(folder)
    lines = _verified_lines(folder, PREFERENCES, manifest) if PREFERENCES in manifest["files"] else ()
    return (line for line in lines if line["split"] == split)


def _verified_lines(folder: Path, name: str, manifest: Json) -> Iterator[Json]:
    """The lines of a file, which is read twice instead of kept in memory."""
    try:
        digest = sha256(folder / name)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}.", where=str(folder / name)) from None
    if digest != manifest["files"].get(name):
        raise _edited(folder / name)
    return read_lines(folder / name)


def refuse_edited(folder: Path) -> None:
    """Raise InputError if a file of the exported dataset, except its card, does not match its hash in the manifest. A
    missing file is not an edited one."""
    manifest = _manifest(folder) or {"files": {}}
    for name, digest in manifest["files"].items():
        file = folder / name
        if name != "README.md" and file.is_file() and sha256(file) != digest:
            raise _edited(file)


def _edited(file: Path) -> InputError:
    return InputError(
        "the file is not the one that was exported: its SHA-256 differs from the manifest's.",
        where=str(file),
        why="A model trained on it could not be traced to its rows.",
        fix="Run `pairsmith curate`, which writes it again; correct rows by review, not in the file.",
    )


def chat_row(pair: Pair, score: float | None = None) -> Json:
    """A row: the chat as `messages`, and split into `prompt` and `completion` for completion-only loss."""
    prompt, completion = chat_of(pair)
    return {
        "pair_id": pair.id,
        "seed_id": pair.seed_id,
        "system": pair.system,
        "input": pair.input,
        "output": pair.output,
        "messages": [*prompt, *completion],
        "prompt": prompt,
        "completion": completion,
        "score": score,
        "made_by": pair.origin.generator if isinstance(pair.origin, Generated) else pair.origin.by,
        **({"columns": pair.columns} if pair.columns else {}),
    }


def _write_rows(folder: Path, result: CurateResult, store: Store, progress: Progress) -> CardFacts:
    """Write the rows and their provenance as lines of JSON. Returns the facts for the card."""
    totals = CardFacts()
    with ExitStack() as stack:
        files = {split: stack.enter_context((folder / "data" / f"{split}.jsonl").open("wb")) for split in SPLITS}
        origins = stack.enter_context((folder / _PROVENANCE).open("wb"))
        rows = reporting(result.accepted, progress, "dataset", len(result.accepted))
        for some in batched(rows, BATCH):
            seeds = store.seeds_by_id(accepted.pair.seed_id for accepted in some)
            for accepted in some:
                _require_all_verdicts(accepted, result)
                replaced = replaced_pairs(accepted.pair, store)
                totals.add(accepted, (replaced or [accepted.pair])[-1].origin, seeds.get(accepted.pair.seed_id))
                files[accepted.split].write(orjson.dumps(chat_row(accepted.pair, accepted.score)) + b"\n")
                origins.write(orjson.dumps(_provenance(accepted, replaced, result, seeds)) + b"\n")
    return totals


def _write_lines(path: Path, rows: Iterable[Any]) -> None:
    with path.open("wb") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)


def _provenance(accepted: Accepted, replaced: Sequence[Pair], result: CurateResult, seeds: Mapping[str, Seed]) -> Json:
    """The provenance of a row. For an edited row it has the origin of the pair that was corrected, and the ids it
    replaced."""
    pair = replaced[-1] if replaced else accepted.pair
    seed = seeds.get(accepted.pair.seed_id)
    scorer = result.facts["scorer"]
    return {
        "pair_id": accepted.pair.id,
        "split": accepted.split,
        "replaces": [pair.id for pair in replaced],
        "seed": {
            "id": accepted.pair.seed_id,
            "kind": seed and seed.kind,
            "source": seed and seed.source,
            "license": seed and seed.license,
            **({"also": seed.meta["also"]} if seed and "also" in seed.meta else {}),
        },
        "origin": pair.origin.model_dump(mode="json"),
        "scorer": scorer and scorer["by"],
        "score": accepted.score,
        "verdicts": [[v.by, v.fingerprint, v.keep, str(v.reason)] for v in accepted.verdicts],
        "reviews": [
            r.model_dump(mode="json", include={"id", "reviewer", "decision", "reasons", "simulated", "at"})
            for r in accepted.reviews
        ],
    }


def _require_all_verdicts(accepted: Accepted, result: CurateResult) -> None:
    """Check that an exported row has a verdict from every step of the spec."""
    judged_by = {(v.by, v.fingerprint) for v in accepted.verdicts}
    missing = next((step for step in result.steps if (step.by, step.settings) not in judged_by), None)
    if missing:
        raise RowCountMismatch(
            f"row {accepted.pair.id} has no verdict from {missing.by}.",
            why="A row that was not judged may not be exported.",
            fix="This is a defect of pairsmith; the store is intact.",
        )


def _reward_models(store: Store, result: CurateResult) -> tuple[str, ...]:
    """The id of the fitted reward model that scored the rows; empty if none did."""
    scorer = result.facts["scorer"] or {}
    if scorer.get("by") != "score/bradley_terry@1":
        return ()
    return tuple(a.id for a in store.artifacts("reward_model") if a.facts["identity"] == scorer["identity"])


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and (not any(folder.iterdir()) or _manifest(folder))):
        raise UsageError(
            "the folder already contains something that is not a dataset of pairsmith.",
            where=str(folder),
            why="It would be replaced.",
            fix="Name another folder, or move it away.",
        )


def _manifest_of(folder: Path) -> Json:
    manifest = _manifest(folder)
    if manifest is None:
        raise InputError(
            "this is not a dataset that pairsmith exported.",
            where=str(folder),
            fix="Run `pairsmith curate` to write one.",
        )
    return manifest


def _manifest(folder: Path) -> Json | None:
    try:
        manifest = read_manifest(folder / MANIFEST)
    except (OSError, orjson.JSONDecodeError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def _is_same_dataset(folder: Path, manifest: Json) -> bool:
    """Whether `folder` already holds the same dataset with all its files."""
    old = _manifest(folder)
    if old is None or (old["id"], old["files"]) != (manifest["id"], manifest["files"]):
        return False
    return bool(hashes(folder).items() >= old["files"].items())
