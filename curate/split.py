"""The split: seeds to train on, to watch during training, and to lock away for the test.

Seeds are put in the order of a hash of id and salt, and the splits are filled in that order up to their share of the
seeds of a kind, so a test split of the size asked for exists. It is recorded with the seed when it is first read, and a
seed never moves: of seeds added later, those fill what is missing to the shares. A source may name the split of its
seeds instead (`[[seeds]] use = "test"`). Every pair of a seed goes with it: candidates of one input, or terse versions
of one output, are never separated. Seeds of one group (`[[seeds]] group`) are drawn together, as if they were one.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice
from typing import NamedTuple, get_args

from schemas.identity import changed_copy, lot
from schemas.numbered import Numbered
from schemas.records import GROUP, Seed, Split, content_id
from schemas.spec import SeedKind, Spec, SplitSettings
from schemas.spooled_seeds import SpooledSeeds, WrittenSeeds, seed_bodies
from schemas.wording import counted

SPLITS: tuple[Split, ...] = get_args(Split)

# With fewer test inputs an evaluation says neither "better" nor "worse", see train/evaluation.py.
LEAST_TEST_INPUTS = 20
# With fewer groups the exact test confirms no difference at 5 %: eight comparisons are adjusted for.
LEAST_TEST_GROUPS = 9
# With fewer rows a tuned model has hardly more to learn from than examples in its prompt would show it.
LEAST_TRAIN_ROWS = 50
_ENOUGH = 2_000


def split_of(seed_id: str, settings: SplitSettings, kind: SeedKind = "input") -> Split:
    """The split of a seed that none was recorded for, as those of earlier versions and those of a list in Python: by
    its hash alone, so that shares are probabilities."""
    uniform, test = _uniform(seed_id, settings), settings.share("test", kind)
    if uniform < test:
        return "test"
    return "validation" if uniform < test + settings.share("validation", kind) else "train"


def _uniform(seed_id: str, settings: SplitSettings) -> float:
    return int.from_bytes(lot(f"{settings.salt}\0{seed_id}")[:8]) / 2**64


def seed_split(seed: Seed, settings: SplitSettings) -> Split:
    """The split that the seed's source names, else the one recorded, else the one that its hash gives."""
    named: Split | None = seed.meta.get("use")
    return named or seed.split or split_of(_drawn_by(seed), settings, seed.kind)


def recorded_splits(seeds: Iterable[Seed], settings: SplitSettings) -> dict[str, Split]:
    """The splits of seeds that `split_of` does not give, few of very many, and those that a source names."""
    splits = ((seed, seed_split(seed, settings)) for seed in seeds)
    return {seed.id: name for seed, name in splits if "use" in seed.meta or name != split_of(seed.id, settings)}


def with_splits(seeds: Sequence[Seed], settings: SplitSettings, earlier: Iterable[Seed] = ()) -> list[Seed]:
    """The seeds of a reading, each with its split: of a seed that is among `earlier` ones what it had, of the others
    what brings test and validation to their shares of all seeds of that kind. Sources that name a split are apart."""
    return list(give_splits(seeds, settings, earlier))


def give_splits(seeds: Sequence[Seed], settings: SplitSettings, earlier: Iterable[Seed] = ()) -> Sequence[Seed]:
    """`with_splits`, of which only the splits are in memory: for very many, which are read wherever `seeds` are."""
    known = Numbered()  # the split of each seed, and of what else new ones are drawn with
    for seed in earlier:
        split = SPLITS.index(seed_split(seed, settings))
        known[seed.id] = known[_alone(seed)] = split
        if GROUP in seed.meta and "use" not in seed.meta:
            known[seed.meta[GROUP]] = split
    by_kind: defaultdict[SeedKind, array[int]] = defaultdict(lambda: array("i"))
    shared = Numbered()  # groups, and what conversations begin with; every other seed is drawn by itself
    number_of, uniforms, splits = array("i"), array("d"), array("b")  # -1: named by the source; not given yet
    for seed in seeds:
        if "use" in seed.meta:
            number_of.append(-1)
            continue
        id_, number, recorded = _drawn_by(seed), len(splits), known.get(seed.id)
        if GROUP in seed.meta or seed.kind == "conversation":
            number = shared.setdefault(id_, number)
        if number < len(splits) and recorded is not None:
            if splits[number] < 0:
                splits[number] = recorded
            elif splits[number] != recorded:  # it was there before its group was named, and a seed never moves
                number = len(splits)
        number_of.append(number)
        if number == len(splits):
            others = (known.get(of) for of in (id_, _alone(seed)))
            recorded = next((one for one in others if one is not None), None) if recorded is None else recorded
            splits.append(-1 if recorded is None else recorded)
            uniforms.append(_uniform(id_, settings) if recorded is None else 0.0)
            by_kind[seed.kind].append(number)
    for kind, drawn in by_kind.items():
        missing: list[int] = []
        for part in ("test", "validation"):
            code = SPLITS.index(part)
            had = sum(splits[number] == code for number in drawn)
            missing += [code] * (round(settings.share(part, kind) * len(drawn)) - had)
        new = (number for number in drawn if splits[number] < 0)
        for number, split in zip(nsmallest(len(missing), new, key=uniforms.__getitem__), missing, strict=False):
            splits[number] = split
    return _Split(seeds, number_of, splits)


class _Split(WrittenSeeds):
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
        return ((id_, body if number < 0 else _told(body, self._split(number))) for (id_, body), number in each)

    def _split(self, number: int) -> Split:
        return SPLITS[self._splits[number]] if self._splits[number] >= 0 else "train"


def _told(body: str, split: Split) -> str:
    """The body of a seed with its split, which stands last, in place of another one."""
    before, _, behind = body.rpartition(',"split":')
    return f'{before if behind[1:-2] in SPLITS else body[:-1]},"split":"{split}"}}'


def _drawn_by(seed: Seed) -> str:
    """What a seed's hash is taken of: its group, else itself."""
    return seed.meta[GROUP] if GROUP in seed.meta else _alone(seed)


def _alone(seed: Seed) -> str:
    """A seed without its group: its id, but of a conversation its first exchange, so that one that was recorded twice,
    once with more turns, is never parted."""
    if seed.kind != "conversation":
        return seed.id
    spoken = [*seed.turns, *(seed.messages or ())[-1:]]
    first = [turn.content for turn in spoken[:2]]
    return content_id("conversation", first if len(spoken) > 1 else [*first, seed.reference])


def groups_of(seeds: Iterable[Seed]) -> dict[str, str]:
    """Seed id -> group, of the seeds that share one with another of them: answers to those are no independent ones."""
    group = {seed.id: _drawn_by(seed) for seed in seeds}
    members = Counter(group.values())
    return {id_: of for id_, of in group.items() if members[of] > 1}


def asked_of(seed: Seed) -> bool:
    """True if the seed is something that a model can be asked: an input, or what a pair or a conversation answers."""
    return seed.kind != "output"


def brings_output(seed: Seed) -> bool:
    """True of a pair or a conversation: no teacher is asked for its output."""
    return seed.kind in ("pair", "conversation")


def held_out_inputs(seeds: Iterable[Seed], spec: Spec) -> list[Seed]:
    """The questions of an evaluation: the inputs of the test split by id, each once (`distinct_questions`), the first
    `evaluate.max_seeds` of them.

    Ids are hashes, so that order is as good as random and does not move when seeds are added.
    """
    held_out = [seed for seed in seeds if asked_of(seed) and seed_split(seed, spec.split) == "test"]
    return distinct_questions(held_out)[: spec.evaluate.max_seeds]


def distinct_questions(seeds: Iterable[Seed]) -> list[Seed]:
    """The seeds by id, of those that ask the same (but for case and white space) the first. Answers to one question
    are alike: counted as several inputs, they would make chance look like proof."""
    questions: dict[tuple[str | None, str], Seed] = {}
    for seed in sorted(seeds, key=lambda seed: seed.id):
        questions.setdefault(_question(seed), seed)
    return list(questions.values())


def disputed_questions(seeds: Iterable[Seed], spec: Spec) -> list[Seed]:
    """The questions of the test split that stand among the seeds with several references, each with the one that
    answers are compared with."""
    held_out = [seed for seed in seeds if asked_of(seed) and seed_split(seed, spec.split) == "test"]
    references: dict[tuple[str | None, str], set[str | None]] = {}
    for seed in held_out:
        references.setdefault(_question(seed), set()).add(seed.reference)
    return [seed for seed in distinct_questions(held_out) if len(references[_question(seed)]) > 1]


def _question(seed: Seed) -> tuple[str | None, str]:
    return seed.system, " ".join(seed.asked.casefold().split())


def held_out_outputs(seeds: Iterable[Seed], spec: Spec) -> list[Seed]:
    """The output seeds of the test split. Each is a question too, once backward generation has written its input: the
    output is then the reference."""
    return [seed for seed in seeds if not asked_of(seed) and seed_split(seed, spec.split) == "test"]


def most_test_inputs(seeds: Iterable[Seed], spec: Spec) -> int:
    """The most questions that an evaluation can have: the held-out inputs, and the held-out outputs whose inputs pass
    curation."""
    seeds = list(seeds)
    outputs = len(held_out_outputs(seeds, spec)) if spec.generate.backward.enabled else 0
    asked = len(held_out_inputs(seeds, spec)) + outputs
    return asked if spec.evaluate.max_seeds is None else min(asked, spec.evaluate.max_seeds)


_NOUNS: dict[str, str] = {
    "input": "input seeds",
    "output": "excellent outputs",
    "pair": "pairs",
    "conversation": "conversations",
}


class Shortage(NamedTuple):
    """Something that the seeds will be too few for."""

    what: str
    fix: str


def shortages(seeds: Sequence[Seed], spec: Spec) -> list[Shortage]:
    """The uses that the present seeds and split are too few for, known before anything is asked or paid; empty if
    enough.

    Rows to train on are counted as if every gate and step let everything through, so there will be fewer.
    """
    uses = (_for_the_test, _for_groups, _for_what_is_right, _for_training)
    # Some are nearly always as good as very many, but not to see which groups have rows elsewhere.
    some = list(islice(seeds, None if any(source.group for source in spec.seeds) else _ENOUGH))
    if not any(use(some, spec) for use in uses):
        return []
    seeds = list(seeds)
    return [shortage for use in uses for shortage in use(seeds, spec)]


def most_of_one(spec: Spec, candidates: int) -> int:
    """How many candidates of one input curation keeps at most: without a scorer nothing is best, and all may stay."""
    return candidates if spec.curate.score.model == "none" else min(candidates, spec.curate.select.best)


def most_train_rows(seeds: Iterable[Seed], spec: Spec) -> int:
    """The most rows that the seeds of the training split can give: the best candidates of each input seed, one for
    each level of each output seed, and each pair."""
    generate = spec.generate
    here = Counter(seed.kind for seed in seeds if seed_split(seed, spec.split) == "train")
    forward = here["input"] * most_of_one(spec, generate.forward.n) if generate.forward.enabled else 0
    backward = here["output"] * len(generate.backward.levels) if generate.backward.enabled else 0
    backward = min(backward, generate.targets.get("backward", backward))
    forward = min(forward, generate.targets.get("forward", forward))
    return here["pair"] + here["conversation"] + backward + forward


def _for_the_test(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    asked = most_test_inputs(seeds, spec)
    if asked >= LEAST_TEST_INPUTS:
        return []
    backward = spec.generate.backward.enabled
    kinds = Counter(seed.kind for seed in seeds if asked_of(seed) or backward)
    noun = _NOUNS[next(iter(kinds))] if len(kinds) == 1 else "seeds"
    if not kinds:
        return [
            Shortage(
                "there are no input seeds, so nothing can be evaluated: nobody will know whether the model is better",
                f"Add input seeds, at least {LEAST_TEST_INPUTS} of them for the test split, or let the teacher write"
                " inputs to your outputs: generate.backward.enabled = true.",
            )
        ]
    shares = [spec.split.share("test", kind) for kind in kinds]
    if not asked and not any(shares):
        return [Shortage("split.test is 0, so nothing can be evaluated", "Set split.test, for instance to 0.2.")]
    share = max(shares)
    wanted = round(LEAST_TEST_INPUTS / share) if share else LEAST_TEST_INPUTS
    if spec.evaluate.max_seeds is not None and spec.evaluate.max_seeds < LEAST_TEST_INPUTS:
        fix = f"Raise evaluate.max_seeds to {LEAST_TEST_INPUTS} or more, with about {wanted} {noun}."
    elif not share:
        fix = f'Have {wanted} or more {noun} in the source with use = "test".'
    else:
        fix = f"Have about {wanted} {noun} at split.test = {share:g}, or raise split.test."
    if not asked:
        of = f"none of {kinds.total()} {noun} falls into the test split"
        return [Shortage(f"{of}: nothing can be evaluated", fix)]
    what = (
        f"{counted(asked, 'test input', 'test inputs')} (of {kinds.total()} {noun}); fewer than {LEAST_TEST_INPUTS} can"
        " prove nothing:"
        ' the evaluation will say "not enough evidence"'
    )
    return [Shortage(what, fix)]


def _for_groups(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    """Groups that lie on both sides, and too few of them in the test."""
    sides: dict[str, set[Split]] = {}
    for seed in seeds:
        if GROUP in seed.meta:
            sides.setdefault(seed.meta[GROUP], set()).add(seed_split(seed, spec.split))
    parted = sum({"train", "test"} <= of for of in sides.values())
    asked = held_out_inputs(seeds, spec) + (held_out_outputs(seeds, spec) if spec.generate.backward.enabled else [])
    apart = len({_drawn_by(seed) for seed in asked})
    short = []
    if parted:
        what = f"{counted(parted, 'group has', 'groups have')} seeds in training and in the test: the test is easier"
        fix = "A seed that was read before it had a group, or whose source names its split, never moves: begin a new"
        short.append(Shortage(what, f"{fix} project with `group` from the start, or keep these groups in one source."))
    if apart < LEAST_TEST_GROUPS and len(asked) >= LEAST_TEST_INPUTS:
        what = f"{len(asked)} test inputs, but of {counted(apart, 'group', 'groups')}: fewer than {LEAST_TEST_GROUPS}"
        fix = "Add seeds of other groups, or raise split.test."
        short.append(Shortage(f"{what} confirm no difference, however many inputs they have", fix))
    return short


def _for_what_is_right(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    """A label or a record is right or wrong: a reference or a check or gate of the user's own tells which, a built-in
    gate does not."""
    own = spec.evaluate.check_names or spec.curate.gates.user
    if own or not (spec.task.labels or spec.task.answer_schema):
        return []
    asked = held_out_inputs(seeds, spec)
    if all(seed.reference for seed in asked):
        return []
    number = f"{sum(not seed.reference for seed in asked)} of {counted(len(asked), 'test input', 'test inputs')}"
    fix = "Give each its right answer, or write a check of your own: `pairsmith docs evaluation`."
    return [Shortage(f"{number} without a reference: the form of an answer alone is judged, which proves nothing", fix)]


def _for_training(seeds: list[Seed], spec: Spec) -> list[Shortage]:
    rows = most_train_rows(seeds, spec)
    if rows >= LEAST_TRAIN_ROWS:
        return []
    most = "one row" if rows == 1 else f"{rows} rows"
    what = f"at most {most} to train on; fewer than {LEAST_TRAIN_ROWS} are too few to learn much from"
    generated = any(seed.kind in ("input", "output") for seed in seeds)
    keeps_all = most_of_one(spec, spec.generate.forward.n) == spec.generate.forward.n
    more = f", or {'ask for' if keeps_all else 'keep'} more candidates of each: " if generated else ""
    more += ("generate.forward.n" if keeps_all else "curate.select.best") if generated else ""
    return [Shortage(what, f"Add {'seeds' if generated else 'rows'}{more}.")]
