"""The stages that `run` would do next. A stage is done if its last run succeeded with exactly the present inputs,
including what the stage before it produced.

The inputs of a stage are a table of the settings that differ from their defaults, and of files by their content. So a
project that was copied or moved counts as done as before, and the cause of a change can be named. Running a
finished stage again does no harm: each stage reuses its own finished work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import prompts
from pairsmith.receipts import fingerprints, legacy_receipts
from pairsmith.receipts.outcome import (
    CurateOutcome,
    EvaluateOutcome,
    GenerateOutcome,
    ReviewOutcome,
    RunOutcome,
    StageOutcome,
)
from schemas import old_keys
from schemas.errors import NoWork, PairsmithError
from schemas.progress import Say
from schemas.project import Project
from schemas.records import Receipt, content_id
from schemas.spec import Section, Spec, TeacherSettings
from schemas.store import Store
from schemas.store.latest import last_good, last_review
from schemas.store.since import active_seeds
from schemas.user_modules import UserReference
from schemas.wording import counted

STAGES = ("generate", "curate", "review", "train", "evaluate")
# Which stage produces the input of each stage. Review produces nothing; it only lets the dataset pass.
_SOURCE_STAGE = {"curate": "generate", "review": "curate", "train": "curate", "evaluate": "train"}
# The sections of the spec that affect each stage.
_SECTIONS = {
    "generate": ("task", "seeds", "exemplars", "teacher", "generate"),
    "curate": ("task", "seeds", "exemplars", "curate", "split"),
    "review": ("review",),
    "train": ("train",),
    "evaluate": ("task", "seeds", "exemplars", "teacher", "curate", "split", "evaluate"),
}
_ERASED = "rows were erased since; `pairsmith generate` reads again what is left in their files"
NOT_RUN = "not run yet"
UNCERTIFIED = "all remaining rows wait for review or for a certificate"
ANSWERED, ANSWERS_ERASED = "people have answered since", "answers of people were erased since"
_HELD_OUT = "curate.contamination.files"
_REDACTED = "what [personal] redacts in answers"  # an older version redacted seeds alone
_MAX_VALUE_LENGTH = 80  # longest value that is stored unhashed, in characters

InputTable = dict[str, Any]
Keys = tuple[str, ...]
_hub = cache(fingerprints.of_hub_dataset)


class PlannedStage(NamedTuple):
    """A stage, whether it is done, and why not (or why it counts as done although it was not run)."""

    stage: str
    done: bool
    why: str


class Inputs(NamedTuple):
    """The inputs recorded in a stage's receipt: the fields of `StageOutcome`."""

    inputs: str
    shaped_by: InputTable
    overrides: tuple[str, ...]
    source: str


def plan(project: Project, store: Store | None, *, stdin: bool = False) -> list[PlannedStage]:
    """Every stage in order, and whether it is done. `review` is left out if the spec turns it off. Without a store,
    nothing is done.

    With `stdin`, seeds from standard input are compared with what is piped in now, which is read for that purpose.
    """
    receipts = store.receipts() if store else []
    steps: list[PlannedStage] = []
    waits_for = ""
    for stage in STAGES:
        if stage == "review" and not project.spec.review.enabled:
            continue
        why = f"after {waits_for}" if waits_for else _why_not(stage, project, store, receipts, stdin=stdin)
        done = not why
        if stage == "review" and why and not waits_for and _ran_without_review(project, receipts):
            done, why = True, "skipped (run --no-review); `pairsmith review push` starts a review"
        if stage == "curate" and done and (curated := last_good(receipts, stage)):
            why = legacy_receipts.outdated_rules_note(curated)
        if stage == "evaluate" and done and (evaluated := last_good(receipts, stage)) and evaluated.counts.failed:
            why = f"{_missing_answers(evaluated)}, although requested twice (`pairsmith evaluate` asks again)"
        if stage == "generate" and done and store and (generated := last_good(receipts, stage)):
            why = _ERASED if erased_since(store, GenerateOutcome.of(generated)) else ""
        steps.append(PlannedStage(stage, done, why))
        waits_for = waits_for or ("" if done else stage)
    return steps


def erased_since(store: Store, generated: GenerateOutcome) -> bool:
    """Whether seeds read by `generate` have been erased since, if its files are unchanged."""
    return active_seeds(store)[0] < sum(generated.seeds.values())


def due(project: Project, store: Store) -> PlannedStage | None:
    """The first stage that has to run because its inputs changed or it has not finished; None if there is none. The
    review is passed over: it produces nothing, and while it is due, later stages may be out of date."""
    reasons = ((stage, why_not(stage, project, store, ())) for stage in STAGES if stage != "review")
    return next((PlannedStage(stage, False, why) for stage, why in reasons if why), None)


def warn_outdated(project: Project, store: Store, makers: Mapping[str, str], say: Say) -> None:
    """Warn if the first stage that is due produced something that the present command relies on. `makers` maps each
    stage to a description of its product."""
    try:
        first = due(project, store)
    except (PairsmithError, OSError) as error:  # about a file that this command does not need
        say(f"warning: cannot determine whether an earlier stage is due: {error}")
        return
    if first and first.stage in makers:
        say(f"warning: `pairsmith {first.stage}` is due ({first.why}); {makers[first.stage]} is out of date.")


def inputs_of(stage: str, project: Project, store: Store, *, stdin: bool = False) -> Inputs:
    """The present inputs of `stage`. Raises PromptError, and OSError for a file that cannot be read."""
    receipts = store.receipts()
    table = _input_table(stage, project, receipts, stdin=stdin)
    paths = {text: _path(text) for text in project.overrides}
    kept = [text for text, at in paths.items() if at.partition(".")[0] in _SECTIONS[stage] and not at.endswith("url")]
    return Inputs(content_id("inputs", table), table, tuple(kept), _source_id(stage, receipts))


def pinned(project: Project, store: Store | None) -> dict[str, InputTable]:
    """The present inputs of every stage as JSON, so that a run in several processes can tell whether they are
    unchanged."""
    receipts = store.receipts() if store else []
    return {stage: _input_table(stage, project, receipts, stdin=False) for stage in STAGES}


def changed_since(pins: Mapping[str, InputTable], project: Project, store: Store | None) -> str:
    """The name of the first setting or file that differs from `pins`; empty if there is none. Values that were unknown
    then, such as a hub dataset whose hub did not answer, are ignored."""
    now = pinned(project, store)
    for stage, then in pins.items():
        for key in {**then, **now[stage]}:
            if then.get(key, 0) is not None and then.get(key) != now[stage].get(key):
                return _shown(key, project)
    return ""


def cause(stage: str, project: Project, store: Store) -> str:
    """Why the last successful run of `stage` does not match the present spec; empty if it does, or there was none."""
    receipts = store.receipts()
    last = last_good(receipts, stage)
    return _what_changed(stage, project, store, receipts, last, stdin=False, omit=()) if last else ""


def why_not(stage: str, project: Project, store: Store, omit: Keys) -> str:
    """Why a stage is not done, ignoring settings whose keys start with one of `omit`; empty if it is done."""
    return _why_not(stage, project, store, store.receipts(), stdin=False, omit=omit)


def _why_not(
    stage: str, project: Project, store: Store | None, receipts: Sequence[Receipt], *, stdin: bool, omit: Keys = ()
) -> str:
    """Why a stage is not done; empty if it is done."""
    receipt = next((receipt for receipt in reversed(receipts) if receipt.command == stage), None)
    if receipt is None or store is None:
        return NOT_RUN
    if not receipt.ok:
        return UNCERTIFIED if receipt.reasons.get("uncertified") and not receipt.counts.accepted else "did not finish"
    if changed := _what_changed(stage, project, store, receipts, receipt, stdin=stdin, omit=omit):
        return changed
    outcome = StageOutcome.of(receipt)
    if outcome.source != _source_id(stage, receipts):
        return "the stage before it produced something new"
    if stage == "review" and (waits := ReviewOutcome.of(receipt).waits):
        return ReviewOutcome.of(last_review(receipts) or receipt).waits or waits
    if stage == "generate" and (unanswered := GenerateOutcome.of(receipt).unanswered):
        return f"{counted(unanswered, 'row is', 'rows are')} still unanswered"
    if stage == "evaluate" and receipt.counts.failed and not _still_missing(receipts, receipt):
        return _missing_answers(receipt)
    if stage == "curate" and (since := store.review_count() - CurateOutcome.of(receipt).review_count):
        return ANSWERED if since > 0 else ANSWERS_ERASED
    later = receipts[receipts.index(receipt) + 1 :]
    if stage == "curate" and project.spec.curate.select.certified and last_good(later, "certify"):
        return "a certification has run since"
    gone = [path for path in outcome.files if not (project.folder / path).exists()]
    return f"{gone[0]} is missing" if gone else ""


def _missing_answers(evaluated: Receipt) -> str:
    return f"{counted(evaluated.counts.failed, 'answer is', 'answers are')} missing"


def _still_missing(receipts: Sequence[Receipt], evaluated: Receipt) -> bool:
    """Whether asking again left as many answers missing: a server may fail on the same input every time."""
    before = last_good(receipts[: receipts.index(evaluated)], "evaluate")
    outcome = EvaluateOutcome.of(evaluated)
    if before is None or outcome.reused:
        return False
    same_model = StageOutcome.of(before).artifact_id == outcome.artifact_id
    return same_model and before.counts.failed == evaluated.counts.failed


def _what_changed(
    stage: str, project: Project, store: Store, receipts: Sequence[Receipt], last: Receipt, *, stdin: bool, omit: Keys
) -> str:
    outcome = StageOutcome.of(last)
    if outcome.shaped_by is None:
        return legacy_receipts.why_not(stage, last, project, store)
    now = _input_table(stage, project, receipts, stdin=stdin)
    then = {old_keys.current(key): value for key, value in outcome.shaped_by.items()}
    changed = [key for key in {**then, **now} if then.get(key) != now.get(key) and not key.startswith(omit)]
    if not changed:
        return ""
    for text in project.overrides:
        if any(_concerns(text, key) for key in changed):
            return f"because of --set {text}"
    for text in outcome.overrides:
        if any(_concerns(text, key) for key in changed):
            return f"it was run with --set {text}"
    sources = [f"seeds.{number}." for number in range(len(project.spec.seeds))]
    new = [source for source in sources if not any(key.startswith(source) for key in then)]
    if new and all(key.startswith("seeds.") for key in changed):
        return f"{' and '.join(_shown(f'{at}content', project) for at in new)} {'is' if len(new) == 1 else 'are'} new"
    more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return f"{_shown(changed[0], project)}{more} {'have' if more else 'has'} changed"


def unchecked_held_out_files(project: Project, store: Store) -> list[str]:
    """The held-out files in the spec whose present content the rows of the dataset were not compared with. For a file
    that no longer exists, its earlier content counts."""
    curated = last_good(store.receipts("curate"), "curate")
    then = (StageOutcome.of(curated).shaped_by if curated else None) or {}

    def is_compared(name: str) -> bool:
        compared = {key: value for key, value in then.items() if key == f"{_HELD_OUT}.{name}.content"}
        return bool(compared) and _content(f"{_HELD_OUT}.{name}", project.folder, name) in (compared, {})

    return [name for name in project.spec.curate.contamination.files if not is_compared(name)]


def refuse_unchecked(project: Project, store: Store) -> None:
    """Raise NoWork if the rows, which are to be trained on or exported, were not compared with a held-out file."""
    if names := unchecked_held_out_files(project, store):
        raise NoWork(
            f"the rows of the dataset were not compared with {', '.join(map(repr, names))}.",
            where="curate.contamination.files",
            why="A held-out text may be among them, and the model would learn it.",
            fix="Run `pairsmith curate`, then `pairsmith train` if the dataset changes.",
        )


def _ran_without_review(project: Project, receipts: Sequence[Receipt]) -> bool:
    """True if the last `run` let the present dataset pass without review."""
    complete = [receipt for receipt in receipts if receipt.command != "run" or not RunOutcome.of(receipt).until]
    last, curated = last_good(complete, "run"), last_good(receipts, "curate")
    if last is None or curated is None:
        return False
    outcome = RunOutcome.of(last)
    if outcome.not_reviewed is None and outcome.waits is None:
        return last.started >= curated.started and legacy_receipts.ran_without_review(last, project)
    return outcome.not_reviewed == StageOutcome.of(curated).artifact_id


def _source_id(stage: str, receipts: Sequence[Receipt]) -> str:
    source = last_good(receipts, _SOURCE_STAGE[stage]) if stage in _SOURCE_STAGE else None
    return StageOutcome.of(source).artifact_id if source else ""


# The inputs of a stage


def _input_table(stage: str, project: Project, receipts: Sequence[Receipt], *, stdin: bool) -> InputTable:
    """Name -> value of all inputs of `stage`, except what the stage before it produced."""
    spec, folder = project.spec, project.folder
    table: InputTable = {}
    if "task" in _SECTIONS[stage]:
        table |= _settings("task", spec.task, without={"name"} if stage != "curate" else set())
        table |= _schema_content(folder, spec.task.answer_schema)
        table["exemplars"] = _value_or_hash([exemplar.model_dump(mode="json") for exemplar in spec.exemplars])
        table |= _seeds(project, receipts, stdin=stdin) | _settings("personal", spec.personal)
    if "teacher" in _SECTIONS[stage] and spec.needs_teacher:
        teacher = spec.teacher
        table["teacher.identity"] = teacher.known_as
        table["teacher.revision"] = teacher.revision
        table["teacher.embedded"] = teacher.url == "embedded"
    if stage == "generate" and spec.needs_teacher:
        table["teacher.attempts"] = spec.teacher.attempts
        table |= _settings("teacher", spec.teacher, without={*TeacherSettings.model_fields} - {"finish_reasons"})
        table |= _settings("generate", spec.generate, without={"unanswered_at_most"})
        for direction, way in spec.generate.directions.items():
            table |= _named_teacher(f"generate.{direction}.teacher", spec, way.teacher)
            table[f"generate.{direction}.prompt"] = prompts.load(way.prompt, folder).ref
        if redacted := spec.personal.kinds("redact"):
            table[_REDACTED] = list(redacted)
    if "curate" in _SECTIONS[stage]:
        gates, unasked = spec.curate.gates, set[str]() if spec.curate.judge.teachers else {"judge"}
        table |= _settings("curate", spec.curate, unasked) if stage == "curate" else _settings("curate.gates", gates)
        table |= _settings("split", spec.split)
        table |= {f"curate.gates.user.{name}.content": _gate_file(folder, name) for name in gates.user}
        table |= _content("curate.gates.json_schema", folder, gates.json_schema)
        table |= _content("curate.score.model", folder, spec.curate.score.model)
        table |= _content("curate.nli", folder, spec.curate.nli) if stage == "curate" else {}
    if stage == "curate":
        table |= _judges("curate.judge.teachers", project, spec.curate.judge.teachers)
        table |= _named_teacher("curate.score.teacher", spec, spec.curate.score.teacher)
        for name in spec.curate.contamination.files:
            table |= _content(f"{_HELD_OUT}.{name}", folder, name)
    if stage == "review":
        table |= _settings("review", spec.review, without={"enabled"})
        table |= _content("review.gold", folder, spec.review.gold)
    if stage == "train":
        table |= _settings("train", spec.train) | _content("train.base", folder, spec.train.base)
    if stage == "evaluate":
        table |= _settings("evaluate", spec.evaluate)
        table |= _named_teacher("evaluate.teacher", spec, spec.teacher_name("evaluate"))
        table |= _judges("evaluate.judges", project, spec.evaluate.judges)
        table |= _settings("curate.judge", spec.curate.judge) if spec.evaluate.judges else {}
        table |= {f"evaluate.user.{name}.content": _gate_file(folder, name) for name in spec.evaluate.user}
    return table


def _named_teacher(key: str, spec: Spec, name: str | None) -> InputTable:
    """The properties of a teacher in `[teachers]` that affect its answers. Its name does not."""
    if name is None:
        return {}
    teacher = spec.teachers[name]
    table = [teacher.known_as, teacher.revision, teacher.url == "embedded", teacher.attempts]
    return {key: _value_or_hash([*table, teacher.finish_reasons])}


def _judges(key: str, project: Project, names: Sequence[str]) -> InputTable:
    if not names:
        return {}
    judges = {k: v for name in names for k, v in _named_teacher(f"{key}.{name}", project.spec, name).items()}
    return judges | {f"{key}.{name}": prompts.load(name, project.folder).ref for name in ("judge", "compare")}


def _settings(name: str, section: Section, without: set[str] | None = None) -> InputTable:
    """The settings of a section that differ from their defaults, by dotted key."""

    def flat(at: str, value: Any) -> InputTable:
        if isinstance(value, dict) and value:
            return {key: v for part, nested in value.items() for key, v in flat(f"{at}.{part}", nested).items()}
        return {at: _value_or_hash(value)}

    given = section.model_dump(mode="json", exclude_defaults=True, exclude=without)
    return flat(name, given) if given else {}


def _seeds(project: Project, receipts: Sequence[Receipt], *, stdin: bool) -> InputTable:
    """The settings and content of each seed source. Content that cannot be read now (standard input if nothing is piped
    in, the hub if it does not answer) is assumed to be unchanged."""
    last = last_good(receipts, "generate")
    before = (StageOutcome.of(last).shaped_by if last else None) or {}
    table: InputTable = {}
    for number, source in enumerate(project.spec.seeds):
        name = f"seeds.{number}"
        table |= _settings(name, source, without={"path"})
        if source.path == "-":
            from pairsmith.terminal.standard_input import is_terminal, piped

            content = piped().fingerprint if stdin and not is_terminal() else None
        elif source.format == "hub":
            content = _hub(source.path, source.revision)
        else:
            files = [fingerprints.of_path(project.folder / one.path) for one in source.each(project.folder)]
            content = files[0] if len(files) == 1 else content_id("files", files)[:16]
        table[f"{name}.content"] = content or before.get(f"{name}.content")
    return table


def _gate_file(folder: Path, name: str) -> str:
    return fingerprints.of_path(UserReference.read(name).file(folder) or folder / name)


def _content(key: str, folder: Path, name: str | None) -> InputTable:
    """The content of a file or folder named by a setting; nothing if it names something else, such as a hub id."""
    if name is None or not (folder / name).exists():
        return {}
    return {f"{key}.content": fingerprints.of_path(folder / name)}


def _schema_content(folder: Path, name: str | None) -> InputTable:
    if name is None or ":" not in name:
        return _content("task.schema", folder, name)
    return {"task.schema.content": _gate_file(folder, name)}


def _value_or_hash(value: Any) -> Any:
    """`value` if it is short and scalar, else a hash of it."""
    long = isinstance(value, list | dict) or (isinstance(value, str) and len(value) > _MAX_VALUE_LENGTH)
    return value if not long else f"#{content_id('value', value)[:12]}"


# Naming the cause of a change


def _path(override: str) -> str:
    return old_keys.current(override.partition("=")[0].replace(" ", ""))


def _concerns(override: str, key: str) -> bool:
    """True if an override sets `key`, something inside it, or the table that contains it."""
    path = _path(override)
    path = {"teacher.model": "teacher.identity", "teacher.url": "teacher.embedded"}.get(path, path)
    if path.startswith("seeds."):
        path = ".".join(path.split(".")[:2])
    return f"{key}.".startswith(f"{path}.") or f"{path}.".startswith(f"{key}.")


def _shown(key: str, project: Project) -> str:
    """How `key` is shown to users: as the name of a file, or as the setting's key."""
    if not key.endswith(".content"):
        return {"teacher.identity": "teacher.model", "teacher.embedded": "teacher.url"}.get(key, key)
    at = key.removesuffix(".content").split(".")
    if at[0] == "seeds" and int(at[1]) < len(project.spec.seeds):
        path = project.spec.seeds[int(at[1])].path
        return "standard input" if path == "-" else path
    if at[:3] == ["curate", "gates", "user"]:
        return f"the file of {'.'.join(at[3:])}"
    return f"the content of {'.'.join(at)}"
