"""How many planted wrong labels `unlikely_labels` flags, and how many right ones, on public classifications.

    python -m bench.curate.label_errors banking_data/train.csv data_full.json

The files are those of BANKING77 (10,003 questions to a bank, 77 intents) and CLINC150 (15,000 requests, 150 intents).
Rows of some labels are drawn, and one label in twenty (or ten, or none) is changed to another of the list at random.
Not all public labels are right, so a few of the rows that count as wrongly flagged are not. The last lines use random
labels, and intents in three random groups: labels that can hardly be predicted from characters.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate.flags.unlikely_labels import character_vectors, find_likelier_labels
from curate.similarity.neighbours import Vectors

# Rows, labels (0: all of them), share of wrong ones, draws.
DRAWS = ((60, 3, 0.05, 20), (200, 5, 0.05, 20), (200, 5, 0.1, 20), (200, 5, 0.0, 20), (1000, 20, 0.05, 5),
         (1000, 20, 0.0, 5), (9000, 0, 0.05, 1))  # fmt: skip


def read(path: Path) -> tuple[list[str], np.ndarray]:
    """The texts, and their labels as numbers."""
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))["train"]
    else:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))[1:]
    return [row[0] for row in rows], np.unique([row[1] for row in rows], return_inverse=True)[1]


def flagged(vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whether each row is flagged."""
    with Vectors(1) as spilt:
        spilt.add(vectors)
        marked = np.zeros(len(labels), bool)
        marked[list(find_likelier_labels(spilt, labels))] = True
    return marked


def draw(labels: np.ndarray, rows: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """The positions of rows with `count` of the labels, and their labels, numbered from 0."""
    rng = np.random.default_rng(seed)
    kept = rng.choice(labels.max() + 1, count or labels.max() + 1, replace=False)
    places = rng.permutation(np.flatnonzero(np.isin(labels, kept)))[:rows]
    return places, np.unique(labels[places], return_inverse=True)[1], rng


def main(paths: Sequence[str]) -> None:
    print("| rows | labels | wrong | flagged of the wrong | of the right |\n|---|---|---|---|---|")
    for path in map(Path, paths):
        texts, labels = read(path)
        vectors = np.vstack([character_vectors(texts[at : at + 512]) for at in range(0, len(texts), 512)])
        for rows, count, share, draws in DRAWS:
            hits = np.zeros((2, 2))
            for seed in range(draws):
                places, true, rng = draw(labels, rows, count, seed)
                wrong = rng.random(len(true)) < share
                given = np.where(wrong, (true + rng.integers(1, true.max() + 1, len(true))) % (true.max() + 1), true)
                marked = flagged(vectors[places], given)
                hits += [[marked[wrong].sum(), wrong.sum()], [marked[~wrong].sum(), (~wrong).sum()]]
            recall = f"{hits[0, 0]:.0f} of {hits[0, 1]:.0f}" if share else ""
            wrongly = f"{hits[1, 0]:.0f} of {hits[1, 1]:.0f} ({hits[1, 0] / hits[1, 1]:.1%})"
            print(f"| {path.stem}, {rows} | {count or labels.max() + 1} | {share:.0%} | {recall} | {wrongly} |")
        places, true, rng = draw(labels, 3000, 0, 0)
        lumped = rng.integers(0, 3, true.max() + 1)[true]
        for name, given in (("at random", rng.permutation(true)), ("in three groups at random", lumped)):
            print(f"| {path.stem}, 3000, labels {name} | | | | {flagged(vectors[places], given).mean():.1%} |")


if __name__ == "__main__":
    main(sys.argv[1:])
