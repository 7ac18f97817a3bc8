"""Renamed keys of the spec still load under their old names, in the file and with `--set`."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SpecError
from schemas.old_keys import KEYS, current
from schemas.spec_file import load

SPEC = """
[task]
name = "cats"
style = "One sentence."
[[seeds]]
path = "seeds.jsonl"
[evaluate]
checks = [{ name = "a", pattern = "x" }, { name = "b", pattern = "y" }]
"""
OLD = """
[review]
half_width = 0.1
[review.shares]
certify = 0.4
fit = 0.2
audit_accepted = 0.1
audit_rejected = 0.1
disagree = 0.15
border = 0.05
"""


def write_spec(folder: Path, text: str) -> Path:
    (folder / "pairsmith.toml").write_text(SPEC + text)
    return folder


def test_old_names_of_review_load_and_name_the_new_ones(tmp_path: Path) -> None:
    """A spec of an earlier version keeps its meaning, and a notice for each old key names the new one."""
    project = load(write_spec(tmp_path, OLD))
    shares = project.spec.review.shares
    assert project.spec.review.margin_of_error == 0.1
    assert (shares.estimation, shares.calibration, shares.disagreement, shares.margin) == (0.4, 0.2, 0.15, 0.05)
    assert len(project.notices) == 5
    assert any("'review.half_width' is now called 'margin_of_error'" in notice for notice in project.notices)


@pytest.mark.parametrize("text", ["", OLD, "[review]\nmargin_of_error = 0.3\n"])
def test_an_old_name_after_set_wins_over_the_file(tmp_path: Path, text: str) -> None:
    """`--set` with an old name overrides the file, whichever name the file uses, and a notice names the new one."""
    project = load(write_spec(tmp_path, text), ["review.half_width=0.2"])
    assert project.spec.review.margin_of_error == 0.2
    assert any("'margin_of_error'" in notice for notice in project.notices)


def test_setting_an_old_share_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    """In a file without shares the others keep their defaults, so the check of the sum still applies."""
    project = load(write_spec(tmp_path, ""), ["review.shares.certify=0.4", "review.shares.fit=0.2"])
    assert project.spec.review.shares.calibration == 0.2
    with pytest.raises(SpecError, match=r"add up to 0\.9"):
        load(tmp_path, ["review.shares.certify=0.4"])


def test_both_names_at_once_are_refused(tmp_path: Path) -> None:
    """It is unclear which of the two should count, so the old one is an unknown key."""
    with pytest.raises(SpecError, match=r"unknown key 'review\.half_width'"):
        load(write_spec(tmp_path, "[review]\nhalf_width = 0.1\nmargin_of_error = 0.2\n"))


@pytest.mark.parametrize(("path", "new"), [row for row in KEYS if "*" not in row[0]])
def test_old_key_is_mapped_to_its_current_name(path: str, new: str) -> None:
    """Receipts with old names are compared by the current ones. A current name stays as it is."""
    assert current(path) == f"{path.rpartition('.')[0]}.{new}"
    assert current(current(path)) == current(path)
