"""Whether a base model can be trained and served here, known before the first token is paid. No weights are fetched:
of a model on a hub its description, its config and its tokenizer are looked at (a few MB)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from schemas.errors import InputError, MissingDependency, PairsmithError, SpecError, first_line
from schemas.spec import TrainSettings
from synth.chat_template import Chat
from train import unsloth_backend
from train.base_model import compute_dtype
from train.models import Machine, billions_in, fitting_method, machine, training_gib
from train.remote_code import brings_code, marked, runnable

_SMALL_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "*.model",
    "vocab.json",
    "*.py",
)
_CACHED = {"full_attention", "sliding_attention"}
_AS_NAMED = "train.trust_remote_code names it as it lies there; changed, it is refused."
_OPEN = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0")


class Fact(NamedTuple):
    """One thing that is known of a base: `fail` means that it cannot be trained."""

    about: Literal["base", "template", "serving", "training", "licence"]
    state: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""


class Looked(NamedTuple):
    """A base as it was found: a folder with at least its config and tokenizer, what it weighs, and its licence."""

    folder: Path
    billions: float
    licence: str | None
    is_safe: bool


def refuse_unfit(settings: TrainSettings, project_folder: Path) -> None:
    """Raises SpecError if the base cannot be trained: better before generation and review are paid for.

    A hub that cannot be reached proves nothing, and neither does a machine without the extra `train`: there it passes.
    """
    try:
        facts = list(check_base(settings, project_folder))
    except MissingDependency:
        return
    for fact in facts:
        if fact.state == "fail":
            what, where = "cannot be trained here", f"train.base = '{settings.base}'"
            if fact.about == "training":  # as it is asked for, not the base itself
                what, where = f"'{settings.base}' {what} as asked", "[train]"
            what = f"{what}: {fact.what.removesuffix('.')}."
            raise SpecError(what, where=where, why="Nothing was asked or paid yet.", fix=fact.fix)


def check_base(settings: TrainSettings, project_folder: Path) -> Iterator[Fact]:
    """Everything that is known of the base of `settings`. Raises MissingDependency where nothing can be known: without
    the extra `train`, and where a hub cannot be reached."""
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise MissingDependency(
            "the base model was not looked at.", fix="Install the packages: pip install 'pairsmith[train]'"
        ) from None
    for error in refusals(settings):
        yield Fact("training", "fail", error.what, error.fix or "")
    if settings.base == "embedded":
        yield Fact("base", "ok", "SmolLM2-135M-Instruct, 0.135 billion parameters: for small, narrow tasks")
        return
    looked = _look(settings, project_folder)
    if isinstance(looked, Fact):
        yield looked
        return
    yield _weights(settings, looked)
    yield _template(settings, looked.folder)
    yield _serving(_config(looked.folder))
    yield from _context(settings, _config(looked.folder))
    yield _memory(settings, looked.billions, machine())
    yield _licence(looked.licence)


def refusals(settings: TrainSettings) -> Iterator[PairsmithError]:
    """What cannot be asked of training on this machine, whatever the base and the rows are."""
    for refuse in (unsloth_backend.refuse_unfit, refuse_together, lambda asked: compute_dtype(asked.precision)):
        try:
            if settings.asks_for_more:
                refuse(settings)
        except PairsmithError as error:
            yield error


def refuse_together(settings: TrainSettings) -> None:
    """Settings that do not go together, or not on this machine. Raises InputError for packed preferences, for DoRA over
    8 bits and for weights of rows that ORPO does not learn from, MissingDependency where rows cannot be packed."""
    if settings.edited_weight > 1 and settings.objective == "orpo":
        raise InputError(
            "train.edited_weight does not go with train.objective = 'orpo'.",
            why="It weighs rows of supervised fine-tuning, and ORPO learns from preferences alone.",
            fix="Take train.edited_weight out, or set train.objective to 'dpo', whose supervised part heeds it.",
        )
    if settings.dora and settings.method == "lora-8bit":
        raise InputError(
            "train.dora does not go with train.method = 'lora-8bit'.",
            why="DoRA reads the norms of the weights, and what is kept in 8 bits then loses its scale.",
            fix="Take train.dora out, or set train.method to 'lora' or 'qlora'.",
        )
    if not settings.packing:
        return
    if settings.objective != "sft":
        raise InputError("train.packing is for supervised fine-tuning only.", fix="Take train.packing out.")
    import torch

    if not (torch.cuda.is_available() and find_spec("flash_attn")):
        raise MissingDependency(
            "train.packing needs a CUDA GPU and the package flash-attn.",
            why="Without it the rows of a pack would see each other.",
            fix="Take train.packing out; rows are padded only to the longest of their batch.",
        )


def _look(settings: TrainSettings, project_folder: Path) -> Looked | Fact:
    folder = project_folder / settings.base
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            return Fact("base", "fail", "the folder has no config.json", "Name a folder with a model in it.")
        try:
            _config(folder)
            safe = any(folder.glob("*.safetensors"))
            return Looked(folder, billions_in(folder), _licence_in(folder), safe)
        except InputError as error:
            return Fact("base", "fail", f"{error.where}: {error.what}", error.fix or "")
    if settings.base.startswith((".", "/")) or settings.base.count("/") > 1:
        return Fact("base", "fail", f"there is no folder {folder}", "Name a folder, a hub id, or `embedded`.")
    return _on_hub(settings)


def _on_hub(settings: TrainSettings) -> Looked | Fact:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().model_info(
            settings.base, revision=settings.revision, files_metadata=True, timeout=5
        )
        folder = huggingface_hub.snapshot_download(
            settings.base,
            revision=settings.revision,
            allow_patterns=list(_SMALL_FILES),
            ignore_patterns=["*/*"],  # what training fetches, so that its code has one hash
        )
    except errors.GatedRepoError:
        fix = "Ask for access on the model's page, and set HF_TOKEN."
        return Fact("base", "fail", "its maker must grant you access first", fix)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        return Fact("base", "fail", f"the hub does not have it: {first_line(error)}", "Look at `pairsmith models`.")
    except Exception as error:  # the hub client raises the errors of its HTTP library, too: it cannot be reached
        raise MissingDependency(
            f"train.base = '{settings.base}' is not a folder here, and the hub cannot be asked: {first_line(error)}",
            fix="Name a folder with a model in it, or try again where the hub can be reached.",
        ) from None
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    weights = {name: size for name, size in sizes.items() if name.endswith(".safetensors") and "/" not in name}
    counted = info.safetensors.total / 1e9 if info.safetensors else sum(weights.values()) / 2e9
    licence = info.card_data.get("license") if info.card_data else None
    return Looked(Path(folder), counted, str(licence) if licence else None, bool(weights))


def _config(folder: Path) -> dict[str, Any]:
    place = folder / "config.json"
    try:
        config = json.loads(place.read_bytes())
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise InputError("this is no model's config.", where=str(place), fix="Fetch the model again.")
    return config


def _weights(settings: TrainSettings, looked: Looked) -> Fact:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = _config(looked.folder)
    if not looked.is_safe:
        fix = "Choose one with *.safetensors: other formats can run code when they are opened."
        return Fact("base", "fail", "it has no safetensors weights", fix)
    if "quantization_config" in config:
        return Fact("base", "fail", "its weights are quantised already", "Choose the 16-bit model; qlora quantises it.")
    kind = str(config.get("model_type"))
    what = f"{settings.base}, {kind}, {looked.billions:.2g} billion parameters"
    try:
        if copy := runnable(settings.base, looked.folder, settings.trust_remote_code):
            return _own_code(copy, what)
    except InputError as error:
        return Fact("base", "fail", error.what, error.fix or "")
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        own = ", and the code that comes with it is run only by name" if brings_code(looked.folder) else ""
        fix = _without_code(settings, looked.folder)
        return Fact("base", "fail", f"transformers knows no text model of type '{kind}'{own}", fix)
    return Fact("base", "ok", what)


def _own_code(folder: Path, what: str) -> Fact:
    """The code that comes with a model makes it, without weights: what it lacks is known before anything is paid."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
            AutoModelForCausalLM.from_config(config, trust_remote_code=True)
    except Exception as error:  # it is its maker's, and fails as it likes
        fix = "It may want other packages, or another version of transformers; else choose another base."
        return Fact("base", "fail", f"the code that comes with it fails: {first_line(error)}", fix)
    files = ", ".join(sorted(path.name for path in folder.rglob("*.py")))
    return Fact("base", "warn", f"{what}, runs the code that comes with it: {files}", _AS_NAMED)


def _without_code(settings: TrainSettings, folder: Path) -> str:
    """What to do where code that comes with a model would be needed, and is not run."""
    if not brings_code(folder):
        return "Choose another base."
    entry = f'train.trust_remote_code = ["{marked(settings.base, folder)}"]'
    return f"Choose another base; or read the *.py in {folder}, which could do all that you can, and set {entry}."


def _template(settings: TrainSettings, folder: Path) -> Fact:
    from transformers import AutoTokenizer

    try:
        copy = runnable(settings.base, folder, settings.trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(copy or folder, trust_remote_code=copy is not None)
        chat = Chat(tokenizer, settings.template_arguments)
    except PairsmithError as error:
        return Fact("template", "fail", error.what, error.fix or "")
    except Exception as error:  # a tokenizer's files may be broken in any way
        what = f"its tokenizer cannot be loaded: {str(error)[:200]}"
        if "trust_remote_code" in str(error):
            what = "its tokenizer is code that comes with the model, which is run only by name"
            return Fact("template", "fail", what, _without_code(settings, folder))
        return Fact("template", "fail", what, "Choose another base.")
    if (tokens := max(tokenizer.vocab_size, chat.turn.end_token + 1)) > (known := _vocabulary(folder)):
        what = f"its tokenizer is not the model's: it has {tokens:,} tokens, and the model knows {known:,}"
        return Fact("template", "fail", what, "Put the tokenizer there that came with the weights.")
    return Fact("template", "ok", f"turns end with {chat.turn.end!r}; the same in training, evaluation and export")


def _vocabulary(folder: Path) -> float:
    """How many tokens the model has by its config; infinite where that does not say."""
    config = _config(folder)
    size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    return size if isinstance(size, int) else math.inf


def _serving(config: dict[str, Any]) -> Fact:
    config = config.get("text_config") or config
    other = sorted(set(config.get("layer_types") or ()) - _CACHED)
    if not other and config.get("model_type") != "gemma4_text":
        return Fact("serving", "ok", "with cached keys and values")
    kinds = f" ({', '.join(other)})" if other else ""
    return Fact("serving", "warn", f"every token anew{kinds}: right, and slow for long answers")


def _context(settings: TrainSettings, config: dict[str, Any]) -> Iterator[Fact]:
    context = (config.get("text_config") or config).get("max_position_embeddings")
    if isinstance(context, int) and settings.max_length > context:
        longer = f"train.max_length = {settings.max_length} learns from longer rows"
        what = f"its context holds {context:,} tokens, and {longer}"
        fix = f"Set train.max_length to at most {context}: nobody can ask what is longer, answer included."
        yield Fact("serving", "warn", what, fix)


def _memory(settings: TrainSettings, billions: float, here: Machine) -> Fact:
    method = settings.method if "method" in settings.model_fields_set else fitting_method(billions, here) or "qlora"
    needs = training_gib(billions, method)
    what = f"{method} takes about {needs:.1f} GiB; {here.name} has {here.gib:.1f}"
    if needs <= here.gib:
        return Fact("training", "ok", what)
    # An estimate is no proof, so it warns as long as the bare weights fit.
    smaller = "Set train.method = 'qlora', or choose a smaller base: `pairsmith models`."
    return Fact("training", "fail" if needs - 1.5 - 0.5 * billions > here.gib else "warn", what, smaller)


def _licence_in(folder: Path) -> str | None:
    card = folder / "README.md"
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:80] if card.is_file() else []
    return next((line.removeprefix("license:").strip() for line in lines if line.startswith("license:")), None)


def _licence(licence: str | None) -> Fact:
    if licence in _OPEN:
        return Fact("licence", "ok", licence)
    if licence is None:
        return Fact("licence", "warn", "not named in the model's files", "Look at the model's page before you ship.")
    return Fact("licence", "warn", f"{licence}: its terms hold for what you train", "Read them before you ship.")
