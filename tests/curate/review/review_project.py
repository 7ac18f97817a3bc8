"""A small project with judged candidates in its store."""

from __future__ import annotations

from pathlib import Path

import orjson

from curate.gates import gates_for, judge
from schemas.project import Project
from schemas.records import Candidate, Generated, Pair, Sampling, Seed, Verdict
from schemas.spec_file import load
from schemas.store import Store

SCOPE = "scope"
SPEC = """
[task]
name = "{name}"
system = "Rewrite."
style = "One sentence about a cat, at least four words. <script>alert('style')</script>"

[[seeds]]
path = "seeds.jsonl"

[[exemplars]]
input = "cat"
output = "A tabby cat sleeps on a warm stove."

[curate.gates]
echo = false
language = false
lost_content = false
answered = false
length = {{ min_words = 4, max_words = 40, min_ratio = 1.0, max_ratio = 60.0 }}

[review]
workspace = "{workspace}"
batch = 24
overlap = 0.25
gold = "gold.jsonl"
reasons = ["length", "off_style", "invented"]

[evaluate]
checks = [{{ name = "a", pattern = "x" }}, {{ name = "b", pattern = "y" }}]
"""


def project(folder: Path, name: str = "cats", *, workspace: str = "pairsmith") -> Project:
    """Write the spec and its gold file to `folder` and load the project."""
    (folder / "pairsmith.toml").write_text(SPEC.format(name=name, workspace=workspace), encoding="utf-8")
    gold = [
        {"simple": "a gold cat", "enhanced": "A golden cat sits in the sun.", "verdict": "accept"},
        {"simple": "a lead cat", "enhanced": "A dog, which is no cat at all.", "verdict": "reject"},
    ]
    (folder / "gold.jsonl").write_bytes(b"".join(orjson.dumps(item) + b"\n" for item in gold))
    return load(folder)


def pair_of(seed: Seed, sample: int, output: str) -> Pair:
    origin = Generated(
        generator="forward",
        prompt="enhance/v1@0",
        teacher="teacher-7b",
        sampling=Sampling(seed=sample),
        calls=((f"{seed.id}-{sample}", 1),),
    )
    return Pair(seed_id=seed.id, input=seed.text or "", output=output, system="Rewrite.", origin=origin)


def fill(project: Project, store: Store, inputs: int = 12, *, nasty: bool = False) -> list[Pair]:
    """Store `inputs` inputs with four candidates each: three pass and are scored, the last is too short."""
    seeds, pairs, places, verdicts = [], [], [], []
    gates = gates_for(project.spec.task, project.spec.curate.gates, project.folder, project.spec.exemplars)
    for number in range(inputs):
        text = f"cat {number} </script><script>alert(1)</script>" if nasty else f"cat {number}"
        seed = Seed(kind="input", text=text, source=f"seeds.jsonl:{number}")
        seeds.append(seed)
        for sample in range(4):
            words = "Too short." if sample == 3 else f"Tabby cat {number} sleeps on stove number {sample} & purrs."
            pair = pair_of(seed, sample, words if sample == 3 or not nasty else f"{words} <img src=x onerror=alert(2)>")
            pairs.append(pair)
            places.append(
                Candidate(fingerprint=SCOPE, seed_id=seed.id, generator="forward", sample=sample, pair_id=pair.id)
            )
            verdicts += judge(pair, gates)
            if sample != 3:
                verdicts.append(
                    Verdict(
                        pair_id=pair.id,
                        by="score/test@1",
                        fingerprint="s",
                        keep=True,
                        score=sample / 2,
                        reason="scored",
                    )
                )
    store.set_active_seeds(seeds)
    store.write(*pairs, *places, *verdicts)
    return pairs
