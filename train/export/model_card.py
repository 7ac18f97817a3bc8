"""The README.md shipped with a model: what it is, how it was made, how to run it, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from train.export.run_snippets import snippet, vllm_command
from train.results import TrainResult

_CARD = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
_VLLM = "With vLLM, as the model `tuned`:\n\n```console\n$ {}\n```"
_NO_DORA = (
    "vLLM cannot load DoRA adapters. Merged into its base (`merge_and_unload()` on `model`), it can be served like any"
    " other model."
)
_METHODS = {
    "qlora": "QLoRA: NF4 with double quantisation in {} layers",
    "lora-8bit": "LoRA, with the base in 8 bits during training",
    "lora": "LoRA",
}
_OBJECTIVES = {
    "sft": "supervised fine-tuning",
    "dpo": "direct preference optimisation (beta {beta:g}), after supervised fine-tuning (`{began_with}`),",
    "orpo": "odds ratio preference optimisation (beta {beta:g})",
}
Rates = Mapping[str, Mapping[str, Mapping[str, float]]]


def model_card(
    result: TrainResult, systems: Rates | None = None, place: str | None = None, notes: Sequence[str] = ()
) -> str:
    """The card as Markdown with the front matter that hubs read. `systems` are pass rates as in a receipt of
    `evaluate`: system -> decoding -> share, low, high; `notes` are lines about them. `place` is the path of the model's
    folder from the location of the card."""
    settings = result.settings.last_stage
    losses = [step.loss for step in result.curve]
    qlora = settings.method == "qlora"
    place = place or ("THIS_FOLDER/merged" if qlora else "THIS_FOLDER")
    is_merged = qlora and place == "THIS_FOLDER"
    rows = "pairs" if settings.objective == "sft" else "preferences"
    fields = {
        **result.model_dump(),
        **settings.model_dump(exclude={"base"}),
        # Hubs accept only hub ids as a base model, and a local folder may have the same name as someone else's model.
        "base_model": f"base_model: {result.base}\n" if "/" in result.base else "",
        "library": "transformers" if is_merged else "peft",
        "title": "Merged model" if is_merged else "Adapter",
        "artefact": result.artefact,
        "tag": settings.objective,
        "objective": _OBJECTIVES[settings.objective].format(beta=settings.beta, began_with=result.began_with),
        "rows": rows,
        "method": "QLoRA" if qlora else "LoRA",
        "method_detail": _METHODS[settings.method].format(result.four_bit_layers),
        "layers": ", ".join(settings.targets) or "all linear layers",
        "versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
        "first_loss": _mean(losses[:5]),
        "last_loss": _mean(losses[-5:]),
        "validation": _validation_section(result, rows),
        "measured": _measured_section(systems or {}, notes),
        "snippet": snippet(result, place.replace("THIS_FOLDER", ".")),  # runs as it stands in the folder of the card
        "vllm": _NO_DORA if settings.dora and not qlora else _VLLM.format(vllm_command(result, place)),
    }
    return _CARD.format(**fields)


def _measured_section(systems: Rates, notes: Sequence[str]) -> str:
    if not systems:
        return ""
    lines = [
        f"| {name} | {_rate(modes.get('sampled'))} | {_rate(modes.get('greedy'))} |" for name, modes in systems.items()
    ]
    head = ["", "## Measured", "", "Pass rate on the held-out test inputs, with its 95 % interval:", ""]
    table = ["| system | sampled | greedy |", "|---|---|---|", *lines, ""]
    return "\n".join([*head, *table, *(f"- {note}" for note in notes), *([""] if notes else [])])


def _rate(rate: Mapping[str, float] | None) -> str:
    return "not measured" if rate is None else f"{rate['share']:.2f} [{rate['low']:.2f}, {rate['high']:.2f}]"


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def _validation_section(result: TrainResult, rows: str) -> str:
    if not result.validation:
        return "There were no validation rows, so no validation loss was measured." + _early_stop_note(result)
    lines = [f"| {validation.epoch:.3g} | {validation.loss:.3f} |" for validation in result.validation]
    first = "base model" if result.began_with is None else "supervised adapter"
    head = f"Validation on {result.validation_rows} {rows} of other seeds (epoch 0 is the {first}):"
    kept = ""
    if result.kept_step is not None:
        kept = f"\n\nThe adapter has the weights of step {result.kept_step}, the lowest loss."
    return "\n".join([head, "", "| epoch | loss |", "|---|---|", *lines]) + kept + _early_stop_note(result)


def _early_stop_note(result: TrainResult) -> str:
    if result.planned_steps is None:
        return ""
    return f"\n\nTraining was stopped by the user after {result.steps} of {result.planned_steps} steps."
