"""Checks for the evaluation only: they compare an answer with what was recorded for its commit line.

`test.jsonl`, `validation.jsonl`, `seeds.jsonl` and `pairs.jsonl` have, for each commit line, its right label and the
words that the note must contain. No gate and no training row uses either; those of seeds and pairs serve the validation
inputs, which come from them.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path


def right_label(pair):
    """The note begins with the label that was recorded for this commit line."""
    expected = gold()[pair.input]["label"]
    return (True, "ok") if pair.output.startswith(f"{expected}: ") else (False, f"wrong_label it should be {expected}")


def names_the_thing(pair):
    """The note names everything that was recorded for this commit line."""
    phrase = pair.output.partition(": ")[2].lower()
    missing = [name for name in gold()[pair.input]["names"] if name.lower() not in phrase]
    return (True, "ok") if not missing else (False, f"unnamed {', '.join(missing)}")


@cache
def gold():
    """commit line -> its gold label and names. A line without gold is a KeyError: the answer is then not scored."""
    here = Path(__file__).parent
    parts = ("test", "validation", "seeds", "pairs")
    files = [(here / f"{part}.jsonl").read_text(encoding="utf-8") for part in parts]
    rows = [json.loads(line) for file in files for line in file.splitlines()]
    return {row["input"] if "input" in row else row["text"]: row for row in rows}
