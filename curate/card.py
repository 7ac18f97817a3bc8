"""The dataset card: what the rows are, how they were made and judged, and what the numbers do not show."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import orjson

from curate.accepted import Accepted
from curate.outcome import CurateResult
from curate.review.status import in_words
from curate.split import SPLITS
from schemas.id_map import IdMap
from schemas.kinds import KINDS
from schemas.project import Project
from schemas.records import Generated, Seed, Split
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

    def add(self, accepted: Accepted, seed: Seed | None) -> None:
        pair, origin = accepted.pair, accepted.pair.origin
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
    """The card as Markdown with the YAML front matter that the Hugging Face Hub reads. It contains no date, so that
    equal datasets have equal cards."""
    task, rows, splits, review = project.spec.task, len(totals.members), totals.splits, result.facts.get("review")
    of = "group" if any(source.group for source in project.spec.seeds) else "seed"
    return "\n".join(
        [
            *_front_matter(project, totals),
            f"# {task.name}",
            "",
            f"{rows} pairs of {_sides(task, generated=totals.generated)}, for supervised fine-tuning of",
            "a small model. Made with pairsmith.",
            "",
            "**"
            + (f"{totals.reviewed} of {rows} rows were reviewed by people." if totals.reviewed else _UNREVIEWED)
            + "**",
            "",
            "## What is in it",
            "",
            "| split | rows | inputs |",
            "|---|---:|---:|",
            *(f"| {split} | {splits[split]} | {totals.inputs(split)} |" for split in SPLITS),
            "",
            f"The split is by a hash of the {of}, so all rows of a {of} are in one split. The test split is only for",
            "the evaluation. Every row has `messages` (the whole chat), `prompt` with `completion` (the same chat,",
            f"split for loss on the completion only), and `score`, {_SCORE if result.facts['scorer'] else _NO_SCORE}.",
            "",
            "```python",
            "from datasets import load_dataset, load_from_disk",
            "",
            'load_dataset("parquet", data_files={"train": "data/train.parquet"})',
            'load_from_disk("arrow")',
            "```",
            "",
            "## How it was made",
            "",
            *_sources(task, result, totals),
            "",
            "## The funnel",
            "",
            "| rows in | accepted | rejected | waiting | failed |",
            "|---:|---:|---:|---:|---:|",
            "| {rows_in} | {accepted} | {rejected} | {waiting} | {failed} |".format(**result.counts.model_dump()),
            "",
            *(f"- {word}: {number}" for word, number in result.reasons.items()),
            "",
            *(["## Human review", "", *(f"- {line}" for line in in_words(review)), ""] if review else []),
            "## What the numbers do not show",
            "",
            "- Gates see form, not sense: a row can pass all of them and be wrong or dull.",
            *([_UNCHECKED] if result.facts["scorer"] else []),
            "- Near-duplicates are found by shared word pairs; a paraphrase in other words is not seen.",
            *_near_duplicate_seeds(result),
            "",
            "`manifest.json` names the seed, prompt, teacher, sampling, calls, verdicts and reviews of every row, and",
            "the SHA-256 of every file.",
            "",
        ]
    )


_SCORE = "which compares rows of one input and no others"
_NO_SCORE = "which is empty here: nothing was scored"
_UNCHECKED = "- The scorer was not checked against people's judgement of these rows."
_UNREVIEWED = "Not reviewed by humans: every row was accepted by programs."
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


def _label_definitions(task: TaskSettings) -> list[tuple[str, ...]]:
    """(label, definition) of each label on one line; (label,) for a label without a definition."""
    return [tuple(filter(None, (label, " ".join(text.split())))) for label, text in task.labels.items()]


def _sources(task: TaskSettings, result: CurateResult, totals: CardFacts) -> list[str]:
    """The section on sources: seeds, teachers, prompts, labels, style and scorer."""
    licenses, teachers, prompts = (sorted(names) for names in (totals.licenses, totals.teachers, totals.prompts))
    scorer = result.facts["scorer"]
    seeds = ", ".join(f"{number} {kind}" for kind, number in sorted(totals.kinds.items())) or "none"
    by = f"{', '.join(teachers)}. Its terms of use apply to what it wrote" if teachers else "none"
    return [
        f"- Seeds: {seeds}. License of the seeds: {', '.join(licenses)}.",
        f"- Teacher: {by}.",
        f"- Prompts: {', '.join(prompts) or 'none'}.",
        *(["- Labels: " + "; ".join(map(": ".join, _label_definitions(task))) + "."] if task.labels else []),
        f"- House style: {' '.join(task.style.split())}",
        f"- Scorer: {scorer['why'] if scorer else 'none; every row that passed is kept'}.",
    ]


def _front_matter(project: Project, totals: CardFacts) -> list[str]:
    task, licenses, rows = project.spec.task, sorted(totals.licenses), len(totals.members)
    only = licenses[0].casefold() if len(licenses) == 1 and licenses != ["not stated"] else None
    license = only or ("unknown" if licenses in ([], ["not stated"]) else "other")
    return [
        "---",
        f"pretty_name: {orjson.dumps(task.name).decode()}",
        f"license: {orjson.dumps(license).decode()}",
        "language:",
        *(f"- {orjson.dumps(code).decode()}" for code in dict.fromkeys((task.language, task.output_language))),
        "task_categories:\n- text-generation",
        f"size_categories:\n- {next((name for most, name in _SIZES if rows < most), 'n>1M')}",
        "tags:\n" + "- synthetic\n" * totals.generated + "- pairsmith",
        "configs:\n- config_name: default\n  data_files:",
        *(f"  - split: {split}\n    path: data/{split}.parquet" for split in SPLITS if totals.splits[split]),
        "---",
        "",
    ]


def _near_duplicate_seeds(result: CurateResult) -> list[str]:
    near = result.facts["near_duplicate_seed_count"]
    like = "seed is a near-duplicate of an earlier one", "seeds are near-duplicates of an earlier one"
    removed = "rows that repeat a test seed, not only its template, were removed"
    return [f"- {counted(near, *like)} in another split; {removed}."] if near else []
