"""The sentences that pages show for reason codes."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from curate import gates
from curate.gates.personal import WORDS
from curate.gates.preamble import _CODES
from pairsmith.stages.generate import UNANSWERED
from pairsmith.style.reasons import SENTENCES, sentence_of

FOLDER = Path(gates.__file__).parent
GIVES = ("rejected", "flag")  # functions whose first argument is the code of a reason
PAIRS = (
    "_additions",
    "_meaning_changes",
    "_form_changes",
    "_changes",
    "another_value",
    "_invention",
)  # (code, message)


def codes_of_gates() -> Iterator[str]:
    """Every code with which a gate rejects or flags a row: in its source, or in the tables of phrases."""
    for file in FOLDER.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                given = [
                    *node.args[: node.func.id in GIVES],
                    *(word.value for word in node.keywords if word.arg == "flag"),
                ]
                yield from (one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str))
            if isinstance(node, ast.FunctionDef) and node.name in PAIRS:
                tuples = (one for one in ast.walk(node) if isinstance(one, ast.Tuple) and one.elts)
                firsts = (one.elts[0] for one in tuples)
                words = (one.value for one in firsts if isinstance(one, ast.Constant) and isinstance(one.value, str))
                yield from (word for word in words if re.fullmatch(r"[a-z]+(_[a-z]+)*", word))
    for file in FOLDER.rglob("*.toml"):
        for frame in tomllib.loads(file.read_text(encoding="utf-8")).get("frames", ()):
            yield frame["code"]
    yield from _CODES.values()
    yield from (f"pii_{kind}" for kind in WORDS)


def test_every_reason_of_a_gate_has_a_sentence() -> None:
    """No page shows the bare code of a gate, a check of personal data or a failed request, such as `prompt_leak`."""
    codes = {*codes_of_gates(), *UNANSWERED}
    assert {"preamble", "prompt_leak", "lost_condition", "changed_unit", "unended", "invented_name"} <= codes
    assert not sorted(codes - SENTENCES.keys())
    assert all(re.fullmatch(r"[A-Z].*\.", sentence_of(code)) for code in codes)
