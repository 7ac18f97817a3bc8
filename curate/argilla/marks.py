"""The mark by which a queue is recognised: its project, the name it was created for, and the place of the store that
fills it. A copy of a project has the project's id, but another place.

Argilla stores metadata once and ignores later changes of it (2.8), so what may change is in the guidelines."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from schemas.records import Json, content_id
from schemas.store.failures import shown
from schemas.store.opening import sqlite_path

MARK = "<!-- made by pairsmith -->"  # in the guidelines of queues of earlier versions; not displayed
METADATA_KEY = "pairsmith"  # the key in a dataset's metadata that holds the mark
_CLAIM = re.compile(r"<!-- made by pairsmith (\{.*\}) -->")


class Place(NamedTuple):
    """Where a store is, as hashes: its address, and for a file also its number in the file system, which stays the same
    when the folder is moved. Empty: unknown."""

    address: str = ""
    file: str = ""

    def is_at(self, other: Place) -> bool:
        """Whether this may be the place `other`."""
        return not self.address or self.address == other.address or bool(self.file and self.file == other.file)


UNKNOWN = Place()


def place_of(url: str) -> Place:
    """The place of the store at `url`."""
    path = sqlite_path(url)
    file = content_id("file", [path.stat().st_ino]) if path else ""
    return Place(content_id("address", [shown(url)]), file)


def read_mark(dataset: Json) -> Json:
    """Return pairsmith's mark on a dataset: the `project` it belongs to, the `queue` it is, the `place` of the store
    that fills it (missing in queues of earlier versions) and, while it is being created, the `store` of its creator.
    Empty if there is none."""
    claimed = _CLAIM.search(dataset.get("guidelines") or "")
    return (json.loads(claimed[1]) if claimed else {}) | ((dataset.get("metadata") or {}).get(METADATA_KEY) or {})


def format_mark(mark: Json) -> str:
    """Return a mark as a comment for the guidelines, where a draft can carry it from the moment it is created."""
    return f"<!-- made by pairsmith {json.dumps(mark)} -->"
