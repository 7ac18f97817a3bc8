"""Jobs under attack: does each end exactly once, and is nothing requested twice that was not in flight?

`python -m bench.service.kills [--jobs 200] [--databases sqlite postgresql]`. Each job is a real `pairsmith generate`
with a loopback teacher. At random, with a fixed seed, the server and job processes are killed (`kill -9`), the whole
group gets SIGTERM, the jobs database is unavailable for some seconds, or the disk is full for some seconds.

A full disk is simulated with RLIMIT_FSIZE, set from outside on the running server or process, so that no file can grow.
SQLite is made unavailable by another process that locks its file, PostgreSQL by stopping its server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.harness import keep, kept
from bench.service.postgres import Postgres, programs
from pairsmith.serve.job import Job, JobOptions
from pairsmith.serve.jobs import Jobs
from pairsmith.serve.process import is_held, starts
from pairsmith.serve.workspace import Workspace
from tests.synth.loopback import Ask, LoopbackTeacher, Reply, says

SEEDS, SAMPLES, CONCURRENCY = 12, 2, 4
MOST_KILLS = 3  # per job; the fourth death would rightly fail it
SLOW_S = 1.0  # the teacher may read a request this late; the next process takes longer to send its first
AT_ONCE = 6  # jobs that were started and have not ended
AWAY_S = 4.0
WORDS = (
    *("lamp", "sea", "kite", "harbour", "crane", "goat", "roof", "paper", "boat", "snow", "pine", "brass", "telescope"),
    *("fisher", "teapot", "umbrella", "desert", "tram", "fox", "wheat", "violin", "cellar", "bridge", "moss", "clock"),
)

SPEC = """
[task]
name = "{name}"
style = "Rewrite the prompt."

[[seeds]]
path = "seeds.jsonl"

[teacher]
url = "{url}"
model = "loopback"
concurrency = {concurrency}

[generate.forward]
n = {samples}
sampling = {{ max_tokens = 32 }}
"""


@dataclass
class Counts:
    """What was done to the service, and the results."""

    faults: dict[str, int] = field(default_factory=dict)
    failed_in_words: int = 0
    in_flight: int = 0
    jobs_run: int = 0
    ended_once: int = 0
    rows_lost: int = 0
    requests: int = 0
    doubled: int = 0
    doubled_over_in_flight: int = 0
    left_pending: int = 0
    wrong: list[str] = field(default_factory=list)


class Attack:
    """A workspace with one job per project, a job server, and the faults to inject."""

    def __init__(
        self,
        root: Path,
        jobs: int,
        database_url: str | None,
        away: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self.workspace, self.away, self.database_url = Workspace(root), away, database_url
        self.draw, self.counts = random.Random(jobs), Counts()
        self.slugs = [f"p{nth:03d}" for nth in range(jobs)]
        self.killed: dict[str, list[int]] = {slug: [] for slug in self.slugs}  # pids
        self.failed: dict[str, list[str]] = {slug: [] for slug in self.slugs}  # jobs that failed on a full disk
        self.asked: dict[str, list[float]] = {slug: [] for slug in self.slugs}  # when the teacher received requests
        self.ids: dict[str, list[str]] = {}
        self.asked_to_end: set[int] = set()
        self.server: subprocess.Popen[bytes] | None = None
        self.teacher = LoopbackTeacher(self._answer)

    def _answer(self, ask: Ask) -> Reply:
        self.asked[ask.prompt.split()[-1]].append(time.time())
        return says(*(f"a rich and long rewrite of {ask.prompt[-60:]} {nth}" for nth in range(ask.n)), delay_s=0.6)

    def run(
        self, faults: dict[str, float], every_s: tuple[float, float], timeout_s: float, most: int = sys.maxsize
    ) -> Counts:
        """Run the jobs under `faults` (name -> share), one every `every_s` seconds, until all have ended. `most` limits
        the number of faults, so that a slow machine makes progress."""
        with self.teacher:
            for slug in self.slugs:
                self._project(slug)
            self.start()
            jobs = Jobs(self.workspace, database_url=self.database_url)
            try:
                self._play(jobs, faults, every_s, time.monotonic() + timeout_s, most)
                time.sleep(1)
                self._count(jobs)
            finally:
                jobs.close()
                self.stop_all()
        return self.counts

    def _project(self, slug: str) -> None:
        folder = self.workspace.new_folder(slug)
        folder.mkdir(parents=True)
        text = SPEC.format(name=slug, url=self.teacher.url, concurrency=CONCURRENCY, samples=SAMPLES)
        (folder / "pairsmith.toml").write_text(text)
        # Seeds must not be similar: near-duplicates of a test seed would not be generated.
        words = (" ".join(self.draw.choices(WORDS, k=6)) for _ in range(SEEDS))
        (folder / "seeds.jsonl").write_text("".join(json.dumps({"text": f"{text} {slug}"}) + "\n" for text in words))

    def _play(
        self, jobs: Jobs, faults: dict[str, float], every_s: tuple[float, float], until_s: float, most: int
    ) -> None:
        waiting, running = list(self.slugs), dict[str, str]()
        next_s = time.monotonic() + 3
        while (waiting or running) and time.monotonic() < until_s:
            while waiting and len(running) < AT_ONCE:
                slug = waiting.pop(0)
                running[slug] = jobs.start(slug, "generate", JobOptions(), "bench").id
                self.ids.setdefault(slug, []).append(running[slug])
            for slug, job_id in list(running.items()):
                if not (job := jobs.get(job_id)).has_ended:
                    continue
                del running[slug]
                if job.state != "done":
                    self._continue(jobs, slug, job, running)
            if time.monotonic() >= next_s and sum(self.counts.faults.values()) < most:
                name = self.draw.choices([*faults], [*faults.values()])[0]
                if getattr(self, f"_{name}")():
                    self.counts.faults[name] = self.counts.faults.get(name, 0) + 1
                next_s = time.monotonic() + self.draw.uniform(*every_s)
            time.sleep(0.2)

    def _continue(self, jobs: Jobs, slug: str, job: Job, running: dict[str, str]) -> None:
        """Continue a job that failed on a full disk with a clear message, as a user would."""
        if job.problem is None or job.problem.get("kind") not in ("StoreFull", "StoreError"):
            self.counts.wrong.append(f"{slug} {job.state} {job.problem}")
            return
        self.counts.failed_in_words += 1
        self.failed[slug].append(job.id)
        running[slug] = jobs.start(slug, "generate", JobOptions(), "bench", f"again {job.id}", job.id).id
        self.ids[slug].append(running[slug])

    # ---- faults -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        command = [sys.executable, "-m", "bench.service.jobs_server", str(self.workspace.root)]
        with (self.workspace.root / "server.log").open("ab") as log:
            self.server = subprocess.Popen([*command, *([self.database_url] if self.database_url else [])], stderr=log)

    def _server(self) -> bool:
        assert self.server is not None
        self.server.kill()
        self.server.wait()
        time.sleep(self.draw.uniform(0, 1.5))
        self.start()
        return True

    def _child(self) -> bool:
        """Kill a running job process."""
        slug, pid = self._pick_running()
        if pid is None or len(self.killed[slug]) >= MOST_KILLS:
            return False
        time.sleep(self.draw.uniform(0, 4))  # it takes a second to start, and is killed at any time of its life
        if (pid := self._pid(slug)) is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:  # it has ended meanwhile
            return False
        self.killed[slug].append(pid)
        return True

    def _group(self) -> bool:
        """Send SIGTERM to everything, as when a container stops; then start a new server."""
        assert self.server is not None
        pids = {pid for slug in self.ids if (pid := self._pid(slug))} - self.asked_to_end
        self.asked_to_end |= pids  # a second signal would end it at once, without draining
        for pid in (self.server.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.server.wait()
        self.start()
        return True

    def _database(self) -> bool:
        with self.away():
            time.sleep(AWAY_S)
        return True

    def _full_server(self) -> bool:
        assert self.server is not None
        with _no_file_growth(self.server.pid):
            time.sleep(AWAY_S)
        return True

    def _full_child(self) -> bool:
        _, pid = self._pick_running()
        if pid is None:
            return False
        with _no_file_growth(pid):
            time.sleep(AWAY_S)
        return True

    def stop_all(self) -> None:
        assert self.server is not None
        self.server.terminate()
        self.server.wait()

    # ---- counting the results ---------------------------------------------------------------------------------------

    def _pick_running(self) -> tuple[str, int | None]:
        """Pick a job whose process is running, waiting five seconds for one."""
        until_s = time.monotonic() + 5
        while time.monotonic() < until_s:
            if living := [(slug, pid) for slug in self.ids if (pid := self._pid(slug))]:
                return self.draw.choice(living)
            time.sleep(0.05)
        return "", None

    def _pid(self, slug: str) -> int | None:
        folder = self.workspace.jobs_folder / self.ids[slug][-1]
        try:
            pid = int(json.loads((folder / "lock").read_bytes())["pid"])
        except (OSError, ValueError):
            return None
        return pid if is_held(folder) else None

    def _in_flight(self, slug: str) -> tuple[int, int]:
        """Count requests whose answers are in no store: those of processes that were killed or had no disk space, as
        far as they may have been in flight, and all others. A process is credited with what the teacher received
        between its start and that of the next process."""
        folders = {job: self.workspace.jobs_folder / job for job in self.ids[slug]}
        began = [(start["at"], start["pid"], job) for job, folder in folders.items() for start in starts(folder)]
        ends = [at + SLOW_S for at, _, _ in began[1:]] + [float("inf")]
        bodies = (json.loads(body) for body in self._query(slug, "SELECT body FROM calls"))
        kept = [datetime.fromisoformat(body["at"]).timestamp() for body in bodies]
        lost, over, since = 0, 0, 0.0
        for (_, pid, job), end in zip(began, ends, strict=True):
            asked = sum(since <= at < end for at in self.asked[slug])
            missing = asked - sum(since <= at < end for at in kept) // SAMPLES  # one request brings all samples
            may = 2 * CONCURRENCY if pid in self.killed[slug] or job in self.failed[slug] else 0
            lost, over, since = lost + min(missing, may), over + max(0, missing - may), end
        return lost, over

    def _query(self, slug: str, query: str) -> list[Any]:
        """The first column of a query of a project's store."""
        try:
            with contextlib.closing(sqlite3.connect(self.workspace.folder(slug) / "pairsmith.db", timeout=30)) as store:
                return [row[0] for row in store.execute(query)]
        except sqlite3.OperationalError:  # it was killed before it had created its tables
            return []

    def _count(self, jobs: Jobs) -> None:
        counts = self.counts
        counts.jobs_run = len(self.slugs)
        counts.requests = len(self.teacher.asked)
        counts.doubled = sum(times - 1 for times in self.teacher.counts().values())
        counts.left_pending = len(jobs.active())
        for slug in self.slugs:
            ended = [jobs.get(job_id) for job_id in self.ids.get(slug, [])]
            exits = len(list((self.workspace.jobs_folder / ended[-1].id).glob("exit-*.json"))) if ended else 0
            pairs = len(self._query(slug, "SELECT id FROM pairs"))
            counts.rows_lost += SEEDS * SAMPLES - pairs
            in_flight, over = self._in_flight(slug)
            counts.in_flight += in_flight
            counts.doubled_over_in_flight += over
            if over:
                counts.wrong.append(f"{slug}: {over} answers of processes that nobody killed were asked for again")
            once = [job.state for job in ended].count("done") == 1 and ended[-1].state == "done" and exits == 1
            if once and pairs == SEEDS * SAMPLES:
                counts.ended_once += 1
            else:
                began = [len(starts(jobs.folder(job.id))) for job in ended]
                counts.wrong.append(
                    f"{slug}: {[job.state for job in ended]}, {pairs} pairs, {exits} exits, {began} starts"
                )


@contextmanager
def _no_file_growth(pid: int) -> Iterator[None]:
    """Prevent every file of a process from growing, as on a full disk."""
    with contextlib.suppress(ProcessLookupError):
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
        yield
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def sqlite_away(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield
        database.execute("ROLLBACK")


@contextmanager
def postgres_away(server: Postgres) -> Iterator[None]:
    server.stop()
    yield
    server.start()


FAULTS = {"server": 0.45, "child": 0.3, "group": 0.1, "database": 0.05, "full_server": 0.05, "full_child": 0.05}


def attack_database(name: str, jobs: int) -> Counts:
    """Run the attack with one database and return the counts."""
    timeout_s = 120 + 30.0 * jobs
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        if name == "postgresql":
            server = stack.enter_context(Postgres())
            attack = Attack(root, jobs, server.url, partial(postgres_away, server))
        else:
            attack = Attack(root, jobs, None, partial(sqlite_away, root / ".serve" / "jobs.db"))
        return attack.run(FAULTS, (2.0, 6.0), timeout_s, most=2 * jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--databases", nargs="+", default=["sqlite", *(["postgresql"] if programs() else [])])
    asked = parser.parse_args()
    for name in asked.databases:
        counts = asdict(attack_database(name, asked.jobs))
        # The results as they are now: another part of the benchmark may have written during the hour that this took.
        every = kept("service").get("kills", {}) | {name: counts}
        names = {"jobs_finished_once": "ended_once"} | {key: key for key in ("jobs_run", "doubled_over_in_flight")}
        sums = {key: sum(of.get(field, 0) for of in every.values()) for key, field in names.items()}
        keep("service", {**sums, "kills": every})


if __name__ == "__main__":
    main()
