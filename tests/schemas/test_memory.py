"""Promises: memory is what this process may use, not what the host has."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.memory import available_bytes, free_bytes, total_bytes

GIB = 2**30
V2, V1 = "sys/fs/cgroup", "sys/fs/cgroup/memory"


def system(root: Path, groups: str, files: dict[str, object]) -> Path:
    """The files of a system with 64 GiB available, where this process is in `groups`."""
    available = "MemTotal:       99999999 kB\nMemAvailable:   67108864 kB\n"
    for name, content in {"proc/meminfo": available, "proc/self/cgroup": groups, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(str(content))
    return root


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("", {}, 64),
        ("0::/", {f"{V2}/memory.max": "max\n"}, 64),
        ("0::/", {f"{V2}/memory.max": ""}, 64),
        ("0::/", {f"{V2}/memory.max": f"{4 * GIB}\n"}, 4),
        ("0::/", {f"{V1}/memory.limit_in_bytes": 2**63 - 4096}, 64),
        ("", {f"{V2}/memory.max": "max", f"{V1}/memory.limit_in_bytes": 2 * GIB}, 2),
        # A job of a scheduler, and a service within a limited slice.
        ("0::/slurm/job_7\n", {f"{V2}/slurm/job_7/memory.max": 3 * GIB}, 3),
        ("0::/a/b\n", {f"{V2}/a/memory.max": 2 * GIB, f"{V2}/a/b/memory.max": 3 * GIB}, 2),
        ("4:cpu:/x\n3:memory,hugetlb:/job:1\n", {f"{V1}/job:1/memory.limit_in_bytes": 3 * GIB}, 3),
        # The path is the host's, and the container sees its own group as the outermost.
        ("0::/docker/abc\n", {f"{V2}/memory.max": 5 * GIB}, 5),
        ("0::/../other\n", {f"{V2}/memory.max": 5 * GIB, "sys/fs/other/memory.max": GIB}, 5),
    ],
)
def test_every_memory_limit_on_this_process_counts(
    groups: str, files: dict[str, object], free: int, tmp_path: Path
) -> None:
    """That of a container or job, of cgroups v2 and v1, and of every group around it. One that is "max", empty, missing
    or larger than the machine changes nothing."""
    assert available_bytes(system(tmp_path, groups, files)) == free * GIB
    assert total_bytes(tmp_path) == min(total_bytes(tmp_path / "nothing here"), free * GIB)


@pytest.mark.parametrize(
    ("place", "limit", "use", "prefix"),
    [(V2, "memory.max", "memory.current", ""), (V1, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")],
)
def test_what_a_container_uses_already_is_not_free(
    place: str, limit: str, use: str, prefix: str, tmp_path: Path
) -> None:
    """Of 8 GiB, 6 are in use, 1 of them by copies of files that the kernel drops when memory is needed."""
    statistics = f"anon {5 * GIB}\n{prefix}inactive_file {GIB // 2}\n{prefix}active_file {GIB // 2}\n"
    files = {f"{place}/{limit}": 8 * GIB, f"{place}/{use}": 6 * GIB, f"{place}/memory.stat": statistics}
    root = system(tmp_path, "0::/", files)
    assert available_bytes(root) == 3 * GIB
    assert total_bytes(root) == min(total_bytes(tmp_path / "nothing here"), 8 * GIB)
    (root / place / use).write_text(str(10 * GIB))
    assert available_bytes(root) == 0


def test_free_memory_is_a_part_of_the_total(tmp_path: Path) -> None:
    """Both in bytes. A system that does not report it, as macOS, has no figure of available memory."""
    assert available_bytes(tmp_path) is None
    assert 2**26 < free_bytes() <= total_bytes()
