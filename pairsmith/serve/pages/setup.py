"""The new-project page and the setup page, whose steps (seeds to cap) are saved separately."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from starlette.datastructures import ImmutableMultiDict, UploadFile

from pairsmith.new_project import EXAMPLES
from pairsmith.plan import changed_since
from pairsmith.receipts.outcome import ForecastOutcome, PreviewOutcome
from pairsmith.serve.access import Caller, Editor, Right
from pairsmith.serve.api.jobs import start_job
from pairsmith.serve.api.specs import save_keys
from pairsmith.serve.api.teachers import allow_host, teacher_request, test_teacher
from pairsmith.serve.job import JobOptions
from pairsmith.serve.limits import UPLOAD_BYTES
from pairsmith.serve.pages import checks, pending_upload, stale_forms
from pairsmith.serve.pages.columns import LINES, ROLES, comments_above, sources
from pairsmith.serve.pages.drafts import (
    NewProjectForm,
    create_project,
    replace_seeds,
    save_columns,
    seeds_from_form,
)
from pairsmith.serve.pages.figures import Snapshot, live_job, snapshot
from pairsmith.serve.pages.seed_reading import seed_reading
from pairsmith.serve.pages.shell import (
    CONFIRMATIONS,
    SubmittedForm,
    page_router,
    parse_fields,
    parse_positive,
    problem_view,
    project_page,
    redirect_to,
    render,
    text_fields,
    uploaded_file,
)
from pairsmith.serve.pages.teacher_form import (
    PRICES,
    drops_a_price,
    host_to_allow,
    teacher_in_form,
    teacher_keys,
    teacher_options,
    with_default_model,
)
from pairsmith.serve.pages.worked_examples import judge_examples
from pairsmith.serve.problems import status_of
from pairsmith.serve.state import state_of
from pairsmith.style.numbers import between, count
from pairsmith.user_file.encoding import AmbiguousEncoding, Decoding
from pairsmith.user_file.guessed_spec import answer_tokens
from schemas.errors import InputError, PairsmithError, UsageError
from schemas.files import is_inside
from schemas.kinds import KINDS
from schemas.money import dollars
from schemas.project import Project
from schemas.records import Receipt, Seed
from schemas.spec import EvaluateSettings, TrainSettings
from schemas.wording import counted

router = page_router()
_SHOWN = 20
_FIRST = 8
_EXAMPLES = 8
_COMPARED = 5_000  # seeds; more are not compared with the test split, because the page waits for it
_BLANK = NewProjectForm()


@router.get("/new", name="page_new")
def new(caller: Editor, request: Request) -> Response:
    """The form for a new project."""
    return _new(request, caller)


def _new(
    request: Request, caller: Caller, draft: NewProjectForm = _BLANK, error: PairsmithError | None = None
) -> Response:
    return render(
        request,
        "new",
        caller,
        title="New project · pairsmith",
        place="Projects",
        heading="Start a project from the data you have: inputs, finished outputs, or pairs of both.",
        error=error,
        readings=readings_of(error),
        given=draft,
        kinds=KINDS,
        lines=LINES,
        examples=EXAMPLES,
        from_file=request.query_params.get("from") == "file",
        chosen_before=pending_upload.saved_file(request, caller) if error else "",
    )


@router.post("/new", name="page_make", max_body_size=UPLOAD_BYTES + 100_000)
def make(caller: Editor, request: Request, form: SubmittedForm) -> Response:
    """Create a project and redirect to its setup. If that fails, the form keeps what was typed and uploaded."""
    upload = uploaded_file(form)
    draft = parse_fields(NewProjectForm, text_fields(form))
    draft = draft._replace(encoding="") if upload else draft  # it was chosen for the previous file
    try:
        seeds = None if draft.example else _submitted_seeds(request, caller, draft.pasted, upload, draft.chosen_before)
        slug = create_project(request, caller, draft, seeds)
    except PairsmithError as error:
        return _new(request, caller, draft, error)
    pending_upload.discard(request, caller)
    request.state.changed = {"project": slug}
    return redirect_to(f"/p/{slug}/setup")


def _submitted_seeds(
    request: Request, caller: Caller, pasted: str, upload: UploadFile | None, chosen_before: str
) -> tuple[str, bytes]:
    """Name and content of the seeds. An uploaded file is saved in case the form has to be sent again. Raises InputError
    if there are no seeds, or both pasted lines and a file."""
    if upload:
        seeds = seeds_from_form("", upload)
        pending_upload.save(request, caller, *seeds)
    elif chosen_before:
        seeds = pending_upload.load(request, caller, chosen_before)
    else:
        return seeds_from_form(pasted, None)
    if pasted.strip():
        raise InputError(
            f"there are both pasted lines and the file {seeds[0]}, but only one of them can be used.",
            where="seeds",
            fix="Clear the text field or uncheck the file.",
        )
    return seeds


def readings_of(error: PairsmithError | None) -> list[Decoding]:
    """The encodings that the user has to choose from; empty if there is nothing to choose."""
    return error.readings if isinstance(error, AmbiguousEncoding) else []


@router.get("/p/{project}/setup", name="page_setup")
def setup(caller: Editor, project: str, request: Request) -> Response:
    """The setup steps with their current values."""
    return _setup(request, caller, project)


def _setup(
    request: Request,
    caller: Caller,
    slug: str,
    error: PairsmithError | None = None,
    tested: str = "",
    step: str = "",
    texts: ImmutableMultiDict[str, str] | None = None,
) -> Response:
    """`step` is the step submitted last, with its `texts`. Its outcome is shown at that step, with what was typed."""
    now = snapshot(request, slug)
    seeds = _seeds(now)
    job = live_job(request, slug)
    preview, forecast = now.last("preview"), now.last("forecast")
    shown = PreviewOutcome.of(preview) if preview else None
    changed = ""
    if preview and shown:
        changed = _changed_since(preview, shown.shaped_by and {"generate": shown.shaped_by}, now)
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
            "problem": problem_view(error, state_of(request).workspace.root) if error else None,
            "readings": readings_of(error),
            "chosen_before": pending_upload.saved_file(request, caller) if error and step == "seeds" else "",
            "to_allow": host_to_allow(texts, error) if texts and caller.may(Right.administer) else "",
            "done": tested or CONFIRMATIONS.get(request.query_params.get("done", "")),
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
        teachers=teacher_options({row["host"] for row in allowed}),
        hosts=[row for row in allowed if row["by"]],
        typed=_field_values(now.project, seeds, step, texts),
        typed_roles=_typed_roles(texts) if texts is not None and step == "columns" else {},
        seen=stale_forms.fingerprints(now.project),
        preview=shown,
        preview_at=preview.started if preview else None,
        asked_since=now.asked_since(preview),
        changed=changed,
        is_priced=None not in [getattr(spec.teacher, key) for key in PRICES.values()],
        forecast=_forecast(forecast, now) if forecast else None,
    )


def _task(project: Project) -> list[tuple[str, str]]:
    """The kind of task and its parameters. A schema that is defined in code, or behind a link out of the
    project, is not loaded."""
    from prompts.answer_schema import load_schema

    task = project.spec.task
    facts = [("task", f"{task.kind}: {KINDS[task.kind].about}"), ("language", task.language)]
    facts += [("labels", ", ".join(task.labels))] if task.labels else []
    if task.answer_schema:
        with suppress(PairsmithError):
            path = project.folder / task.answer_schema
            is_read = ":" not in task.answer_schema and is_inside(path, project.folder)
            schema = load_schema(path) if is_read else {}
            keys = ", ".join(schema.get("properties", ()))
            facts += [("records", f"{keys} ({task.answer_schema})" if keys else task.answer_schema)]
    return facts + ([("target language", task.to)] if task.to else [])


def _field_values(
    project: Project, seeds: Mapping[str, Any], step: str, texts: ImmutableMultiDict[str, str] | None
) -> dict[str, Any]:
    """The values of the form fields: what was typed for the submitted step, the spec's values for the others."""
    spec = project.spec
    teacher = spec.teacher
    listed = teacher.url in {row["url"] for row in teacher_options()}
    chosen = {"url": "" if listed else teacher.url, "model": teacher.model if teacher.url != "embedded" else ""}
    typed: dict[str, Any] = {"teacher": teacher.url if listed else "other", "key_env": teacher.key_env or "", **chosen}
    prices = {name: getattr(teacher, key) for name, key in PRICES.items()}
    typed |= {name: "" if price is None else f"{price:g}" for name, price in prices.items()}
    typed |= {"style": spec.task.style, "language": spec.task.language, "pasted": "", "lines": ""}
    typed |= {"max_usd": spec.budget.max_usd or ""}
    typed |= checks.fields(project)
    if texts is not None:
        typed |= {name: value for name, value in texts.items() if name in typed}
        typed |= {"patterns": checks.typed_patterns(texts)} if step == "test" else {}
    if texts is not None and step == "style":
        shown = [{**example, "against": None} for example in _examples(texts)]
    else:
        shown = judge_examples(project, seeds["of_the_test"], seeds["imported"])
    typed["exemplars"] = shown
    typed["blank_exemplars"] = max(1, min(2, _EXAMPLES - len(shown)))
    return typed


def _typed_roles(texts: ImmutableMultiDict[str, str]) -> dict[tuple[str, str], str]:
    """The roles chosen in a form that could not be saved, by the source and the header of the column."""
    chosen = zip(texts.getlist("header"), texts.getlist("role"), strict=False)
    return {(texts.get("source", ""), header): role for header, role in chosen}


def _heading(seeds: dict[str, Any], project: Project) -> str:
    teacher = project.spec.teacher
    who = "no teacher is needed" if not project.spec.needs_teacher else f"{teacher.model} is the teacher"
    cap = project.spec.budget.max_usd
    return f"{seeds['says']}; {who}; {f'spending is capped at {dollars(cap)}' if cap else 'spending has no cap'}."


_seed_cache: OrderedDict[Path, tuple[object, dict[str, Any]]] = OrderedDict()
_CACHED_PROJECTS = 8  # projects whose seeds are cached
_NOT_DECIDING: dict[str, Any] = {  # which seeds are used, or what they are too few for
    **dict.fromkeys(("teacher", "teachers", "review", "store", "budget", "personal", "export"), True),
    "train": set(TrainSettings.model_fields) - {"max_length"},
    "task": {"style"},
    "curate": {"gates"},
}


def _seeds(now: Snapshot) -> dict[str, Any]:
    """A summary of the seed files, cached until one of them or a setting that decides it changes: 100,000 seeds take
    ten seconds to read, and other settings are saved one after the other."""
    project, generated = now.project, now.last("generate")
    comments = [comments_above(at, project.folder) for at in range(len(project.spec.seeds))]
    held_out = (project.folder / name for name in project.spec.curate.contamination.files)
    changed_at = stale_forms.changed_at([*stale_forms.seed_files(project), *held_out])
    deciding = (project.spec.model_dump(exclude=_NOT_DECIDING), project.spec.curate.gates.user)
    key = (deciding, changed_at, comments, generated and generated.started)
    kept = _seed_cache.get(project.folder)
    if kept is None or kept[0] != key:
        earlier = now.store.each_seed() if now.store else ()
        _seed_cache[project.folder] = kept = (key, {**_read_seeds(project, earlier), "sources": sources(project)})
        while len(_seed_cache) > _CACHED_PROJECTS:
            _seed_cache.popitem(last=False)
    return kept[1]


def _read_seeds(project: Project, earlier: Iterable[Seed] = ()) -> dict[str, Any]:
    """Read the seed files: their kinds, first rows, problems by line, and what there are too few seeds for. Seeds that
    were read `earlier` keep their split, as in a run."""
    from curate.gates.shared_facts import imported_sample
    from curate.similarity.contamination import filter_contaminated_seeds
    from curate.split import assign_splits, shortages

    try:
        reading = seed_reading(project)
    except PairsmithError as error:
        none: dict[str, Any] = {name: [] for name in ("first", "problems", "short", "kinds", "left_out")}
        says = {"says": "No seeds can be read", "error": problem_view(error, project.folder)}
        return {**none, **says, "more_problems": 0, "duplicates": 0, "of_the_test": {}, "imported": ()}
    seeds = assign_splits(reading.seeds, project.spec.split, earlier)
    few = seeds if len(seeds) <= _COMPARED else []
    unreadable = None
    try:
        _, left_out, shown = filter_contaminated_seeds(few, project.spec, project.folder, inside=True)
    except PairsmithError as error:  # about a file of held-out texts
        left_out, shown, unreadable = [], [], problem_view(error, project.folder)
    kinds = reading.kinds
    duplicates = sum(problem.code == "duplicate" for problem in reading.problems)
    return {
        "says": counted(len(reading.seeds), "seed", "seeds"),
        "error": unreadable,
        "first": [(seed.source, seed.body, seed.reference) for seed in reading.seeds[:_FIRST]],
        "problems": [(p.where, p.what) for p in reading.problems[:_SHOWN]],
        "more_problems": max(0, len(reading.problems) - _SHOWN),
        "duplicates": duplicates,
        "short": [(s.what, s.fix) for s in shortages(seeds, project.spec)],
        "kinds": [counted(n, kind, f"{kind}s") for kind, n in kinds.items()],
        "of_the_test": {like.number: like.text for like in shown},
        "imported": imported_sample(reading.seeds),
        "left_out": [(seed.source, like.text) for seed, like in left_out],
    }


def _changed_since(receipt: Receipt, shaped_by: Mapping[str, Any] | None, now: Snapshot) -> str:
    """The first setting that has changed since a preview or forecast and affects it; empty if none has."""
    if shaped_by is None:  # written by an older version
        return "the spec" if receipt.spec_hash != now.project.spec_hash else ""
    return changed_since(shaped_by, now.project, now.store)


def _forecast(receipt: Receipt, now: Snapshot) -> dict[str, Any]:
    """The forecast for all seeds: cost, minutes and accepted rows with their intervals, how it compares with the cap,
    and what has changed since."""
    of = ForecastOutcome.of(receipt)
    whole_run = of.whole
    return {
        "seeds": of.seeds,
        "pilot": of.pilot_seeds,
        "usd": between(whole_run.get("usd"), dollars, ""),
        "minutes": between(whole_run.get("minutes"), lambda m: f"{m:.0f}" if m >= 1 else "under 1", ""),
        "rows": between(whole_run.get("rows"), count, ""),
        "note": of.note,
        "cap": of.beside_cap(now.cap_usd),
        "changed": _changed_since(receipt, of.shaped_by, now),
    }


@router.post("/p/{project}/setup/{step}", name="page_save_setup", max_body_size=UPLOAD_BYTES + 100_000)
def save(caller: Editor, project: str, step: str, request: Request, form: SubmittedForm) -> Response:
    """Save one step. Errors are shown on the same page."""
    texts, done = text_fields(form), "saved"
    try:
        current = state_of(request).workspace.project(project)
        if step == "seeds":
            upload = uploaded_file(form)
            given = _submitted_seeds(request, caller, texts.get("pasted", ""), upload, texts.get("chosen_before", ""))
        stale_forms.refuse_if_stale(current, step, texts.get("seen"))  # after an uploaded file was kept
        if step == "seeds":
            encoding = "" if upload else texts.get("encoding", "")  # it was chosen for the previous file
            says = texts["lines"] if texts.get("lines") in LINES else ""
            done = replace_seeds(request, caller, project, *given, encoding, says)
            pending_upload.discard(request, caller)
        elif step == "columns":
            given_at, kind = texts.get("source", ""), texts.get("kind", "")
            source = int(given_at) if given_at.isdecimal() and len(given_at) < 5 else -1
            headers, roles = (texts.getlist(name) for name in ("header", "role"))
            done = save_columns(request, caller, project, source, headers, roles, kind)
        elif step == "teacher":
            if texts.get("do") in ("test", "allow"):
                url, _, key_env = teacher_in_form(texts)
                candidate = teacher_request(url, key_env)
                if texts["do"] == "allow":
                    caller.require(Right.administer)
                    allow_host(caller, candidate, request)
                tried = test_teacher(caller, candidate, request)
                named = f": {', '.join(tried.models[:5])}" if tried.models else ""
                says = f"{tried.says.rstrip('.')}{named}."
                texts = with_default_model(texts, tried.models)
                return _setup(request, caller, project, tested=says, step=step, texts=texts)
            save_keys(request, caller, project, keys := teacher_keys(texts, current.spec.teacher))
            done = "unpriced" if drops_a_price(texts, keys) else done
        elif step == "style":
            save_keys(request, caller, project, _style_keys(texts, current.spec.evaluate))
        elif step in checks.STEPS:
            save_keys(request, caller, project, keys := checks.STEPS[step](current, texts))
            done = "rate" if "train.learning_rate" in keys else done
        elif step == "cap":
            cap_usd = parse_positive(texts.get("max_usd", ""), float, "max_usd", unit="$")
            save_keys(request, caller, project, {"budget.max_usd": cap_usd})
        elif step in ("preview", "forecast"):
            options = JobOptions(seeds=5 if step == "preview" else 20)
            job = start_job(request, caller, project, step, options)
            return redirect_to(f"/p/{project}/run", job=job.id)
        else:
            raise UsageError(f"setup has no step '{step}'.", fix="The setup page lists its steps.")
    except PairsmithError as error:
        return _setup(request, caller, project, error, step=step, texts=texts)
    return redirect_to(f"/p/{project}/setup", done=done, step="seeds" if step == "columns" else step)


def _style_keys(texts: ImmutableMultiDict[str, str], evaluate: EvaluateSettings) -> dict[str, Any]:
    """The spec keys that the Style form changes. Unless the spec sets it, the token limit of test answers is estimated
    from the worked examples: room for twice the longest."""
    checks.refuse_incomplete(examples := _examples(texts), "worked example")
    keys: dict[str, Any] = {"task.style": texts.get("style", "").strip(), "exemplars": examples or None}
    keys |= {"task.language": language} if (language := texts.get("language", "").strip()) else {}
    if examples and "sampling" not in evaluate.model_fields_set:
        room = {"max_tokens": max(128, answer_tokens([2 * example["output"] for example in examples]))}
        keys["evaluate.sampling"] = evaluate.sampling.model_dump(exclude_defaults=True) | room
    return keys


def _examples(texts: ImmutableMultiDict[str, str]) -> list[dict[str, str]]:
    inputs, outputs = (map(str.strip, texts.getlist(side)) for side in ("input", "output"))
    return [{"input": i, "output": o} for i, o in zip(inputs, outputs, strict=False) if i or o]
