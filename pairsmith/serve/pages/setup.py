"""A new project and its setup: seeds, teacher, style, a preview with its price, the cap; each step is kept apart."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import FormData, UploadFile

from pairsmith.new_project import EXAMPLES
from pairsmith.outcome import ForecastOutcome, PreviewOutcome
from pairsmith.own_encoding import Decoding, EncodingAsked
from pairsmith.plan import changed_since
from pairsmith.serve.access import Caller, Editor, Right
from pairsmith.serve.api.jobs import start_job
from pairsmith.serve.api.specs import save_keys
from pairsmith.serve.api.teachers import allow_host, teacher_wish, test_teacher
from pairsmith.serve.job import JobOptions
from pairsmith.serve.limits import UPLOAD_BYTES
from pairsmith.serve.pages import checks, chosen, meanwhile
from pairsmith.serve.pages.columns import LINES, ROLES, sources
from pairsmith.serve.pages.drafts import Wish, given_seeds, keep_columns, keep_seeds, new_project, room_of
from pairsmith.serve.pages.figures import Snapshot, live_job, snapshot
from pairsmith.serve.pages.run import positive
from pairsmith.serve.pages.shell import (
    DONE,
    Sent,
    gone_to,
    page_router,
    project_page,
    render,
    shown_problem,
    texts_of,
    typed_as,
    upload_in,
)
from pairsmith.serve.pages.teacher_form import (
    PRICES,
    lost_a_price,
    teacher_keys,
    teacher_of,
    to_allow,
    who_could_answer,
    with_model,
)
from pairsmith.serve.pages.worked_examples import judged
from pairsmith.serve.problems import status_of
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import between, count
from schemas.errors import InputError, PairsmithError, UsageError
from schemas.kinds import KINDS
from schemas.money import dollars
from schemas.project import Project
from schemas.records import Receipt
from schemas.spec import EvaluateSettings
from schemas.wording import counted

router = page_router()
_SHOWN = 20
_FIRST = 8
_EXAMPLES = 8
_COMPARED = 5_000  # seeds that are compared with those of the test while a page waits
_BLANK = Wish()


@router.get("/new", name="page_new")
def new(caller: Editor, request: Request) -> Response:
    """A name, inputs, and what a good output is; or an example."""
    return _new(request, caller)


def _new(request: Request, caller: Caller, wish: Wish = _BLANK, error: PairsmithError | None = None) -> Response:
    return render(
        request,
        "new",
        caller,
        title="New project · pairsmith",
        place="Projects",
        heading="A new project begins with what you have: inputs, finished outputs, or pairs of both.",
        error=error,
        readings=readings_of(error),
        given=wish,
        kinds=KINDS,
        lines=LINES,
        examples=EXAMPLES,
        from_file=request.query_params.get("from") == "file",
        chosen_before=chosen.kept_name(request, caller) if error else "",
    )


@router.post("/new", name="page_make", max_body_size=UPLOAD_BYTES + 100_000)
def make(caller: Editor, request: Request, form: Sent) -> Response:
    """Make it and go on with its setup; what was written or chosen stays in the form if it cannot be made."""
    upload = upload_in(form)
    wish = typed_as(Wish, texts_of(form))
    wish = wish._replace(encoding="") if upload else wish  # the choice was made for the file before
    try:
        seeds = None if wish.example else _given(request, caller, wish.pasted, upload, wish.chosen_before)
        slug = new_project(request, caller, wish, seeds)
    except PairsmithError as error:
        return _new(request, caller, wish, error)
    chosen.forget(request, caller)
    request.state.changed = {"project": slug}
    return gone_to(f"/p/{slug}/setup")


def _given(
    request: Request, caller: Caller, pasted: str, upload: UploadFile | None, chosen_before: str
) -> tuple[str, bytes]:
    """Name and content of the seeds: a file is kept, for a form that is sent again. Raises InputError where there are
    none, or two."""
    if upload:
        seeds = given_seeds("", upload)
        chosen.keep(request, caller, *seeds)
    elif chosen_before:
        seeds = chosen.kept(request, caller, chosen_before)
    else:
        return given_seeds(pasted, None)
    if pasted.strip():
        raise InputError(
            f"there are lines, and the file {seeds[0]}, and only one of them is read.",
            where="seeds",
            fix="Empty the field of lines, or take the mark from the file away.",
        )
    return seeds


def readings_of(error: PairsmithError | None) -> list[Decoding]:
    """The encodings among which a person has to choose."""
    return error.readings if isinstance(error, EncodingAsked) else []


@router.get("/p/{project}/setup", name="page_setup")
def setup(caller: Editor, project: str, request: Request) -> Response:
    """The steps, each with what stands now."""
    return _setup(request, caller, project)


def _setup(
    request: Request,
    caller: Caller,
    slug: str,
    error: PairsmithError | None = None,
    tested: str = "",
    step: str = "",
    form: FormData | None = None,
) -> Response:
    """`step` is what was sent last, in `form`: what is said about it stands there, beside what was typed."""
    now = snapshot(request, slug)
    seeds = _seeds(now.project)
    job = live_job(request, slug)
    preview, forecast = now.last("preview"), now.last("forecast")
    shown = PreviewOutcome.of(preview) if preview else None
    spec, allowed = now.project.spec, state_of(request).policy.allowed()
    return project_page(
        request,
        "setup",
        caller,
        slug,
        heading=_heading(seeds, now.project),
        status=status_of(error) if error else 200,
        done=None,
        outcome={
            "step": "seeds" if step == "columns" else step or request.query_params.get("step", ""),
            "problem": shown_problem(error, state_of(request).workspace.root) if error else None,
            "readings": readings_of(error),
            "chosen_before": chosen.kept_name(request, caller) if error and step == "seeds" else "",
            "to_allow": to_allow(texts_of(form), error) if form and caller.may(Right.administer) else "",
            "done": tested or DONE.get(request.query_params.get("done", "")),
        },
        now=now,
        spec=spec,
        seeds=seeds,
        task=_task(now.project),
        roles=ROLES,
        lines=LINES,
        job=job,
        checks=checks.checks(now),
        modes=checks.MODES,
        bases=checks.bases(now.project),
        teachers=who_could_answer({row["host"] for row in allowed}),
        hosts=[row for row in allowed if row["by"]],
        typed=_typed(now.project, seeds["of_the_test"], step, form),
        seen=meanwhile.marks(spec),
        preview=shown,
        preview_at=preview.started if preview else None,
        asked_since=now.asked_since(preview),
        changed=_changed_since(preview, shown.shaped_by and {"generate": shown.shaped_by}, now)
        if preview and shown
        else "",
        is_priced=None not in [getattr(spec.teacher, key) for key in PRICES.values()],
        forecast=_forecast(forecast, now) if forecast else None,
    )


def _task(project: Project) -> list[tuple[str, str]]:
    """What kind of task it is, with what its kind needs; a schema that is code is not looked into."""
    from prompts.answer_schema import load_schema

    task = project.spec.task
    facts = [("task", f"{task.kind}: {KINDS[task.kind].about}"), ("language", task.language)]
    facts += [("labels", ", ".join(task.labels))] if task.labels else []
    if task.answer_schema:
        with suppress(PairsmithError):
            schema = {} if ":" in task.answer_schema else load_schema(project.folder / task.answer_schema)
            keys = ", ".join(schema.get("properties", ()))
            facts += [("records", f"{keys} ({task.answer_schema})" if keys else task.answer_schema)]
    return facts + ([("into", task.to)] if task.to else [])


def _typed(project: Project, of_the_test: Mapping[int, str], step: str, form: FormData | None) -> dict[str, Any]:
    """What stands in the fields: of the step that was sent what was typed, else what the spec has."""
    spec = project.spec
    teacher = spec.teacher
    listed = teacher.url in {row["url"] for row in who_could_answer()}
    own = {"url": "" if listed else teacher.url, "model": teacher.model if teacher.url != "embedded" else ""}
    typed: dict[str, Any] = {"teacher": teacher.url if listed else "other", "key_env": teacher.key_env or "", **own}
    prices = {name: getattr(teacher, key) for name, key in PRICES.items()}
    typed |= {name: "" if price is None else f"{price:g}" for name, price in prices.items()}
    typed |= {"style": spec.task.style, "language": spec.task.language, "pasted": "", "lines": ""}
    typed |= {"max_usd": spec.budget.max_usd or ""}
    typed |= checks.fields(project)
    if form is not None:
        typed |= {name: value for name, value in form.items() if name in typed and isinstance(value, str)}
        typed |= {"patterns": checks.typed_patterns(texts_of(form))} if step == "test" else {}
    examples = _examples(form.multi_items()) if form is not None and step == "style" else None
    unjudged = [{**example, "against": None} for example in examples or ()]
    typed["exemplars"] = shown = judged(project, of_the_test) if examples is None else unjudged
    typed["blank_exemplars"] = max(1, min(2, _EXAMPLES - len(shown)))
    return typed


def _heading(seeds: dict[str, Any], project: Project) -> str:
    teacher = project.spec.teacher
    who = "no teacher is asked" if not project.spec.asks_teacher else f"{teacher.model} writes what is missing"
    return f"{seeds['says']}; {who}; {_capped(project)}."


def _capped(project: Project) -> str:
    cap = project.spec.budget.max_usd
    return f"at most {dollars(cap)} are spent" if cap else "spending has no cap"


_read: OrderedDict[Path, tuple[object, dict[str, Any]]] = OrderedDict()
_READ = 8  # projects whose seeds are remembered


def _seeds(project: Project) -> dict[str, Any]:
    """What the seed files hold now; read again when one of them, or the spec, is another."""
    files = [project.folder / one.path for source in project.spec.seeds for one in source.each(project.folder)]
    there = [(path.stat().st_mtime_ns, path.stat().st_size) for path in files if path.is_file()]
    key = (project, there)
    kept = _read.get(project.folder)
    if kept is None or kept[0] != key:
        _read[project.folder] = kept = (key, {**_seeds_now(project), "sources": sources(project)})
        while len(_read) > _READ:
            _read.popitem(last=False)
    return kept[1]


def _seeds_now(project: Project) -> dict[str, Any]:
    """Their kinds, the first rows, problems by line, and what they are too few for."""
    from curate.contamination import clear_of_the_test
    from curate.split import shortages, with_splits
    from synth.seeds import read_seeds

    try:
        reading = read_seeds([s for s in project.spec.seeds if s.path != "-" and s.format != "hub"], project.folder)
    except PairsmithError as error:
        none: dict[str, Any] = {name: [] for name in ("first", "problems", "short", "kinds", "left_out")}
        says = {"says": "There are no seeds that can be read", "error": shown_problem(error, project.folder)}
        return {**none, **says, "more_problems": 0, "duplicates": 0, "of_the_test": {}}
    few = reading.seeds if len(reading.seeds) <= _COMPARED else []
    _, left_out, shown = clear_of_the_test(few, project.spec, project.folder)
    kinds = Counter(seed.kind for seed in reading.seeds)
    duplicates = sum(problem.code == "duplicate" for problem in reading.problems)
    return {
        "says": counted(len(reading.seeds), "seed", "seeds"),
        "error": None,
        "first": [(seed.source, seed.body, seed.reference) for seed in reading.seeds[:_FIRST]],
        "problems": [(p.where, p.what) for p in reading.problems[:_SHOWN]],
        "more_problems": max(0, len(reading.problems) - _SHOWN),
        "duplicates": duplicates,
        "short": [(s.what, s.fix) for s in shortages(with_splits(reading.seeds, project.spec.split), project.spec)],
        "kinds": [counted(n, kind, f"{kind}s") for kind, n in kinds.items()],
        "of_the_test": {like.number: like.text for like in shown},
        "left_out": [(seed.source, like.text) for seed, like in left_out],
    }


def _changed_since(receipt: Receipt, shaped_by: Mapping[str, Any] | None, now: Snapshot) -> str:
    """The first setting that is not as it was in a preview or a forecast, of those that shape it; empty if all are."""
    if shaped_by is None:  # of an older version
        return "the spec" if receipt.spec_hash != now.project.spec_hash else ""
    return changed_since(shaped_by, now.project, now.store)


def _forecast(receipt: Receipt, now: Snapshot) -> dict[str, Any]:
    """All of it, from a pilot: money, minutes and accepted rows with their intervals, the project's cap, and what has
    changed since."""
    of = ForecastOutcome.of(receipt)
    whole = of.whole
    return {
        "seeds": of.seeds,
        "pilot": of.pilot_seeds,
        "usd": between(whole.get("usd"), dollars, ""),
        "minutes": between(whole.get("minutes"), lambda m: f"{m:.0f}" if m >= 1 else "under 1", ""),
        "rows": between(whole.get("rows"), count, ""),
        "note": of.note,
        "cap": of.beside_cap(now.cap_usd),
        "changed": _changed_since(receipt, of.shaped_by, now),
    }


@router.post("/p/{project}/setup/{step}", name="page_save_setup", max_body_size=UPLOAD_BYTES + 100_000)
def save(caller: Editor, project: str, step: str, request: Request, form: Sent) -> Response:
    """Keep one step; what is wrong with it is said on the same page."""
    texts, done = texts_of(form), "saved"
    try:
        held = state_of(request).workspace.project(project)
        meanwhile.check(held.spec, step, texts.get("seen"))
        if step == "seeds":
            upload = upload_in(form)
            given = _given(request, caller, texts.get("pasted", ""), upload, texts.get("chosen_before", ""))
            encoding = "" if upload else texts.get("encoding", "")  # chosen for the one before
            says = texts["lines"] if texts.get("lines") in LINES else ""
            keep_seeds(request, caller, project, *given, encoding, says)
            chosen.forget(request, caller)
        elif step == "columns":
            given_at, kind = texts.get("source", ""), texts.get("kind", "")
            source = int(given_at) if given_at.isdecimal() and len(given_at) < 5 else -1
            headers, roles = (texts.getlist(name) for name in ("header", "role"))
            done = keep_columns(request, caller, project, source, headers, roles, kind)
        elif step == "teacher":
            if texts.get("do") in ("test", "allow"):
                url, _, key_env = teacher_of(texts)
                wish = teacher_wish(url, key_env)
                if texts["do"] == "allow":
                    caller.require(Right.administer)
                    allow_host(caller, wish, request)
                tried = test_teacher(caller, wish, request)
                named = f": {', '.join(tried.models[:5])}" if tried.models else ""
                says = f"{tried.says.rstrip('.')}{named}."
                form = with_model(form, tried.models)
                return _setup(request, caller, project, tested=says, step=step, form=form)
            save_keys(request, caller, project, keys := teacher_keys(texts, held.spec.teacher))
            done = "unpriced" if lost_a_price(texts, keys) else done
        elif step == "style":
            save_keys(request, caller, project, _style_keys(form.multi_items(), held.spec.evaluate))
        elif step in checks.STEPS:
            save_keys(request, caller, project, keys := checks.STEPS[step](held, texts))
            done = "rate" if "train.learning_rate" in keys else done
        elif step == "cap":
            cap_usd = positive(texts.get("max_usd", ""), float, "max_usd")
            save_keys(request, caller, project, {"budget.max_usd": cap_usd})
        elif step in ("preview", "forecast"):
            options = JobOptions(seeds=5 if step == "preview" else 20)
            job = start_job(request, caller, project, step, options)
            return gone_to(f"/p/{project}/run", job=job.id)
        else:
            raise UsageError(f"setup has no step '{step}'.", fix="Its steps stand on its page.")
    except PairsmithError as error:
        return _setup(request, caller, project, error, step=step, form=form)
    return gone_to(f"/p/{project}/setup", done=done, step="seeds" if step == "columns" else step)


def _style_keys(items: Any, evaluate: EvaluateSettings) -> dict[str, Any]:
    """Examples show how long an answer of the test is, where nothing has said it."""
    typed = {name: _plain(value) for name, value in items if name in ("style", "language")}
    examples = _whole(_examples(items))
    keys: dict[str, Any] = {"task.style": typed.get("style", ""), "exemplars": examples or None}
    keys |= {"task.language": typed["language"]} if typed.get("language") else {}
    if examples and "sampling" not in evaluate.model_fields_set:
        room = {"max_tokens": room_of([example["output"] for example in examples])}
        keys["evaluate.sampling"] = evaluate.sampling.model_dump(exclude_defaults=True) | room
    return keys


def _examples(items: Any) -> list[dict[str, str]]:
    inputs, outputs = ([_plain(value) for name, value in items if name == side] for side in ("input", "output"))
    return [{"input": i, "output": o} for i, o in zip(inputs, outputs, strict=False) if i or o]


def _whole(examples: list[dict[str, str]]) -> list[dict[str, str]]:
    for number, example in enumerate(examples, 1):
        for side in ("input", "output"):
            if not example[side]:
                raise UsageError(f"worked example {number} has no {side}.", fix="Write it, or leave both sides empty.")
    return examples


def _plain(value: object) -> str:
    return str(value).replace("\r\n", "\n").strip()
