"""Short fingerprints of a file, a folder or a hub dataset. They are equal exactly if the content is.

Path, time and owner do not count, so a project that was copied, moved or cloned keeps its fingerprints.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import suppress
from pathlib import Path
from typing import cast

from schemas.compressed import open_unpacked
from schemas.errors import InputError
from schemas.files import files_in, replaced, sha256
from schemas.records import content_id

LARGE_BYTES = 64 * 2**20
"""A larger file is hashed once, and again only if its inode, size or times have changed."""

_HUB_TIMEOUT_S = 5.0


def of_path(path: Path) -> str:
    """`sha256:...` for a file, `tree:...` for a folder (its files and their relative paths), `absent` if nothing is
    there.

    Raises OSError for what cannot be read. Empty subfolders are ignored.
    """
    if path.is_dir():
        return "tree:" + content_id("tree", [[name, _sha256(file)] for name, file in files_in(path).items()])[:16]
    return f"sha256:{_sha256(path)[:16]}" if path.is_file() else "absent"


def _digest(path: Path) -> str:
    """The SHA-256 of what a file contains, which compressing it does not change; of its bytes if it is damaged."""
    with suppress(InputError), open_unpacked(path, path.name) as unpacked:
        return hashlib.file_digest(cast(io.BufferedReader, unpacked), "sha256").hexdigest()
    return sha256(path)


def of_hub_dataset(name: str, revision: str | None = None) -> str | None:
    """`revision:...` of a dataset's newest commit, or of the commit that `revision` names; None if the hub does not
    answer."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return None
    from huggingface_hub import HfApi

    try:
        commit = HfApi().dataset_info(name, revision=revision, timeout=_HUB_TIMEOUT_S).sha
    except Exception:  # the hub client raises dozens of types; each means that the revision is unknown now
        return None
    return commit and f"revision:{commit}"


def _sha256(path: Path) -> str:
    status = path.stat()
    if status.st_size <= LARGE_BYTES:
        return _digest(path)
    from schemas.cache import cache_folder

    # A copy has another inode and another change time, which no program can set, so it is hashed again.
    same = [str(path.resolve()), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    known = cache_folder() / "hashes" / content_id("file", same)
    with suppress(OSError, UnicodeDecodeError):
        return known.read_text(encoding="ascii")
    digest = _digest(path)
    with suppress(OSError):  # otherwise it is hashed again next time
        known.parent.mkdir(parents=True, exist_ok=True)
        with replaced(known) as partial:
            partial.write_text(digest, encoding="ascii")
    return digest
