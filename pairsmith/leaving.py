"""What leaves this machine with the requests to a teacher, told before the first of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from curate.gates.personal import counted
from curate.redaction import held_in, texts_of
from schemas.progress import Say
from schemas.records import Seed
from schemas.spec import Spec, TeacherSettings


def say_personal(say: Say, seeds: Sequence[Seed], asked: Iterable[TeacherSettings], spec: Spec) -> None:
    """Say what the seeds and the worked examples hold of people, secrets and insults, and where it goes. Of the
    examples nothing is redacted, and each of them goes with every request."""
    away = sorted({url for teacher in asked for url in teacher.addresses if not is_local(url)})
    asked_in, answered_in = spec.task.languages
    of_seeds = (text for seed in seeds for text in texts_of(seed, asked_in, answered_in, sent=True))
    of_exemplars = (text for one in spec.exemplars for text in ((one.input, asked_in), (one.output, answered_in)))
    for what, takes, sent in (
        ("seeds hold", "requests take it", of_seeds),
        ("[[exemplars]] hold", "every request takes it", of_exemplars),
    ):
        if away and (held := counted(one for text, language in sent for one in {*held_in(text, language)})):
            say(f"warning: the {what} {held}; {takes} from this machine to {' and '.join(away)}.")


def is_local(url: str) -> bool:
    """Whether a teacher's address is on this machine."""
    host = urlsplit(url).hostname
    return url in ("embedded", "vllm") or host in ("localhost", "::1") or str(host).startswith("127.")
