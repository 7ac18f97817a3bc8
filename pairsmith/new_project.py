"""Creates the files of a new project from a template: the starter, or one of the examples."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairsmith.teachers.search import FoundTeacher
from schemas.errors import DISK_FULL, MissingDependency, UsageError
from schemas.kinds import KindName
from schemas.spec import TeacherSettings, TrainSettings
from schemas.spec_file import SPEC_NAME, set_keys
from synth.prices import prices_of

EXAMPLES = (
    "release-notes", "image-prompts", "support-replies", "ticket-replies", "shop-replies", "shop-replies-pt", "tickets",
    "tickets-de", "invoices", "invoices-es", "museum-en-fr", "manual-de-en", "curious", "curious-it", "notices-fr",
)  # fmt: skip
# The example that a project of each kind of task starts from; None is the starter.
FIRST_OF_KIND: dict[KindName, str | None] = {
    "rewrite": None,
    "reply": "shop-replies",
    "classify": "tickets",
    "extract": "invoices",
    "translate": "museum-en-fr",
    "free": "curious",
}
IGNORED = {
    ".gitignore": (
        b"# What pairsmith writes: rows, answers, models and reports. The spec, seeds and prompts belong in git.\n"
        b"/pairsmith.db*\n/adapters/\n/artifacts/\n/dataset/\n/evaluations/\n/export/\n/receipts/\n/registry/\n"
        b"/curve/\n/reward-models/\n/certificate.json\n/curve.json\n/evidence.json\n/report.html\n"
    )
}
_LONGEST_NAME = 255  # bytes, on all common file systems
# File types to copy: seeds; the project's own gates, checks, models and prompts; a JSON schema.
_COPIED = (".jsonl", ".csv", ".py", ".jinja", ".json")
# Settings that other servers reject or interpret differently, and the comment on them in the examples.
_EMBEDDED_ONLY = ("top_k", "repetition_penalty", "no_repeat_ngram_size")
_EMBEDDED_NOTE = (
    "# The penalties keep a very small model from looping; only the embedded teacher counts them over generated tokens"
    " alone.\n"
)

# How every example trains the embedded model. On a CPU its evaluation takes longer than its training.
_EMBEDDED: dict[str, Any] = {"train.learning_rate": 1e-3, "train.batch": 4, "evaluate.samples": 1}
_EMBEDDED_WHY = {
    "train.learning_rate": ["The embedded base learns from few rows at this rate; for a larger base remove both keys."],
    "evaluate.samples": [
        "Per system, in addition to a greedy answer. More samples make intervals narrower; only new ones are asked."
    ],
}


def template_folder(example: str | None) -> Path:
    """The folder to copy. In a wheel the examples are inside this package, in a checkout next to it.

    Raises UsageError for an unknown example, and MissingDependency if the examples are not installed.
    """
    here = Path(__file__).parent
    if example is None:
        return here / "starter"
    if example not in EXAMPLES:
        raise UsageError(f"there is no example '{example}'.", fix=f"Examples: {', '.join(EXAMPLES)}.")
    for root in (here / "examples", here.parent / "examples"):
        if (root / example / SPEC_NAME).is_file():
            return root / example
    raise MissingDependency("the examples are not installed.", where=str(here), fix="Install pairsmith again.")


def files_of(template: Path) -> dict[str, bytes]:
    """The template's files by name, including its spec."""
    copied = [path for path in sorted(template.rglob("*")) if path.suffix in _COPIED or path.name == SPEC_NAME]
    return {path.relative_to(template).as_posix(): path.read_bytes() for path in copied}


def write_project(
    folder: Path, files: Mapping[str, bytes | Path], unless_there: Mapping[str, bytes] | None = None
) -> list[Path]:
    """Write `files`, or copy those that are paths, into `folder` and return their paths; `unless_there` only where
    nothing has that name.

    Raises UsageError, without writing anything, if there is a project already or a file would be overwritten, and
    OSError on a full disk.
    """
    _refuse_blocked(folder)
    if (folder / SPEC_NAME).exists():
        raise UsageError(
            "this folder is already a project; nothing was changed.",
            where=str(folder / SPEC_NAME),
            fix="Choose another folder, or move the old spec away.",
        )
    existing = [name for name in files if (folder / name).exists()]
    if existing:
        raise UsageError(
            f"{', '.join(existing)} would be overwritten; nothing was changed.",
            where=str(folder),
            fix="Choose another folder: `pairsmith init NEW-FOLDER`.",
        )
    more = {name: body for name, body in (unless_there or {}).items() if not os.path.lexists(folder / name)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, body in {**files, **more}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(body, Path):
                shutil.copyfile(body, folder / name)
            else:
                (folder / name).write_bytes(body)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise
        raise UsageError(
            f"cannot be written: {error.strerror}.", where=str(folder), fix="Choose another folder."
        ) from None
    return [folder / name for name in (*files, *more)]


def _refuse_blocked(folder: Path) -> None:
    """Raise UsageError if no folder can be here."""
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path) and not path.is_dir()), None)
    if any(len(os.fsencode(name)) > _LONGEST_NAME for name in folder.parts):
        what, where = "the name of the folder is too long", str(folder)[:_LONGEST_NAME]
    elif there:
        target = "" if there.exists() else str(there.readlink())
        what = f"is a link to '{target}', which does not exist" if target else "is a file, not a folder"
        where = str(there)
    else:
        return
    raise UsageError(f"{what}; nothing was changed.", where=where, fix="Choose another folder.")


def with_teacher(spec_text: str, teacher: FoundTeacher) -> str:
    """The spec with `teacher` in it. For any teacher but the embedded one, sampling settings that only that one
    supports are removed. The rest of the file, including comments, is unchanged."""
    values: dict[str, Any] = {"teacher.url": teacher.url, "teacher.model": teacher.model}
    notes = {"teacher.url": [teacher.why]}
    if teacher.key_env:
        values["teacher.key_env"] = teacher.key_env
        notes["teacher.key_env"] = ["The name of the environment variable, never the key itself."]
        notes["teacher.concurrency"] = _price_notes(teacher)
    elif teacher.url != "embedded":
        notes["teacher.usd_per_million_prompt_tokens"] = [
            ("Assumed to be free because it needs no key; your machine may have a cost.")
        ]
        values |= {f"teacher.usd_per_million_{kind}_tokens": 0.0 for kind in ("prompt", "completion")}
    values["teacher.concurrency"] = 16 if "localhost:11434" in teacher.url else 32
    if teacher.url == "embedded":
        values["teacher.attempts"] = 1
        if "attempts" not in spec_text:
            notes["teacher.attempts"] = ["A truncated candidate is not requested again: the next one is as good."]
    else:
        values["teacher.attempts"] = None
        spec_text = spec_text.replace(_EMBEDDED_NOTE, "")
        ways = ("forward", "backward")
        values |= {f"generate.{way}.sampling.{name}": None for way in ways for name in _EMBEDDED_ONLY}
    return set_keys(spec_text, values, notes)


def _price_notes(teacher: FoundTeacher) -> list[str]:
    """How users can see what is spent. If the prices are known, there is nothing to do."""
    listed = prices_of(TeacherSettings(url=teacher.url, model=teacher.model))
    if listed is not None:
        return [f"Prices: {listed.source}. Your own: usd_per_million_prompt_tokens, usd_per_million_completion_tokens."]
    return ["Fill in these prices to see what you spend:"] + [
        f"usd_per_million_{kind}_tokens = 0.0" for kind in ("prompt", "completion")
    ]


def with_base(spec_text: str) -> str:
    """The spec with a base model that suits this machine. Examples keep their own base, because their figures were
    measured with it."""
    from train.base_models.models import default_base, machine

    this_machine = machine()
    chosen = default_base(this_machine)
    if chosen.name == "embedded":
        return for_embedded(spec_text)
    why = f"Fits on {this_machine.name} ({this_machine.gib:.0f} GiB); `pairsmith models` lists others."
    return set_keys(spec_text, {"train.base": chosen.name}, {"train.base": [why]})


def keys_for_base(base: str, before: TrainSettings) -> dict[str, Any]:
    """The keys of the spec to change when it switches to another `base`. Training settings specific to the embedded
    base are added and removed with it; a rate or batch size chosen by the user is kept."""
    keys: dict[str, Any] = {"train.base": base, "train.revision": None}
    written = {key: value for key, value in _EMBEDDED.items() if key.startswith("train.")}
    current = {key: getattr(before, key.removeprefix("train.")) for key in written}
    if before.base == "embedded" and current == written:
        return keys | dict.fromkeys(written)
    chosen = {f"train.{name}" for name in before.model_fields_set} & written.keys()
    return keys | written if base == "embedded" and not chosen else keys


def for_embedded(spec_text: str) -> str:
    """The spec with the training and evaluation settings of the embedded base, unless it sets a learning rate or batch
    size."""
    configured = tomllib.loads(spec_text).get("train", {}).keys() & {"learning_rate", "batch"}
    return spec_text if configured else set_keys(spec_text, _EMBEDDED, _EMBEDDED_WHY)
