"""The top layer of pairsmith: the command line, and `Project` for Python. The logic is in the layers below."""

from __future__ import annotations

# What is imported here and in `pairsmith.cli` comes before the commands can handle Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from pairsmith.project import Project

__version__ = "0.1.0"
__all__ = ["Project", "__version__"]


def __getattr__(name: str) -> object:
    """Import `Project` on first use. Threads are set up to wait as in the commands."""
    if name != "Project":
        raise AttributeError(f"module 'pairsmith' has no attribute {name!r}")
    from pathlib import Path
    from runpy import run_path

    run_path(str(Path(__file__).parents[1] / "schemas/package_binding.py"))["bind_packages"]()
    from schemas.cores import limit_spin_waits

    limit_spin_waits()
    from pairsmith.project import Project

    return Project


def __dir__() -> list[str]:
    """Completion in a notebook offers the names above, although `Project` has not been imported yet."""
    return __all__
