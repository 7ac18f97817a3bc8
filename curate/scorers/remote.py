"""The models that curation calls over HTTP: the judges, and a reward model behind an endpoint."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from curate.rows import JUDGE
from curate.scorers.choose import ChosenScorer
from curate.scorers.judge import Judge, open_judge
from curate.scorers.served_reward import REWARD, HostedReward, ServedReward, open_served
from schemas.progress import Say
from schemas.project import Project
from schemas.store import Store
from synth.ledger import Ledger

_AT_ONCE = 1_024  # rows per call of a scorer; how many requests run at a time is limited by its teacher's settings


@dataclass(frozen=True)
class RemoteScorers:
    """The judge and the served reward model that a spec names; None for one that it does not name."""

    judge: Judge | None = None
    reward: ServedReward | None = None

    @property
    def ledgers(self) -> tuple[Ledger, ...]:
        hosted = (self.reward.ledger,) if isinstance(self.reward, HostedReward) else ()
        return (*(self.judge.ledgers if self.judge else ()), *hosted)

    @property
    def as_judge(self) -> ChosenScorer | None:
        """The judge as a scorer; None without a judge."""
        if self.judge is None:
            return None
        names = ", ".join(ledger.identity for ledger in self.judge.ledgers)
        sentence = f"a checklist of {len(self.judge.questions)} questions, answered by {names}"
        facts = {"judges": self.judge.facts["judges"]}
        return ChosenScorer(JUDGE, self.judge.fingerprint, self.judge.score, sentence, facts, at_once=_AT_ONCE)

    @property
    def as_reward(self) -> ChosenScorer | None:
        """The served reward model as a scorer; None without one."""
        if self.reward is None:
            return None
        teacher = self.reward.ledger.teacher if isinstance(self.reward, HostedReward) else self.reward.teacher
        sentence = f"the reward model {teacher.model} at {teacher.url}"
        facts = {"model": teacher.model}
        return ChosenScorer(REWARD, self.reward.fingerprint, self.reward.score, sentence, facts, at_once=_AT_ONCE)


async def open_remote_scorers(project: Project, store: Store, stack: AsyncExitStack, say: Say) -> RemoteScorers:
    """Open the judge and the reward model that the spec names, until `stack` is closed. No request is sent before
    there is a row to judge."""
    judge = await open_judge(project, store, project.spec.curate.judge.teachers, stack, say)
    return RemoteScorers(judge, await open_served(project, store, stack, say))
