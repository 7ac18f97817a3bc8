"""Do the forecast's minutes hold on servers of different kinds, and its money where seeds differ in length?

SIMULATED, not measured: no teacher is asked. Each run has a pilot of twenty seeds, the first of them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from curate.forecast import Range
from pairsmith.teachers.pilot_costs import SeedCost, costs_of
from schemas.spec import TeacherSettings

PILOT_SEEDS = 20
_TOKENS_PER_S, _FIRST_TOKEN_S, _STALL_S = 50.0, 0.4, 30.0
_LIMIT = 512  # max_tokens
Speed = Callable[[int], np.ndarray]
"""The share of its full speed at which each of so many requests in flight progresses, oldest first."""


class Server(NamedTuple):
    """How fast it works on several requests, the share of them that take half a minute more, and by how much its speed
    differs between pilot and run (sigma of a lognormal factor)."""

    speed: Speed
    stalls: float = 0.0
    drift: float = 0.0


SERVERS = {
    "answers all at once": Server(np.ones),
    "answers in turn": Server(lambda n: (np.arange(n) < 1).astype(float)),
    "has 4 slots": Server(lambda n: (np.arange(n) < 4).astype(float)),
    "has 12 slots": Server(lambda n: (np.arange(n) < 12).astype(float)),
    "shares the speed of 6": Server(lambda n: np.full(n, min(1.0, 6 / max(n, 1)))),
    "slows down with the batch": Server(lambda n: np.full(n, 1 / (1 + 0.03 * n))),
    "stalls on 2 % of requests": Server(np.ones, stalls=0.02),
    "is faster or slower by a quarter later": Server(np.ones, drift=0.25),
}


class Timed(NamedTuple):
    """Requests in the order in which they were sent: when each began and ended, in seconds."""

    spans: list[tuple[float, float]]
    took_s: float


def timed(work_s: np.ndarray, concurrency: int, speed: Speed, begin: float = 0.0) -> Timed:
    """The requests of one run, each of so many seconds of work, `concurrency` of them in flight."""
    left, began, ended = np.array(work_s, float), np.zeros(len(work_s)), np.zeros(len(work_s))
    now, sent, flying = begin, min(concurrency, len(work_s)), list(range(min(concurrency, len(work_s))))
    began[flying] = now
    while flying:
        share = speed(len(flying))
        until = np.divide(left[flying], share, out=np.full(len(flying), np.inf), where=share > 0)
        step = float(until.min())
        left[flying] -= step * share
        now += step
        done = flying.pop(int(until.argmin()))
        ended[done] = now
        if sent < len(left):
            began[sent] = now
            flying.append(sent)
            sent += 1
    return Timed(list(zip(began.tolist(), ended.tolist(), strict=True)), now - begin)


class _Work(NamedTuple):
    """The answers of one run: their tokens, the seconds of work for each, and the teacher."""

    tokens: np.ndarray
    work_s: np.ndarray
    teacher: TeacherSettings

    def forecast(self, pilot: Sequence[int], spans: Sequence[tuple[float, float]]) -> Range:
        """The minutes of the run, from the answers with these numbers; `spans` are the times of all that were sent."""
        places = {at: rank for rank, at in enumerate(sorted(range(len(spans)), key=lambda at: spans[at][1]))}
        costs = [
            SeedCost(
                *(100, 100 + float(self.tokens[at]), None, None, spans[at][1] - spans[at][0]),
                spans=(spans[at],),
                ranks=(places[at],),
            )
            for at in pilot
        ]
        forecast = costs_of(self.teacher, costs, len(self.tokens) - len(pilot), _LIMIT, 1)["minutes"]
        assert forecast is not None
        return forecast


def _work(server: Server, random: np.random.Generator) -> _Work:
    seeds, concurrency = int(random.choice([60, 200, 800])), int(random.choice([1, 4, 16, 32, 64]))
    tokens = np.minimum(np.exp(np.log(120) + random.uniform(0.2, 0.9) * random.normal(size=seeds)), 512)
    work_s = _FIRST_TOKEN_S * np.exp(0.3 * random.normal(size=seeds)) + tokens / _TOKENS_PER_S
    work_s += _STALL_S * (random.random(seeds) < server.stalls)
    return _Work(tokens, work_s, TeacherSettings(url="http://localhost:8000/v1", model="m", concurrency=concurrency))


def minutes(server: Server, number: int, pilot_seeds: int = PILOT_SEEDS) -> tuple[float, Range]:
    """The minutes of the `number`-th run on a server, and their forecast."""
    random = np.random.default_rng(number)
    work = _work(server, random)
    work.work_s[pilot_seeds:] *= np.exp(server.drift * random.normal())
    first = timed(work.work_s[:1], 1, server.speed)
    pilot = timed(work.work_s[1:pilot_seeds], work.teacher.concurrency, server.speed, first.took_s)
    rest = timed(work.work_s[pilot_seeds:], work.teacher.concurrency, server.speed)
    whole_s = first.took_s + pilot.took_s + rest.took_s
    return whole_s / 60, work.forecast(range(pilot_seeds), [*first.spans, *pilot.spans])


def _any_server(pilot_seeds: int, number: int) -> tuple[float, Range]:
    return minutes(list(SERVERS.values())[number % len(SERVERS)], number, pilot_seeds)


def minutes_again(number: int) -> tuple[float, Range]:
    """The minutes of the `number`-th run, and their forecast from answers that are scattered over that run."""
    random = np.random.default_rng(number)
    server = [one for one in SERVERS.values() if not one.drift][number % (len(SERVERS) - 1)]
    work = _work(server, random)
    run = timed(work.work_s, work.teacher.concurrency, server.speed)
    pilot = random.choice(len(run.spans), PILOT_SEEDS, replace=False).tolist()
    return run.took_s / 60, work.forecast(pilot, run.spans)


def usd(number: int) -> tuple[float, Range]:
    """The US dollars of the `number`-th run with seeds of very different lengths, and their forecast."""
    random = np.random.default_rng(number)
    seeds, n = int(random.choice([60, 200, 800, 2_000])), int(random.choice([1, 2, 4]))
    sizes = np.round(np.exp(np.log(random.choice([400, 4_000])) + random.uniform(0.3, 1.5) * random.normal(size=seeds)))
    prompt = np.round(200 + sizes / random.uniform(3.5, 5) * np.exp(0.1 * random.normal(size=seeds)))
    of_size = (sizes / sizes.mean()) ** random.choice([0.0, 0.5])  # longer seeds may have longer answers
    answers = np.minimum(100 * of_size * np.exp(0.4 * random.normal(size=(n, seeds))), _LIMIT).sum(0).round()
    teacher = TeacherSettings(
        model="m", url="http://localhost:8000/v1", usd_per_million_prompt_tokens=1, usd_per_million_completion_tokens=5
    )
    each = (prompt + 5 * answers) / 1e6
    costs = [
        SeedCost(asked, asked + written, money, None, 1.0, size=int(size))
        for asked, written, money, size in zip(prompt, answers, each, sizes, strict=True)
    ]
    others = [one.size for one in costs[PILOT_SEEDS:]]
    forecast = costs_of(teacher, costs[:PILOT_SEEDS], len(others), _LIMIT, n, sizes=others)["usd"]
    assert forecast is not None
    return float(each.sum()), forecast


def coverage(projects: int) -> dict[str, dict[str, float]]:
    """For the minutes on each server, and for the money of seeds of different lengths: the share of runs within the
    forecast, the medians of its ends relative to the outcome, and the highest upper end."""
    kinds: dict[str, Callable[[int], tuple[float, Range]]] = {
        f"minutes: it {name}": partial(minutes, server) for name, server in SERVERS.items()
    }
    kinds["minutes: it stalls on 2 % of requests, a pilot of 60"] = partial(
        minutes, SERVERS["stalls on 2 % of requests"], pilot_seeds=60
    )
    kinds |= {f"minutes: a pilot of {seeds}": partial(_any_server, seeds) for seeds in (5, 10, 20)}
    kinds["minutes: the pilot is of an earlier run"] = minutes_again
    kinds["money: seeds of different lengths"] = usd
    return {kind: _summary([run(number) for number in range(projects)]) for kind, run in kinds.items()}


def _summary(runs: list[tuple[float, Range]]) -> dict[str, float]:
    held = [one.low <= truth * (1 + 1e-9) and truth <= one.high * (1 + 1e-9) for truth, one in runs]
    relative = {end: [getattr(one, end) / truth for truth, one in runs] for end in Range._fields}
    shares = {end: np.median(each) for end, each in relative.items()} | {"highest": max(relative["high"])}
    return {name: round(float(share), 3) for name, share in {"coverage": np.mean(held), **shares}.items()}
