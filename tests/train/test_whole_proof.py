"""Tests of all stages from rows to a verdict on a tiny model: with imported pairs only, and with outputs only."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import train.evaluation.evaluation
from pairsmith.receipts.outcome import EvaluateOutcome
from pairsmith.report import write_report
from pairsmith.stages.evaluate import exit_code
from pairsmith.stages.table import Audience, stage
from schemas.errors import InputError
from schemas.files import sha256
from schemas.progress import Progress
from schemas.project import Project
from schemas.spec import Spec
from schemas.store import Store
from tests.curate.judging import checklist, chooser
from tests.curate.tiny import OFF
from tests.pairsmith.conftest import Project as Command
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says
from tests.train import tiny
from train.base_models.base_model import Base
from train.evaluation.intervals import Interval, share
from train.evaluation.metrics import Evaluation
from train.evaluation.systems import EvaluationPlan

ANIMALS = ("fox", "crab", "heron", "mole", "lynx", "carp", "toad", "wren")
PLACES = ("mill", "harbour", "orchard", "tower", "quarry")
PAIRS = [(f"a {animal} by a {place}", f"a {animal} by a {place}, warm light --ar 3:2") for animal in ANIMALS
         for place in PLACES]  # fmt: skip


CHECKS = [{"name": "light", "pattern": "light"}]


def write_project(folder: Path, base: Base, rows: list[dict[str, str]], kind: str, **more: Any) -> Project:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = {
        "task": {
            "name": "tiny",
            "system": tiny.SYSTEM,
            "style": "Rich, in warm light, with a place and the flag --ar 3:2.",
        },
        "seeds": [{"path": "rows.jsonl", "kind": kind}],
        "curate": {"gates": OFF, "duplicates": {"enabled": False}, "score": {"model": "none"}},
        "review": {"enabled": False},
        "train": {"base": str(base.folder), "method": "lora", "r": 4, "learning_rate": 0.02, "batch": 4, "epochs": 2},
        "evaluate": {
            "samples": 1,
            "sampling": {"temperature": 0.7, "max_tokens": 6},
            "checks": CHECKS,
        },
        **more,
    }
    (folder / "pairsmith.toml").write_text("".join(f"{name} = {_toml(table)}\n" for name, table in tables.items()))
    return Project(folder, Spec.model_validate(tables))


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_toml(one)}' for key, one in value.items())}}}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)


def evaluated(project: Project, store: Store, **options: Any) -> tuple[Evaluation, EvaluateOutcome, str]:
    """The evaluation after all stages, its outcome, and the learning curve printed by training."""
    for name in ("generate", "curate"):
        stage(name).do(project, store)
    trained = stage("train").do(project, store, **options)
    outcome = stage("evaluate").do(project, store, gate=True)
    body = (project.folder / outcome.files[0]).read_bytes()
    return Evaluation.model_validate_json(body), outcome, "\n".join(trained.curve)


@pytest.mark.timeout(1500)
def test_pairs_alone_get_a_verdict_and_a_learning_curve(
    tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Retrieval is among the systems and no teacher is, every test input has its reference, the curve is measured on
    validation inputs, and eight test inputs never ship. `evaluate --gate`, as in CI, reuses the evaluation and ends
    with the verdict's exit code. After seeds were added the commands warn that generation is due. Weights that were
    edited together with their record are not reused."""
    measured: list[EvaluationPlan] = []
    real_validated = train.evaluation.evaluation.validated

    async def validate_once(plan: EvaluationPlan, store: Store, progress: Progress) -> Interval | None:
        """Starts one server instead of six."""
        measured.append(plan)
        return await real_validated(plan, store, progress) if len(measured) == 1 else share([1], [2])

    monkeypatch.setattr("train.evaluation.evaluation.validated", validate_once)
    rows = [{"input": given, "output": wanted} for given, wanted in PAIRS]
    project = write_project(tmp_path, tiny_base, rows, "pair")
    with Store.open(Store.url_for(project)) as store:
        evaluation, outcome, curve = evaluated(project, store, curve=True)
        write_report(project, store, tmp_path / "report.html")
    names = [name for system in evaluation.systems for name in system.names]
    assert names == ["base", "few-shot", "retrieval", "tuned"]
    assert evaluation.system("retrieval").exemplars == 5
    assert (evaluation.seeds, len(evaluation.references)) == (8, 8)
    assert len(evaluation.validation) == len(evaluation.validation_inputs) == 4
    assert evaluation.inputs.keys() == {output.seed_id for output in evaluation.outputs}
    assert not {*evaluation.validation_inputs} & {output.seed_id for output in evaluation.outputs}
    tuned = evaluation.system("tuned")
    # A random model may never finish an answer: then there is nothing to ship, and more evidence is not needed.
    ended = tuned.count("complete")
    expected = ("not enough evidence", 15) if ended else ("do not ship", 14)
    assert (outcome.verdict["decision"], exit_code(outcome)) == expected, outcome.verdict
    for gate, code in ((["--gate"], expected[1]), ([], 0)):
        done = Command(tmp_path).run("evaluate", *gate)
        assert (done.returncode, f"Verdict: {expected[0]}. " in done.stdout) == (code, True), done.stderr
    assert re.search(r"100% of the rows \(28\): (pass rate|loss) ", curve)
    assert "500 more rows like these" in curve
    assert [len(plan.validation) for plan in measured] == [4] * 6
    assert len({plan.trained.adapter_id for plan in measured}) == 6
    page = (tmp_path / "report.html").read_text()
    assert "Learning curve, on validation" in page
    assert f"Verdict: <b>{expected[0]}</b>" in page
    assert "Of 4 validation inputs" in page
    with (tmp_path / "rows.jsonl").open("a") as more:
        more.write(json.dumps({"input": "a hare by a barn", "output": "a hare by a barn, warm light --ar 3:2"}) + "\n")
    for command in ("train", "evaluate"):
        done = Command(tmp_path).run(command)
        assert "warning: `pairsmith generate` is due (" in done.stderr, done.stdout
    (weights,) = tmp_path.glob("adapters/*/adapter_model.safetensors")
    record, before, content = weights.with_name("training.json"), sha256(weights), weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    record.write_text(record.read_text().replace(before, sha256(weights)))
    done = Command(tmp_path).run("train")
    assert (done.returncode, "not what training wrote" in done.stderr) == (InputError.exit_code, True), done.stderr


@pytest.mark.timeout(1500)
def test_outputs_alone_are_evaluated_against_held_out_outputs(tiny_base: Base, tmp_path: Path) -> None:
    """With seeds that are outputs, the teacher writes their inputs, one in five is held out with its input, and the
    systems' answers are compared with the original outputs. No row similar to a held-out one is trained on. A price set
    afterwards applies to the teacher's answers, and nothing is requested again. A judge that is added afterwards judges
    the same answers, and no model is started for them."""

    def reply(ask: Ask) -> Reply:
        prompt = " ".join(message["content"] for message in ask.body["messages"])
        shown = [wanted for _, wanted in PAIRS if wanted in prompt]
        return says(*[shown[-1].partition(",")[0] if shown else "a text"] * ask.n)

    with LoopbackTeacher(reply) as loopback:
        teacher = {"url": loopback.url, "model": "loopback", "concurrency": 4}
        generate = {"backward": {"levels": ["short"]}, "forward": {"n": 1}}
        rows = [{"output": wanted} for _, wanted in PAIRS]
        whole = {"samples": 1, "sampling": {"temperature": 0.7, "max_tokens": 64, "stop": ["e"]}}
        more = {"teacher": teacher, "generate": generate, "evaluate": {**whole, "checks": CHECKS}}
        project = write_project(tmp_path, tiny_base, rows, "output", **more)
        with Store.open(Store.url_for(project)) as store:
            evaluation, before, _ = evaluated(project, store)
            trained = {pair.input for pair in store.pairs(_train_ids(store))}
            own = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 2.0}
            tables = {**project.spec.model_dump(), "teacher": {**teacher, **own}}
            cheaper = Project(project.folder, Spec.model_validate(tables))
            after = stage("evaluate").do(cheaper, store)
            shown = _printed(stage("evaluate").shown(cheaper, after))
            write_report(cheaper, store, tmp_path / "report.html")
            judged, steps = judged_too(cheaper, store)
    assert judged.judged is not None
    assert judged.id != evaluation.id
    assert (judged.outputs, judged.systems) == (evaluation.outputs, evaluation.systems)
    assert any("only the judges have changed" in step for step in steps)
    assert not any("starting" in step for step in steps), "a model was started, and every answer is known"
    assert before.verdict["teacher_usd_per_1000"] is None
    assert after.reused
    assert after.verdict["break_even"] == round(100_000 / after.verdict["teacher_usd_per_1000"])
    for page in (shown, (tmp_path / "report.html").read_text()):
        assert "current price" in page
    assert evaluation.seeds == 8
    outputs = dict(PAIRS)
    given = {output.seed_id for output in evaluation.outputs}
    assert {*evaluation.references} == given
    assert {*evaluation.references.values()} <= {*outputs.values()}
    asked = {example.input: evaluation.references[example.seed_id] for example in evaluation.side_by_side}
    assert asked == {text: outputs[text] for text in asked}
    assert not {*asked} & trained
    compared = evaluation.system("tuned").sampled.by_reference
    assert compared is not None
    assert compared.inputs == 8
    assert compared.chrf is not None


def judged_too(project: Project, store: Store) -> tuple[Evaluation, list[str]]:
    """The evaluation after a judge was added to the spec, and what was shown in between."""
    steps: list[str] = []
    prefer = chooser(lambda first, second: len(first) > len(second))
    answer = checklist(lambda name, output: 0.8)
    with LoopbackTeacher(lambda ask: prefer(ask) if "<first>" in ask.prompt else answer(ask)) as judge:
        tables = project.spec.model_dump(exclude_unset=True)
        tables["teachers"] = {"j": {"url": judge.url, "model": "judge"}}
        tables["evaluate"]["judges"] = ["j"]
        tables["curate"]["judge"] = {"questions": [{"name": "calm", "question": "Is it calm?"}]}
        audience = Audience(lambda stage, numbers: steps.append(str(numbers.get("system", ""))), steps.append)
        outcome = stage("evaluate").do(Project(project.folder, Spec.model_validate(tables)), store, audience)
    return Evaluation.model_validate_json((project.folder / outcome.files[0]).read_bytes()), steps


def _printed(parts: Sequence[Any]) -> str:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(*parts)
    return console.export_text()


def _train_ids(store: Store) -> list[str]:
    return [pair_id for pair_id, split in store.artifacts("dataset")[-1].members if split == "train"]
