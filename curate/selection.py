"""The best candidates of every input: scores compare answers to one input and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from schemas.records import Pair, Verdict, content_id

BEST = "pool/best@1"


def best(
    pairs: Sequence[Pair], scores: Mapping[str, float | None], n: int, chosen: Collection[str] = ()
) -> list[Verdict]:
    """A verdict for every pair: the `n` highest scores of its input are kept, ties going to the smaller id.

    An input is a seed with an input, so simple versions of one output do not compete. A pair without a score
    (absent from `scores`, or None there) waits; it is neither kept nor outranked. `chosen` holds ids that a person
    accepted: they are kept and take places first.
    """
    places: dict[tuple[str, str], list[Pair]] = {}
    for pair in pairs:
        places.setdefault((pair.seed_id, pair.input), []).append(pair)
    pool = sorted((pair.id, scores.get(pair.id)) for pair in pairs)
    fingerprint = content_id("scope", [BEST, pool, n, sorted(chosen)])
    verdicts: dict[str, Verdict] = {}
    for rivals in places.values():
        ranked = sorted(
            (pair.id for pair in rivals if pair.id in chosen or scores.get(pair.id) is not None),
            key=lambda id_: (id_ not in chosen, -(scores.get(id_) or 0.0), id_),
        )
        for rank, id_ in enumerate(ranked, 1):
            keep = rank <= n or id_ in chosen
            place = f"rank {rank} of {len(ranked)}"
            reason = "accepted: by a person" if id_ in chosen else f"best: {place}" if keep else f"outranked: {place}"
            verdicts[id_] = Verdict(
                pair_id=id_, by=BEST, fingerprint=fingerprint, keep=keep, score=scores.get(id_), reason=reason
            )
        for pair in rivals:
            if pair.id not in verdicts:
                verdicts[pair.id] = Verdict(
                    pair_id=pair.id,
                    by=BEST,
                    fingerprint=fingerprint,
                    keep=None,
                    reason="unscored: it cannot be compared",
                )
    return [verdicts[pair.id] for pair in pairs]
