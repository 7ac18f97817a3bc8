"""Gates from files next to the spec: a user's functions and a JSON Schema."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import schemas.records
import train
from curate.gates import GateStep, Judgement, gates_for, judge_text
from schemas.errors import SpecError
from schemas.spec import GateSettings, TaskSettings

TASK = TaskSettings(name="demo", style="Rewrite it in full.")


@pytest.fixture(autouse=True)
def _import_state() -> Iterator[None]:
    """Restores the import path and the modules that a project loaded after each test."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if "_beside_spec_" in name:
            del sys.modules[name]


def only(gates: GateSettings, folder: Path) -> GateStep:
    """The last step, which is the one from the user's file."""
    return gates_for(TASK, gates, folder)[-1]


def ask(step: GateStep, output: str = "a red fox in snow") -> Judgement:
    return judge_text("a fox", output, [step])[step.by]


@pytest.mark.parametrize(
    ("body", "keep", "reason"),
    [
        ("return 'fox' in pair.output", True, "ok: returned by rules:check"),
        ("return 'hen' in pair.output", False, "user: returned by rules:check"),
        ("return None", None, "unsure: returned by rules:check"),
        ("return False, 'impolite it never says please'", False, "impolite: it never says please"),
        ("return (None, None)", None, "unsure: returned by rules:check"),
        ("return __import__('numpy').bool_(False)", False, "user: returned by rules:check"),
        ("return __import__('types').SimpleNamespace(keep=False, score=0.5, reason='dull')", False, "dull"),
    ],
)
def test_user_gate_may_return_several_types(tmp_path: Path, body: str, keep: bool | None, reason: str) -> None:
    """True, False or None, optionally with a reason, or an object like a verdict: all are converted to a judgement."""
    (tmp_path / "rules.py").write_text(f"def check(pair):\n    {body}\n")
    step = only(GateSettings(user=("rules:check",)), tmp_path)
    judgement = ask(step)
    assert (step.by, judgement.keep, str(judgement.reason)) == ("gate/user:rules:check@1", keep, reason)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return 1 / 0", "crashed: ZeroDivisionError"),
        ("raise SystemExit(3)", "crashed: SystemExit"),
        ("return 'yes'", "crashed: it returned 'yes'"),
        ("return 0.7", "crashed: it returned 0.7"),
        ("return True, 7", "crashed: it returned (True, 7)"),
    ],
)
def test_failing_user_gate_leaves_the_row_waiting(tmp_path: Path, body: str, sentence: str) -> None:
    """An exception, an exit or an invalid return value leaves the row waiting, with the cause."""
    (tmp_path / "rules.py").write_text(f"def check(pair):\n    {body}\n")
    judgement = ask(only(GateSettings(user=("rules:check",)), tmp_path))
    assert judgement.keep is None
    assert str(judgement.reason).startswith(sentence)


def test_user_module_named_like_a_package_shadows_nothing(tmp_path: Path) -> None:
    """A user's train.py may define a gate; pairsmith's own train and schemas are still imported, also later."""
    (tmp_path / "train.py").write_text(
        "from schemas.records import Pair\ndef check(pair):\n    return type(pair) is Pair\n"
    )
    (tmp_path / "schemas.py").write_text("raise RuntimeError('the decoy was imported')\n")
    step = only(GateSettings(user=("train:check",)), tmp_path)
    assert ask(step).keep is True
    assert sys.modules["train"] is train
    assert sys.modules["schemas.records"] is schemas.records
    assert sys.path[0] != str(tmp_path.resolve())
    assert sys.path[-1] == str(tmp_path.resolve())


def test_a_gate_imports_its_neighbours(tmp_path: Path) -> None:
    """A file next to the spec may import another one there, and may be in a folder."""
    (tmp_path / "wordlist_of_a_neighbour.py").write_text("BAD = {'hen'}\n")
    (tmp_path / "house").mkdir()
    (tmp_path / "house" / "rules.py").write_text(
        "from wordlist_of_a_neighbour import BAD\ndef clean(pair):\n    return not BAD & set(pair.output.split())\n"
    )
    step = only(GateSettings(user=("house.rules:clean",)), tmp_path)
    assert ask(step).keep is True
    assert ask(step, "a hen").keep is False


def test_same_gate_name_in_two_projects_is_two_gates(tmp_path: Path) -> None:
    """A file of the same name in another project is another gate, and so is an edited file."""
    steps = []
    for name, answer in (("one", "True"), ("two", "False")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rules.py").write_text(f"def check(pair):\n    return {answer}\n")
        steps.append(only(GateSettings(user=("rules:check",)), tmp_path / name))
    (tmp_path / "one" / "rules.py").write_text("def check(pair):\n    return None\n")
    edited = only(GateSettings(user=("rules:check",)), tmp_path / "one")
    assert [ask(step).keep for step in (*steps, edited)] == [True, False, None]
    assert len({step.fingerprint for step in (*steps, edited)}) == 3


@pytest.mark.parametrize(
    ("source", "name", "sentence"),
    [
        ("def other(pair): ...", "rules:check", "has no function 'check'.*It defines: other"),
        ("def check(pair): ...", "missing:check", "no module 'missing'.*Modules there now: rules"),
        ("def check(pair:", "rules:check", r"rules\.py:1: .*SyntaxError"),
        ("import nowhere_to_be_found", "rules:check", "ModuleNotFoundError.*nowhere_to_be_found"),
        ("check = 7", "rules:check", "is a int, not a function"),
        ("async def check(pair): ...", "rules:check", "async"),
        ("def check(): ...", "rules:check", "cannot be called with one pair"),
    ],
)
def test_an_unusable_user_gate_is_an_error_of_the_spec(tmp_path: Path, source: str, name: str, sentence: str) -> None:
    """The SpecError says what is missing or wrong, and what exists instead, before any row is judged."""
    (tmp_path / "rules.py").write_text(source + "\n")
    with pytest.raises(SpecError, match=sentence):
        gates_for(TASK, GateSettings(user=(name,)), tmp_path)


SCHEMA = """{
  "type": "object", "required": ["subject", "light"], "additionalProperties": false,
  "properties": {"subject": {"$ref": "#/$defs/text"}, "light": {"enum": ["dawn", "dusk"]},
    "day": {"type": "string", "format": "date"}, "at": {"type": "string", "format": "time"},
    "seen": {"type": ["string", "null"], "format": "date-time"}},
  "$defs": {"text": {"type": "string", "minLength": 2}}
}"""


@pytest.mark.parametrize(
    ("output", "keep", "reason"),
    [
        ('{"subject": "fox", "light": "dawn"}', True, "ok"),
        ('{"subject": "fox", "light": "noon"}', False, "schema: at $.light: 'noon' is not one of"),
        ('{"subject": "fox"}', False, "schema: at $: 'light' is a required property"),
        ('{"subject": "f", "light": "dawn"}', False, "schema: at $.subject"),
        ('{"subject": "fox", "light": NaN}', False, "not_json"),
        ('```json\n{"subject": "fox", "light": "dawn"}\n```', False, "not_json"),
        ('{"subject": "fox", "light": "dawn", "light": "dusk"}', False, "not_json"),
        ("a fox at dawn", False, "not_json"),
        ("", False, "not_json"),
        (
            '{"subject": "fox", "light": "dawn", "day": "2026-02-30"}',
            False,
            "schema: at $.day: '2026-02-30' is not a 'd",
        ),
        ('{"subject": "fox", "light": "dawn", "day": "28 juli"}', False, "schema: at $.day: '28 juli' is not a 'date'"),
        ('{"subject": "fox", "light": "dawn", "day": "2026-07-28", "at": "07:30", "seen": null}', True, "ok"),
        (
            '{"subject": "fox", "light": "dawn", "at": "half past"}',
            False,
            "schema: at $.at: 'half past' is not a 'time'",
        ),
        ('{"subject": "fox", "light": "dawn", "seen": "2026-07-28T07:30Z"}', True, "ok"),
        ('{"subject": "fox", "light": "dawn", "seen": "now"}', False, "schema: at $.seen: 'now' is not a 'date-time'"),
        (
            '{"subject": "fox", "light": "dawn", "seen": "2026-01-02"}',
            False,
            "schema: at $.seen: '2026-01-02' is not a 'date-time'",
        ),
        ("[" * 5000, False, "not_json"),
        ("\ud800", False, "not_json"),
    ],
)
def test_json_schema_parses_and_validates(tmp_path: Path, output: str, keep: bool, reason: str) -> None:
    """The output must be strict JSON and valid, dates and times included, or the reason names the place."""
    (tmp_path / "out.json").write_text(SCHEMA)
    judgement = ask(only(GateSettings(json_schema="out.json"), tmp_path), output)
    assert judgement.keep is keep
    assert str(judgement.reason).startswith(reason)


MODEL = """
from datetime import date
from decimal import Decimal

from pydantic import BaseModel, field_validator


class Bill(BaseModel):
    due: date
    total: Decimal

    @field_validator("total")
    @classmethod
    def positive(cls, total: Decimal) -> Decimal:
        if total == 13:
            raise RuntimeError("no such number")
        if total <= 0:
            raise ValueError("a bill is above zero")
        return total
"""


@pytest.mark.parametrize(
    ("output", "keep", "reason"),
    [
        ('{"due": "2024-05-17", "total": "12.50"}', True, "ok"),
        ('{"due": "2024-05-17", "total": "the law of"}', False, "schema: Bill says at total: Input should be a valid"),
        ('{"due": "2024-02-30", "total": 1}', False, "schema: Bill says at due: Input should be a valid date"),
        ('{"due": "2024-05-17", "total": -1}', False, "schema: Bill says at total: Value error, a bill is above zero"),
        ('{"due": "2024-05-17"}', False, "schema: at $: 'total' is a required property"),
        ('{"due": "2024-05-17", "total": 13}', None, "crashed: Bill cannot be applied: RuntimeError: no such number"),
    ],
)
def test_record_must_be_accepted_by_the_pydantic_model(
    tmp_path: Path, output: str, keep: bool | None, reason: str
) -> None:
    """A pydantic model requires more than its JSON schema: a calendar date, a number in a string, a validator. A record
    that the model rejects is rejected whatever the schema says; one on which it crashes waits."""
    (tmp_path / "bills.py").write_text(MODEL)
    task = TaskSettings(name="bills", style="Read it.", kind="extract", schema="bills:Bill")
    (schema,) = (step for step in gates_for(task, GateSettings(values=False), tmp_path) if step.by == "gate/schema@4")
    judgement = ask(schema, output)
    assert judgement.keep is keep
    assert str(judgement.reason).startswith(reason)


@pytest.mark.parametrize("reference", ["#/$defs/absent", "#"])
def test_a_schema_that_cannot_be_applied_judges_nothing(tmp_path: Path, reference: str) -> None:
    """A dangling or circular reference leaves the rows waiting."""
    (tmp_path / "out.json").write_text(f'{{"$ref": "{reference}"}}')
    judgement = ask(only(GateSettings(json_schema="out.json"), tmp_path), "{}")
    assert judgement.keep is None
    assert str(judgement.reason).startswith("crashed: the schema cannot be applied")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "contains list"),
        ('{"type": "thing"}', "is not a JSON Schema"),
        ('{"product": "lamp", "urgent": true}', "contains no JSON Schema keywords"),
        ('{"$ref": "other.json#/x"}', "refers to 'other.json#/x', outside its own file"),
    ],
)
def test_a_bad_schema_file_is_an_error_of_the_spec(tmp_path: Path, content: str | None, sentence: str) -> None:
    """A schema that is missing, invalid or refers outside its file is refused before any row is judged."""
    if content is not None:
        (tmp_path / "out.json").write_text(content)
    with pytest.raises(SpecError, match=sentence):
        gates_for(TASK, GateSettings(json_schema="out.json"), tmp_path)
