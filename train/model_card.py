"""The README.md that travels with an adapter: what it is, how it was made, and what is not known about it."""

from __future__ import annotations

from train.metrics import Evaluation, ModeResult
from train.results import TrainResult
from train.results_table import settings as decoded_with
from train.verdict import Verdict

_CARD = """---
base_model: {base}
library_name: peft
pipeline_tag: text-generation
tags: [lora, sft, trl, pairsmith]
---

# Adapter {adapter_id}

A {method} adapter for **{base}**, made by pairsmith in {steps} steps of supervised fine-tuning on {train_rows} pairs.
The loss was taken on the answers only ({learned_tokens} tokens an epoch).

| | |
|---|---|
| base model, hash over its files | `{base_hash}` |
| dataset | `{dataset_id}` |
| method | {method_detail} |
| trainable parameters | {trainable_parameters:,} on {layers} |
| r / alpha / dropout | {r} / {alpha} / {dropout} |
| learning rate | {learning_rate:g}, {schedule} after {warmup:.0%} warm-up |
| batch / accumulation / epochs / seed | {batch} / {accumulation} / {epochs:g} / {seed} |
| computed in | {compute_dtype} |
| time | {seconds:.0f} s, {seconds_per_step:.2f} s a step |
| highest resident memory | {peak_gib:.2f} GiB |
| versions | {versions} |

## Loss

Training, mean of the first and of the last five steps: {first_loss:.3f} and {last_loss:.3f}.

{validation}

## Use

```python
from peft import PeftModel
{imports}

base = AutoModelForCausalLM.from_pretrained("{base}"{quantisation})
model = PeftModel.from_pretrained(base, "THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```

Ask it with the system prompt that it was trained with; `training.json` shows the exact text of a few rows.

## Limits

- It does one narrow task, in the style of the pairs it saw. The pairs were made by another model and chosen by rules
  that see form, not sense: errors that no rule names are in them, and in this adapter.
- Validation loss says how well it predicts such pairs, not how good its answers are; see the evaluation.
- {quantisation_limit}
- The licence of the base model, and the terms of the model that made the pairs, hold for this adapter too.
"""


def model_card(result: TrainResult) -> str:
    """The card as Markdown with the front matter that hubs read."""
    settings = result.settings
    losses = [step.loss for step in result.curve]
    qlora = settings.method == "qlora"
    fields = {
        **result.model_dump(),
        **settings.model_dump(exclude={"base"}),
        "method": "QLoRA" if qlora else "LoRA",
        "method_detail": f"QLoRA: NF4 with double quantisation in {result.four_bit_layers} layers" if qlora else "LoRA",
        "layers": ", ".join(settings.targets) or "all linear layers",
        "versions": ", ".join(f"{name} {number}" for name, number in result.versions.items()),
        "first_loss": _mean(losses[:5]),
        "last_loss": _mean(losses[-5:]),
        "validation": _validation(result),
        "imports": _QLORA_IMPORTS if qlora else _LORA_IMPORTS,
        "quantisation": _QLORA_LOADING if qlora else "",
        "quantisation_limit": _QLORA_LIMIT if qlora else "It was trained on the unquantised base and is used on it.",
    }
    return _CARD.format(**fields)


_LORA_IMPORTS = "from transformers import AutoModelForCausalLM, AutoTokenizer"
_QLORA_IMPORTS = """import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

nf4 = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,
)"""
_QLORA_LOADING = ", quantization_config=nf4"
_QLORA_LIMIT = (
    "It belongs on the NF4 base, or on that base dequantised to 16 bits, which is what was evaluated. On the original"
    " 16-bit weights it writes worse, although its loss is the same."
)


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def _validation(result: TrainResult) -> str:
    if not result.validation:
        return "There were no validation rows, so no validation loss was measured."
    lines = [f"| {validation.epoch:g} | {validation.loss:.3f} |" for validation in result.validation]
    head = f"Validation on {result.validation_rows} rows of other seeds (epoch 0 is the base model):"
    kept = (
        "" if result.kept_step is None else f"\n\nThe adapter has the weights of step {result.kept_step}, its lowest."
    )
    return "\n".join([head, "", "| epoch | loss |", "|---|---|", *lines]) + kept


_EVALUATION, _USE = "## Evaluation\n", "## Use\n"


def with_evaluation(card: str, evaluation: Evaluation, verdict: Verdict) -> str:
    """The card with what an evaluation found, in the place of what an earlier one had found; a card without the
    heading of its use gets it at the end."""
    head, _, rest = card.partition(_EVALUATION)
    if rest:
        card = head + _USE + rest.partition(_USE)[2]
    before, heading, after = card.partition(_USE)
    rows = [
        f"| {system.label} | {decoded_with(evaluation, system)} | {_share(system.sampled)} | {_share(system.greedy)} |"
        for system in evaluation.systems
    ]
    lines = [
        _EVALUATION,
        f"Pass rate on {evaluation.seeds} held-out inputs, {evaluation.samples} samples each, with 95 % intervals:",
        "",
        "| system | decoded with | sampled | greedy |",
        "|---|---|---|---|",
        *rows,
        "",
        f"Verdict: **{verdict.decision}**. Should one fine-tune at all? **{verdict.fine_tune}**.",
        "",
        *(f"- {line}" for line in verdict.because),
        "",
        "",
    ]
    return f"{before}{chr(10).join(lines)}{heading}{after}"


def _share(result: ModeResult) -> str:
    rate = result.pass_rate
    return f"{rate.estimate:.2f} [{rate.low:.2f}, {rate.high:.2f}]" if rate else "not measured"
