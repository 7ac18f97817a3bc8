"""A small project for the report's tests: real records through the real curation, with invented texts and training
numbers.

No model is asked: the teacher's texts are generated here, scores come from a loopback server, and the evaluation's
invented answers go through the real checks, summaries and intervals.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

from aiohttp import web

from curate.outcome import CurateResult, curate_project
from curate.scorers.choose import EmbeddedModel
from curate.split import split_of
from pairsmith.receipts.outcome import CurateOutcome, EvaluateOutcome, GenerateOutcome, TrainOutcome
from pairsmith.receipts.receipt import recording
from schemas.files import sha256
from schemas.project import Project
from schemas.records import (
    Artifact,
    Call,
    Candidate,
    Counts,
    Generated,
    Pair,
    Sampling,
    Seed,
    Usage,
    content_id,
)
from schemas.spec_file import load
from schemas.store import Store
from synth.embedded.weights import Weights
from tests.servers import served
from train.evaluation.checks import checks_for
from train.evaluation.comparison import compare_last
from train.evaluation.examples import Example, pick_examples
from train.evaluation.intervals import share
from train.evaluation.metrics import (
    MODES,
    AdapterCheck,
    Evaluation,
    Mode,
    Output,
    SystemResult,
    summarise,
)
from train.learning_curve import Gain, LearningCurve, Point
from train.results import Step, TrainResult, Validation

SPEC = """
[task]
name = "image-prompts"
style = "Rewrite the input as one rich image prompt. End with an --ar flag."

[[seeds]]
path = "seeds.jsonl"

[[exemplars]]
input = "a lighthouse"
output = "a lighthouse on a rocky cliff above the sea, warm sunset light, wide landscape photograph --ar 16:9"

[curate.gates]
length = { min_words = 12, max_words = 60 }
language = false
[[curate.gates.must]]
name = "ar_flag"
pattern = '--ar \\d+:\\d+$'

[curate.select]
best = 2

[evaluate]
samples = 3
resamples = 500
[[evaluate.checks]]
name = "names_a_light"
pattern = '(?i)\\blight\\b'
[[evaluate.checks]]
name = "names_a_medium"
pattern = '(?i)\\b(photograph|painting)\\b'
"""
HOSTILE = "a sign saying \"OPEN\" <script>alert('seed')</script> & {{ 7 * 7 }}"
SCOPE = "scope-of-the-present-prompt"
_SUBJECTS = [
    "fox",
    "harbour",
    "violin maker",
    "kite",
    "cinema",
    "tram stop",
    "greenhouse",
    "map",
    "road",
    "bridge",
    "baker",
    "heron",
]
_ADJECTIVES = ["small", "red", "quiet", "broken", "golden", "tall"]
_PLACES = [
    "at the edge of a forest",
    "in a narrow street",
    "on a wet pier",
    "under a stone arch",
    "beside a frozen lake",
]
_DETAILS = [
    "frost on the edges",
    "worn brass",
    "a torn poster",
    "two chairs",
    "ivy on the wall",
    "tracks in the mud",
    "steam",
]
_LIGHTS = ["pale morning light", "warm lamp light", "grey light from the left", "last light of the day"]
_MEDIA = ["wildlife photograph", "oil painting", "documentary photograph", "35mm photograph"]


def texts(subject: str, rng: random.Random) -> str:
    """A text that a small teacher might write: mostly good, sometimes with one of its usual failures."""
    place, light, medium = rng.choice(_PLACES), rng.choice(_LIGHTS), rng.choice(_MEDIA)
    details = ", ".join(rng.sample(_DETAILS, rng.randint(2, 4)))
    good = f"{subject} {place}, {details}, {light}, {medium}, {rng.choice(_ADJECTIVES)} mood"
    kind = rng.random()
    if kind < 0.12:
        return f"{subject}, {subject}, {subject}, {subject}, {subject}, {subject}, {subject} --ar 1:1"
    if kind < 0.2:
        return f"{subject} --ar 3:2"
    if kind < 0.28:
        return good
    return f"{good} --ar {rng.choice(['1:1', '3:2', '16:9'])}"


def project_in(folder: Path) -> Project:
    """Write the spec and load it as a user's would be."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pairsmith.toml").write_text(SPEC, encoding="utf-8")
    return load(folder)


def generated(project: Project, store: Store, count: int = 60) -> None:
    """Write seeds, calls, pairs and failures, with a receipt of `generate`."""
    rng = random.Random(5)
    subjects = [f"a {a} {s}" for a in _ADJECTIVES for s in _SUBJECTS][: count - 1]
    seeds = [Seed(kind="input", text=text, source=f"seeds.jsonl:{i}") for i, text in enumerate([HOSTILE, *subjects], 1)]
    store.set_active_seeds(seeds)
    with recording(project, store, "generate", GenerateOutcome()) as record:
        waiting, failed = 0, 0
        for seed in seeds:
            for sample in range(3):
                key = content_id("call", [seed.id, sample])
                empty = rng.random() < 0.03
                text = "" if empty else texts(seed.text or "", rng)
                usage = Usage(prompt_tokens=210, completion_tokens=len(text.split()) * 2)
                call = Call(
                    key=key, attempt=1, status="empty" if empty else "ok", request={}, raw={}, text=text, usage=usage,
                    usd=0.0002, request_id=key, sample=sample, teacher="tiny", endpoint="loopback", seconds=0.4,
                )  # fmt: skip
                place = {"fingerprint": SCOPE, "seed_id": seed.id, "generator": "forward", "sample": sample}
                if empty:
                    failed += 1
                    store.append(call, Candidate(**place, failure="empty: no text came, twice"))
                    continue
                origin = Generated(
                    generator="forward", prompt="enhance/v1@d1754fc5", teacher="tiny",
                    sampling=Sampling(temperature=0.7), calls=((key, 1),),
                )  # fmt: skip
                pair = Pair(
                    seed_id=seed.id,
                    input=seed.text or "",
                    output=text,
                    system=project.spec.task.system,
                    origin=origin,
                )
                waiting += 1
                store.append(call, pair, Candidate(**place, pair_id=pair.id))
        spent = store.spent()
        usage, usd, sent = spent.usage, spent.total, spent.requests
        record.outcome = GenerateOutcome(
            counts=Counts(rows_in=waiting + failed, waiting=waiting, failed=failed),
            reasons={"empty": failed} if failed else {},
            usage=usage,
            usd=usd,
            calls_sent=sent,
            fingerprints={"forward": SCOPE},
            seeds={"input": len(seeds)},
            seed_problems=("seeds.jsonl:9: x",),
        )


@asynccontextmanager
async def _scoring_server() -> AsyncIterator[SimpleNamespace]:
    """A loopback stand-in for the embedded model's /score with random scores: a text is more likely given its input."""

    async def score(request: web.Request) -> web.Response:
        asked = await request.json()
        about = asked["messages"][-1]["content"]
        scores = []
        for text in asked["completions"]:
            gain = random.Random(text).gauss(14, 5) if about else 0.0
            scores.append({"logprob": gain - 60.0, "tokens": len(text.split())})
        return web.json_response({"data": scores})

    app = web.Application()
    app.router.add_post("/score", score)
    async with served(app) as url:
        yield SimpleNamespace(base_url=f"{url}/v1", model="tiny")


def curated(project: Project, store: Store) -> CurateResult:
    """Run the real curation and write its receipt and the dataset that it made."""
    weights = Weights(project.folder, "revision", "nowhere: the loopback server answers in its place")
    with recording(project, store, "curate", CurateOutcome()) as record:
        judging = curate_project(
            project, store, fingerprints=[SCOPE], own=EmbeddedModel(lambda: weights, _scoring_server)
        )
        result = asyncio.run(judging)
        members = tuple((row.pair.id, row.split) for row in result.accepted)
        dataset = Artifact(id=content_id("dataset", members), kind="dataset", path="dataset", members=members)
        store.write(dataset)
        facts = dict(result.facts)
        record.outcome = CurateOutcome(
            counts=result.counts,
            reasons=dict(result.reasons),
            artifact_id=dataset.id,
            scorer=facts.pop("scorer"),
            more=facts,
        )
    return result


def trained(project: Project, store: Store, curation: CurateResult) -> TrainResult:
    """Write an adapter that was never trained, with an invented loss curve."""
    rng = random.Random(2)
    splits = Counter(row.split for row in curation.accepted)
    folder = project.folder / "adapters" / "one"
    with recording(project, store, "train", TrainOutcome()) as record:
        result = TrainResult(
            adapter_id=content_id("adapter", 1), dataset_id=store.artifacts("dataset")[-1].id,
            base="HuggingFaceTB/SmolLM2-135M-Instruct", base_hash="b" * 64, settings=project.spec.train,
            train_rows=splits["train"], validation_rows=splits["validation"], learned_tokens=6120, trained_tokens=25480,
            steps=56, four_bit_layers=210, trainable_parameters=4884480, compute_dtype="bfloat16", seconds=94.2,
            seconds_per_step=1.55, peak_gib=1.9, versions={}, masks=(), folder=str(folder),
            curve=tuple(
                Step(step=i, epoch=i / 28, loss=0.62 + 1.9 * 0.93**i + rng.gauss(0, 0.06), learning_rate=1e-3)
                for i in range(1, 57)
            ),
            validation=tuple(Validation(step=28 * i, epoch=i, loss=loss) for i, loss in enumerate((2.62, 0.98, 0.83))),
        )  # fmt: skip
        folder.mkdir(parents=True)
        (folder / "training.json").write_text(result.model_dump_json(exclude={"folder", "reused"}))
        store.write(result.artifact)
        counts = Counts(rows_in=result.train_rows, accepted=result.train_rows)
        record.outcome = TrainOutcome(counts=counts, artifact_id=result.adapter_id)
    return result


def evaluated(project: Project, store: Store, adapter: TrainResult, *, merged: bool = True) -> Evaluation:
    """Write invented answers, checked and summarised as in an evaluation; `merged` makes few-shot and teacher one
    system."""
    spec, checks = project.spec, checks_for(project.spec, project.folder)
    seeds = [seed for seed in store.active_seeds() if split_of(seed.id, spec.split) == "test"]
    systems = (
        [("base",), ("few-shot", "teacher"), ("tuned",)]
        if merged
        else [("base",), ("few-shot",), ("teacher",), ("tuned",)]
    )
    quality = {"base": 0.12, "few-shot": 0.5, "teacher": 0.6, "tuned": 0.95}

    def answer(system: str, mode: Mode, seed: Seed, sample: int) -> Output:
        rng = random.Random(f"{system} {mode} {seed.id} {sample}")
        subject = seed.text or ""
        text = texts(subject, rng) if rng.random() < quality[system] else f"Sure! Here is a prompt about {subject}"
        checked = checks(subject, text)
        return Output(
            system=system, mode=mode, seed_id=seed.id, sample=sample, answered=True, text=text, finish="stop",
            words=len(text.split()), seconds=0.3 + rng.random(), checks=dict(checked.passed),
            reasons=dict(checked.reasons), all_pass=checked.all_pass,
            key=content_id("key", [system, mode, seed.id, sample]),
        )  # fmt: skip

    outputs = {
        (names[0], mode): [answer(names[0], mode, s, i) for s in seeds for i in range(3 if mode == "sampled" else 1)]
        for names in systems
        for mode in MODES
    }

    def summary(name: str, mode: Mode) -> object:
        answers = outputs[name, mode]
        usage = Usage(completion_tokens=sum(2 * output.words for output in answers))
        return summarise(answers, usage, checks.names)

    compared = compare_last([{mode: outputs[names[0], mode] for mode in MODES} for names in systems])
    path = project.folder / "evaluations" / "one.json"
    evaluation = Evaluation(
        id=content_id("evaluation", len(systems)), adapter_id=adapter.adapter_id, test_set=content_id("test_set", 1),
        checks_fingerprint=checks.fingerprint, check_names=checks.names, seeds=len(seeds), samples=3,
        patterns=checks.by_pattern,
        sampling=Sampling(temperature=0.7, top_p=0.95, max_tokens=80), greedy=Sampling(temperature=0, max_tokens=80),
        concurrency=20,
        systems=tuple(
            SystemResult(
                name=names[0], names=names, model="tuned" if names == ("tuned",) else "smollm2-135m-instruct",
                revision=None, system_prompt=spec.task.style, exemplars=0 if names[0] in ("base", "tuned") else 1,
                decoding="generation" if names == ("teacher",) else "evaluation",
                sampling=Sampling(temperature=0.9, top_k=50) if names == ("teacher",) else None,
                sampled=summary(names[0], "sampled"), greedy=summary(names[0], "greedy"),
            )
            for names in systems
        ),
        comparisons=compared,
        adapter_check=AdapterCheck(text="x", base=-121.25, tuned=-44.5, base_again=-121.25, tokens=38),
        side_by_side=pick_examples([Example(seed_id=s.id, input=s.text or "") for s in seeds], 10, 17),
        side_by_side_seed=17, outputs=tuple(o for answers in outputs.values() for o in answers), calls_sent=72,
        calls_reused=0, usage=Usage(prompt_tokens=30110, completion_tokens=12033), usd=0.0, seconds=88.0,
        path=str(path),
    )  # fmt: skip
    with recording(project, store, "evaluate", EvaluateOutcome()) as record:
        path.parent.mkdir(exist_ok=True)
        path.write_text(evaluation.model_dump_json(exclude={"path", "reused"}))
        store.write(evaluation.artifact)
        record.outcome = EvaluateOutcome(
            counts=Counts(rows_in=len(evaluation.outputs), accepted=len(evaluation.outputs)),
            calls_sent=evaluation.calls_sent,
            usage=evaluation.usage,
            artifact_id=evaluation.id,
        )
    return evaluation


def with_curve(project: Project, store: Store, adapter: TrainResult) -> LearningCurve:
    """Write a learning curve of the present dataset and adapter with invented pass rates on 40 validation inputs."""
    passed = {0.25: (14, 18), 0.5: (22, 20), 1.0: (27, 29)}
    points = [
        Point(
            rows=round(share_of_rows * adapter.train_rows), share=share_of_rows, seed=seed, loss=None,
            adapter_id=adapter.adapter_id, pass_rate=share([1] * count + [0] * (40 - count), [1] * 40),
        )
        for share_of_rows, counts in passed.items()
        for seed, count in enumerate(counts)
    ]  # fmt: skip
    more = Gain(rows=500, of="pass rate", estimate=0.2, low=0.02, high=0.3)
    curve = LearningCurve(
        dataset_id=adapter.dataset_id, rows=adapter.train_rows, of="pass rate", points=tuple(points), slices=(),
        run_sd=0.04, more=more,
    )  # fmt: skip
    file = project.folder / "curve.json"
    file.write_text(curve.model_dump_json())
    with recording(project, store, "train", TrainOutcome()) as record:
        counts = Counts(rows_in=adapter.train_rows, accepted=adapter.train_rows)
        record.outcome = TrainOutcome(counts=counts, artifact_id=adapter.adapter_id, curve_sha256=sha256(file))
    return curve


def whole(folder: Path, *, merged: bool = True, curve: bool = False) -> tuple[Project, Store]:
    """A project with all four stages done; the caller closes the store."""
    project = project_in(folder)
    store = Store.open(Store.url_for(project))
    generated(project, store)
    adapter = trained(project, store, curated(project, store))
    if curve:
        with_curve(project, store, adapter)
    evaluated(project, store, adapter, merged=merged)
    return project, store
