"""Checks: gates and checks that no gate uses, each by itself; a crash is never a pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SpecError, UsageError
from schemas.spec import Pattern, PersonalSettings, Spec
from tests.train.evaluated import spec
from train.checks import Checked, build_checks, checks_for

GOOD = "a fox in the snow, warm light, wide photograph --ar 3:2"


def test_each_check_is_told_apart(tmp_path: Path) -> None:
    """One text can pass a gate and fail a check that no gate uses, with a reason for what fails."""
    checks = checks_for(spec(), tmp_path)
    assert checks.names == ("must:flag", "check:light", "check:medium")
    checked = checks("a fox", "a fox in the snow, wide photograph --ar 3:2")
    assert checked.passed == {"must:flag": True, "check:light": False, "check:medium": True}
    assert checked.reasons == {"check:light": "missing:light nothing matches the pattern"}
    assert checked.all_pass is False
    assert checks("a fox", GOOD).all_pass is True


def test_an_empty_output_fails_every_check(tmp_path: Path) -> None:
    """Silence breaks no rule that only forbids, and must not pass for it."""
    checks = checks_for(spec(), tmp_path)
    checked = checks("a fox", " \n")
    assert set(checked.passed.values()) == {False}
    assert checked.all_pass is False


def test_a_gate_that_crashes_is_not_scored(tmp_path: Path) -> None:
    """A user's gate that raises leaves the output without a verdict, unless another check already fails it."""
    (tmp_path / "own_rules_that_crash.py").write_text("def gate(pair):\n    raise RuntimeError('boom')\n")
    checks = checks_for(spec(user=("own_rules_that_crash:gate",)), tmp_path)
    checked = checks("a fox", GOOD)
    assert checked.passed["user:own_rules_that_crash:gate"] is None
    assert "boom" in checked.reasons["user:own_rules_that_crash:gate"]
    assert checked.all_pass is None
    assert checks("a fox", "no flag").all_pass is False


def test_what_the_spec_rejects_of_personal_data_fails_an_answer(tmp_path: Path) -> None:
    """No training row holds it, so a model that writes it into an answer does not do what its examples did."""
    strict = spec().model_copy(update={"personal": PersonalSettings(email="reject", toxic="reject")})
    checks = checks_for(strict, tmp_path)
    assert checks("a fox", GOOD).all_pass is True
    assert checks("a fox", f"ask ann@example.org, {GOOD}").reasons.keys() == {"personal"}
    assert checks("a fox", f"you idiot, {GOOD}").reasons.keys() == {"toxic"}
    assert checks_for(spec(), tmp_path)("a fox", f"ask ann@example.org, {GOOD}").all_pass is True


def test_a_pass_needs_every_check() -> None:
    """True only if all are True; one False decides; None never passes."""
    assert Checked({"a": True, "b": True}, {}).all_pass is True
    assert Checked({"a": None, "b": True}, {}).all_pass is None
    assert Checked({"a": None, "b": False}, {}).all_pass is False


def test_the_scope_follows_the_settings(tmp_path: Path) -> None:
    """Another pattern is another set of checks."""
    assert checks_for(spec(), tmp_path).fingerprint == checks_for(spec(), tmp_path).fingerprint
    assert checks_for(spec(), tmp_path).fingerprint != checks_for(spec(flag="--ar 1:1"), tmp_path).fingerprint


def test_the_fingerprint_is_the_one_that_was_always_made(tmp_path: Path) -> None:
    """Golden: an evaluation that is there is found again, so its recipe never changes."""
    assert checks_for(spec(), tmp_path).fingerprint == "e70aa5236eb478c4bd776be7bfbb89db"


def test_a_check_may_be_a_pattern_or_a_function_of_both_texts() -> None:
    """From Python: True, False or None from the function's answer, a crash is not scored, and each has a name."""

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


def with_own(*names: str, **more: object) -> Spec:
    """The spec with checks of the user's own in the place of its patterns."""
    evaluate = {"samples": 2, "sampling": {"max_tokens": 6}, "user": names, **more}
    return spec(evaluate=evaluate)


OWN_CHECKS = """
def kept(pair):
    return pair.simple in pair.enhanced, f"lost {pair.simple} is gone"

def unsure(pair):
    raise KeyError(pair.simple)
"""


def test_a_check_of_the_users_own_sees_input_and_output(tmp_path: Path) -> None:
    """It is told apart like a pattern, under `check:` and its name, with the reason it gives; a crash is no pass."""
    (tmp_path / "own_checks.py").write_text(OWN_CHECKS)
    checks = checks_for(with_own("own_checks:kept", "own_checks:unsure"), tmp_path)
    assert checks.names == ("must:flag", "check:kept", "check:unsure")
    good, bad = checks("a fox", GOOD), checks("a hare", GOOD)
    assert list(good.passed.values()) == [True, True, None]
    assert good.all_pass is None
    assert bad.passed["check:kept"] is False
    assert bad.reasons["check:kept"] == "lost: a hare is gone"
    assert "KeyError" in bad.reasons["check:unsure"]


def test_editing_a_check_of_the_users_own_is_another_set_of_checks(tmp_path: Path) -> None:
    """Its file's content is in the scope, so an evaluation under the old rules is not taken for one under the new."""
    (tmp_path / "edited_checks.py").write_text(OWN_CHECKS)
    edited_spec = with_own("edited_checks:kept", "edited_checks:unsure")
    before = checks_for(edited_spec, tmp_path).fingerprint
    (tmp_path / "edited_checks.py").write_text(OWN_CHECKS.replace("is gone", "went away"))
    assert checks_for(edited_spec, tmp_path).fingerprint != before


def test_a_missing_check_is_named_with_its_key(tmp_path: Path) -> None:
    """The message leads to `evaluate.user`, not to the gates."""
    (tmp_path / "few_checks.py").write_text("def kept(pair):\n    return True\n")
    with pytest.raises(SpecError, match=r"evaluate\.user.*no function 'lost'"):
        checks_for(with_own("few_checks:kept", "few_checks:lost"), tmp_path)


def test_every_check_counts_whatever_it_is_called() -> None:
    """Two lambdas have one name, and the second would have answered for the first: a pass that was none."""
    checks = build_checks([lambda input, output: "red" in output, lambda input, output: "fox" in output])
    assert len(set(checks.names)) == 2
    assert list(checks("a fox", "a fox").passed.values()) == [False, True]
    assert checks("a fox", "a fox").all_pass is False
    with pytest.raises(UsageError, match="two checks are called 'light'"):
        build_checks([Pattern(name="light", pattern="dawn"), Pattern(name="light", pattern="dusk")])


def test_what_a_check_prints_stays_out_of_what_programs_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pairsmith evaluate --json` is JSON, whatever a function of the user's own or its file prints; a person still
    sees it."""
    own = "print('loaded')\ndef kept(pair):\n    print('looking at', pair.input)\n    return True\n"
    (tmp_path / "talking.py").write_text(own)
    assert checks_for(with_own("talking:kept"), tmp_path)("a fox", "a fox, warm light").passed["check:kept"]
    out, err = capsys.readouterr()
    assert (out, err) == ("", "loaded\nlooking at a fox\n")
