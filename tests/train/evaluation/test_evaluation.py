"""Tests of the evaluation with real servers: only held-out seeds, an adapter that is really active, and no request
twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pairsmith.report.proof import described, failed_checks, flaws
from pairsmith.stages.evaluate import _unreferenced, _untested
from schemas.blocking import run
from schemas.errors import NoWork, PairsmithError
from schemas.project import Project
from schemas.records import Seed
from schemas.spec import Exemplar, TeacherSettings
from schemas.step_names import REFERENCE
from schemas.store import Store
from synth.endpoints.endpoint import Endpoint
from synth.generators import Forward
from synth.ledger import Ledger
from tests.ledger_rows import call_index
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, fails, says
from tests.train import tiny
from tests.train.evaluated import held_out, project, with_seeds
from train.base_models.base_model import Base
from train.dataset import Dataset
from train.evaluation.checks import checks_for
from train.evaluation.evaluation import measure_or_load, plan_evaluation, validated
from train.evaluation.failures import describe_refusals, why_not
from train.evaluation.held_out import held_out_seeds, validation_seeds
from train.evaluation.incomplete import why_incomplete
from train.evaluation.intervals import share
from train.evaluation.metrics import Evaluation, ModeResult, ReferenceResult
from train.evaluation.results_table import checks_table, comparison_lines, references_table, systems_table
from train.evaluation.systems import EvaluationPlan, LocalModel, Model, Models, systems_of
from train.evaluation.verdict import is_form_only, verdict
from train.results import TrainResult
from train.sft import tune


@pytest.fixture(scope="module")
def trained(tiny_base: Base, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    out = tmp_path_factory.mktemp("adapters")
    return tune(tiny_base, Dataset("dataset-1", tiny.rows(12)), tiny.settings(), out)


@asynccontextmanager
async def open_teacher(teacher: TeacherSettings) -> AsyncIterator[Endpoint]:
    async with Endpoint(teacher.url, teacher.model, retries=0) as endpoint:
        yield endpoint


def measure(project: Project, trained: TrainResult, teacher: TeacherSettings, **more: Any) -> Evaluation:
    with Store.open(Store.url_for(project)) as store:
        if not store.active_seeds():
            with_seeds(store)
        plan = plan_evaluation(project, held_out_seeds(store, project.spec), trained, teacher)
        return asyncio.run(measure_or_load(plan, store, project.folder / "evaluations", open_teacher, **more))


def answers(ask: Ask) -> Reply:
    """Good answers in a code fence, except for the first request: cut, although their text satisfies every check."""
    good = "a fox, warm light, photograph --ar 3:2"
    if ask.number == 1:
        return says(*[good] * ask.n, finish="length")
    return says(*[f"```\n{good}\n```"] * ask.n)


def test_an_evaluation_is_computed_once(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """Four systems on the held-out seeds, the adapter active for one of them, all numbers in one file. A second run
    requests nothing, and neither does one whose evaluation file is lost but whose call ledger is not."""
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)})
    reports: list[dict[str, Any]] = []
    with LoopbackTeacher(answers) as loopback:
        teacher = TeacherSettings(url=loopback.url, model="loopback", attempts=3)
        first = measure(evaluated, trained, teacher, progress=lambda stage, numbers: reports.append(numbers))
        asked = len(loopback.asked)
        again = measure(evaluated, trained, teacher)
        Path(first.path).unlink()
        replayed = measure(evaluated, trained, teacher)
        # Sampled and greedy for four seeds, and the cut request once more, as in generation.
        assert len(loopback.asked) == asked == 4 * 2 + 1
    with Store.open(Store.url_for(evaluated), write=False) as store:
        assert {output.seed_id for output in first.outputs} <= held_out(store, evaluated.spec)
    assert [system.names for system in first.systems] == [("base",), ("few-shot",), ("teacher",), ("tuned",)]
    assert first.seeds == 4
    assert len(first.outputs) == 4 * 4 * 3
    assert reports[-1]["done"] == reports[-1]["total"] == len(first.outputs)
    check = first.adapter_check
    assert abs(check.tuned - check.base) > 0.02 * check.tokens
    assert check.base_again == pytest.approx(check.base, abs=0.01 * check.tokens)
    sampled = first.system("teacher").sampled
    assert (sampled.answered, sampled.passed, sampled.truncated) == (8, 8, 0)
    # Six tokens cut nearly every answer of the tiny model. Those of tuned count all the same.
    gap = first.comparison("tuned", "teacher")
    assert gap is not None
    assert gap.outcome == "not enough evidence"
    assert not any(output.passes and output.cut for output in first.outputs)
    assert {(one.a, one.mode) for one in first.comparisons} == {("tuned", "sampled"), ("tuned", "greedy")}
    assert [system.decoding for system in first.systems] == ["evaluation", "evaluation", "generation", "evaluation"]
    assert first.system("teacher").sampling == evaluated.spec.generate.forward.sampling
    assert again.reused
    assert again.calls_sent == 0
    assert again.outputs == first.outputs
    assert replayed.calls_sent == 0
    assert replayed.calls_reused == len(first.outputs)
    assert [output.text for output in replayed.outputs] == [output.text for output in first.outputs]
    assert first.artifact.parents == (trained.adapter_id,)
    _check_tables(first)


def test_missing_answers_are_requested_again(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """If a teacher stopped answering midway, the next run requests only the missing answers, and the results cover all
    of them."""
    evaluated, answered_requests = project(tmp_path, train={"base": str(tiny_base.folder)}), [3]

    def silent(ask: Ask) -> Reply:
        return answers(ask) if ask.number <= answered_requests[0] else fails(503)

    with LoopbackTeacher(silent) as loopback:
        teacher = TeacherSettings(url=loopback.url, model="loopback", attempts=1, retries=0)
        half = measure(evaluated, trained, teacher)
        missing = [output for output in half.outputs if not output.answered]
        assert {output.system for output in missing} == {"teacher"}
        answered_requests[0], asked = 100, len(loopback.asked)
        whole = measure(evaluated, trained, teacher)
        assert (whole.reused, whole.path) == (False, half.path)
        assert 0 < len(loopback.asked) - asked == whole.calls_sent < 8
        assert all(output.answered for output in whole.outputs)
        assert [o.text for o in whole.outputs if o.system != "teacher"] == [
            o.text for o in half.outputs if o.system != "teacher"
        ]
        assert measure(evaluated, trained, teacher).reused


def test_refusals_are_reported_in_the_servers_words(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """A prompt longer than the model's context, e.g. with forty labels, is refused: that is neither an empty nor a cut
    answer, and more tokens would not help. The verdict says so too. Examples would make it longer still, so few-shot
    cannot be used."""
    long = {"name": "images", "system": "Rewrite the prompt.", "style": "In a rich style. " * 400}
    evaluated = project(tmp_path, task=long, train={"base": str(tiny_base.folder)})
    with Store.open(Store.url_for(evaluated)) as store:
        with_seeds(store)
        plan = plan_evaluation(evaluated, held_out_seeds(store, evaluated.spec), trained, None)
        measured = asyncio.run(measure_or_load(plan, store, tmp_path, None))
    outputs = [output for output in measured.outputs if output.system == "base"]
    assert {why_not(output, measured.check_names) for output in outputs} == {"refused"}
    assert failed_checks(outputs[0])[0][1].startswith("HTTP 400: This model's context holds 512")
    (base,) = describe_refusals(measured)
    assert base.startswith("12 answers of base refused, ")
    ways, flip = why_incomplete(measured, measured.system("base"))
    assert ways.startswith("12 refused (it answered \"HTTP 400: This model's context holds 512")
    assert flip == "the prompt of base was shorter, or the context of its model longer"
    assert any(line.startswith("few-shot cannot be used with this base") for line in verdict(measured).because)


def test_examples_that_do_not_fit_are_left_out(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """Prompts of retrieval with five rows of 150 tokens were refused by a base with a context of 512, and nothing could
    ever ship. Each shows as many rows as fit; report and verdict say how many, and which context would show all. The
    answers to greedy and sampled requests arrive."""
    evaluated = project(tmp_path, exemplars=[], train={"base": str(tiny_base.folder)})
    rows = [Exemplar(input=f"a fox number {n}", output=f"{n} light " * 50) for n in range(9)]
    with Store.open(Store.url_for(evaluated)) as store:
        with_seeds(store)
        plan = plan_evaluation(evaluated, held_out_seeds(store, evaluated.spec), trained, None, rows=rows)
        measured = asyncio.run(measure_or_load(plan, store, tmp_path, None))
    retrieval = measured.system("retrieval")
    assert (retrieval.sampled.refused, retrieval.greedy.refused) == (0, 0)
    (shortened,) = retrieval.shortened
    assert (shortened.wanted, shortened.context, shortened.answer) == (5, 512, 6)
    assert 1 <= shortened.fewest <= shortened.most == retrieval.exemplars < 5
    assert shortened.needed > 512
    assert f"{shortened.range} fit" in described(measured, retrieval)
    assert shortened.in_words in verdict(measured).because
    assert Evaluation.model_validate_json(Path(measured.path).read_bytes()).systems == measured.systems


@pytest.mark.parametrize(("kind", "more", "is_check"), [
    ("translate", {"language": "de", "to": "en"}, False), ("classify", {"labels": {"bug": "", "praise": ""}}, True),
    ("reply", {}, False),
])  # fmt: skip
def test_only_tasks_with_one_right_answer_must_match_the_reference(
    tiny_base: Base, trained: TrainResult, tmp_path: Path, kind: str, more: dict[str, Any], is_check: bool
) -> None:
    """A translation that differs from the reference is not a failure, and a pass rate of 0 for every system would say
    nothing; a label is right or wrong. If one input has no reference, the check is dropped for all, with a warning."""
    task = {"name": "task", "kind": kind, "style": "As usual.", **more}
    train = {"base": str(tiny_base.folder)}
    evaluated = project(tmp_path, task=task, exemplars=[], train=train, evaluate={"samples": 1})
    seeds = [Seed(kind="pair", text=f"Ein Fehler {n}", reference="bug", source="t.jsonl") for n in range(3)]
    plan = plan_evaluation(evaluated, seeds, trained, None)
    assert plan.checks.exact == (REFERENCE in plan.checks.names) == is_check
    assert not list(_unreferenced(plan))
    fewer = plan_evaluation(evaluated, [*seeds, Seed(kind="input", text="Noch einer", source="t.jsonl")], trained, None)
    assert not fewer.checks.exact
    warned = [line for line in _unreferenced(fewer) if line.startswith("warning: 1 test input has no reference")]
    assert len(warned) == is_check
    none = plan_evaluation(evaluated, [fewer.seeds[-1]], trained, None)
    assert ["Give each of the 1 one." in line for line in _unreferenced(none)] == [True] * is_check
    missing = "warning: no reference of a test input is the label praise: macro"
    absent = [line for line in _untested(plan) if line.startswith(missing)]
    assert len(absent) == is_check
    assert not list(_untested(none))
    assert is_form_only(none.checks.names) == is_check
    if is_check:  # the learning curve then uses the loss, since every label would pass
        unused: Any = None
        assert run(validated(none, unused)) is None


def test_a_reference_that_violates_the_schema_is_named(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """No answer matches it, not even the same text, and the plan names its seed and why."""
    (tmp_path / "ticket.json").write_text('{"type": "object", "properties": {"n": {"type": "integer"}}}')
    task = {"name": "tickets", "kind": "extract", "style": "As JSON.", "schema": "ticket.json"}
    evaluated = project(tmp_path, task=task, train={"base": str(tiny_base.folder)})
    given = {"one": '{"n": 1}', "two": '{"n": "two"}', "three": '```json\n{"n": 3}\n```'}
    seeds = [Seed(kind="pair", text=a, reference=b, source="tickets.jsonl") for a, b in given.items()]
    plan = plan_evaluation(evaluated, seeds, trained, None)
    assert plan.checks.exact
    assert plan.void == {seeds[1].id: plan.checks.void['{"n": "two"}']}
    assert "at $.n" in plan.void[seeds[1].id]
    for seed in seeds:
        checked = plan.checks(seed.body, plan.references[seed.id], plan.references[seed.id])
        assert checked.passed[REFERENCE] is (seed is not seeds[1])


def test_a_system_without_a_complete_answer_is_not_measured(
    tiny_base: Base, trained: TrainResult, tmp_path: Path
) -> None:
    """A teacher that is always cut was not measured: it has no chrF of 0 and no share of a check, its cut answers are
    counted once although they are empty, and the table says so. A file of an earlier version is read the same way."""
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)})
    with LoopbackTeacher(lambda ask: says(*[""] * ask.n, finish="length")) as loopback:
        teacher = TeacherSettings(url=loopback.url, model="loopback", attempts=1)
        with Store.open(Store.url_for(evaluated)) as store:
            pairs = (("a fox", "a fox, warm light --ar 3:2"), ("a pier", "a pier, grey light --ar 3:2"))
            seeds = [Seed(kind="pair", text=a, reference=b, source="pairs.jsonl:1", split="test") for a, b in pairs]
            store.set_active_seeds(seeds)
        measured = measure(evaluated, trained, teacher)
    unmeasured = measured.system("teacher").sampled
    assert (unmeasured.by_reference, unmeasured.checks, unmeasured.pass_rate) == (None, {}, None)
    assert (unmeasured.answered, unmeasured.truncated, unmeasured.empty) == (4, 4, 0)
    assert flaws(unmeasured) == "4 cut off"
    result = ReferenceResult(inputs=2, exact=share([0, 0], [2, 2]))
    tuned = measured.system("tuned")  # whether a tiny model gives a complete answer depends on the processor
    complete = tuned.model_copy(update={"sampled": tuned.sampled.model_copy(update={"by_reference": result})})
    systems = tuple(complete if system is tuned else system for system in measured.systems)
    table = references_table(measured.model_copy(update={"systems": systems}))
    assert table is not None
    names, _, exact = (list(column.cells) for column in table.columns[:3])
    label = measured.system("teacher").label
    assert [cell for name, cell in zip(names, exact, strict=True) if name == label] == ["not measured"] * 2
    before = {**unmeasured.model_dump(), "by_reference": result.model_dump()}
    assert ModeResult.model_validate(before).by_reference is None


def test_answers_from_generation_are_reused(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """The teacher's samples of a test input are the candidates that generation got for it, with cut ones not passing;
    only further samples and greedy answers are requested. An input is asked with both decodings before the next, so a
    server with prefix caching computes each prompt only once."""
    plain = project(tmp_path, train={"base": str(tiny_base.folder)}, generate={"forward": {"n": 2}})
    three = plain.spec.evaluate.model_copy(update={"samples": 3, "concurrency": 1})
    evaluated = Project(plain.folder, plain.spec.model_copy(update={"evaluate": three}))
    good = "a fox, warm light, photograph --ar 3:2"

    def reply(ask: Ask) -> Reply:
        return says(*[good] * ask.n, finish="length" if ask.n == 2 and ask.number % 2 else "stop")

    with LoopbackTeacher(reply) as loopback:
        teacher = TeacherSettings(url=loopback.url, model="loopback", attempts=1)
        with Store.open(Store.url_for(evaluated)) as store:
            with_seeds(store)
            asyncio.run(_generated(evaluated, store, teacher))
        asked = len(loopback.asked)
        evaluation = measure(evaluated, trained, teacher)
        # The third sample and the greedy answer of each of the four inputs.
        prompts = [ask.prompt for ask in loopback.asked[asked:]]
        assert len(prompts) == 8
        assert prompts[::2] == prompts[1::2]
        assert len(set(prompts)) == 4
        sampled = [output for output in evaluation.outputs if (output.system, output.mode) == ("teacher", "sampled")]
        assert len(sampled) == 4 * 3
        cut = [output for output in sampled if output.cut]
        assert all(output.all_pass is False and output.reasons["answer"] == "cut" for output in cut)
        assert evaluation.system("teacher").sampled.passed == len(sampled) - len(cut)
        assert cut


async def _generated(evaluated: Project, store: Store, teacher: TeacherSettings) -> None:
    async with open_teacher(teacher) as endpoint:
        make = Forward.of(evaluated, Ledger(store, endpoint, teacher))
        for seed in store.active_seeds():
            if seed.kind == "input":
                _ = await make(seed)


def _check_tables(evaluation: Evaluation) -> None:
    """Check that every system and check is in the tables, and that differences are reported in either direction."""
    from rich.console import Console

    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(systems_table(evaluation))
        console.print(checks_table(evaluation))
    text = captured.get()
    for word in ("few-shot", "tuned", "check:light", "must:flag", "(not scored)"):
        assert word in text
    lines = comparison_lines(evaluation)
    assert len(lines) == 6 + 3
    assert any("tuned against teacher, sampled: not " in line or "not enough evidence" in line for line in lines)
    assert any(line.startswith("decoded as in generation (T 0.9, max_tokens 512): teacher") for line in lines)
    assert lines[-1].startswith("decodings differ")


def test_an_inactive_adapter_is_detected(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """If the tuned model is the base under another name, the evaluation refuses to compare them."""
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(trained.folder, tmp_path / "zeroed"))
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor * 0 for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    zeroed = trained.model_copy(update={"folder": str(folder), "adapter_id": "zeroed"})
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)})
    with LoopbackTeacher() as loopback, pytest.raises(PairsmithError, match="adapter is not active"):
        measure(evaluated, zeroed, TeacherSettings(url=loopback.url, model="loopback"))


def test_an_adapter_of_another_base_is_refused(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """Weights are identified by content, so a changed base is noticed before anything is requested."""
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)})
    other = trained.model_copy(update={"base_hash": "another"})
    with pytest.raises(PairsmithError, match="a different base"):
        measure(evaluated, other, TeacherSettings())


def test_repeated_validation_inputs_count_once(tmp_path: Path) -> None:
    """The learning curve's noise floor depends on the number of inputs, and a repeated one would make chance look like
    proof."""
    evaluated = project(tmp_path)
    texts = ("a fox", "A  Fox", "a pier", "a Pier ")
    with Store.open(Store.url_for(evaluated)) as store:
        seeds = (Seed(kind="input", text=text, source="seeds.jsonl:1", split="validation") for text in texts)
        store.set_active_seeds([*seeds])
        validation = validation_seeds(store, evaluated.spec)
    assert sorted(" ".join(seed.asked.casefold().split()) for seed in validation) == ["a fox", "a pier"]


def test_the_learning_curve_asks_for_greedy_answers_alone(
    tiny_base: Base, trained: TrainResult, tmp_path: Path
) -> None:
    """Only their pass rate is shown: the sampled answers of all six trainings had been drawn and thrown away."""
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)})
    seeds = [Seed(kind="input", text=f"a fox number {n}", source=f"seeds.jsonl:{n}") for n in range(3)]
    numbers: dict[str, Any] = {}
    with Store.open(Store.url_for(evaluated)) as store:
        plan = plan_evaluation(evaluated, seeds, trained, None, validation=seeds)
        run(validated(plan, store, lambda stage, new: numbers.update(new)))
        sent = [call.request for key in call_index(store) for call in store.calls(key)]
    assert [request["temperature"] for request in sent] == [0.0] * 3
    assert (numbers["done"], numbers["total"]) == (3, 3)


def test_no_model_is_started_for_known_answers(
    tiny_base: Base, trained: TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A learning curve that is drawn again started the model of every part, ten seconds each, to ask it nothing."""
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)})
    seeds = [Seed(kind="input", text=f"a fox number {n}", source=f"seeds.jsonl:{n}") for n in range(3)]
    with Store.open(Store.url_for(evaluated)) as store:
        plan = plan_evaluation(evaluated, seeds, trained, None, validation=seeds)
        first = run(validated(plan, store))
        monkeypatch.setattr("train.evaluation.answering.serving", None)
        assert run(validated(plan, store)) == first is not None
        more = replace(plan, validation=(*seeds, Seed(kind="input", text="a new fox", source="seeds.jsonl:9")))
        with pytest.raises(TypeError):
            run(validated(more, store))


def test_an_empty_test_split_is_an_error(tiny_base: Base, trained: TrainResult, tmp_path: Path) -> None:
    """A test split without seeds is an error, not a perfect score."""
    evaluated = project(tmp_path, train={"base": str(tiny_base.folder)}, split={"test": 0.0})
    with pytest.raises(NoWork, match="test split"):
        measure(evaluated, trained, TeacherSettings())


def test_an_evaluation_without_checks_is_judged_by_the_gates(
    tiny_base: Base, trained: TrainResult, tmp_path: Path
) -> None:
    """`evaluate.checks` is optional. If no gate is on either, nothing could fail, which is an error before a model is
    started."""
    base, evaluate = {"base": str(tiny_base.folder)}, {"samples": 1}
    by_gates = project(tmp_path, train=base, evaluate=evaluate)
    seeds = [Seed(kind="input", text="a fox", source="s:1")]
    plan = plan_evaluation(by_gates, seeds, trained, None)
    assert plan.checks.names == ("must:flag",)
    off = by_gates.spec.curate.gates.model_copy(update={"must": ()})
    curate = by_gates.spec.curate.model_copy(update={"gates": off})
    unjudged = Project(tmp_path, by_gates.spec.model_copy(update={"curate": curate}))
    with pytest.raises(NoWork, match="neither a check nor a gate"):
        plan_evaluation(unjudged, seeds, trained, None)


def test_the_id_of_an_evaluation_never_changes(trained: TrainResult, tmp_path: Path) -> None:
    """Golden value: adapter, test set, systems, checks and settings give the id by a frozen recipe, so that a finished
    evaluation is reused."""
    seeds = [Seed(kind="input", text=text, source=f"s:{n}") for n, text in enumerate(("a clock", "two boats"), 1)]
    given = project(tmp_path)
    base = TeacherSettings(revision="r1", attempts=1)
    tuned = base.model_copy(update={"model": "tuned", "identity": "tuned", "revision": "adapter"})
    systems = systems_of(given, seeds, Models(Model(base, LocalModel(None)), Model(tuned, LocalModel(None)), base))
    named = trained.model_copy(update={"adapter_id": "adapter-1"})
    plan = EvaluationPlan(given.spec, named, tuple(seeds), systems, checks_for(given.spec, tmp_path))
    assert plan.id == "9947e4cb01cd84b5b226a813c940216d"
