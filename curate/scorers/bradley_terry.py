"""A small reward model where none can be downloaded, fitted on good texts against deliberately corrupted ones.

The language model is frozen. A linear head on the hidden state of the last token is fitted with the Bradley-Terry loss
-log sigmoid(r(good) - r(corrupted)) (Ouyang et al. 2022, arXiv:2203.02155) plus an L2 penalty. Standardisation is
folded into the weights, so the result is an ordinary sequence-classification folder that `reward.py` loads like any
other.

It is evaluated on texts and on groups of corruptions that the fit has not seen, against a rule that looks at length
only. Not covered: whether it ranks the *teacher's* mistakes as people would; only labels can show that.
"""

from __future__ import annotations

import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from curate.scorers.corruptions import ENGLISH, GROUPS, content_words, corrupt, is_segmented_differently
from schemas.files import replaced_folder
from schemas.identity import random_sort_key
from schemas.progress import Progress, unseen
from schemas.records import content_id

if TYPE_CHECKING:
    from synth.embedded.weights import Weights

VERSION = 1
LEAST_EXAMPLES = 16
"""With fewer good texts neither the fit nor its test means anything."""

_MOST_EXAMPLES = 128  # five to six minutes of CPU with texts of 20 to 120 words, nearly all in the language model
_CORRUPTIONS_PER_EXAMPLE = 6
_PMI_EXAMPLES = 48
_BATCH_TOKENS = 3200
_RENAMED = {"relevance": "pmi", "by_family": "by_group"}  # keys in fit.json of earlier versions


class GoodText(NamedTuple):
    """A good text and the input that it answers; if `input` is empty, `with_inputs` makes one."""

    input: str
    text: str


class PreferencePair(NamedTuple):
    """A corrupted version, i.e. a synthetic negative, of the good text with index `example`."""

    example: int
    group: str
    corruption: str
    corrupted: str


class Fitted(NamedTuple):
    """The result of a fit. `folder` holds `fit.json` with `facts` (see docs/curation.md) and, if it beats length, the
    model."""

    folder: Path
    facts: dict[str, Any]


def with_inputs(examples: Sequence[GoodText]) -> list[GoodText]:
    """`examples` with an input each: where it is missing, the four rarest words of the text in order."""
    word_lists = (content_words(re.sub(r"[\d_]", " ", text.casefold()), 4) for _, text in examples)
    words = [list(dict.fromkeys(candidate_words)) for candidate_words in word_lists]
    frequency = Counter(word for rare_words in words for word in rare_words)

    def terse(rare_words: list[str]) -> str:
        rarest = sorted(range(len(rare_words)), key=lambda at: (frequency[rare_words[at]], at))[:4]
        return " ".join(rare_words[at] for at in sorted(rarest))

    return [GoodText(e.input or terse(rare_words), e.text) for e, rare_words in zip(examples, words, strict=True)]


def preference_pairs(examples: Sequence[GoodText], rng: random.Random, language: str = "en") -> list[PreferencePair]:
    """Six corruptions of every example, in rotation, so that each corruption is used about equally often."""
    groups = {group: members for group, members in GROUPS.items() if group != ENGLISH or language == "en"}
    corruptions = [(group, corruption) for group, members in groups.items() for corruption in members]
    pairs = []
    for at, (input, text) in enumerate(examples):
        others = [other.text for other in examples if other.text != text]
        for step in range(_CORRUPTIONS_PER_EXAMPLE):
            # A stride coprime to their number visits every corruption and varies which ones are combined.
            group, corruption = corruptions[(at + step * (5 if len(corruptions) % 5 else 7)) % len(corruptions)]
            corrupted = corrupt(corruption, text, input, others, rng)
            if corrupted is not None:
                pairs.append(PreferencePair(at, group, corruption, corrupted))
    return pairs


def fit(
    examples: Sequence[GoodText],
    weights: Weights,
    artifacts: Path,
    *,
    system: str = "",
    language: str = "en",
    progress: Progress | None = None,
) -> Fitted:
    """Fit a reward model on `examples` over the language model `weights`, test it, and save it under `artifacts`.

    An earlier fit of the same is returned at once. Of more than `_MOST_EXAMPLES` it fits a random draw, which depends
    on the texts alone. `system` is the task's system prompt, used for the PMI baseline only; `language` is that of the
    texts. Takes some 30 s on 2 CPU cores with 48 examples. The folder's name is a hash of the examples, the system
    prompt, the weights and `VERSION`, and of the language if it changes the corruptions.
    """
    few = drawn(examples)
    for fitted_on in (examples, few):  # earlier versions fitted all
        identity = _identity(fitted_on, weights, system, language)
        folder = artifacts / f"reward-{identity[:12]}"
        if (folder / "fit.json").is_file():
            return Fitted(folder, _read_facts(folder))
    return _fit_new(few, identity, folder, weights, system, language, progress)


def drawn(examples: Sequence[GoodText]) -> list[GoodText]:
    """At most `_MOST_EXAMPLES` of the examples, in their order."""
    chosen = set(nsmallest(_MOST_EXAMPLES, examples, key=lambda example: random_sort_key(example.text)))
    return [example for example in examples if example in chosen]


def _identity(examples: Sequence[GoodText], weights: Weights, system: str, language: str) -> str:
    recipe: list[Any] = [VERSION, list(map(list, examples)), system, weights.revision]
    if language != "en" or any(is_segmented_differently(text) for example in examples for text in example):
        recipe += [2, language]  # these texts are corrupted by the second version of the corruptions
    return content_id("bradley-terry", recipe)


def _fit_new(
    examples: Sequence[GoodText],
    identity: str,
    folder: Path,
    weights: Weights,
    system: str,
    language: str,
    progress: Progress | None,
) -> Fitted:
    from curate.scorers.cross_validation import head, lengths, measured
    from curate.scorers.frozen_encoder import FrozenEncoder

    started = time.monotonic()
    with_input = with_inputs(examples)
    pairs = preference_pairs(with_input, random.Random(identity), language)
    model = FrozenEncoder(weights.folder, _BATCH_TOKENS, progress)
    texts = [(e.input, e.text) for e in with_input] + [(with_input[c.example].input, c.corrupted) for c in pairs]
    states, tokens = model.states(texts)
    good, bad = [c.example for c in pairs], [*range(len(with_input), len(texts))]
    sizes = lengths([text for _, text in texts], tokens)
    facts = {
        "identity": identity,
        "examples": len(with_input),
        "comparisons": len(pairs),
        **measured(states, sizes, good, bad, [c.group for c in pairs], progress or unseen),
        "pmi": _pmi(with_input, pairs, model, system, random.Random(identity)),
    }
    # If the length rule does worse than a coin on unseen corruptions, the coin is the baseline.
    facts["beats_length"] = facts["low"] > max(facts["length_only"], 0.5)
    with replaced_folder(folder) as partial:
        if facts["beats_length"]:
            model.save_reward_model(partial, head(states, good, bad, facts["l2"]))
        facts["seconds"] = round(time.monotonic() - started, 1)
        (partial / "fit.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    forget_old_fits(folder.parent)
    return Fitted(folder, facts)


def forget_old_fits(artifacts: Path) -> None:
    """Remove all but the two newest fitted models, since each contains a whole language model. A removed one is fitted
    again when it is needed, with the same result."""
    fits = sorted(artifacts.glob("reward-*/fit.json"), key=lambda path: -path.stat().st_mtime_ns)
    for fit in fits[2:]:
        shutil.rmtree(fit.parent, ignore_errors=True)


def _read_facts(folder: Path) -> dict[str, Any]:
    """The facts of an earlier fit, under their present names."""
    facts = orjson.loads((folder / "fit.json").read_bytes())
    return {_RENAMED.get(name, name): value for name, value in facts.items()}


def _pmi(
    examples: Sequence[GoodText], pairs: Sequence[PreferencePair], model: Any, system: str, rng: random.Random
) -> dict[str, Any]:
    """Accuracy of the training-free PMI score on one comparison per example, with a 95 % interval."""
    import numpy as np

    from curate.scorers.cross_validation import credit, interval

    by_example: dict[int, list[PreferencePair]] = {}
    for comparison in pairs:
        by_example.setdefault(comparison.example, []).append(comparison)
    tested = rng.sample(sorted(by_example), min(_PMI_EXAMPLES, len(by_example)))
    chosen = [rng.choice(by_example[example]) for example in tested]
    shown = [examples[example] for example in tested]
    texts = [(e.input, e.text) for e in shown] + [(e.input, c.corrupted) for e, c in zip(shown, chosen, strict=True)]
    scores = model.pmi(system, texts)
    credits_ = credit(scores[: len(shown)] - scores[len(shown) :])
    low, high = interval(credits_, np.arange(len(chosen)), np.array([c.group for c in chosen]))
    return {"accuracy": float(credits_.mean()), "low": low, "high": high, "comparisons": len(chosen)}
