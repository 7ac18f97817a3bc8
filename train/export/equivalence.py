"""Compare a GGUF with the model that was evaluated. This is an additional check, not part of the evaluation's
comparisons.

The GGUF gets the test inputs that the tuned model answered greedily, with the same messages and limits, and the same
checks. Two programs round differently, so texts may diverge where two tokens are almost equally likely. What matters is
that the pass rates agree and the texts are similar.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from schemas.errors import NoWork
from schemas.progress import Say, discard_message
from schemas.records import Record
from synth.answers import clean
from synth.chat.completions import RefusedError, UnansweredError
from synth.endpoints.endpoint import Endpoint
from train.evaluation.metrics import TUNED, Evaluation
from train.evaluation.systems import EvaluationPlan
from train.export.gguf import served

MAX_INPUTS = 40


class Equivalence(Record):
    """A GGUF compared with the measured model, both greedy, on `inputs` test inputs: how many answers pass the checks,
    how many texts are identical, and the mean chrF between the two texts, from 0 to 1."""

    file: str
    inputs: int
    passed: int
    passed_measured: int
    same: int
    chrf: float

    def __str__(self) -> str:
        return (
            f"passes {self.passed} of {self.inputs} (the measured model passes {self.passed_measured});"
            f" {self.same} texts are identical, mean chrF between the two {self.chrf:.2f}"
        )


async def equivalence(
    file: Path, plan: EvaluationPlan, evaluation: Evaluation, say: Say = discard_message
) -> Equivalence:
    """Ask the GGUF `file` at most 40 of the inputs that `evaluation` asked the tuned model greedily. Raises NoWork if
    the evaluation has no such answer."""
    from sacrebleu.metrics import CHRF

    measured = {o.seed_id: o for o in evaluation.outputs if (o.system, o.mode) == (TUNED, "greedy") and o.answered}
    seeds = [seed for seed in plan.seeds if seed.id in measured][:MAX_INPUTS]
    if not seeds:
        raise NoWork("the evaluation has no greedy answer of the tuned model to compare the GGUF with.")
    (tuned,) = (system for system in plan.systems if TUNED in system.names)
    metric, similarities, passed, same = CHRF(), [], 0, 0
    say(f"asking {file.name} {len(seeds)} test inputs")
    async with served(file, say=say) as url, Endpoint(url, "gguf", timeout_s=1800.0) as endpoint:
        for seed in seeds:  # one at a time: llama.cpp is started with one slot
            try:
                answer = await endpoint.ask(tuned.messages(seed), tuned.sampling("greedy", seed))
                (choice,) = answer.choices
                text, is_complete = clean(choice["message"]["content"] or ""), choice["finish_reason"] == "stop"
            except (RefusedError, UnansweredError):
                text, is_complete = "", False
            text = plan.form.canonical(text)
            checked = plan.checks(seed.body, text, plan.references.get(seed.id))
            passed += is_complete and bool(text) and checked.all_pass is True
            measured_text = measured[seed.id].text
            same += text == measured_text
            similarities.append(
                1.0 if text == measured_text else float(metric.sentence_score(text, [measured_text]).score) / 100
            )
    return Equivalence(
        file=file.name,
        inputs=len(seeds),
        passed=passed,
        passed_measured=sum(measured[seed.id].passes for seed in seeds),
        same=same,
        chrf=round(fmean(similarities), 4),
    )
