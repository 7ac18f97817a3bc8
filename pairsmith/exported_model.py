"""The tuned model in an export: the adapter, the merged model for QLoRA, and GGUFs with an Ollama Modelfile.

The exported model is the evaluated one: the model card states the pass rates, and every GGUF is asked the same inputs
as the evaluated model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from schemas.blocking import run
from schemas.errors import MissingDependency, NoWork
from schemas.files import copy_folder
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Artifact, Sampling
from schemas.store import Store
from schemas.temporary_folders import temporary_folder

if TYPE_CHECKING:
    from train.evaluation.metrics import Evaluation
    from train.results import TrainResult

GGUF = ("f16", "q8_0", "q4_k_m")


class ExportedModel(NamedTuple):
    """What was written (name -> path in the export), and how each GGUF answers."""

    written: dict[str, str]
    comparisons: dict[str, str]


class _Tuned(NamedTuple):
    """The model to export, and its evaluation (None if it was not evaluated)."""

    project: Project
    store: Store
    trained: TrainResult
    evaluation: Evaluation | None

    @property
    def sampling(self) -> Sampling:
        """The decoding it was evaluated with, or would be."""
        return self.evaluation.sampling if self.evaluation else self.project.spec.evaluate.sampling


def write(
    project: Project, store: Store, artifact: Artifact, out: Path, gguf: Sequence[str], say: Say
) -> ExportedModel:
    """Write the adapter of `artifact` into the folder `out`.

    Raises NoWork if the adapter is missing, MissingDependency, before anything is written, for a kind of GGUF that
    cannot be written here, and InputError for weights that are not those that were trained.
    """
    from pairsmith.stages.train import recorded_digests
    from train.base_models.base_model import find_trained_base, load_chat
    from train.export.gguf import refuse_missing
    from train.export.merge import merged_folder
    from train.results import read_result, refuse_changed

    source = project.folder / artifact.path
    trained = read_result(source)
    if trained is None:
        raise NoWork("the adapter is missing.", where=str(source), fix="`pairsmith run` creates it again.")
    refuse_changed(trained, recorded=recorded_digests(store, artifact.id))
    refuse_missing(gguf, say)
    is_qlora, written = trained.settings.method == "qlora", {"adapter": "adapter"}
    has_tokenizer = (source / "tokenizer_config.json").is_file()
    if is_qlora or gguf or not has_tokenizer:
        base = find_trained_base(trained, project.spec.train, project.folder)
    if is_qlora:
        merged = merged_folder(base, trained)
        trained = read_result(source) or trained
        copy_folder(merged, out / "model")
        written["model"] = "model"
    copy_folder(source, out / "adapter", without=("merged",))
    if not has_tokenizer:  # an adapter of pairsmith 0.1 may have none: it was evaluated with that of the base
        load_chat(base, trained.settings.template_arguments).tokenizer.save_pretrained(out / "adapter")
    tuned = _Tuned(project, store, trained, _evaluation(project, store, trained))
    for name in written:
        _describe(out / name, tuned, "../model" if is_qlora and name == "adapter" else "THIS_FOLDER")
    if not gguf:
        return ExportedModel(written, {})
    with temporary_folder(place=out) as scratch:
        model = out / "model"
        if not is_qlora:
            from train.export.merge import write_merged

            model = scratch / project.spec.task.name
            write_merged(base, trained.settings, source, model)
        files = _ggufs(tuned, model, out / "gguf", gguf, say)
    comparisons = {kind: _compare_answers(tuned, file, say) for kind, file in files.items()}
    return ExportedModel(written | {kind: f"gguf/{file.name}" for kind, file in files.items()}, comparisons)


def _evaluation(project: Project, store: Store, trained: TrainResult) -> Evaluation | None:
    """The last evaluation of this adapter. Raises InputError for one that was changed by hand."""
    from pairsmith.stages.evaluate import evaluation_in

    for artifact in reversed(store.artifacts("evaluation")):
        of_it = trained.adapter_id in artifact.parents
        if of_it and (evaluation := evaluation_in(project, artifact, store)):
            return evaluation
    return None


def _describe(folder: Path, tuned: _Tuned, place: str) -> None:
    """Write the model card with the results, and the generation config with the decoding of the evaluation."""
    from pairsmith.stages.evaluate import systems
    from train.export.model_card import model_card
    from train.export.run_snippets import write_generation_config

    rates, notes = (
        (systems(tuned.evaluation), _notes(tuned.project, tuned.evaluation)) if tuned.evaluation else (None, [])
    )
    card = model_card(tuned.trained, rates, place, notes)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_generation_config(folder, tuned.sampling)


def _notes(project: Project, evaluation: Evaluation) -> list[str]:
    """The size of the test, how each system was decoded, and the verdict with its reasons."""
    from train.evaluation.results_table import decoding_lines, size_of_test
    from train.evaluation.verdict import in_words, verdict

    concluded = verdict(evaluation, project.spec.evaluate.ship_at)
    lines = [f"on {size_of_test(evaluation)}", *decoding_lines(evaluation), in_words(concluded)[0], *concluded.because]
    if stop := evaluation.sampling.stop:
        texts = json.dumps(stop, ensure_ascii=False)
        lines.append(f"answers also ended before {texts}, which `generation_config.json` cannot say: send it as `stop`")
    return lines


def _ggufs(tuned: _Tuned, model: Path, folder: Path, kinds: Sequence[str], say: Say) -> dict[str, Path]:
    """Write every kind, and a Modelfile for the smallest one, which comes last in `GGUF`."""
    from train.base_models.base_model import Base, context_of, load_chat, read_config
    from train.export.gguf import write_gguf
    from train.export.run_snippets import modelfile

    folder.mkdir()
    files = {kind: folder / f"{tuned.project.spec.task.name}-{kind}.gguf" for kind in GGUF if kind in kinds}
    for kind, file in files.items():
        write_gguf(model, file, kind, say)
    settings, smallest = tuned.trained.settings, list(files.values())[-1].name
    chat = load_chat(Base("model", model, ""), settings.template_arguments)
    system, context = tuned.trained.system_prompt, context_of(read_config(model))
    text = modelfile(chat, smallest, system, tuned.sampling, settings.max_length, context)
    (folder / "Modelfile").write_text(text, encoding="utf-8")
    return files


def _compare_answers(tuned: _Tuned, file: Path, say: Say) -> str:
    """Compare the answers of the GGUF with those of the evaluated model. Returns the result as text, and writes it as
    JSON next to the file."""
    from train.evaluation.evaluation import plan_evaluation
    from train.evaluation.held_out import held_out_seeds
    from train.export.equivalence import equivalence

    if tuned.evaluation is None:
        return "not checked: this model has not been evaluated"
    seeds = held_out_seeds(tuned.store, tuned.project.spec)
    plan = plan_evaluation(tuned.project, seeds, tuned.trained, None, imported=tuned.store.active_seeds())
    try:
        comparison = run(equivalence(file, plan, tuned.evaluation, say))
    except (MissingDependency, NoWork) as error:
        return f"not checked: {error.what}"
    file.with_suffix(".check.json").write_text(comparison.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return str(comparison)
