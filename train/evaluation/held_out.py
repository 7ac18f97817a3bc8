"""The inputs of an evaluation: what no system has seen, with references where there are any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from curate.groups import Beginnings
from curate.review.decision import replaced_pairs
from curate.rows import REVIEW
from curate.similarity.overlap import contaminated
from curate.split import distinct_questions, held_out_inputs, held_out_outputs, questions
from curate.states import last_curation, read_states, skim_states
from schemas.errors import NoWork
from schemas.identity import changed_copy
from schemas.records import GROUP, Pair, Seed
from schemas.spec import Spec
from schemas.store import Store
from schemas.store.latest import latest
from schemas.streamed import batched

_CHUNK, _MAX_VALIDATION_INPUTS = 1_000, 50


def held_out_seeds(store: Store, spec: Spec) -> list[Seed]:
    """The inputs of an evaluation, by id, at most `evaluate.max_seeds`: the active inputs of the test split, and its
    outputs paired with an input written by backward generation, with the output as reference. A reference that
    reviewers corrected is the corrected one. Raises NoWork if there are none."""
    seeds = store.active_seeds()
    candidates = [*held_out_inputs(seeds, spec), *_outputs_with_inputs(store, held_out_outputs(seeds, spec), spec)]
    if candidates:
        chosen = distinct_questions(candidates)[: spec.evaluate.max_seeds]
        return _with_corrections(store, _grouped(chosen, seeds), questions(seeds, spec, "test"))
    raise NoWork(
        f"none of the {len(seeds)} seeds provides an input for the test split.",
        why="There is nothing to evaluate on that training has not seen.",
        fix='Raise split.test, then curate and train again, or add a source of new inputs with use = "test".',
    )


def validation_seeds(store: Store, spec: Spec) -> list[Seed]:
    """Validation inputs, at most as many as are needed to see where the tuned model fails, with corrected references;
    duplicates count once."""
    seeds = store.active_seeds()
    watched = list(questions(seeds, spec, "validation"))
    return _with_corrections(store, _grouped(distinct_questions(watched)[:_MAX_VALIDATION_INPUTS], seeds), watched)


def _grouped(chosen: Sequence[Seed], seeds: Iterable[Seed]) -> list[Seed]:
    """The chosen seeds, of which conversations name the group in which they were drawn: it depends on all `seeds`, and
    on the reference, which may be corrected."""
    beginnings = Beginnings(seeds if any(seed.kind == "conversation" for seed in chosen) else ())
    return [
        changed_copy(seed, {"meta": {**seed.meta, GROUP: beginnings.key(seed)}}, id=seed.id)
        if seed.kind == "conversation"
        else seed
        for seed in chosen
    ]


def _with_corrections(store: Store, chosen: Sequence[Seed], seeds: Iterable[Seed]) -> list[Seed]:
    """The chosen seeds with what reviewers wrote in the place of an imported output as the reference, as of the last
    curation.

    A rejected row whose texts reviewers edited in a copy, a row of another of `seeds`, gets that edit.
    """
    own, by_texts, rejected = dict[str, str](), dict[tuple[str, str], str](), dict[str, tuple[str, str]]()
    receipt, given = last_curation(store), {seed.id for seed in seeds if seed.reference is not None}
    states = skim_states(store, receipt) if receipt and given else ()
    imported = (
        row for row in states if row["generator"] == "imported" and row["seed_id"] in given and row.get("pair_id")
    )
    for some in batched(imported, _CHUNK):
        state_by_people = {row["pair_id"]: row["state"] for row in some if row.get("step") == REVIEW}
        for pair in store.pairs(row["pair_id"] for row in some):
            state = state_by_people.get(pair.id)
            if state == "rejected":
                rejected[pair.seed_id] = _texts(pair)
            elif state is None and pair.origin.by == "edited":
                own[pair.seed_id] = pair.output
                by_texts |= dict.fromkeys(map(_texts, replaced_pairs(pair, store)), pair.output)
    corrections = {id_: by_texts[texts] for id_, texts in rejected.items() if texts in by_texts} | own
    return [_corrected(seed, corrections[seed.id]) if seed.id in corrections else seed for seed in chosen]


def _corrected(seed: Seed, reference: str) -> Seed:
    """The seed with another reference, in the group in which it was drawn: that of a pair is its id."""
    # Validated again instead of copied: the id covers the reference, and a copy would keep the old id.
    more = {"reference": reference, "meta": {GROUP: seed.id, **seed.meta}}
    return Seed.model_validate({**seed.model_dump(), **more})


def _texts(pair: Pair) -> tuple[str, str]:
    return pair.asked.strip(), pair.output.strip()


def rejected_references(store: Store, seeds: Iterable[Seed]) -> list[Seed]:
    """The seeds whose imported output reviewers rejected in the last curation. Answers are compared with it all the
    same, because a test set without the inputs that people object to would be another one."""
    receipt, by_id = last_curation(store), {seed.id: seed for seed in seeds if seed.reference is not None}
    rejected = read_states(store, receipt, state="rejected", code="review") if receipt else ()
    return [by_id[row.seed_id] for row in rejected if row.generator == "imported" and row.seed_id in by_id]


def _outputs_with_inputs(store: Store, outputs: Sequence[Seed], spec: Spec) -> list[Seed]:
    """The held-out outputs, each paired with one of the accepted inputs written for it: the first by id that is not a
    near-duplicate of a training row. Outputs without such an input are left out."""
    dataset = latest(store, "dataset") if outputs else None
    members = dataset.members if dataset else ()
    by_id = {seed.id: seed for seed in outputs}
    test = sorted(store.pairs(id_ for id_, split in members if split == "test"), key=lambda pair: pair.id)
    written = [pair for pair in test if pair.seed_id in by_id]
    if not written:
        return []
    known = store.pairs(id_ for id_, split in members if split != "test")
    near = _find_near([pair.input for pair in known], [pair.input for pair in written], spec.curate.duplicates.jaccard)
    chosen: dict[str, Pair] = {}
    for place, pair in enumerate(written):
        if place not in near:
            chosen.setdefault(pair.seed_id, pair)
    return [
        Seed(kind="pair", text=pair.input, reference=pair.output, columns=pair.columns, source=of.source, meta=of.meta)
        for of, pair in ((by_id[seed_id], pair) for seed_id, pair in chosen.items())
    ]


def _find_near(learned: Sequence[str], written: Sequence[str], jaccard: float) -> set[int]:
    """The positions of written texts that are near-duplicates of a training text. `contaminated` reports only the
    nearest text of each row, so the matches are removed and the search repeated until there are none."""
    near = set[int]()
    while left := [place for place in range(len(written)) if place not in near]:
        touches = contaminated(lambda: ((text,) for text in learned), [written[place] for place in left], jaccard)
        if not touches:
            break
        near |= {left[touch.held_out] for touch in touches.values()}
    return near
