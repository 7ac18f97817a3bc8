"""The checks of `pairsmith doctor`. They cost nothing unless --ask is used, download no weights, and do not write to
the store."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from schemas.cores import cores
from schemas.errors import PairsmithError
from schemas.memory import available_bytes, total_bytes
from schemas.money import describe_cost
from schemas.progress import Progress, Say, discard_message, reporting, unseen
from schemas.project import Project
from schemas.records import Seed
from schemas.spec_file import SPEC_NAME, load
from schemas.step_names import By
from schemas.store import Store
from schemas.wording import counted

GIB = 2**30
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_LANGUAGE_SAMPLE = 500  # number of texts used to identify a language
_OTHER_BASE = (
    "Expect labels and set phrases at best, or use another base: `pairsmith models` lists some, and "
    "`pairsmith doctor --set train.base=NAME` checks one."
)
OPTIONAL = ("postgres", "review", "similarity", "vllm", "unsloth")
_EXTRA_OF_STAGE = {"review": "review", "train": "train", "evaluate": "train"}


class Check(NamedTuple):
    """One line of the result. `fail`: the project cannot run as its spec says. `warn`: worth knowing."""

    about: str
    state: Literal["ok", "warn", "fail"]
    what: str
    fix: str = ""


def findings(
    folder: Path,
    overrides: tuple[str, ...],
    *,
    ask: bool = False,
    say: Say = discard_message,
    progress: Progress = unseen,
) -> Iterator[Check]:
    """Check the machine, then the project in `folder`, and yield each result as soon as it is known. With `ask`, each
    teacher gets one real request of at most 64 tokens."""
    from pairsmith.checks.preflight import doubtful_settings
    from pairsmith.checks.teacher_health import judges, teachers

    yield Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    project, spec = _spec(folder, overrides)
    yield from _packages(project)
    yield from _machine(folder if folder.is_dir() else Path())
    yield spec
    if project is None:
        return
    yield from (Check("train", "warn", *one) for one in doubtful_settings(project.spec))
    seeds = yield from _seeds(project, say, progress)
    yield from _prompts_and_gates(project, seeds)
    yield _store(project)
    yield review(project, ask=True)
    yield from _base(project)
    yield from _language(project, seeds)
    yield from teachers(project, ask=ask)
    yield from judges(project)


def requirements() -> dict[str, list[str]]:
    """Package names by extra; `""` holds those that are always needed. They come from the installed metadata, or from
    pyproject.toml in a checkout that is not installed."""
    try:
        lines = importlib.metadata.requires("pairsmith") or []
    except importlib.metadata.PackageNotFoundError:
        declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        lines = list(declared["dependencies"])
        for extra, names in declared["optional-dependencies"].items():
            lines += [f"{name.partition(';')[0]} ; extra == '{extra}'" for name in names]
    by_extra: dict[str, list[str]] = {}
    for line in lines:
        name, extra = _NAME.match(line), _EXTRA.search(line)
        if name and not ("sys_platform" in line and sys.platform == "win32"):
            by_extra.setdefault(extra[1] if extra else "", []).append(name[0])
    return by_extra


def warn_about_missing_packages(stages: Sequence[str], say: Say) -> None:
    """Warn of packages that these stages need and that are not installed, before earlier stages cost anything."""
    first = {_EXTRA_OF_STAGE[stage]: stage for stage in reversed(stages) if stage in _EXTRA_OF_STAGE}
    needed = requirements() if first else {}
    for extra, stage in reversed(first.items()):
        if missing := _versions(needed.get(extra, []))[1]:
            say(
                f"warning: {stage} needs packages that are not installed ({', '.join(missing)}), so this run may stop "
                f"there. To go on in one go, install them first: pip install 'pairsmith[{extra}]'"
            )


def _packages(project: Project | None) -> Iterator[Check]:
    needed = requirements()
    for extra, about in (("", "packages"), ("train", "train")):
        have, missing = _versions(needed[extra])
        install = "pip install pairsmith" if not extra else f"pip install 'pairsmith[{extra}]'"
        if missing:
            yield Check(about, "fail", f"not installed: {', '.join(missing)}", f"Install them: {install}")
        else:
            yield Check(about, "ok", ", ".join(have))
    installed = [extra for extra in OPTIONAL if extra in needed and not _versions(needed[extra])[1]]
    absent = [extra for extra in OPTIONAL if extra in needed and extra not in installed]
    if project and Store.url_for(project).startswith("postgresql") and "postgres" in absent:
        yield Check(
            "postgres", "fail", "the store is PostgreSQL", "Install its driver: pip install 'pairsmith[postgres]'"
        )
    lists = ((installed, "installed"), (absent, "not installed"))
    yield Check("optional", "ok", "; ".join(f"{', '.join(names)} {word}" for names, word in lists if names))


def _versions(names: list[str]) -> tuple[list[str], list[str]]:
    have, missing = [], []
    for name in names:
        try:
            have.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    return have, missing


def _machine(folder: Path) -> Iterator[Check]:
    free = shutil.disk_usage(folder).free / GIB
    state: Literal["ok", "warn", "fail"] = "ok" if free > 3 else "warn" if free > 0.5 else "fail"
    yield Check(
        "disk", state, f"{free:.1f} GiB free here", "" if state == "ok" else "A run of the demo needs about 1 GiB."
    )
    total, available = total_bytes() / GIB, available_bytes()
    free_memory = "" if available is None else f", {available / GIB:.1f} GiB of it free"
    small = total < 5
    advice = (
        "Training the embedded model needs 3 GiB, with long rows more; close other programs, or lower train.batch."
        if small
        else ""
    )
    yield Check("memory", "warn" if small else "ok", f"{total:.1f} GiB{free_memory}", advice)
    yield _gpu()


def _gpu() -> Check:
    from train.base_models.models import gpus

    try:
        listing = [f"{name}, {gib:.1f} GiB" for name, gib in gpus()]
    except (OSError, subprocess.SubprocessError):
        return Check("gpu", "warn", "nvidia-smi is installed but does not respond", "Check the driver.")
    return Check("gpu", "ok", "; ".join(listing) or f"none; runs on {cores()} CPU cores")


def _spec(folder: Path, overrides: tuple[str, ...]) -> tuple[Project | None, Check]:
    try:
        project = load(folder, overrides)
    except PairsmithError as error:
        if folder.is_dir() and not (folder / SPEC_NAME).exists():
            return None, Check(
                "project", "warn", f"no {SPEC_NAME} in {folder.resolve()}", "Create one: `pairsmith init DIR`"
            )
        return None, failed("spec", error)
    return project, Check("spec", "ok", f"{folder.resolve() / SPEC_NAME}, task '{project.spec.task.name}'")


def failed(about: str, error: PairsmithError) -> Check:
    where = f"{error.where}: " if error.where else ""
    return Check(about, "fail", f"{where}{error.what}", " ".join(part for part in (error.why, error.fix) if part))


def _seeds(project: Project, say: Say, progress: Progress) -> Generator[Check, None, Sequence[Seed]]:
    """Check the seeds, and return them for later checks."""
    from curate.split import assign_splits
    from pairsmith.style import numbers
    from synth.sources.seeds import read_seeds

    if any(source.path == "-" for source in project.spec.seeds):
        yield Check("seeds", "ok", "read from standard input")
        return ()
    try:
        reading = read_seeds(project.spec.seeds, project.folder, progress=progress)
    except PairsmithError as error:
        yield failed("seeds", error)
        return ()
    counts_by_kind = {"input": 0, "output": 0} if project.spec.needs_teacher else {}
    counts_by_kind |= reading.kinds
    what = f"{numbers.seeds(counts_by_kind)} of {counted(reading.rows_in, 'row', 'rows')}"
    if reading.problems:
        first = reading.problems[0]
        reasons = reading.not_used.partition(" not used: ")[2]
        unused = f"{len(reading.problems)} not used ({reasons})"
        lines = [f" {note.where}: {note.detail}" for note in reading.notes if note.code == "lines"]
        yield Check("seeds", "warn", f"{what}; {unused}", f"The first: {first.where}: {first.what}{''.join(lines[:1])}")
    else:
        yield Check("seeds", "ok", what)
    known = reporting(_known_seeds(project, say), progress, "known seeds")
    seeds = assign_splits(reading.seeds, project.spec.split, known)
    progress("doctor", {"message": "comparing the seeds"})
    yield from _preflight(project, seeds)
    yield from _seed_counts(seeds, project)
    yield from _references(seeds, project)
    yield from _labels(seeds, project)
    progress("doctor", {"message": ""})
    return seeds


def _preflight(project: Project, seeds: Sequence[Seed]) -> Iterator[Check]:
    """Check that later stages find what the spec names. Gates are listed by another check, which reports their
    problems."""
    from curate.similarity.contamination import collect_held_out
    from pairsmith.checks.preflight import preflight_checks

    files = ("files", lambda: collect_held_out(project.spec, project.folder, ()))
    reported: set[str] = set()
    for about, check in (*preflight_checks(project, seeds), files):
        try:
            check()
        except PairsmithError as error:
            if about != "gates" and str(error) not in reported:
                yield failed(about, error)
            reported.add(str(error))


def _known_seeds(project: Project, say: Say) -> Iterator[Seed]:
    """The seeds whose splits are recorded. A store that cannot be read is reported by another check."""
    url = Store.url_for(project)
    with suppress(PairsmithError):
        if Store.exists(url):
            with Store.open(url, write=False, say=say) as store:
                yield from store.each_seed()


def _seed_counts(seeds: Sequence[Seed], project: Project) -> Iterator[Check]:
    """Check that there are enough seeds to learn from and to prove anything with, before money is spent."""
    from curate.split import max_test_inputs, max_train_rows, shortages

    short = shortages(seeds, project.spec)
    for shortage in short:
        yield Check("proof", "warn", shortage.what, shortage.fix)
    if not short:
        inputs, rows = max_test_inputs(seeds, project.spec), max_train_rows(seeds, project.spec)
        yield Check("proof", "ok", f"{inputs} test inputs, at most {rows} rows to train on")
    task, evaluate = project.spec.task, project.spec.evaluate
    if not (evaluate.check_names or task.labels or task.answer_schema):
        what = "no check of your own: only the gates that choose the training rows will judge the model's answers"
        fix = "Write what a good answer looks like into evaluate.checks: `pairsmith docs evaluation`."
        yield Check("checks", "warn", what, fix)


def _references(seeds: Sequence[Seed], project: Project) -> Iterator[Check]:
    """Check that the reference answers to test inputs are valid answers. An invalid schema is reported by another
    check."""
    from curate.split import questions
    from prompts.answer_form import AnswerForm
    from train.evaluation.checks import describe_void_references, void_references

    spec = project.spec
    tested = [seed for seed in questions(seeds, spec, "test") if seed.reference]
    with suppress(PairsmithError):
        form = AnswerForm.of(spec.task, project.folder)
        given = {seed.source: form.canonical(seed.reference or "") for seed in tested}
        invalid = void_references(given.values(), form)
        places = [f"{source}: {invalid[text]}" for source, text in given.items() if text in invalid]
        for what in describe_void_references(places):
            yield Check("proof", "warn", what, "Correct them in the file, or remove them.")


def _labels(seeds: Sequence[Seed], project: Project) -> Iterator[Check]:
    """Check that every label can be learned, if all training rows come with their outputs."""
    from curate.split import has_given_output, seed_split
    from prompts.answer_form import AnswerForm
    from train.dataset import describe_untaught

    spec = project.spec
    learned = [seed for seed in seeds if seed_split(seed, spec.split) == "train"] if spec.task.labels else []
    if not learned or not all(map(has_given_output, learned)):
        return
    with suppress(PairsmithError):
        form = AnswerForm.of(spec.task, project.folder)
        if untaught := describe_untaught(form.labels, (form.canonical(seed.reference or "") for seed in learned)):
            yield Check("proof", "warn", untaught, "Add rows with such an answer, or remove it from task.labels.")


def _prompts_and_gates(project: Project, seeds: Sequence[Seed]) -> Iterator[Check]:
    import prompts
    from curate.gates import gates_of
    from pairsmith.checks.preflight import gates_against_examples, language_against_seeds, unused_task_texts

    try:
        named = [way.prompt for way in project.spec.generate.directions.values()]
        yield Check("prompts", "ok", ", ".join(prompts.load(name, project.folder).ref for name in named))
        for name in prompts.unused(named, project.folder):
            yield Check("prompts", "warn", f"prompts/{name} is not used", "Name it in generate.forward.prompt.")
        for what, fix in unused_task_texts(project):
            yield Check("prompts", "warn", what, fix)
    except PairsmithError as error:
        yield failed("prompts", error)
    try:
        steps = gates_of(project)
        yield Check("gates", "ok", ", ".join(By.read(step.by).name for step in steps))
        doubts = (*gates_against_examples(project, seeds), *language_against_seeds(project, seeds))
        yield from (Check("gates", "warn", *one) for one in doubts)
    except PairsmithError as error:
        yield failed("gates", error)


def _store(project: Project) -> Check:
    if not os.access(project.folder, os.W_OK):
        fix = "Give this user write access to it, or copy the project to a writable place."
        return Check("store", "fail", f"this user may not write to {project.folder.resolve()}", fix)
    try:
        url = Store.url_for(project)
        if not Store.exists(url):
            return Check("store", "ok", "does not exist yet; the first command creates it")
        with Store.open(url, write=False) as store:
            spent = store.spent()
            return Check(
                "store", "ok", f"can be opened; {spent.requests} requests in the ledger, {describe_cost(spent)}"
            )
    except PairsmithError as error:
        return failed("store", error)


def review(project: Project, *, ask: bool = False) -> Check:
    """Check that reviewers can be asked. Nothing is started or sent, and a remote Argilla is contacted only with
    `ask`."""
    spec = project.spec.review
    if not spec.enabled:
        return Check("review", "ok", "switched off: no reviewers are asked, and the dataset card says so")
    without = "Or continue without review: `pairsmith run --no-review`"
    missing = _versions(requirements()["review"])[1]
    if missing:
        install = f"Install it: pip install 'pairsmith[review]'. {without}"
        return Check("review", "warn", f"not installed: {', '.join(missing)}", install)
    if spec.url is None:
        from curate.argilla.server import foreseen, status

        try:
            server = status()
            foreseen()
        except PairsmithError as error:
            return Check("review", "warn", failed("review", error).what, f"{error.fix} {without}")
        if server.state in ("running", "starting"):
            return Check("review", "ok", f"Argilla is running at {server.url}")
        return Check("review", "ok", "Argilla is started when it is needed (0.6 GB at first)")
    from curate.argilla.probe import fetch_username

    key = os.environ.get(spec.key_env or "")
    if not key:
        return Check("review", "fail", f"{spec.key_env} is not set", f"Set it: export {spec.key_env}=... {without}")
    if not ask:
        return Check("review", "ok", f"{spec.key_env} is set for {spec.url}")
    try:
        return Check("review", "ok", f"Argilla responds at {spec.url}, signed in as {fetch_username(spec.url, key)}")
    except PairsmithError as error:
        return failed("review", error)


def _base(project: Project) -> Iterator[Check]:
    """Check that the base model can be trained and served. For a model on a hub, its config and tokenizer are
    fetched."""
    from train.base_models.check import check_base

    try:
        for fact in check_base(project.spec.train, project.folder):
            yield Check(fact.about, fact.state, fact.what, fact.fix)
    except PairsmithError as error:
        yield Check("base", "warn", error.what, error.fix or "")


def _language(project: Project, seeds: Sequence[Seed]) -> Iterator[Check]:
    """Check that the base model knows the language of the texts, and that the evaluation leaves room for the longest
    output. Nothing is checked if the tokenizer is not on this machine yet."""
    from train.base_models.fertility import fertility, first_change, longest, tokenizer_of

    spec = project.spec
    tokenizer = tokenizer_of(spec.train, project.folder)
    if tokenizer is None:
        return
    outputs = [*(one.output for one in spec.exemplars), *filter(None, (seed.reference for seed in seeds))]
    code = spec.task.output_language
    texts = outputs[:_LANGUAGE_SAMPLE]
    if code == spec.task.language:
        texts += [*(seed.body for seed in seeds[:_LANGUAGE_SAMPLE]), *(one.input for one in spec.exemplars)]
    else:
        texts += [seed.body for seed in seeds if seed.kind == "output"][:_LANGUAGE_SAMPLE]
    if rate := fertility(tokenizer, texts):
        what = f"a token covers {rate.own:.1f} bytes of these texts ('{code}'), {rate.english:.1f} of English"
        steps = f"an answer takes {rate.times:.1f} times as many steps as an English one"
        if code == "en" and rate.is_of_codes:
            yield Check("language", "ok", f"{what}: codes or formulas rather than words, and {steps}")
        elif rate.has_read_little or (spec.train.base == "embedded" and code != "en"):
            what += f": the base has seen little of this language, and {steps}"
            yield Check("language", "warn", what, _OTHER_BASE)
        else:
            yield Check("language", "ok", what)
    elif spec.train.base == "embedded" and code != "en":
        yield Check("language", "warn", f"the base has seen little of '{code}'", _OTHER_BASE)
    if change := first_change(tokenizer, outputs[:_LANGUAGE_SAMPLE]):
        what = "the base's tokenizer turns {!r} into {!r}: training stops at such an output".format(*change)
        fix = "Write such outputs without these characters, or use another base: `pairsmith models` lists some."
        yield Check("tokenizer", "warn", what, fix)
    limit, most = spec.evaluate.sampling.max_tokens, longest(tokenizer, outputs)
    if limit is not None and most > limit:
        what = f"evaluate.sampling.max_tokens = {limit} truncates the longest output, which takes {most} tokens"
        yield Check("evaluate", "warn", what, f"Set it to {most} or more: a truncated answer never passes.")
