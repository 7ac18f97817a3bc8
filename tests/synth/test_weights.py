"""A model folder is named by its weights, whatever a file beside them says."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from synth.embedded.weights import folder_weights


def model(folder: Path, content: bytes, source: str | None) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{}")
    if source is not None:
        (folder / "source.json").write_text(source)
    return folder


def facts(content: bytes) -> str:
    return json.dumps({"revision": f"sha256:{hashlib.sha256(content).hexdigest()[:16]}", "source": "hub x@1"})


@pytest.mark.parametrize("source", ['{"origin": "somebody else"}', "[]", "not json", '"text"', "{}"])
def test_a_file_of_another_program_is_not_read_as_ours(source: str, tmp_path: Path) -> None:
    """Not believed, and no traceback: the folder is named by what is in it."""
    plain = folder_weights(model(tmp_path / "plain", b"weights", None))
    assert folder_weights(model(tmp_path / "foreign", b"weights", source)).revision == plain.revision


def test_other_weights_under_a_record_of_ours_are_other_weights(tmp_path: Path) -> None:
    """Replaced weights are never credited to the model that the record names; unchanged ones keep their name."""
    kept = folder_weights(model(tmp_path / "kept", b"weights", facts(b"weights")))
    assert (kept.revision, kept.source) == (json.loads(facts(b"weights"))["revision"], "hub x@1")
    replaced = folder_weights(model(tmp_path / "replaced", b"others", facts(b"weights")))
    assert replaced.revision != kept.revision
    assert replaced.source == "folder"
