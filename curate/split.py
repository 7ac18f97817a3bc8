"""The split: seeds for training, for validation during training, and locked away for the test.

Seeds are sorted by a hash of id and salt, and each split is filled in that order up to its share of the seeds of a
kind, so that the test split has the requested size. The split is recorded with the seed when it is first read, and a
seed never moves: seeds added later fill what the shares are short of. A source may instead name the split of its seeds
(`[[seeds]] use = "test"`). Every pair of a seed is in its split, so candidates of one input, or terse versions of one
output, are never separated. Seeds of one group (`[[seeds]] group`) are drawn together, as if they were one, and so are
pairs with the same input, which would otherwise be lost as repeating a test input.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from typing import NamedTuple, get_args

from curate.groups import Beginnings, beginnings_of, draw_key
from schemas.id_map import IdMap
from schemas.identity import changed_copy, random_sort_key
from schemas.progress import Progress, reporting, unseen
from schemas.records import GROUP, Seed, SeedKind, Split
from schemas.spec import Spec, SplitSettings
from schemas.spooled_seeds import SpooledSeeds, WrittenSeeds, seed_bodies
from schemas.wording import counted

SPLITS: tuple[Split, ...] = get_args(Split)

# With fewer test inputs, or groups of inputs that belong together, an evaluation concludes neither "better" nor
# "worse", see train/evaluation/metrics.py.
LEAST_TEST_INPUTS = 20
# With fewer rows a tuned model hardly learns more than it would from examples in its prompt.
LEAST_TRAIN_ROWS = 50
# Of a text in any of 40 languages, with the 200,000 tokens of o200k, at most 6.2. In bytes Hindi has 7, Russian 5.5.
# A run of blanks or rules may be one token: tables that are aligned by blanks had 7, and headings with rules 13.
_MAX_CHARACTERS_PER_TOKEN = 7
_RUN = re.compile(r"([\W_])\1+")
_LARGE_SAMPLE = 2_000  # seeds that are checked first, then eight times as many, and so on


def split_of(seed_id: str, settings: SplitSettings, kind: SeedKind = "input") -> Split:
    """The split of a seed without a recorded one, e.g. of an earlier version or of a list in Python. By its hash alone,
    so shares are only probabilities."""
    uniform, test = _uniform(seed_id, settings), settings.share("test", kind)
    if uniform < test:
        return "test"
    return "validation" if uniform < test + settings.share("validation", kind) else "train"


def _uniform(seed_id: str, settings: SplitSettings) -> float:
    return int.from_bytes(random_sort_key(f"{settings.salt}\0{seed_id}")[:8]) / 2**64


def seed_split(seed: Seed, settings: SplitSettings) -> Split:
    """The split that the seed's source names, else the recorded one, else the one by its hash."""
    named: Split | None = seed.meta.get("use")
    return named or seed.split or split_of(draw_key(seed), settings, seed.kind)


def recorded_splits(seeds: Iterable[Seed], settings: SplitSettings) -> dict[str, Split]:
    """The splits of seeds that differ from `split_of`, which are few, and those that a source names."""
    splits = ((seed, seed_split(seed, settings)) for seed in seeds)
    return {seed.id: name for seed, name in splits if "use" in seed.meta or name != split_of(seed.id, settings)}


def assign_splits(
    seeds: Sequence[Seed], settings: SplitSettings, earlier: Iterable[Seed] = (), progress: Progress = unseen
) -> Sequence[Seed]:
    """The seeds, each with its split. Only the splits are in memory; the seeds are read from wherever `seeds` are.

    Seeds among `earlier` ones keep their split. The others bring test and validation to their shares of all seeds of
    that kind. Seeds whose source names a split are not counted.
    """
    known, beginnings = _earlier_splits(earlier, settings), Beginnings(seeds)
    by_kind: defaultdict[SeedKind, array[int]] = defaultdict(lambda: array("i"))
    # Groups, first exchanges of conversations and inputs of pairs; every other seed is drawn by itself.
    shared = IdMap()
    # -1 in `number_of`: the source names the split; -1 in `splits`: not assigned yet.
    number_of, uniforms, splits = array("i"), array("d"), array("b")
    for seed in reporting(seeds, progress, "splits", len(seeds)):
        if "use" in seed.meta:
            number_of.append(-1)
            continue
        id_, number, recorded = beginnings.key(seed), len(splits), known.get(seed.id)
        question = _question_key(seed) if seed.kind == "pair" else ""
        if GROUP in seed.meta or seed.kind == "conversation":
            number = shared.setdefault(id_, number)
        elif seed.kind == "pair" and (recorded is None or known.get(question) in (None, recorded)):
            number = shared.setdefault(question, number)
        if number < len(splits) and recorded is not None:
            if splits[number] < 0:
                splits[number] = recorded
            elif splits[number] != recorded:  # the seed was read before it had a group, and a seed never moves
                number = len(splits)
        elif number < len(splits) and seed.kind == "pair" and GROUP not in seed.meta:
            # In any order of the seeds, and as likely in the test as a question with one answer.
            uniforms[number] = _uniform(question, settings)
        number_of.append(number)
        if number == len(splits):
            if recorded is None and len(known):
                own = question if seed.kind == "pair" and GROUP not in seed.meta else beginnings.own_key(seed)
                recorded = next((one for one in map(known.get, (id_, own)) if one is not None), None)
            splits.append(-1 if recorded is None else recorded)
            uniforms.append(_uniform(id_, settings) if recorded is None else 0.0)
            by_kind[seed.kind].append(number)
    for kind, drawn in by_kind.items():
        missing, had = list[int](), Counter(map(splits.__getitem__, drawn))
        for part in ("test", "validation"):
            code = SPLITS.index(part)
            missing += [code] * (round(settings.share(part, kind) * len(drawn)) - had[code])
        new = (number for number in drawn if splits[number] < 0)
        for number, split in zip(nsmallest(len(missing), new, key=uniforms.__getitem__), missing, strict=False):
            splits[number] = split
    return _SeedsWithSplits(seeds, number_of, splits)


def _earlier_splits(earlier: Iterable[Seed], settings: SplitSettings) -> IdMap:
    """The index in SPLITS for each earlier seed, and for its conversation and its group or question."""
    known = IdMap()
    for seed in earlier:
        split = SPLITS.index(seed_split(seed, settings))
        known[seed.id] = split
        for key in beginnings_of(seed):
            known[key] = split
        if GROUP in seed.meta and "use" not in seed.meta:
            known[seed.meta[GROUP]] = split
        elif seed.kind == "pair" and "use" not in seed.meta:
            question = _question_key(seed)  # once in the test, or a new answer would be lost as repeating a test input
            known[question] = max(split, known.get(question) or 0)
    return known


class _SeedsWithSplits(WrittenSeeds):
    """Seeds, each with its split."""

    def __init__(self, seeds: Sequence[Seed], number_of: array[int], splits: array[int]) -> None:
        self._seeds, self._number_of, self._splits = seeds, number_of, splits

    def __len__(self) -> int:
        return len(self._seeds)

    def __iter__(self) -> Iterator[Seed]:
        for seed, number in zip(self._seeds, self._number_of, strict=True):
            yield seed if number < 0 else changed_copy(seed, {"split": self._split(number)}, id=seed.id)

    def bodies(self) -> Iterator[tuple[str, str]]:
        if not isinstance(self._seeds, SpooledSeeds):
            return seed_bodies(iter(self))
        each = zip(self._seeds.bodies(), self._number_of, strict=True)
        return (
            (id_, body if number < 0 else _body_with_split(body, self._split(number))) for (id_, body), number in each
        )

    def _split(self, number: int) -> Split:
        return SPLITS[self._splits[number]] if self._splits[number] >= 0 else "train"


def _body_with_split(body: str, split: Split) -> str:
    """The JSON body of a seed with its split, which is the last key, added or replaced."""
    before, _, after = body.rpartition(',"split":')
    return f'{before if after[1:-2] in SPLITS else body[:-1]},"split":"{split}"}}'


def is_question(seed: Seed) -> bool:
    """True if the seed is a question for a model: an input, a pair or a conversation."""
    return seed.kind != "output"


def questions(seeds: Iterable[Seed], spec: Spec, split: Split) -> Iterator[Seed]:
    """The seeds of a split that are questions for a model."""
    return (seed for seed in seeds if is_question(seed) and seed_split(seed, spec.split) == split)


def has_given_output(seed: Seed) -> bool:
    """True for a pair or a conversation: no teacher has to write its output."""
    return seed.kind in ("pair", "conversation")


def held_out_inputs(seeds: Iterable[Seed], spec: Spec) -> list[Seed]:
    """The questions of an evaluation: the distinct inputs of the test split (`distinct_questions`) by id, at most
    `evaluate.max_seeds`.

    Ids are hashes, so the order is as good as random and does not change when seeds are added.
    """
    return distinct_questions(questions(seeds, spec, "test"))[: spec.evaluate.max_seeds]


def distinct_questions(seeds: Iterable[Seed]) -> list[Seed]:
    """The seeds by id, and of several with the same question (ignoring case and whitespace) only the first.

    Answers to one question are alike: counted as several inputs, they would make chance look like evidence.
    """
    distinct: dict[tuple[str | None, str], Seed] = {}
    for seed in sorted(seeds, key=lambda seed: seed.id):
        distinct.setdefault(_question(seed), seed)
    return list(distinct.values())


def disputed_questions(seeds: Iterable[Seed], spec: Spec) -> list[Seed]:
    """The test questions that have different references, each with the reference that answers are compared with."""
    held_out = list(questions(seeds, spec, "test"))
    references: dict[tuple[str | None, str], set[str | None]] = {}
    for seed in held_out:
        references.setdefault(_question(seed), set()).add(seed.reference)
    return [seed for seed in distinct_questions(held_out) if len(references[_question(seed)]) > 1]


def _question(seed: Seed) -> tuple[str | None, str]:
    return seed.system, " ".join(seed.asked.casefold().split())


def _question_key(seed: Seed) -> str:
    return "\0".join(("question", *(part or "" for part in _question(seed))))


def held_out_outputs(seeds: Iterable[Seed], spec: Spec) -> list[Seed]:
    """The output seeds of the test split. Once backward generation has written its input, each is a question too, and
    the output is the reference."""
    return [seed for seed in seeds if not is_question(seed) and seed_split(seed, spec.split) == "test"]


def max_test_inputs(seeds: Iterable[Seed], spec: Spec) -> int:
    """The most questions that an evaluation can have: the held-out inputs, and the held-out outputs if their inputs
    pass curation."""
    seeds = list(seeds)
    outputs = len(held_out_outputs(seeds, spec)) if spec.generate.backward.enabled else 0
    available = len(held_out_inputs(seeds, spec)) + outputs
    return available if spec.evaluate.max_seeds is None else min(available, spec.evaluate.max_seeds)


_NOUNS: dict[str, str] = {
    "input": "input seeds",
    "output": "excellent outputs",
    "pair": "pairs",
    "conversation": "conversations",
}


# What tells seeds that are drawn apart from those that belong together.
_APART = {"pair": "with different inputs", "conversation": "that begin differently"}


class Shortage(NamedTuple):
    """Something that there are too few seeds for, or that they are too long for, and how to fix it."""

    what: str
    fix: str


def shortages(seeds: Sequence[Seed], spec: Spec) -> list[Shortage]:
    """Everything that the present seeds and split are too few for, or too long, before anything is paid for; empty if
    they are enough.

    Training rows are counted as if every gate and step accepted everything, so there will be fewer.
    """
    uses = (_test_shortages, _group_shortages, _reference_shortages, _training_shortages, _target_shortages, _long)
    # Check samples first, of which one of the first is nearly always enough; but not with groups, whose seeds may be
    # anywhere.
    size = None if any(source.group for source in spec.seeds) else _LARGE_SAMPLE
    while True:
        some = list(islice(seeds, size))
        short = [shortage for use in uses for shortage in use(some, spec)]
        if not short or size is None or len(some) < size:
            return short
        size *= 8


def max_kept_per_input(spec: Spec, candidates: int) -> int:
    """The most candidates of one input that curation keeps. Without a scorer there is no best one, and all may stay."""
    return candidates if spec.curate.score.model == "none" else min(candidates, spec.curate.select.best)


def max_train_rows(seeds: Iterable[Seed], spec: Spec) -> int:
    """The most rows that the training seeds can give: the best candidates of each input seed, one per level of each
    output seed, and each pair."""
    generate = spec.generate
    here = Counter(seed.kind for seed in seeds if seed_split(seed, spec.split) == "train")
    forward = here["input"] * max_kept_per_input(spec, generate.forward.n) if generate.forward.enabled else 0
    backward = here["output"] * len(generate.backward.levels) if generate.backward.enabled else 0
    backward = min(backward, generate.targets.get("backward", backward))
    forward = min(forward, generate.targets.get("forward", forward))
    return here["pair"] + here["conversation"] + backward + forward


def _test_shortages(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    available = max_test_inputs(seeds, spec)
    if available >= LEAST_TEST_INPUTS:
        return []
    backward = spec.generate.backward.enabled
    kinds = Counter(seed.kind for seed in seeds if is_question(seed) or backward)
    noun = _NOUNS[next(iter(kinds))] if len(kinds) == 1 else "seeds"
    if not kinds:
        return [
            Shortage(
                "there are no input seeds, so nothing can be evaluated: you will not know whether the model is better",
                f"Add input seeds, at least {LEAST_TEST_INPUTS} of them for the test split, or let the teacher write"
                " inputs for your outputs: generate.backward.enabled = true.",
            )
        ]
    shares = [spec.split.share("test", kind) for kind in kinds]
    if not available and not any(shares):
        return [
            Shortage(
                "the test share is 0, so nothing can be evaluated",
                "Raise the test share, for instance to 20 % (split.test = 0.2).",
            )
        ]
    share = max(shares)
    enough = round(LEAST_TEST_INPUTS / share) if share else LEAST_TEST_INPUTS
    drawn, apart = _drawn_apart(seeds, spec)
    wanted = f"{noun} {apart}" if drawn < kinds.total() else noun
    if spec.evaluate.max_seeds is not None and spec.evaluate.max_seeds < LEAST_TEST_INPUTS:
        fix = f"Raise evaluate.max_seeds to {LEAST_TEST_INPUTS} or more, with about {enough} {wanted}."
    elif not share:
        fix = f'Have {enough} or more {wanted} in the source with use = "test".'
    else:
        fix = f"Have about {enough} {wanted}, or raise the test share from {100 * share:g} % (split.test)."
    every = f"{kinds.total()} {noun}" + (f", {drawn} {apart}" if drawn < kinds.total() else "")
    if not available:
        of = f"none of {every}, falls" if "," in every else f"none of {every} falls"
        of = of if kinds.total() > 1 else "the only seed does not fall"
        return [Shortage(f"{of} into the test split: nothing can be evaluated", fix)]
    what = (
        f"{counted(available, 'test input', 'test inputs')} (of {every});"
        f" fewer than {LEAST_TEST_INPUTS} can prove nothing:"
        ' the evaluation will say "not enough evidence"'
    )
    return [Shortage(what, fix)]


def _drawn_apart(seeds: list[Seed], spec: Spec) -> tuple[int, str]:
    """How many of the seeds that may be tested are drawn apart from each other, and what tells those from the rest."""
    asked = [seed for seed in seeds if is_question(seed) or spec.generate.backward.enabled]
    beginnings = Beginnings(asked)
    has_group, only = any(GROUP in seed.meta for seed in asked), {seed.kind for seed in asked}
    keys = {
        _question_key(seed) if seed.kind == "pair" and GROUP not in seed.meta else beginnings.key(seed)
        for seed in asked
    }
    return len(keys), "of different groups" if has_group else _APART.get("".join(only), "that differ")


def _group_shortages(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    """Groups with seeds in both training and test, and too few groups in the test."""
    sides: dict[str, set[Split]] = {}
    for seed in seeds:
        if GROUP in seed.meta:
            sides.setdefault(seed.meta[GROUP], set()).add(seed_split(seed, spec.split))
    split_groups = sum({"train", "test"} <= of for of in sides.values())
    held_out = held_out_inputs(seeds, spec) + (held_out_outputs(seeds, spec) if spec.generate.backward.enabled else [])
    groups = len(set(map(Beginnings(seeds).key, held_out)))
    short = []
    if split_groups:
        what = (
            f"{counted(split_groups, 'group has', 'groups have')} seeds in training and in the test: the test is easier"
        )
        fix = "A seed that was read before it had a group, or whose source names its split, never moves: begin a new"
        short.append(Shortage(what, f"{fix} project with `group` from the start, or keep these groups in one source."))
    if groups < LEAST_TEST_INPUTS <= len(held_out):
        named = any(GROUP in seed.meta for seed in held_out)
        alike = "" if named else " of conversations that begin alike"
        what = f"{len(held_out)} test inputs, but of {counted(groups, 'group', 'groups')}{alike}: fewer than"
        more = "seeds of other groups" if named else "conversations that begin differently"
        fix = f"Add {more}, or raise the test share (split.test)."
        short.append(Shortage(f"{what} {LEAST_TEST_INPUTS} can prove nothing, however many inputs they have", fix))
    return short


def _reference_shortages(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    """A label or a record is right or wrong. Whether it is right only shows by a reference or by a check or gate of the
    user's own, not by a built-in gate."""
    own = spec.evaluate.check_names or spec.curate.gates.user
    if own or not (spec.task.labels or spec.task.answer_schema):
        return []
    inputs = held_out_inputs(seeds, spec)
    if all(seed.reference for seed in inputs):
        return []
    number = f"{sum(not seed.reference for seed in inputs)} of {counted(len(inputs), 'test input', 'test inputs')}"
    fix = "Give each its right answer, or write a check of your own: `pairsmith docs evaluation`."
    return [Shortage(f"{number} without a reference: only the form of an answer is checked, which proves nothing", fix)]


def _target_shortages(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    """A target that cannot be reached, because curation keeps only the best rows of each input."""
    target, kept = spec.generate.targets.get("forward", 0), max_kept_per_input(spec, spec.generate.forward.n)
    inputs = sum(seed.kind == "input" and seed.meta.get("use") != "test" for seed in seeds)
    if not spec.generate.forward.enabled or inputs * kept >= target:
        return []
    of = f"{kept:,} of each of {counted(inputs, 'input', 'inputs')}"
    what = f"generate.accepted = {target:,} cannot be reached: curation keeps at most {of}"
    return [Shortage(what, "Raise curate.select.best, or add seeds.")]


def _training_shortages(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    rows = max_train_rows(seeds, spec)
    if rows >= LEAST_TRAIN_ROWS:
        return []
    most = "one row" if rows == 1 else f"{rows} rows"
    what = f"at most {most} to train on; fewer than {LEAST_TRAIN_ROWS} are too few to learn much from"
    generated = any(seed.kind in ("input", "output") and seed.meta.get("use") != "test" for seed in seeds)
    keeps_all = max_kept_per_input(spec, spec.generate.forward.n) == spec.generate.forward.n
    more = f", or {'ask for' if keeps_all else 'keep'} more candidates of each: " if generated else ""
    more += ("generate.forward.n" if keeps_all else "curate.select.best") if generated else ""
    return [Shortage(what, f"Add {'seeds' if generated else 'rows'}{more}.")]


def _long(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    """Rows that training will surely leave out. Which others it does is known once they are tokenised."""
    learned = [seed for seed in seeds if seed_split(seed, spec.split) == "train"]
    long = []
    for seed in learned:
        texts = [*(turn.content for turn in seed.messages or ()), seed.text or "", seed.reference or ""]
        if sum(map(len, texts)) > spec.train.max_length * _MAX_CHARACTERS_PER_TOKEN:
            long.append(sum(len(_RUN.sub(r"\1", text)) for text in texts) // _MAX_CHARACTERS_PER_TOKEN)
    long = [least for least in long if least > spec.train.max_length]
    if not long:
        return []
    of = f"{len(long):,} of {counted(len(learned), 'text', 'texts')} to train on"
    what = f"{of} have more than train.max_length = {spec.train.max_length} tokens: training leaves their rows out"
    most = f"the longest has at least {max(long):,} tokens"
    return [Shortage(what, f"Shorten them, or raise train.max_length for a base that reads as many; {most}.")]
