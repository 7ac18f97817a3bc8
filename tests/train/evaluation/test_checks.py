"""Tests of checks: gates and checks that no gate uses are reported one by one, and a crash is never a pass."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from schemas.errors import SpecError, UsageError
from schemas.spec import Pattern, PersonalSettings, Spec
from tests.train.evaluated import spec
from train.evaluation.checks import Checked, build_checks, checks_for

GOOD = "a fox in the snow, warm light, wide photograph --ar 3:2"


def test_each_check_is_reported_separately(tmp_path: Path) -> None:
    """A text can pass a gate and fail a check that no gate uses, with a reason for what fails."""
    checks = checks_for(spec(), tmp_path)
    assert checks.names == ("must:flag", "check:light", "check:medium")
    checked = checks("a fox", "a fox in the snow, wide photograph --ar 3:2")
    assert checked.passed == {"must:flag": True, "check:light": False, "check:medium": True}
    assert checked.reasons == {"check:light": "missing:light nothing matches the pattern"}
    assert checked.all_pass is False
    assert checks("a fox", GOOD).all_pass is True


def test_an_empty_output_fails_every_check(tmp_path: Path) -> None:
    """An empty output violates no rule that only forbids something, but must not pass."""
    checks = checks_for(spec(), tmp_path)
    checked = checks("a fox", " \n")
    assert set(checked.passed.values()) == {False}
    assert checked.all_pass is False


def test_a_gate_that_crashes_is_not_scored(tmp_path: Path) -> None:
    """An output for which a user's gate raises has no verdict, unless another check already fails it."""
    (tmp_path / "own_rules_that_crash.py").write_text("def gate(pair):\n    raise RuntimeError('boom')\n")
    checks = checks_for(spec(user=("own_rules_that_crash:gate",)), tmp_path)
    checked = checks("a fox", GOOD)
    assert checked.passed["user:own_rules_that_crash:gate"] is None
    assert "boom" in checked.reasons["user:own_rules_that_crash:gate"]
    assert checked.all_pass is None
    assert checks("a fox", "no flag").all_pass is False


def test_personal_data_that_the_spec_rejects_fails_an_answer(tmp_path: Path) -> None:
    """No training row contains it, so a model that writes it does not follow its examples."""
    strict = spec().model_copy(update={"personal": PersonalSettings(email="reject", toxic="reject")})
    checks = checks_for(strict, tmp_path)
    assert checks("a fox", GOOD).all_pass is True
    assert checks("a fox", f"ask ann@example.org, {GOOD}").reasons.keys() == {"personal"}
    assert checks("a fox", f"you idiot, {GOOD}").reasons.keys() == {"toxic"}
    assert checks_for(spec(), tmp_path)("a fox", f"ask ann@example.org, {GOOD}").all_pass is True


def test_a_pass_needs_every_check() -> None:
    """True only if all are True; one False decides; with None it never passes."""
    assert Checked({"a": True, "b": True}, {}).all_pass is True
    assert Checked({"a": None, "b": True}, {}).all_pass is None
    assert Checked({"a": None, "b": False}, {}).all_pass is False


def test_the_fingerprint_follows_the_settings(tmp_path: Path) -> None:
    """Another pattern gives another fingerprint."""
    assert checks_for(spec(), tmp_path).fingerprint == checks_for(spec(), tmp_path).fingerprint
    assert checks_for(spec(), tmp_path).fingerprint != checks_for(spec(flag="--ar 1:1"), tmp_path).fingerprint


def test_the_fingerprint_never_changes(tmp_path: Path) -> None:
    """Golden value: existing evaluations are looked up by it, so its recipe never changes."""
    assert checks_for(spec(), tmp_path).fingerprint == "e70aa5236eb478c4bd776be7bfbb89db"


def test_a_check_may_be_a_pattern_or_a_function() -> None:
    """A function of input and output returns True, False or None; a crash is not scored; each check has a name."""

    def keeps_the_subject(input: str, output: str) -> bool | None:
        return None if not input else input in output

    def broken(input: str, output: str) -> bool:
        raise ValueError(input)

    checks = build_checks([r"--ar \d+:\d+$", keeps_the_subject])
    assert checks.names == ("check:pattern_1", "check:keeps_the_subject")
    assert checks("a fox", GOOD).all_pass is True
    assert checks("a hare", GOOD).passed["check:keeps_the_subject"] is False
    assert checks("", GOOD).all_pass is None
    assert build_checks([broken])("a fox", GOOD).passed == {"check:broken": None}
    assert checks.fingerprint != build_checks([r"--ar \d+:\d+$"]).fingerprint


def test_a_check_with_a_reference_that_may_be_missing_gets_it() -> None:
    """With `reference=None` as its third parameter a check would otherwise never see one, and fail every answer. A
    third parameter of another name keeps its default."""

    def as_written(input: str, output: str, reference: str | None = None) -> bool:
        return output == reference

    def long_enough(input: str, output: str, least: int = 3) -> bool:
        return len(output.split()) >= least

    checks = build_checks([as_written, long_enough])
    assert checks("a fox", GOOD, GOOD).all_pass is True
    assert checks("a fox", GOOD).passed == {"check:as_written": False, "check:long_enough": True}


def test_a_reference_may_be_passed_by_name_only_or_be_bound() -> None:
    """A parameter that takes no position, or that stands behind others, gets the reference by its name; one that
    functools.partial has bound keeps its value."""

    def by_name(input: str, output: str, *, reference: str | None = None) -> bool:
        return output == reference

    def required(input: str, output: str, *, reference: str | None) -> bool:
        return output == reference

    def behind(input: str, output: str, least: int = 3, reference: str | None = None) -> bool:
        return output == reference and len(output.split()) >= least

    def any_name(input: str, output: str, wanted: str | None) -> bool:
        return output == wanted

    for check in (by_name, required, behind, any_name):
        assert [build_checks([check])("a fox", GOOD, text).all_pass for text in (GOOD, "a hare")] == [True, False]
    bound = build_checks([partial(by_name, reference=GOOD)])
    assert [bound("a fox", GOOD, text).all_pass for text in (GOOD, "a hare", None)] == [True, True, True]


def with_own(*names: str, **more: object) -> Spec:
    """The spec with checks of the user's own instead of its patterns."""
    evaluate = {"samples": 2, "sampling": {"max_tokens": 6}, "user": names, **more}
    return spec(evaluate=evaluate)


OWN_CHECKS = """
def kept(pair):
    return pair.simple in pair.enhanced, f"lost {pair.simple} is gone"

def unsure(pair):
    raise KeyError(pair.simple)
"""


def test_a_check_of_the_users_own_sees_input_and_output(tmp_path: Path) -> None:
    """It is reported like a pattern, under `check:` and its name, with the reason that it gives; a crash is no pass."""
    (tmp_path / "own_checks.py").write_text(OWN_CHECKS)
    checks = checks_for(with_own("own_checks:kept", "own_checks:unsure"), tmp_path)
    assert checks.names == ("must:flag", "check:kept", "check:unsure")
    good, bad = checks("a fox", GOOD), checks("a hare", GOOD)
    assert list(good.passed.values()) == [True, True, None]
    assert good.all_pass is None
    assert bad.passed["check:kept"] is False
    assert bad.reasons["check:kept"] == "lost: a hare is gone"
    assert "KeyError" in bad.reasons["check:unsure"]


def test_editing_a_users_check_changes_the_fingerprint(tmp_path: Path) -> None:
    """The content of its file is part of the fingerprint, so an evaluation under the old rules is not reused."""
    (tmp_path / "edited_checks.py").write_text(OWN_CHECKS)
    edited_spec = with_own("edited_checks:kept", "edited_checks:unsure")
    before = checks_for(edited_spec, tmp_path).fingerprint
    (tmp_path / "edited_checks.py").write_text(OWN_CHECKS.replace("is gone", "went away"))
    assert checks_for(edited_spec, tmp_path).fingerprint != before


def test_a_missing_check_function_is_named_with_its_key(tmp_path: Path) -> None:
    """The message refers to `evaluate.user`, not to the gates."""
    (tmp_path / "few_checks.py").write_text("def kept(pair):\n    return True\n")
    with pytest.raises(SpecError, match=r"evaluate\.user.*no function 'lost'"):
        checks_for(with_own("few_checks:kept", "few_checks:lost"), tmp_path)


def test_checks_with_equal_names_all_count() -> None:
    """Two lambdas have the same name, and the second's result used to replace the first's."""
    checks = build_checks([lambda input, output: "red" in output, lambda input, output: "fox" in output])
    assert len(set(checks.names)) == 2
    assert list(checks("a fox", "a fox").passed.values()) == [False, True]
    assert checks("a fox", "a fox").all_pass is False
    with pytest.raises(UsageError, match="two checks are called 'light'"):
        build_checks([Pattern(name="light", pattern="dawn"), Pattern(name="light", pattern="dusk")])


def test_output_of_a_check_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`pairsmith evaluate --json` prints only JSON, whatever a user's function or its file prints; the user still sees
    it."""
    own = "print('loaded')\ndef kept(pair):\n    print('looking at', pair.input)\n    return True\n"
    (tmp_path / "talking.py").write_text(own)
    assert checks_for(with_own("talking:kept"), tmp_path)("a fox", "a fox, warm light").passed["check:kept"]
    out, err = capsys.readouterr()
    assert (out, err) == ("", "loaded\nlooking at a fox\n")
