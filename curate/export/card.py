"""The dataset card: what the rows are, how they were made and judged, and what the numbers do not show."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import orjson

from curate.outcome import CurateResult
from curate.review.status import in_words
from curate.split import SPLITS
from curate.states import Accepted
from schemas.id_map import IdMap
from schemas.kinds import KINDS
from schemas.project import Project
from schemas.records import Generated, Origin, Seed, Split
from schemas.spec import TaskSettings
from schemas.wording import counted

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass
class CardFacts:
    """Running totals over the rows of a dataset, for its card. Per row only the id, the split and a few hashes are
    kept."""

    members: list[tuple[str, Split]] = field(default_factory=list)
    splits: Counter[Split] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    licenses: set[str] = field(default_factory=set)
    teachers: set[str] = field(default_factory=set)
    prompts: set[str] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    reviewed: int = 0
    generated: bool = False
    _seeds: IdMap = field(default_factory=IdMap)
    _inputs: dict[Split, array[int]] = field(default_factory=lambda: {split: array("q") for split in SPLITS})

    def add(self, accepted: Accepted, origin: Origin, seed: Seed | None) -> None:
        """Count a row; of an edited one, `origin` is that of the pair that was corrected."""
        pair = accepted.pair
        self.members.append((pair.id, accepted.split))
        self.splits[accepted.split] += 1
        self._inputs[accepted.split].append(hash((pair.seed_id, pair.input)))
        self.columns.update(pair.columns)
        self.reviewed += any(not review.simulated for review in accepted.reviews)
        if isinstance(origin, Generated):
            self.generated = True
            self.teachers.add(origin.teacher)
            self.prompts.add(origin.prompt)
        if seed and pair.seed_id not in self._seeds:
            self._seeds[pair.seed_id] = len(self._seeds)
            self.kinds[seed.kind] += 1
            self.licenses.update(license or "not stated" for license in seed.licenses)

    def inputs(self, split: Split) -> int:
        """The number of distinct inputs in a split."""
        return len(np.unique(np.array(self._inputs[split])))


def card(project: Project, result: CurateResult, totals: CardFacts) -> str:
    """The card as Markdown with the YAML front matter that the Hugging Face Hub reads (`card.md.j2`). It contains no
    date, so that equal datasets have equal cards."""
    from jinja2 import Environment, StrictUndefined

    task, licenses, review = project.spec.task, sorted(totals.licenses), result.facts.get("review")
    only = licenses[0].casefold() if len(licenses) == 1 and licenses != ["not stated"] else None
    near = result.facts["near_duplicate_seed_count"]
    environment = Environment(keep_trailing_newline=True, undefined=StrictUndefined)
    environment.filters["json"] = lambda value: orjson.dumps(value).decode()
    return environment.from_string(Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8")).render(
        task=task,
        totals=totals,
        rows=len(totals.members),
        size=next((name for most, name in _SIZES if len(totals.members) < most), "n>1M"),
        splits=SPLITS,
        license=only or ("unknown" if licenses in ([], ["not stated"]) else "other"),
        licenses=licenses,
        languages=dict.fromkeys((task.language, task.output_language)),
        sides=_sides(task, generated=totals.generated),
        of="group" if any(source.group for source in project.spec.seeds) else "seed",
        seeds=[f"{number} {kind}" for kind, number in sorted(totals.kinds.items())],
        teachers=sorted(totals.teachers),
        prompts=sorted(totals.prompts),
        labels=[": ".join(filter(None, (label, " ".join(text.split())))) for label, text in task.labels.items()],
        scorer=result.facts["scorer"],
        counts=result.counts,
        reasons=result.reasons,
        review=in_words(review) if review else [],
        near=near
        and counted(near, "seed is a near-duplicate of an earlier one", "seeds are near-duplicates of an earlier one"),
    )


_SWITCHED_OFF = "Human review was switched off for this dataset (`--no-review`, or `[review] enabled = false`)."
_NEXT_SECTION = "\n\n## What is in it\n"


def with_review_switched_off(text: str) -> str:
    """Add the notice that human review was switched off, unless the card has it already."""
    if f"\n{_SWITCHED_OFF}{_NEXT_SECTION}" in text:
        return text
    return text.replace(_NEXT_SECTION, f"\n{_SWITCHED_OFF}{_NEXT_SECTION}", 1)


def _sides(task: TaskSettings, *, generated: bool) -> str:
    """How the card names the two sides of a row."""
    kind = KINDS[task.kind]
    if task.kind != "rewrite":
        return f"a {kind.input} and its {kind.output}"
    return f"an input and its {'rewrite in a house style' if generated else 'output'}"
