"""The best candidates of an input: scores compare answers to one input and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def ranked(scores: Mapping[str, float | None], chosen: Collection[str] = ()) -> list[str]:
    """The ids of one input's candidates, best first; ties go to the smaller id.

    One without a score is in no rank: it cannot be compared. `chosen` holds ids that people accepted: they come first,
    with a score or without.
    """
    compared = [id_ for id_, score in scores.items() if id_ in chosen or score is not None]
    return sorted(compared, key=lambda id_: (id_ not in chosen, -(scores[id_] or 0.0), id_))
