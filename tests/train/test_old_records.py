"""Tests that records of the previous version load under the new key names with the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from schemas.records import Seed
from train.evaluation.failures import Failures
from train.evaluation.metrics import Evaluation
from train.evaluation.systems import test_set_hash as hash_of_seeds
from train.results import read_result

OLD = Path(__file__).parents[1] / "projects" / "v0_1"
(EVALUATION,) = (OLD / "evaluations").glob("*.json")
(ADAPTER,) = (OLD / "adapters").iterdir()


def test_an_old_evaluation_loads_under_the_new_names() -> None:
    """Systems, system prompts and answers are those of the file, from bytes as from parsed JSON; what is concluded from
    the answers is recomputed; and what is written now loads again."""
    body = EVALUATION.read_bytes()
    raw: dict[str, Any] = json.loads(body)
    evaluation = Evaluation.model_validate_json(body)
    assert evaluation == Evaluation.model_validate(raw)
    assert evaluation.checks_fingerprint == raw["checks_scope"]
    assert [system.name for system in evaluation.systems] == [rung["name"] for rung in raw["rungs"]]
    assert [system.system_prompt for system in evaluation.systems] == [rung["system"] for rung in raw["rungs"]]
    assert [(o.system, o.all_pass, o.text) for o in evaluation.outputs] == [
        (o["rung"], o["strict"], o["text"]) for o in raw["outputs"]
    ]
    rates = [system.sampled.pass_rate for system in evaluation.systems]
    # Only the teacher's answers are complete: the file has a rate for each system and a difference for each pair. Cut
    # answers of tuned have failed.
    known = [None, None, ("score", 0.1979), ("score", 0.0)]
    assert [rate and (rate.method, round(rate.low, 4)) for rate in rates] == known
    gaps = [(gap.difference and gap.difference.estimate, gap.p_value) for gap in evaluation.comparisons]
    assert gaps == [(None, None), (None, None), (-1.0, 0.5)] * 2
    assert Evaluation.model_validate_json(evaluation.model_dump_json()) == evaluation


def test_an_old_training_record_loads() -> None:
    """An adapter of an earlier version can be reused and evaluated."""
    result = read_result(ADAPTER)
    assert result is not None
    assert result.adapter_id == ADAPTER.name
    assert result.system_prompt is None


def test_the_hash_of_a_test_set_never_changes() -> None:
    """Golden value, whatever the order of the seeds."""
    seeds = [Seed(kind="input", text=text, source="s:1") for text in ("a clock", "two boats")]
    assert hash_of_seeds(seeds) == hash_of_seeds(seeds[::-1]) == "33486cb026ea89c18c490143cd033c2b"


def test_a_group_of_failures_in_old_evidence_loads() -> None:
    """An evidence file of the previous version calls a group's reason `said`; the report is rendered from it as
    before."""
    group = {"check": "gate/length", "inputs": ["a clock"], "answer": "Tick.", "said": "too short: 5"}
    failures = Failures.model_validate(group)
    assert failures.reason == "too short: 5"
    assert Failures.model_validate_json(failures.model_dump_json()) == failures
