"""Promises: memory is what this process may use, not what the host has."""

from __future__ import annotations

from pathlib import Path

from schemas.memory import free_bytes, limit_to_container, total_bytes

GIB = 2**30


def test_the_memory_limit_of_a_container_counts(tmp_path: Path) -> None:
    """Not the host's memory; a limit that is "max", empty, missing or larger changes nothing."""
    v2, v1 = tmp_path / "memory.max", tmp_path / "limit_in_bytes"
    assert limit_to_container(64 * GIB, (v2, v1)) == 64 * GIB
    for limit, expected in (("max\n", 64), ("", 64), (f"{4 * GIB}\n", 4), (str(2**63), 64)):
        v2.write_text(limit)
        assert limit_to_container(64 * GIB, (v2, v1)) == expected * GIB
    v2.write_text("max")
    v1.write_text(str(2 * GIB))
    assert limit_to_container(64 * GIB, (v2, v1)) == 2 * GIB


def test_free_memory_is_a_part_of_the_total() -> None:
    """Both in bytes."""
    assert 2**26 < free_bytes() <= total_bytes()
