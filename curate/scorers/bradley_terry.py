"""A small reward model where none can be downloaded, fitted on good texts against deliberately damaged ones.

The language model is frozen; a linear head on the hidden state of the last token is fitted with the Bradley-Terry
loss -log sigmoid(r(good) - r(damaged)) (Ouyang et al. 2022, arXiv:2203.02155) plus an L2 penalty. Standardisation
is folded into the weights, so the result is an ordinary sequence-classification folder that `reward.py` loads like
any other.

Its worth is measured where it was not fitted: on damage of families never seen, done to texts never seen, beside a
rule that looks at length only. Not covered: whether it ranks the *teacher's* mistakes as people would; only labels
can tell.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from curate.scorers.damage import FAMILIES, damage
from schemas.files import replaced_folder
from schemas.records import content_id

if TYPE_CHECKING:
    import numpy as np

    from synth.embedded.weights import Weights

VERSION = 1
LEAST_EXAMPLES = 16
"""With fewer good texts neither the fit nor its test means anything."""

_KINDS_PER_EXAMPLE = 6
_RELEVANCE_EXAMPLES = 48
_BATCH_TOKENS = 3200


class Example(NamedTuple):
    """A good text and what it answers; where `input` is empty, `with_simple` makes a terse version."""

    input: str
    text: str


class Comparison(NamedTuple):
    """A good text of example `example` and a damaged version of it."""

    example: int
    family: str
    kind: str
    damaged: str


class Fitted(NamedTuple):
    """`folder` holds `fit.json` with `facts` (docs/curation.md explains them) and, if it beats length, the model."""

    folder: Path
    facts: dict[str, Any]


def with_input_text(examples: Sequence[Example]) -> list[Example]:
    """`examples` with an input each: where it is missing, the text's four rarest words in their order."""
    words = [list(dict.fromkeys(re.findall(r"[^\W\d_]{4,}", text.casefold()))) for _, text in examples]
    frequency = Counter(word for found in words for word in found)

    def terse(found: list[str]) -> str:
        rarest = sorted(range(len(found)), key=lambda at: (frequency[found[at]], at))[:4]
        return " ".join(found[at] for at in sorted(rarest))

    return [Example(e.input or terse(found), e.text) for e, found in zip(examples, words, strict=True)]


def comparisons(examples: Sequence[Example], rng: random.Random) -> list[Comparison]:
    """Six of the kinds of damage for every example, in rotation, so that all kinds are met about equally often."""
    kinds = [(family, kind) for family, members in FAMILIES.items() for kind in members]
    found = []
    for at, (input, text) in enumerate(examples):
        others = [other.text for other in examples if other.text != text]
        for step in range(_KINDS_PER_EXAMPLE):
            # An odd stride visits every kind and changes the company in which a kind appears.
            family, kind = kinds[(at + step * 5) % len(kinds)]
            damaged = damage(kind, text, input, others, rng)
            if damaged is not None:
                found.append(Comparison(at, family, kind, damaged))
    return found


def fit(
    examples: Sequence[Example],
    weights: Weights,
    artefacts: Path,
    *,
    system: str = "",
    progress: Callable[[str, dict[str, Any]], None] | None = None,
) -> Fitted:
    """Fit on `examples` over the language model `weights`, test, and save under `artefacts`; at once if done before.

    `system` is the task's system prompt, used for the relevance baseline only. Runs for some 30 s on 2 CPU cores
    with 48 examples. The folder's name hashes the examples, the weights and this file's version.
    """
    identity = content_id("bradley-terry", [VERSION, list(map(list, examples)), system, weights.revision])
    folder = artefacts / f"reward-{identity[:12]}"
    if (folder / "fit.json").is_file():
        return Fitted(folder, orjson.loads((folder / "fit.json").read_bytes()))
    from curate.scorers.last_token import LanguageModel

    started = time.monotonic()
    full = with_input_text(examples)
    found = comparisons(full, random.Random(identity))
    model = LanguageModel(weights.folder, _BATCH_TOKENS, progress)
    texts = [(e.input, e.text) for e in full] + [(full[c.example].input, c.damaged) for c in found]
    states, tokens = model.states(texts)
    facts = {
        "identity": identity,
        "examples": len(full),
        "comparisons": len(found),
        **_measured(full, found, states, tokens),
        "relevance": _relevance(full, found, model, system, random.Random(identity)),
    }
    # A length rule that does worse than a coin on unseen damage is no baseline: the coin is.
    facts["beats_length"] = facts["low"] > max(facts["length_only"], 0.5)
    with replaced_folder(folder) as partial:
        if facts["beats_length"]:
            model.save_reward_model(partial, _head(full, found, states, facts["l2"]))
        facts["seconds"] = round(time.monotonic() - started, 1)
        (partial / "fit.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return Fitted(folder, facts)


def _measured(
    examples: Sequence[Example], found: Sequence[Comparison], states: np.ndarray, tokens: Sequence[int]
) -> dict[str, Any]:
    from curate.scorers.held_out import lengths, measured

    texts = [e.text for e in examples] + [c.damaged for c in found]
    good = [c.example for c in found]
    bad = [len(examples) + at for at in range(len(found))]
    return measured(states, lengths(texts, tokens), good, bad, [c.family for c in found])


def _head(examples: Sequence[Example], found: Sequence[Comparison], states: np.ndarray, l2: float) -> np.ndarray:
    from curate.scorers.held_out import head

    good = [c.example for c in found]
    return head(states, good, [len(examples) + at for at in range(len(found))], l2)


def _relevance(
    examples: Sequence[Example],
    found: Sequence[Comparison],
    model: Any,
    system: str,
    rng: random.Random,
) -> dict[str, Any]:
    """Accuracy of the training-free relevance score on one comparison of each example, with a 95 % interval."""
    import numpy as np

    from curate.scorers.held_out import credit, interval

    by_example: dict[int, list[Comparison]] = {}
    for comparison in found:
        by_example.setdefault(comparison.example, []).append(comparison)
    tested = rng.sample(sorted(by_example), min(_RELEVANCE_EXAMPLES, len(by_example)))
    chosen = [rng.choice(by_example[example]) for example in tested]
    asked = [examples[example] for example in tested]
    texts = [(e.input, e.text) for e in asked] + [(e.input, c.damaged) for e, c in zip(asked, chosen, strict=True)]
    scores = model.relevance(system, texts)
    credits_ = credit(scores[: len(asked)] - scores[len(asked) :])
    low, high = interval(credits_, np.arange(len(chosen)), np.array([c.family for c in chosen]))
    return {"accuracy": float(credits_.mean()), "low": low, "high": high, "comparisons": len(chosen)}
