"""Check whether a base model can be trained and served on this machine, before any tokens are paid for.

No weights are downloaded. For a model on a hub, its model info, config and tokenizer are read (a few MB).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from schemas.errors import InputError, MissingDependency, PairsmithError, SpecError, first_line
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from train import unsloth_backend
from train.base_models.base_model import (
    SMALL_FILES,
    compute_dtype,
    context_of,
    read_config,
    refuse_other_purpose,
    refuse_other_vocabulary,
)
from train.base_models.models import Machine, billions_in, fitting_method, in_precision, machine, training_gib
from train.base_models.remote_code import has_code, runnable, trust_entry
from train.dataset import TrainingRow
from train.mask import assert_completion_only, tokenise

_CACHED_LAYERS = {"full_attention", "sliding_attention"}
_RECOMPUTED = ("gemma4_text", "recurrent_gemma")  # their configs do not show that layers differ
_TRUSTED_NOTE = "train.trust_remote_code trusts exactly this code; if the code changes, it is refused."
_OPEN_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")
_SAMPLE_ROW = TrainingRow(
    pair_id="example",
    prompt=[{"role": "system", "content": "Rewrite it."}, {"role": "user", "content": "a fox"}],
    completion=[{"role": "assistant", "content": "a fox in the snow"}],
)


class Fact(NamedTuple):
    """One finding about a base model; state `fail` means that it cannot be trained."""

    about: Literal["base", "template", "serving", "training", "licence"]
    state: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""


class InspectedBase(NamedTuple):
    """A base model as inspected: a folder with at least config and tokenizer, its size and licence, whether it has
    safetensors weights, and whether they are in the folder."""

    folder: Path
    billions: float
    licence: str | None
    is_safe: bool
    is_local: bool = False


def refuse_unfit(settings: TrainSettings, project_folder: Path) -> None:
    """Raise SpecError if the base cannot be trained, before generation and review are paid for.

    An unreachable hub proves nothing, and neither does a machine without the extra `train`: both pass.
    """
    try:
        facts = list(check_base(settings, project_folder))
    except MissingDependency:
        return
    for fact in facts:
        if fact.state == "fail":
            what, where = "cannot be trained here", f"train.base = '{settings.base}'"
            if fact.about == "training":  # the settings are at fault, not the base
                what, where = f"'{settings.base}' {what} with these settings", "[train]"
            what = f"{what}: {fact.what.removesuffix('.')}."
            raise SpecError(what, where=where, why="Nothing has been requested or paid for yet.", fix=fact.fix)


def check_base(settings: TrainSettings, project_folder: Path) -> Iterator[Fact]:
    """Yield every finding about the base of `settings`. Raises MissingDependency if nothing can be checked: without the
    extra `train`, or when the hub cannot be reached."""
    try:
        for package in ("accelerate", "torch", "transformers"):
            import_module(package)
    except ImportError:
        raise MissingDependency(
            "the base model was not checked.", fix="Install the packages: pip install 'pairsmith[train]'"
        ) from None
    for error in refusals(settings):
        yield Fact("training", "fail", error.what, error.fix or "")
    if settings.base == "embedded":
        yield Fact("base", "ok", "SmolLM2-135M-Instruct, 0.135 billion parameters: for small, narrow tasks")
        return
    inspected = _inspect(settings, project_folder)
    if isinstance(inspected, Fact):
        yield inspected
        return
    yield _check_weights(settings, inspected)
    yield _check_template(settings, inspected.folder)
    yield _check_serving(read_config(inspected.folder))
    yield from _check_context(settings, read_config(inspected.folder))
    yield _check_memory(settings, inspected.billions, machine())
    yield _check_licence(inspected.licence)


def refusals(settings: TrainSettings) -> Iterator[PairsmithError]:
    """Yield the errors of training settings that cannot work on this machine, whatever the base and the rows are."""
    for refuse in (
        unsloth_backend.refuse_unfit,
        refuse_conflicting_settings,
        lambda train: compute_dtype(train.precision),
    ):
        try:
            if settings.needs_special_support:
                refuse(settings)
        except PairsmithError as error:
            yield error


def refuse_conflicting_settings(settings: TrainSettings) -> None:
    """Reject settings that conflict with each other or with this machine.

    Raises InputError for packed preferences, for DoRA over 8-bit weights, and for row weights with ORPO, which does not
    learn from rows. Raises MissingDependency if rows cannot be packed here.
    """
    if settings.edited_weight > 1 and settings.objective == "orpo":
        raise InputError(
            "train.edited_weight cannot be combined with train.objective = 'orpo'.",
            why="It weights rows of supervised fine-tuning, and ORPO learns from preferences alone.",
            fix="Remove train.edited_weight, or set train.objective to 'dpo', whose supervised stage uses it.",
        )
    if settings.dora and settings.method == "lora-8bit":
        raise InputError(
            "train.dora cannot be combined with train.method = 'lora-8bit'.",
            why="DoRA reads the norms of the weights, and 8-bit weights lose their scale when they are read that way.",
            fix="Remove train.dora, or set train.method to 'lora' or 'qlora'.",
        )
    if not settings.packing:
        return
    if settings.objective != "sft":
        raise InputError("train.packing is for supervised fine-tuning only.", fix="Remove train.packing.")
    import torch

    if not (torch.cuda.is_available() and find_spec("flash_attn")):
        raise MissingDependency(
            "train.packing needs a CUDA GPU and the package flash-attn.",
            why="Without it, rows in the same pack would attend to each other.",
            fix="Remove train.packing; rows are then padded only to the longest row of their batch.",
        )


def _inspect(settings: TrainSettings, project_folder: Path) -> InspectedBase | Fact:
    folder = project_folder / settings.base
    if folder.is_dir():
        if no_model := _no_model(file.name for file in folder.iterdir()):
            return no_model
        try:
            read_config(folder)
            safe = any(folder.glob("*.safetensors"))
            return InspectedBase(folder, billions_in(folder), _read_licence(folder), safe, is_local=True)
        except InputError as error:
            return Fact("base", "fail", f"{error.where}: {error.what}", error.fix or "")
    if settings.base.startswith((".", "/")) or settings.base.count("/") > 1:
        return Fact("base", "fail", f"the folder {folder} does not exist", "Name a folder, a hub id, or `embedded`.")
    return _inspect_on_hub(settings)


def _no_model(names: Iterable[str]) -> Fact | None:
    """What is wrong with a folder or repository whose files are not those of a model; None if they may be."""
    if "config.json" in (present := {*names}):
        return None
    if "adapter_config.json" not in present:
        return Fact("base", "fail", "it has no config.json", "Name a folder or a repository that contains a model.")
    fix = "Name the model it was trained on, or merge it into that (`merge_and_unload()` of peft) and name the result."
    return Fact("base", "fail", "it is an adapter, not a model, and training starts from a model", fix)


def _inspect_on_hub(settings: TrainSettings) -> InspectedBase | Fact:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().model_info(
            settings.base, revision=settings.revision, files_metadata=True, timeout=5
        )
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
        if sizes and (no_model := _no_model(sizes)):
            return no_model
        folder = huggingface_hub.snapshot_download(
            settings.base,
            revision=settings.revision,
            allow_patterns=[*SMALL_FILES, "*.py"],
            ignore_patterns=["*/*"],  # the same files that training fetches, so that the code has the same hash
        )
    except errors.GatedRepoError:
        fix = "Request access on the model's page, and set HF_TOKEN."
        return Fact("base", "fail", "its publisher must grant you access first", fix)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        return Fact("base", "fail", f"the hub does not have it: {first_line(error)}", "See `pairsmith models`.")
    except Exception as error:  # the hub client also raises the errors of its HTTP library: it cannot be reached
        raise MissingDependency(
            f"train.base = '{settings.base}' is not a local folder, and the hub cannot be reached: {first_line(error)}",
            fix="Name a folder that contains a model, or try again when the hub can be reached.",
        ) from None
    weights = {name: size for name, size in sizes.items() if name.endswith(".safetensors") and "/" not in name}
    counted = info.safetensors.total / 1e9 if info.safetensors else sum(weights.values()) / 2e9
    licence = info.card_data.get("license") if info.card_data else None
    return InspectedBase(Path(folder), counted, str(licence) if licence else None, bool(weights))


def _check_weights(settings: TrainSettings, inspected: InspectedBase) -> Fact:
    from transformers.models.auto import modeling_auto as auto

    config = read_config(inspected.folder)
    if not inspected.is_safe:
        fix = "Choose a model with *.safetensors: other formats can run code when they are loaded."
        return Fact("base", "fail", "it has no safetensors weights", fix)
    if "quantization_config" in config:
        return Fact("base", "fail", "its weights are already quantised", "Choose the 16-bit model; qlora quantises it.")
    kind = str(config.get("model_type"))
    what = f"{settings.base}, {kind}, {inspected.billions:.2g} billion parameters"
    try:
        copy = runnable(settings.base, inspected.folder, settings.trust_remote_code)
        if copy is None and kind not in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            more = ", and the code shipped with it runs only if the spec trusts it"
            more = more if has_code(inspected.folder) else ""
            fix = _fix_for_untrusted_code(settings, inspected.folder)
            if kind in auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES and not more:
                more = ", only one that reads images too"
                fix = "Choose a text model, or a family of which transformers also loads the text part: Gemma, Qwen3.5."
            return Fact("base", "fail", f"transformers has no text model of type '{kind}'{more}", fix)
        if copy is None:
            refuse_other_purpose(inspected.folder)
        fact = _check_own_code(copy, what) if copy else Fact("base", "ok", what)
        if inspected.is_local and fact.state != "fail":
            from synth.embedded.model import refuse_incomplete

            refuse_incomplete(copy or inspected.folder, runs_code=copy is not None)
    except InputError as error:
        return Fact("base", "fail", error.what, error.fix or "")
    return fact


def _check_own_code(folder: Path, what: str) -> Fact:
    """Build the model without weights from the code shipped with it, so that missing packages surface before anything
    is paid for."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
            AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    except Exception as error:  # third-party code, which may raise anything
        fix = "It may need other packages, or another version of transformers; otherwise choose another base."
        return Fact("base", "fail", f"the code shipped with it fails: {first_line(error)}", fix)
    files = ", ".join(sorted(path.name for path in folder.rglob("*.py")))
    return Fact("base", "warn", f"{what}, runs the code shipped with it: {files}", _TRUSTED_NOTE)


def _fix_for_untrusted_code(settings: TrainSettings, folder: Path) -> str:
    """What to do when a model needs code shipped with it that is not trusted."""
    if not has_code(folder):
        return "Choose another base."
    entry = f'train.trust_remote_code = ["{trust_entry(settings.base, folder)}"]'
    return (
        f"Choose another base; or review the *.py in {folder}, which would run with your permissions, and set {entry}."
    )


def _check_template(settings: TrainSettings, folder: Path) -> Fact:
    from transformers import AutoTokenizer

    try:
        copy = runnable(settings.base, folder, settings.trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(copy or folder, trust_remote_code=copy is not None)
        chat = Chat(tokenizer, settings.template_arguments)
        refuse_other_vocabulary(chat, folder)
        assert_completion_only(chat, _SAMPLE_ROW, *tokenise(chat, _SAMPLE_ROW))
    except PairsmithError as error:
        return Fact("template", "fail", error.what, error.fix or "")
    except Exception as error:  # a tokenizer's files may be broken in any way
        what = f"its tokenizer cannot be loaded: {str(error)[:200]}"
        if "trust_remote_code" in str(error):
            what = "its tokenizer is code shipped with the model, which runs only if the spec trusts it"
            return Fact("template", "fail", what, _fix_for_untrusted_code(settings, folder))
        return Fact("template", "fail", what, "Choose another base.")
    return Fact("template", "ok", f"turns end with {chat.turn.end!r}; the same in training, evaluation and export")


def _check_serving(config: dict[str, Any]) -> Fact:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = config.get("text_config") or config
    other = sorted(set(config.get("layer_types") or ()) - _CACHED_LAYERS)
    if other or config.get("model_type") in _RECOMPUTED:
        kinds = f" ({', '.join(other)})" if other else ""
        return Fact("serving", "warn", f"without a cache{kinds}: correct, but slow for long answers")
    name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(str(config.get("model_type")))
    # Keys and values of latent attention may differ in width, and other code than transformers' may keep anything.
    if name and getattr(transformers, name)._supports_attention_backend and not config.get("kv_lora_rank"):
        return Fact("serving", "ok", "with cached keys and values")
    what = "perhaps without a cache, which the server tries first: correct, but slow for long answers"
    return Fact("serving", "warn", what)


def _check_context(settings: TrainSettings, config: dict[str, Any]) -> Iterator[Fact]:
    context = context_of(config)
    if context is not None and settings.max_length > context:
        longer = f"train.max_length = {settings.max_length} allows longer rows"
        what = f"its context holds {context:,} tokens, and {longer}"
        fix = f"Set train.max_length to at most {context}: prompt and answer together cannot exceed the context."
        yield Fact("serving", "warn", what, fix)


def _check_memory(settings: TrainSettings, billions: float, here: Machine) -> Fact:
    here = in_precision(here, settings)
    method = settings.method if "method" in settings.model_fields_set else fitting_method(billions, here) or "qlora"
    needs = training_gib(billions, method, here.weight_bytes)
    kept = "" if here.is_gpu else " for short rows"  # a CPU keeps the activations of a batch
    what = f"{method} needs about {needs:.1f} GiB{kept}; {here.name} has {here.gib:.1f}"
    if needs <= here.gib:
        return Fact("training", "ok", what)
    # This is only an estimate, so it warns as long as the bare weights fit.
    smaller = "Set train.method = 'qlora', or choose a smaller base: `pairsmith models`."
    return Fact("training", "fail" if needs - 1.5 - 0.5 * billions > here.gib else "warn", what, smaller)


def _read_licence(folder: Path) -> str | None:
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:80] if card.is_file() else []
    return next((line.removeprefix("license:").strip() for line in lines if line.startswith("license:")), None)


def _check_licence(licence: str | None) -> Fact:
    if licence in _OPEN_LICENCES:
        return Fact("licence", "ok", licence)
    if licence is None:
        return Fact("licence", "warn", "not named in the model's files", "Check the model's page before you ship.")
    return Fact("licence", "warn", f"{licence}: its terms apply to the model you train", "Read them before you ship.")
