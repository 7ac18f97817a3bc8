"""Makes the files of a new project from a template: our starter, or one of the examples."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pairsmith.teacher_search import FoundTeacher
from schemas.errors import MissingDependency, UsageError
from schemas.kinds import KindName
from schemas.spec import TeacherSettings, TrainSettings
from schemas.spec_file import SPEC_NAME, set_keys
from synth.prices import prices_of

EXAMPLES = (
    "release-notes", "image-prompts", "support-replies", "ticket-replies", "shop-replies", "shop-replies-pt", "tickets",
    "tickets-de", "invoices", "invoices-es", "museum-en-fr", "manual-de-en", "curious", "curious-it",
)  # fmt: skip
# What a project of a kind of task begins with; one of rewriting with the starter.
FIRST_OF_KIND: dict[KindName, str | None] = {
    "rewrite": None,
    "reply": "shop-replies",
    "classify": "tickets",
    "extract": "invoices",
    "translate": "museum-en-fr",
    "free": "curious",
}
# Seeds; gates, checks, models and prompts of the project's own; a JSON schema.
_COPIED = (".jsonl", ".csv", ".py", ".jinja", ".json")
# Settings that other servers refuse or understand differently, and what an example says of them.
_EMBEDDED_ONLY = ("top_k", "repetition_penalty", "no_repeat_ngram_size")
_EMBEDDED_NOTE = (
    "# The penalties keep a very small model from looping; only the embedded teacher counts them over generated tokens"
    " alone.\n"
)

# How every example trains it; on a processor its evaluation takes longer than its training.
_EMBEDDED: dict[str, Any] = {"train.learning_rate": 1e-3, "train.batch": 4, "evaluate.samples": 1}
_EMBEDDED_WHY = {
    "train.learning_rate": [
        "The embedded base learns from few rows at this rate; for a larger one leave both keys out."
    ],
    "evaluate.samples": [
        "Of each system, beside a greedy answer. More make intervals narrower, and ask only what is new."
    ],
}


def template_folder(example: str | None) -> Path:
    """The folder to copy: in a wheel the examples lie in this package, in a checkout beside it.

    Raises UsageError for an example that does not exist, MissingDependency if the examples are not installed.
    """
    here = Path(__file__).parent
    if example is None:
        return here / "starter"
    if example not in EXAMPLES:
        raise UsageError(f"there is no example '{example}'.", fix=f"There are: {', '.join(EXAMPLES)}.")
    for root in (here / "examples", here.parent / "examples"):
        if (root / example / SPEC_NAME).is_file():
            return root / example
    raise MissingDependency("the examples are not installed.", where=str(here), fix="Install pairsmith again.")


def files_of(template: Path) -> dict[str, bytes]:
    """The template's files by their names, its spec among them."""
    copied = [path for path in sorted(template.rglob("*")) if path.suffix in _COPIED or path.name == SPEC_NAME]
    return {path.relative_to(template).as_posix(): path.read_bytes() for path in copied}


def write_project(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write `files` into `folder` and return them.

    Writes nothing and raises UsageError if a project is there, or if a file would be overwritten.
    """
    if (folder / SPEC_NAME).exists():
        raise UsageError(
            "this folder is a project already; nothing was changed.",
            where=str(folder / SPEC_NAME),
            fix="Name another folder, or move the old spec away.",
        )
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise UsageError(
            f"{', '.join(taken)} would be overwritten; nothing was changed.",
            where=str(folder),
            fix="Name another folder: pairsmith init NEW-FOLDER.",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, body in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(body)
    except OSError as error:
        raise UsageError(
            f"cannot be written: {error.strerror}.", where=str(folder), fix="Name another folder."
        ) from None
    return [folder / name for name in files]


def with_teacher(spec_text: str, teacher: FoundTeacher) -> str:
    """The spec with `teacher` in it; for any other than the embedded one, without the sampling settings that only that
    one has. The rest of the file, comments included, stays as it is."""
    values: dict[str, Any] = {"teacher.url": teacher.url, "teacher.model": teacher.model}
    notes = {"teacher.url": [teacher.why]}
    if teacher.key_env:
        values["teacher.key_env"] = teacher.key_env
        notes["teacher.key_env"] = ["The name of the variable, never the key."]
        notes["teacher.concurrency"] = _price_notes(teacher)
    elif teacher.url != "embedded":
        notes["teacher.usd_per_million_prompt_tokens"] = ["Without a key, so taken to be free; a machine is not."]
        values |= {f"teacher.usd_per_million_{kind}_tokens": 0.0 for kind in ("prompt", "completion")}
    values["teacher.concurrency"] = 16 if "localhost:11434" in teacher.url else 32
    if teacher.url == "embedded":
        values["teacher.attempts"] = 1
        if "attempts" not in spec_text:
            notes["teacher.attempts"] = ["A candidate that was cut is not asked for again: the next one is as good."]
    else:
        values["teacher.attempts"] = None
        spec_text = spec_text.replace(_EMBEDDED_NOTE, "")
        ways = ("forward", "backward")
        values |= {f"generate.{way}.sampling.{name}": None for way in ways for name in _EMBEDDED_ONLY}
    return set_keys(spec_text, values, notes)


def _price_notes(teacher: FoundTeacher) -> list[str]:
    """How to see what is spent: nothing to do where the prices are known."""
    listed = prices_of(TeacherSettings(url=teacher.url, model=teacher.model))
    if listed is not None:
        return [f"Prices: {listed.source}. Your own: usd_per_million_prompt_tokens, usd_per_million_completion_tokens."]
    return ["Fill these in to see what you spend:"] + [
        f"usd_per_million_{kind}_tokens = 0.0" for kind in ("prompt", "completion")
    ]


def with_base(spec_text: str) -> str:
    """The spec with the base model that suits this machine; an example keeps its own: its figures are that one's."""
    from train.models import default_base, machine

    here = machine()
    chosen = default_base(here)
    if chosen.name == "embedded":
        return for_embedded(spec_text)
    why = f"Fits on {here.name} ({here.gib:.0f} GiB); `pairsmith models` lists others."
    return set_keys(spec_text, {"train.base": chosen.name}, {"train.base": [why]})


def keys_for_base(base: str, before: TrainSettings) -> dict[str, Any]:
    """The keys of a spec that tunes another `base` from now on: what the embedded one learns by comes and goes with it.
    A rate or a batch that somebody has chosen stays."""
    keys: dict[str, Any] = {"train.base": base, "train.revision": None}
    written = {key: value for key, value in _EMBEDDED.items() if key.startswith("train.")}
    stands = {key: getattr(before, key.removeprefix("train.")) for key in written}
    if before.base == "embedded" and stands == written:
        return keys | dict.fromkeys(written)
    chosen = {f"train.{name}" for name in before.model_fields_set} & written.keys()
    return keys | written if base == "embedded" and not chosen else keys


def for_embedded(spec_text: str) -> str:
    """The spec with what the embedded base learns and is measured by, where it says nothing of how fast to learn."""
    says = tomllib.loads(spec_text).get("train", {}).keys() & {"learning_rate", "batch"}
    return spec_text if says else set_keys(spec_text, _EMBEDDED, _EMBEDDED_WHY)
