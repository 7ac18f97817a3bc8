"""`evidence.json`: everything the report shows, every answer with its id, and the SHA-256 of the files it refers to.

The report can be rendered again from this file alone. A changed number is detected by the file's own digest; a changed
spec, dataset, adapter or evaluation by the digests in it. This is not a signature: rewriting everything consistently
leaves no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from pairsmith.report.evidence import Evidence
from pairsmith.stages.evaluate import outcomes
from schemas.errors import InputError
from schemas.files import replaced, sha256
from schemas.project import Project
from schemas.records import Artifact, Json
from schemas.spec_file import SPEC_NAME
from train.evaluation.verdict import verdict

_FORMAT = 1
_RERUN_REPORT = "`pairsmith report` writes a new report and evidence of the present state."


class FileDigest(NamedTuple):
    """A file that the evidence refers to. `path` is its path in the project, `exported` the path in an export;
    `exported` is empty for a file that the export extends."""

    path: str
    exported: str
    sha256: str


class CheckedEvidence(NamedTuple):
    """The evidence, the files that are present and unchanged, and the missing ones."""

    evidence: Evidence
    same: tuple[str, ...]
    missing: tuple[str, ...]


def write_evidence(project: Project, evidence: Evidence, artifacts: Iterable[Artifact], out: Path) -> None:
    """Write the evidence to `out`. `artifacts` are the ones it refers to; the SHA-256 of their files is recorded."""
    digests = [_file_digest(project.folder, SPEC_NAME, SPEC_NAME), *_artifact_files(project, artifacts)]
    body: Json = {
        "format": _FORMAT,
        "evidence": _ADAPTER.dump_python(_without_local_paths(evidence), mode="json"),
        "files": [file._asdict() for file in digests if file],
    }
    with replaced(out) as partial:
        partial.write_bytes(orjson.dumps({**body, "sha256": _digest(body)}, option=orjson.OPT_INDENT_2))


def read_evidence(path: Path, folders: Sequence[Path] = ()) -> CheckedEvidence:
    """The evidence in `path`. Its files are looked up beside it and in `folders`.

    Raises InputError if it is not an evidence file, or if a hash does not match.
    """
    body = _parse(path)
    if body.pop("sha256", None) != _digest(body):
        raise InputError(
            "the evidence was changed after it was written: its own SHA-256 does not match.",
            where=str(path),
            why="Its numbers may not be the measured ones.",
            fix=_RERUN_REPORT,
        )
    try:
        evidence = _ADAPTER.validate_python(body["evidence"])
        evidence = replace(evidence, recomputed=tuple(_recomputed(body["evidence"], evidence)))
        digests = [FileDigest(**file) for file in body["files"]]
    except (ValidationError, KeyError, TypeError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise _not_evidence(path, first) from None
    same, missing = [], []
    for file in digests:
        place = _find_file(file, [path.parent, *folders])
        if place is None:
            missing.append(file.path)
            continue
        if (now := sha256(place)) != file.sha256:
            raise InputError(
                f"this is not the file that the evidence refers to: SHA-256 {now[:12]}... instead of"
                f" {file.sha256[:12]}...",
                where=str(place),
                why="The report would describe other data, settings or weights than these.",
                fix=f"Restore the original file, or: {_RERUN_REPORT}",
            )
        same.append(file.path)
    return CheckedEvidence(evidence, tuple(same), tuple(missing))


_ADAPTER = TypeAdapter(Evidence)


def _recomputed(written: Json, evidence: Evidence) -> Iterator[str]:
    """What the present rules change in the comparisons that its verdict was based on (their numbers are recomputed if
    an earlier version wrote them), and in its advice on fine-tuning, which does not depend on the spec."""
    evaluation = evidence.evaluation
    if evaluation is None or evidence.verdict is None:
        return
    runs = (run for run in reversed(evidence.receipts) if run.ok and run.facts.get("made") == evaluation.id)
    decided = evidence.outcomes or next((run.facts["outcomes"] for run in runs if "outcomes" in run.facts), {})
    differing = [
        f"tuned against {label} ({mode}): {decided[label][mode]} then, {outcome} now"
        for label, of_label in outcomes(evaluation).items()
        for mode, outcome in of_label.items()
        if decided.get(label, {}).get(mode, outcome) != outcome
    ]
    old, advice = [_numbers(gap) for gap in written["evaluation"].get("comparisons", ())], evidence.verdict.fine_tune
    if (present := verdict(evaluation).fine_tune) != advice:
        differing.append(f"should you fine-tune at all: {advice} then, {present} now")
    if differing or old != [_numbers(gap) for gap in evaluation.model_dump(mode="json")["comparisons"]]:
        yield (
            "The verdict is the one that was decided when this evidence was written. The rules have changed since, and"
            " the differences below follow the present ones, so the two may disagree. In the project's folder,"
            " `pairsmith evaluate` gives the present verdict without asking for any answer again."
        )
        yield from differing


def _numbers(comparison: Json) -> list[float | None]:
    """A comparison's numbers to nine digits: the last ones depend on the processor."""
    intervals = [comparison.get(name) or {} for name in ("difference", "simultaneous")]
    ends = [interval.get(end) for interval in intervals for end in ("estimate", "low", "high")]
    numbers = [*ends, comparison.get("p_holm"), comparison.get("p_unscored")]
    return [None if number is None else round(number, 9) for number in numbers]


def _without_local_paths(evidence: Evidence) -> Evidence:
    """The evidence without folder paths of this machine."""
    training, evaluation = evidence.training, evidence.evaluation
    return replace(
        evidence,
        training=training and training.model_copy(update={"folder": "", "masks": ()}),
        evaluation=evaluation and evaluation.model_copy(update={"path": ""}),
    )


def _artifact_files(project: Project, artifacts: Iterable[Artifact]) -> Iterator[FileDigest | None]:
    for artifact in artifacts:
        source = project.folder / artifact.path
        path = project.inside(source)
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            # The model card is prose that later stages extend.
            if file.is_file() and file.name != "README.md":
                inside = file.relative_to(source).as_posix() if source.is_dir() else ""
                place = _exported_path(artifact.kind, inside) if inside else artifact.kind + source.suffix
                yield _file_digest(project.folder, f"{path}/{inside}" if inside else path, place)


def _exported_path(kind: str, inside: str) -> str:
    """The path that a file of an artifact has in an export: a merged model has its own folder, and the generation
    config is extended there."""
    if inside.endswith("generation_config.json"):
        return ""
    return f"model/{inside.removeprefix('merged/')}" if inside.startswith("merged/") else f"{kind}/{inside}"


def _file_digest(folder: Path, path: str, exported: str) -> FileDigest | None:
    file = folder / path
    return FileDigest(path, exported, sha256(file)) if file.is_file() else None


def _find_file(digest: FileDigest, folders: Sequence[Path]) -> Path | None:
    names = dict.fromkeys(filter(None, (digest.path, digest.exported)))
    places = (folder / name for folder in folders for name in names)
    return next((place for place in places if place.is_file()), None)


def _digest(body: Json) -> str:
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _parse(path: Path) -> Json:
    try:
        body = orjson.loads(path.read_bytes())
    except OSError as error:
        fix = "Name an evidence.json that `pairsmith report` has written."
        what = f"the evidence cannot be read: {error.strerror or error}."
        raise InputError(what, where=str(path), fix=fix) from None
    except orjson.JSONDecodeError as error:
        raise _not_evidence(path, str(error)) from None
    if not isinstance(body, dict) or body.get("format") != _FORMAT:
        raise _not_evidence(path, f"its format is not {_FORMAT}")
    return body


def _not_evidence(path: Path, why: str) -> InputError:
    return InputError(
        f"this is not an evidence file that this version can read: {why}.", where=str(path), fix=_RERUN_REPORT
    )
