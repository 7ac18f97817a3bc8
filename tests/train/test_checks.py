"""Checks: gates and checks that no gate uses, each by itself; a crash is never a pass."""

from __future__ import annotations

from pathlib import Path

from tests.train.evaluated import spec
from train.checks import Checked, checks_for, checks_of

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

    checks = checks_of([r"--ar \d+:\d+$", keeps_the_subject])
    assert checks.names == ("check:pattern_1", "check:keeps_the_subject")
    assert checks("a fox", GOOD).all_pass is True
    assert checks("a hare", GOOD).passed["check:keeps_the_subject"] is False
    assert checks("", GOOD).all_pass is None
    assert checks_of([broken])("a fox", GOOD).passed == {"check:broken": None}
    assert checks.fingerprint != checks_of([r"--ar \d+:\d+$"]).fingerprint
