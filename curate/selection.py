"""The best candidates of an input: scores compare answers to one input and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping


def ranked(
    scores: Mapping[str, float | None], chosen: Collection[str] = (), flagged: Collection[str] = ()
) -> list[str]:
    """The ids of one input's candidates, best first; ties go to the smaller id.

    One without a score is in no rank: it cannot be compared. `chosen` holds ids that people accepted: they come first,
    with a score or without. Those that are `flagged` come last.
    """
    compared = [id_ for id_, score in scores.items() if id_ in chosen or score is not None]
    return sorted(compared, key=lambda id_: (id_ not in chosen, id_ in flagged, -(scores[id_] or 0.0), id_))
