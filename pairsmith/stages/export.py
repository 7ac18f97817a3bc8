"""Export: copy what a project produced into one folder that can be passed on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from curate.export import chat_files, licences
from pairsmith import exported_model
from pairsmith.certified import in_lines, last_certification
from pairsmith.exported_model import GGUF
from pairsmith.plan import refuse_unchecked, warn_outdated
from pairsmith.receipts.outcome import ExportOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.stages.evaluate import evaluation_in
from pairsmith.stages.table import NO_AUDIENCE, Audience, Option, Stage
from schemas.errors import InputError, NoWork, UsageError
from schemas.files import copy_folder, replaced_folder, sha256
from schemas.progress import Say
from schemas.project import CERTIFICATE, Project
from schemas.records import Artifact, Counts
from schemas.spec_file import SPEC_NAME, load
from schemas.store import Store
from schemas.store.failures import shown
from schemas.store.latest import present
from schemas.wording import counted

REPORT = "report.html"
FORMATS = tuple(chat_files.FORMATS)
EVIDENCE = "evidence.json"
EXPORT = "export"
MARK = "export.json"
_KIND_BY_STAGE = {"generate": "dataset", "curate": "dataset", "train": "adapter", "evaluate": "evaluation"}


def export(
    project: Project,
    store: Store,
    audience: Audience = NO_AUDIENCE,
    *,
    out: Path | None = None,
    gguf: Sequence[str] = (),
    format: Sequence[str] = (),
) -> ExportOutcome:
    """Write the export into the folder `out`, by default `export` in the project.

    It contains `dataset`, `adapter` (and for QLoRA `model`), `evaluation.json`, `report.html`, `evidence.json`, the
    spec, and `export.json` with the ids of its contents. What does not exist yet is left out, and so are a report and
    evidence of other files. `gguf` names the kinds of GGUF to add, `format` the trainers whose chat files go into
    `chat` (`curate.export.chat_files`). `certificate.json` is included if a certificate holds for the present rows.

    An earlier export in `out` is replaced atomically. Raises NoWork without a dataset that was compared with the
    held-out files, UsageError if `out` holds something else, InputError for an evaluation that was changed by hand, and
    NotLicensed for rows that `[export]` does not allow out.
    """
    say, show = audience.say, _on_progress(audience)
    out = out.resolve() if out else project.folder / EXPORT  # absolute, so that `erase` finds it from any folder
    with recording(project, store, "export", ExportOutcome()) as record:
        artifacts = present(store)
        if "dataset" not in artifacts:
            raise NoWork("there is no dataset to export.", fix="Run `pairsmith curate` first.")
        _refuse_other(out)
        _refuse_password(project)
        show("checking the files and licences")
        _refuse_edited(project, store, artifacts)
        refuse_unchecked(project, store)
        makers = {stage: f"the exported {kind}" for stage, kind in _KIND_BY_STAGE.items() if kind in artifacts}
        warn_outdated(project, store, makers, say)
        licences.refuse_unlicensed(project, store, artifacts.values())
        declared = licences.ledger(project, store, {id_ for id_, _ in artifacts["dataset"].members})
        ids = {name: artifact.id for name, artifact in artifacts.items()}
        with replaced_folder(out) as partial:
            show("copying")
            copied = {name: artifact for name, artifact in artifacts.items() if name != "adapter"}
            written = {name: out / _copy(project, artifact, partial) for name, artifact in copied.items()}
            _write_chat_files(project, partial, format, artifacts.get("adapter"), say, show)
            written |= {f"chat files, {name}": out / "chat" / name for name in format}
            checked: dict[str, str] = {}
            if "adapter" in artifacts:
                model = exported_model.write(project, store, artifacts["adapter"], partial, gguf, show)
                written |= {name: out / path for name, path in model.written.items()}
                checked = model.comparisons
            elif gguf:
                raise NoWork("there is no tuned model to convert to GGUF.", fix="Run `pairsmith train` first.")
            certificate = last_certification(project, store)
            holds = [CERTIFICATE] if certificate and certificate["holds"] else []
            written |= {name: out / name for name in _copy_documents(project, partial, holds, say)}
            terms = {"certificate": certificate, "licences": licences.as_json(declared)}
            files = {file.name: sha256(file) for file in sorted(partial.glob("gguf/*.gguf"))}
            mark = {**ids, "spec_hash": project.spec_hash, **terms, **({"gguf": files} if files else {})}
            (partial / MARK).write_text(json.dumps(mark, indent=2) + "\n")
        rows = len(artifacts["dataset"].members)
        record.add(counts=Counts(rows_in=rows, accepted=rows), ids=ids, gguf=checked, certificate=certificate)
        record.add(written={name: str(path) for name, path in written.items()})
    return record.outcome


def _on_progress(audience: Audience) -> Say:
    """Show each step once: in the live line of a terminal, on the run page, or as a line in a pipe."""
    return lambda step: audience.progress("export", {"message": step})


def _write_chat_files(
    project: Project, partial: Path, formats: Sequence[str], adapter: Artifact | None, say: Say, show: Say
) -> None:
    settings = project.spec.train
    # training chose it by the size of the base, see `train.base_models.models.settled`
    if "method" not in settings.model_fields_set:
        trained = adapter.facts.get("settings", {}).get("method") if adapter else None
        method = trained or ("lora" if settings.base == "embedded" else settings.method)
        settings = settings.model_copy(update={"method": method})
    if (project.folder / settings.base).is_dir():  # on another machine the name would be looked up on a hub
        settings = settings.model_copy(update={"base": "MODEL", "revision": None})
    trained_in = project.folder / adapter.path if adapter else None
    for name in formats:
        show(f"writing the rows for {name}")
        chat = partial / "chat" / name
        counts = chat_files.write_chat_files(partial / "dataset", name, chat, settings, trained_in)
        least = chat_files.FORMATS[name].least
        for file in ("train", "dpo/train"):
            if (number := counts.get(file, least)) < least:
                rows = counted(number, "row", "rows")
                say(f"warning: {name} accepts no file with fewer than {least} rows, and {file}.jsonl has {rows}.")


def _refuse_other(out: Path) -> None:
    """Raise UsageError for a folder that would be replaced but is not an export."""
    if out.exists() and not (out.is_dir() and ((out / MARK).is_file() or not any(out.iterdir()))):
        raise UsageError(
            "there is already something that is not an export of pairsmith.",
            where=str(out),
            fix="Name another folder, or move that one away.",
        )


def _refuse_edited(project: Project, store: Store, artifacts: Mapping[str, Artifact]) -> None:
    from curate.export.dataset import refuse_edited  # with numpy, without which the service starts

    refuse_edited(project.folder / artifacts["dataset"].path)
    if "evaluation" in artifacts:
        evaluation_in(project, artifacts["evaluation"], store)


def _refuse_password(project: Project) -> None:
    """Raise UsageError for a spec that contains the password of its store, because the spec is part of the export."""
    url = load(project.folder).spec.store.url if (project.folder / SPEC_NAME).is_file() else None
    if url is not None and "***" in shown(url):
        raise UsageError(
            "the store's URL contains a password.",
            where=f"{project.folder / SPEC_NAME}: store.url",
            why="The spec is part of the export.",
            fix='Put the URL into an environment variable and write url_env = "NAME" instead; the store is unchanged.',
        )


def _copy_documents(project: Project, exported: Path, more: Sequence[str], say: Say) -> list[str]:
    """Copy the spec, the report with its evidence, and `more`; returns the names that exist. A report about other files
    than the exported ones is left out: its numbers would belong to another model or other rows."""
    from pairsmith.report.evidence_file import read_evidence

    names = [name for name in (SPEC_NAME, REPORT, EVIDENCE, *more) if (project.folder / name).is_file()]
    for name in names:
        shutil.copy2(project.folder / name, exported / name)
    try:
        if EVIDENCE in names:
            read_evidence(exported / EVIDENCE)
    except InputError as error:
        place = Path(error.where or EVIDENCE)
        other = place.relative_to(exported) if place.is_relative_to(exported) else place
        say(
            f"warning: {REPORT} and {EVIDENCE} are left out, because {other} is not the file they describe: run"
            " `pairsmith report`, then `pairsmith export` again."
        )
        for name in (REPORT, EVIDENCE):
            (exported / name).unlink(missing_ok=True)
        names = [name for name in names if name not in (REPORT, EVIDENCE)]
    return names


def summary(outcome: ExportOutcome) -> list[tuple[str, str]]:
    """The files, how each GGUF answers, and whether a certificate is included."""
    not_certified = [("certified", "no; run `pairsmith certify` first")]
    answers = ((f"{kind} answers", comparison) for kind, comparison in outcome.gguf.items())
    return [*outcome.written.items(), *answers, *(in_lines(outcome.certificate) or not_certified)]


def _copy(project: Project, artifact: Artifact, folder: Path) -> str:
    """Copy an artifact's file or folder and return its name in the export. Raises NoWork if it is missing."""
    source = project.folder / artifact.path
    name = artifact.kind + source.suffix
    if not source.exists():
        raise NoWork(f"the {artifact.kind} is missing.", where=str(source), fix="`pairsmith run` creates it again.")
    if source.is_dir():
        copy_folder(source, folder / name)
    else:
        shutil.copy2(source, folder / name)
    return name


STAGE = Stage[ExportOutcome](
    "export",
    export,
    """Copy the dataset, the evaluated model and the report into one folder.

    An earlier export there is replaced. If the folder holds anything else, nothing is written.
    """,
    summary=summary,
    options=(
        Option("--out", Path, "The folder to write; by default `export` in the project."),
        Option("--gguf", GGUF, "Also write a GGUF, for Ollama and llama.cpp; repeatable."),
        Option("--format", FORMATS, "Also write the rows in the format of this trainer; repeatable."),
    ),
)
