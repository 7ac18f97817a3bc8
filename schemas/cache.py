"""The folder for what pairsmith downloads and builds once per user."""

from __future__ import annotations

import os
from pathlib import Path

from schemas.errors import UsageError
from schemas.files import file_in_place_of


def cache_folder() -> Path:
    """`PAIRSMITH_CACHE`, else the user's cache folder for pairsmith. Raises UsageError if it is not a folder."""
    named = os.environ.get("PAIRSMITH_CACHE")
    if named:
        folder = Path(named).expanduser().absolute()
        if (file := file_in_place_of(folder)) is not None:
            fix = "Set it to a folder, which need not exist yet, or unset the variable."
            raise UsageError("this is not a folder.", where=f"PAIRSMITH_CACHE, {file}", fix=fix)
        return folder
    import platformdirs

    return Path(platformdirs.user_cache_dir("pairsmith"))
