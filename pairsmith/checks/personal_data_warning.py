"""Warns about personal data before the first request: what requests send off this machine, or what is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from curate.gates.personal import counted
from curate.redaction import PERSONAL_DATA, find_personal_data, texts_of
from curate.split import has_given_output
from schemas.progress import Progress, Say, reporting, unseen
from schemas.records import Seed
from schemas.spec import Spec, TeacherSettings


def warn_about_personal_data(
    say: Say,
    seeds: Sequence[Seed],
    teachers: Iterable[TeacherSettings],
    spec: Spec,
    progress: Progress = unseen,
) -> None:
    """Report what personal data, secrets and insults the seeds and exemplars contain, and where they are sent.

    Exemplars are not redacted, and every request includes each of them. If nothing is sent off this machine,
    report instead what the dataset will contain, from up to 2,000 seeds at equal distances.
    """
    away = addresses_elsewhere(teachers)
    asked_in, answered_in = spec.task.languages
    searched = reporting(seeds, progress, PERSONAL_DATA, len(seeds))
    of_seeds = (text for seed in searched for text in texts_of(seed, asked_in, answered_in, sent=True))
    of_exemplars = (text for one in spec.exemplars for text in ((one.input, asked_in), (one.output, answered_in)))
    for what, takes, sent in (
        ("seeds contain", "requests send it", of_seeds),
        ("[[exemplars]] contain", "every request sends it", of_exemplars),
    ):
        if away and (held := counted(one for text, language in sent for one in {*find_personal_data(text, language)})):
            say(f"warning: the {what} {held}; {takes} from this machine to {' and '.join(away)}.")
    if not away:
        step = -(-len(seeds) // _LOOKED_AT) or 1
        looked_at = seeds[::step]
        searched = reporting(looked_at, progress, PERSONAL_DATA, len(looked_at))
        kept = (
            text for seed in searched for text in texts_of(seed, asked_in, answered_in, sent=not has_given_output(seed))
        )
        if held := counted(one for text, language in kept for one in {*find_personal_data(text, language)}):
            sample = f"a sample of {len(looked_at):,} of the {len(seeds):,} rows contains"
            what = "the seeds contain" if step == 1 else sample
            say(f"warning: {what} {held}, and so will the dataset. [personal] in the spec can redact or reject it.")


_LOOKED_AT = 2_000  # seeds


def addresses_elsewhere(teachers: Iterable[TeacherSettings]) -> list[str]:
    """The addresses of teachers that do not answer on this machine. An Ollama on it relays some models to its cloud."""
    from synth.chat.listed_models import is_relayed

    def is_local(url: str) -> bool:
        host = urlsplit(url).hostname
        return url in ("embedded", "vllm") or host in ("localhost", "::1") or str(host).startswith("127.")

    return sorted({url for one in teachers for url in one.addresses if is_relayed(one.model) or not is_local(url)})
