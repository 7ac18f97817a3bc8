"""The versions that `make` installs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_ELSEWHERE = ("vllm", "unsloth")  # extras with a virtual environment of their own
_NAMED = [
    *_PROJECT["dependencies"],
    *(one for extra, each in _PROJECT["optional-dependencies"].items() if extra not in _ELSEWHERE for one in each),
]


@pytest.fixture(scope="module")
def tested_versions() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), "no build of one machine, no address"
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("named", sorted({one for one in _NAMED if not one.startswith("pairsmith[")}))
def test_every_package_that_we_name_has_a_tested_version(named: str, tested_versions: dict[str, str]) -> None:
    """Each is within the range that pyproject.toml admits, so a release of another package breaks no fresh clone."""
    requirement = Requirement(named)
    version = tested_versions[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)
