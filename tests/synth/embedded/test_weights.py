"""A model folder is identified by its weights, whatever a file beside them says."""

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
def test_source_file_of_another_program_is_ignored(source: str, tmp_path: Path) -> None:
    """It is not trusted and gives no traceback: the folder is identified by its content."""
    plain = folder_weights(model(tmp_path / "plain", b"weights", None))
    assert folder_weights(model(tmp_path / "foreign", b"weights", source)).revision == plain.revision


def test_replaced_weights_get_another_revision(tmp_path: Path) -> None:
    """Replaced weights are never credited to the model in the record. Unchanged ones keep their revision."""
    kept = folder_weights(model(tmp_path / "kept", b"weights", facts(b"weights")))
    assert (kept.revision, kept.source) == (json.loads(facts(b"weights"))["revision"], "hub x@1")
    replaced = folder_weights(model(tmp_path / "replaced", b"others", facts(b"weights")))
    assert replaced.revision != kept.revision
    assert replaced.source == "folder"
