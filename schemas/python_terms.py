"""Messages written for a command or a spec, in the terms of Python code: functions and arguments instead of commands,
options and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from schemas.errors import PairsmithError
from schemas.file_errors import in_words

_FUNCTIONS = {"teacher": "teacher", "train": "fine_tune", "evaluate": "evaluate", "curate.gates": "gates"}
_DOCTOR = r"`pairsmith\sdoctor[^`]*`"
_PHRASES = (
    # Commands.
    ("with --retry-failed", "with teacher(..., retry_failed=True)"),
    ("; `pairsmith rows --state failed` lists them", ""),
    (rf"; {_DOCTOR} (sends one request|tries it without spending anything)", ""),
    (rf" If it serves more than it lists, {_DOCTOR} sends one request\.", ""),
    (r"\bthe( same)? command again", "the same code again"),
    ("Run `pairsmith generate`, which creates it", "Call generate(...) first"),
    ("Run `pairsmith curate` again, or remove", "Remove"),
    ("Check `pairsmith status`: are", "Look at pool.counts and pool.reasons: are"),
    (r"Reject the row \(`pairsmith explain ID` shows where it came from\) and export again", "Remove the row"),
    (" with `pairsmith explain`|, for example with `pairsmith train`", ""),
    ("run `pairsmith train` again", "call fine_tune(...) again"),
    # The teacher and its sampling.
    (r"add (teacher\.finish_reasons = \S+) to the spec", r"pass \1"),
    (
        r"from the sampling table of pairsmith\.toml, or write ([\w.]+) = \"unset\" there",
        r'from `sampling`, or pass sampling={"\1": "unset"}',
    ),
    (r"from extra in the sampling table of pairsmith\.toml", 'from "extra" in `sampling`'),
    (
        r"Set max_tokens in the sampling table, for example [\w.]+ = (\d+)",
        r'Limit the answers, for example with sampling={"max_tokens": \1}',
    ),
    ("in the table of this teacher", "in teacher(...)"),
    (r"\(generate\.forward\.n\)", "(n of Forward)"),
    (
        r"train\.base names the one that is trained, \[teacher\] the one that is asked",
        "fine_tune(base=...) names the one that is trained, teacher(...) the one that is asked",
    ),
    ("only if the spec trusts it", "only if train.trust_remote_code names it"),
    # Files.
    (r"in its \[\[seeds\]\]: (?=\S+ codec)", "passed to pairs(...): "),
    (r"Set the encoding in its \[\[seeds\]\], such as", "Pass its encoding to pairs(...), such as"),
    (r"[Aa]dd (\w+ = \"[^\"]*\".*?) to its \[\[seeds\]\]", r"pass \1 to pairs(...)"),
    (r" in its \[\[seeds\]\]", ""),
    (r"format = (\"\w+\") in the spec", r"pass format = \1 to pairs(...)"),
    ("the column that the spec names", "the columns passed to pairs(...)"),
    (r"relative to pairsmith\.toml|relative to the folder of the spec", "relative to the working folder"),
    ("beside the spec file", "in the working folder"),
    (r"Add a check to evaluate\.checks, or enable a gate in curate\.gates", "Pass some as evaluate.checks"),
    (r"Raise split\.validation", "Provide more seeds"),
    (r"'task\.(\w+)'", r"'\1'"),
)
_TABLE = re.compile(r"\{ (?:(?:\"[^\"]*\"|\w+) = \"[^\"]*\"(?:, )?)+ \}")
_ENTRY = re.compile(r"(\"[^\"]*\"|\w+) = (\"[^\"]*\")")
_KEY = re.compile(
    rf"(?<![\w/.-])({'|'.join(map(re.escape, _FUNCTIONS))})\.([a-z_]+)(?:\.([a-z_]+))?"
    r"(?: = (\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'|[\d.]*\d|true|false))?"
)


def in_python(text: str) -> str:
    """`text` in the terms of Python code. What has no counterpart, such as `pairsmith docs`, stays."""
    for pattern, words in _PHRASES:
        text = re.sub(pattern, words, text)
    text = _TABLE.sub(_as_dict, text)
    return _KEY.sub(_argument, text)


def _as_dict(table: re.Match[str]) -> str:
    entries = ((key.strip('"'), value) for key, value in _ENTRY.findall(table[0]))
    return "{" + ", ".join(f'"{key}": {value}' for key, value in entries) + "}"


def _argument(key: re.Match[str]) -> str:
    """`train.epochs = 2` as `fine_tune(epochs=2)`; `train.csv` is a file."""
    from schemas import spec

    tables: dict[str, type[spec.Section]] = {
        "teacher": spec.TeacherSettings,
        "train": spec.TrainSettings,
        "evaluate": spec.EvaluateSettings,
    }
    if key[2] not in tables.get(key[1], spec.GateSettings).model_fields:
        return key[0]
    function, name, inner, value = _FUNCTIONS[key[1]], key[2], key[3], key[4] or "..."
    value = {"true": "True", "false": "False"}.get(value, value)
    return f"{function}({name}={value})" if inner is None else f'{function}({name}={{"{inner}": {value}}})'


@contextmanager
def python_terms() -> Iterator[None]:
    """Decorates a function of the Python API: its errors are those of code, not of a command, and those of the file
    system are sentences, too."""
    try:
        with in_words():
            yield
    except PairsmithError as error:
        error.reword(in_python)
        raise
