"""The arithmetic of the Bradley-Terry head: fitting it, and measuring it on unseen corruptions and texts.

All functions work on numbers per text: `states` [texts, hidden] and `sizes` [measures, texts]. A comparison is a pair
of row indices (good, bad). Accuracy counts 1 for a correct order and 1/2 for a tie.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.progress import Progress, unseen

_FOLDS = 4
_L2 = (0.03, 0.1, 0.3, 1.0)
_RESAMPLES = 2000


def head(states: np.ndarray, good: Sequence[int], bad: Sequence[int], l2: float) -> np.ndarray:
    """Weights w [hidden] with r(text) = w . state, such that the mean state of the texts has r = 0.

    Removing the component along the mean hardly changes any comparison and keeps logits near 0, where 16-bit numbers
    are precise enough.
    """
    rows = np.unique(np.concatenate([good, bad]))
    scale = states[rows].std(axis=0) + 1e-6
    scaled = (states[good] - states[bad]) / scale
    weights = scaled.T @ _dual(scaled @ scaled.T / states.shape[1], l2) / states.shape[1] / scale
    mean = states[rows].mean(axis=0)
    return np.asarray(weights - mean * (weights @ mean) / (mean @ mean))


def _dual(kernel: np.ndarray, l2: float) -> np.ndarray:
    """Newton's method for min_a sum log(1 + exp(-K a)) + l2/2 a'Ka: logistic regression without intercept."""
    a = np.zeros(len(kernel))
    for _ in range(25):
        p = 1 / (1 + np.exp(np.clip(kernel @ a, -30, 30)))
        curvature = np.maximum(p * (1 - p), 1e-8)
        step = np.linalg.solve(curvature[:, None] * kernel + l2 * np.eye(len(kernel)), p - l2 * a)
        a = a + step
        if np.abs(step).max() < 1e-6:
            break
    return a


def lengths(texts: Sequence[str], tokens: Sequence[int]) -> np.ndarray:
    """[3, texts]: words, characters, tokens."""
    return np.array([[len(text.split()) for text in texts], [len(text) for text in texts], list(tokens)], dtype=float)


def credit(margins: np.ndarray) -> np.ndarray:
    """1 where the good text has the higher score, 1/2 for a tie, 0 otherwise."""
    return np.asarray((margins > 0) + 0.5 * (margins == 0))


def interval(credits_: np.ndarray, texts: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Bootstrap 95 % interval of the mean, generalising to other good texts and other groups of corruptions.

    Both are resampled whole and their multiplicities multiplied (the pigeonhole bootstrap, Owen 2007, arXiv:0712.1111),
    because comparisons of one text, or of one group, are not independent.
    """
    rng = np.random.default_rng(0)
    names, row = np.unique(texts, return_inverse=True)
    group_names, column = np.unique(groups, return_inverse=True)
    sums, counts = (np.zeros((len(names), len(group_names))) for _ in range(2))
    np.add.at(sums, (row, column), credits_)
    np.add.at(counts, (row, column), 1)
    by_text = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), _RESAMPLES)
    by_group = rng.multinomial(len(group_names), np.full(len(group_names), 1 / len(group_names)), _RESAMPLES)
    total = ((by_text @ counts) * by_group).sum(axis=1)
    means = ((by_text @ sums) * by_group).sum(axis=1)[total > 0] / total[total > 0]
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def measured(
    states: np.ndarray,
    sizes: np.ndarray,
    good: Sequence[int],
    bad: Sequence[int],
    groups: Sequence[str],
    progress: Progress = unseen,
) -> dict[str, Any]:
    """Accuracy on unseen corruptions compared with length, and the penalty to use for the final fit.

    Every comparison is predicted by a head that saw neither its good text nor any comparison of its group of
    corruptions (4 folds of texts x groups). The penalty of each such head is chosen inside its own training folds,
    again by leaving out groups and texts. The length rule (longer or shorter, in words, characters or tokens) is chosen
    on the same training folds. `accuracy_seen` is the flattering number: on unseen texts, but with corruptions of seen
    groups.
    """
    good_, bad_, group = np.array(good), np.array(bad), np.array(groups)
    fold = np.random.default_rng(0).permutation(int(good_.max()) + 1)[good_] % _FOLDS
    difference = states[good_] - states[bad_]
    by_size = np.sign(sizes[:, good_] - sizes[:, bad_])
    margins, seen_margins, by_length = (np.full(len(good_), np.nan) for _ in range(3))
    parts = [(held, name) for held in range(_FOLDS) for name in np.unique(group)]
    for done, (held, name) in enumerate(parts, 1):
        train = (fold != held) & (group != name)
        test = (fold == held) & (group == name)
        kernel = _kernel(states, difference, good_, bad_, train)
        alpha = _dual(kernel[np.ix_(train, train)], _chosen_l2(kernel, fold, group, train))
        margins[test] = kernel[np.ix_(test, train)] @ alpha
        # A comparison of another group occurs once for each group left out; any of these predictions will do.
        seen = (fold == held) & (group != name)
        seen_margins[seen] = kernel[np.ix_(seen, train)] @ alpha
        measure, sign = max(
            ((m, s) for m in range(len(by_size)) for s in (1, -1)),
            key=lambda rule: credit(rule[1] * by_size[rule[0]][train]).mean(),
        )
        by_length[test] = sign * by_size[measure][test]
        progress("fit", {"done": done, "total": len(parts)})
    right, right_by_length = credit(margins), credit(by_length)
    low, high = interval(right, good_, group)
    everything = np.ones(len(good_), dtype=bool)
    return {
        "accuracy": float(right.mean()),
        "low": low,
        "high": high,
        "length_only": float(right_by_length.mean()),
        "accuracy_seen": float(credit(seen_margins).mean()),
        "by_group": {
            str(name): {
                "comparisons": int((group == name).sum()),
                "accuracy": float(right[group == name].mean()),
                "length_only": float(right_by_length[group == name].mean()),
            }
            for name in np.unique(group)
        },
        "l2": _chosen_l2(_kernel(states, difference, good_, bad_, everything), fold, group, everything),
    }


def _kernel(
    states: np.ndarray, difference: np.ndarray, good: np.ndarray, bad: np.ndarray, train: np.ndarray
) -> np.ndarray:
    """Inner products of all differences, scaled by the standard deviation of the training texts."""
    scale = states[np.unique(np.concatenate([good[train], bad[train]]))].std(axis=0) + 1e-6
    scaled = difference / scale
    return np.asarray(scaled @ scaled.T / states.shape[1])


def _chosen_l2(kernel: np.ndarray, fold: np.ndarray, group: np.ndarray, within: np.ndarray) -> float:
    """The penalty that does best within `within` when a group and a fold of texts are left out, one fold per group."""
    folds = np.unique(fold[within])
    right = dict.fromkeys(_L2, 0.0)
    for at, name in enumerate(np.unique(group[within])):
        held_out = folds[at % len(folds)]
        train = within & (group != name) & (fold != held_out)
        test = within & (group == name) & (fold == held_out)
        if not train.any() or not test.any():
            continue
        for l2 in _L2:
            right[l2] += float(credit(kernel[np.ix_(test, train)] @ _dual(kernel[np.ix_(train, train)], l2)).sum())
    return max(_L2, key=lambda l2: (right[l2], l2))
