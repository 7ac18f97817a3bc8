"""The strict pass: gates and the checks no gate uses, each apart; a crash is never a pass."""

from __future__ import annotations

from pathlib import Path

from tests.train.evaluated import spec
from train.checks import Checked, checks_for

GOOD = "a fox in the snow, warm light, wide photograph --ar 3:2"


def test_each_check_is_told_apart(tmp_path: Path) -> None:
    """One text can pass a gate and fail a check that no gate uses, with a reason for what fails."""
    checks = checks_for(spec(), tmp_path)
    assert checks.names == ("must:flag", "check:light", "check:medium")
    checked = checks("a fox", "a fox in the snow, wide photograph --ar 3:2")
    assert checked.passed == {"must:flag": True, "check:light": False, "check:medium": True}
    assert checked.reasons == {"check:light": "missing:light nothing matches the pattern"}
    assert checked.strict is False
    assert checks("a fox", GOOD).strict is True


def test_an_empty_output_fails_every_check(tmp_path: Path) -> None:
    """Silence breaks no rule that only forbids, and must not pass for it."""
    checks = checks_for(spec(), tmp_path)
    checked = checks("a fox", " \n")
    assert set(checked.passed.values()) == {False}
    assert checked.strict is False


def test_a_gate_that_crashes_is_not_scored(tmp_path: Path) -> None:
    """A user's gate that raises leaves the output without a verdict, unless another check already fails it."""
    (tmp_path / "own_rules_that_crash.py").write_text("def gate(pair):\n    raise RuntimeError('boom')\n")
    checks = checks_for(spec(user=("own_rules_that_crash:gate",)), tmp_path)
    checked = checks("a fox", GOOD)
    assert checked.passed["user:own_rules_that_crash:gate"] is None
    assert "boom" in checked.reasons["user:own_rules_that_crash:gate"]
    assert checked.strict is None
    assert checks("a fox", "no flag").strict is False


def test_strict_needs_every_check() -> None:
    """True only if all are True; one False decides; None never passes."""
    assert Checked({"a": True, "b": True}, {}).strict is True
    assert Checked({"a": None, "b": True}, {}).strict is None
    assert Checked({"a": None, "b": False}, {}).strict is False


def test_the_scope_follows_the_settings(tmp_path: Path) -> None:
    """Another pattern is another set of checks."""
    assert checks_for(spec(), tmp_path).fingerprint == checks_for(spec(), tmp_path).fingerprint
    assert checks_for(spec(), tmp_path).fingerprint != checks_for(spec(flag="--ar 1:1"), tmp_path).fingerprint
