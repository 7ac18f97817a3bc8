"""Near-duplicate removal compared with exact hashing, in one run: cost and correctness.

    python -m bench.dedup.run [TEXTS]               # writes bench/results/dedup.json

Texts are 20 to 60 words, drawn by Zipf's law from a vocabulary of 30,000, so that words and pairs of words have
frequencies as unequal as in prose. One in ten is a copy of another with a few words changed, verified to have a Jaccard
similarity of word bigrams >= 0.7. The baseline is the usual first approach: normalise every text in the same way, and
keep a set of its xxhash. Each variant is a process of its own, its best of three; CPU seconds (without building the
texts) and peak resident memory are the kernel's; `texts_mb` is the memory with the texts alone.
"""

from __future__ import annotations

import json
import os
import platform
import random
import sys
from itertools import accumulate, pairwise
from typing import Any

from bench.harness import cpu_s, figures_of, keep, peak_mb

THRESHOLD = 0.7


def corpus(number: int) -> tuple[list[str], list[int]]:
    """The texts in order, and for each the number of the text that it copies, or -1."""
    rng = random.Random(11)
    syllables = [f"{a}{b}" for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "ai", "en", "or")]
    vocabulary = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(30_000)]
    weights = list(accumulate(1 / rank for rank in range(1, len(vocabulary) + 1)))
    originals = [
        rng.choices(vocabulary, cum_weights=weights, k=rng.randint(20, 60)) for _ in range(number - number // 10)
    ]
    texts, copies = [" ".join(words) for words in originals], [-1] * len(originals)
    while len(texts) < number:
        of = rng.randrange(len(originals))
        words = originals[of].copy()
        for _ in range(rng.randint(1, 3)):
            words[rng.randrange(len(words))] = rng.choice(vocabulary)
        if similarity(words, originals[of]) >= THRESHOLD:
            texts.append(" ".join(words).capitalize() + ".")
            copies.append(of)
    return texts, copies


def similarity(one: list[str], other: list[str]) -> float:
    """The Jaccard similarity of word bigrams, computed directly."""
    a, b = set(pairwise(one)), set(pairwise(other))
    return len(a & b) / len(a | b)


def exact(texts: list[str]) -> dict[int, int]:
    """The baseline: number of a text whose words were seen before -> -1."""
    import xxhash

    from curate.words import words

    seen, removed = set[bytes](), {}
    for number, text in enumerate(texts):
        digest = xxhash.xxh3_128_digest(" ".join(words(text)).encode())
        if digest in seen:
            removed[number] = -1
        seen.add(digest)
    return removed


def ours(texts: list[str]) -> dict[int, int]:
    """Number of a removed text -> the text that it repeats."""
    from curate.similarity.near_duplicates import duplicates

    return {number: pair.earlier for number, pair in duplicates(((text,) for text in texts), THRESHOLD).items()}


def run_variant(way: str, number: int) -> None:
    """The child process: prints CPU seconds, peak megabytes, and what was removed."""
    texts, copies = corpus(number)
    began, held = cpu_s(), peak_mb()
    removed = {"exact": exact, "ours": ours}[way](texts)
    took = {"cpu_s": cpu_s() - began, "peak_mb": peak_mb(), "texts_mb": held}
    figures: dict[str, Any] = {**took, "gone": len(removed)}
    if way == "ours":
        right = [n for n, of in removed.items() if similarity(_words(texts[n]), _words(texts[of])) >= THRESHOLD]
        clusters: dict[int, list[int]] = {}
        for n, of in enumerate(copies):
            clusters.setdefault(of if of >= 0 else n, []).append(n)
        figures |= {
            "recall": sum(n in removed for n, of in enumerate(copies) if of >= 0) / sum(of >= 0 for of in copies),
            "precision": len(right) / max(1, len(removed)),
            "clusters_lost": sum(all(n in removed for n in cluster) for cluster in clusters.values()),
        }
    print(json.dumps(figures))


def _words(text: str) -> list[str]:
    return text.lower().rstrip(".").split()


def main(number: int) -> None:
    """Run both variants three times, alternating; the least CPU of each counts."""
    runs: dict[str, list[dict[str, Any]]] = {"exact": [], "ours": []}
    for _ in range(3):
        for way in runs:
            runs[way].append(figures_of("-m", "bench.dedup.run", way, str(number)))
    exactly, near = (min(runs[way], key=lambda run: run["cpu_s"]) for way in ("exact", "ours"))
    figures = {
        "texts": number,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "exact_cpu_s": round(exactly["cpu_s"], 3),
        "cpu_s": round(near["cpu_s"], 3),
        "cpu_ratio": round(near["cpu_s"] / exactly["cpu_s"], 3),
        **{key: near[key] for key in ("peak_mb", "texts_mb", "gone", "recall", "precision", "clusters_lost")},
    }
    keep("dedup", figures, whole=True)


if __name__ == "__main__":
    if sys.argv[1:2] in (["exact"], ["ours"]):
        run_variant(sys.argv[1], int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 100_000)
