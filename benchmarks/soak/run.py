"""One run: label and kill until the schedule is done, wait for quiet, then check everything."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import OperationalError

from benchmarks.soak import job_checks, lease_checks, log_checks, model_checks, project, resources
from benchmarks.soak.deployment import Deployment, wait
from benchmarks.soak.labelers import Labeler
from benchmarks.soak.project import NAME, Pool
from benchmarks.soak.readiness import Readiness, Recovery
from benchmarks.soak.record import Record
from benchmarks.soak.schedule import Strike
from client.sdk import Client
from store.artifacts import Artifacts
from store.database import Sessions, connect
from store.tables import Project

CLIENTS = 8
QUIET_SECONDS = 60.0
WARM_UP_SECONDS = 20.0
Say = Callable[[str], None]


@dataclass
class Struck:
    """One strike and what came of it."""

    number: int
    name: str
    at: float
    recovery: Recovery

    @property
    def slowest(self) -> float | None:
        """Seconds until everything worked again; None: not in time."""
        times = list(self.recovery.ready.values())
        return None if None in times else max(time for time in times if time is not None)


@dataclass
class Outcome:
    """What a run found; empty lists are good."""

    checks: dict[str, list[str]] = field(default_factory=dict)
    strikes: list[Struck] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every check was made and found nothing."""
        return bool(self.checks) and not any(self.checks.values())


class Run:
    """Drives a deployment that another thread watches over."""

    def __init__(
        self, deployment: Deployment, seed: int, ready_seconds: float, stop: threading.Event, say: Say
    ) -> None:
        self._deployment, self._seed, self._ready_seconds, self._say = deployment, seed, ready_seconds, say
        self.stop = stop  # ends the run early
        self.record = Record()
        self.outcome = Outcome()
        self._pool = Pool(seed)

    def go(self, strikes: list[Strike], minutes: float | None) -> None:
        """Everything, from the project to the checks; the outcome is in `outcome`."""
        with Client(self._deployment.url) as client:
            project.create(client, self._pool)
        self._say(f"prepared {project.ITEMS} items, a window of {project.WINDOW}; {CLIENTS} clients begin")
        ended = threading.Event()
        clients = [
            Labeler(number, self._deployment.url, self._seed, self._pool, self.record, ended)
            for number in range(CLIENTS)
        ]
        for one in clients:
            one.start()
        try:
            began = time.monotonic()
            if minutes is None:
                self._strike_all(strikes)
            else:
                self._endure(minutes)
            self.outcome.figures["seconds"] = round(time.monotonic() - began, 1)
        finally:
            ended.set()
            for one in clients:
                one.join(30)
        for one in clients:
            if one.is_alive():
                self.record.odd(one.name, "did not end within 30 s of being told to")
        if not self.stop.is_set():
            self._check()

    # Work

    def _strike_all(self, strikes: list[Strike]) -> None:
        readiness = Readiness(self._deployment.url, self._seed, self._pool, self.record)
        for number, strike in enumerate(strikes, start=1):
            if self.stop.wait(strike.after):
                return
            struck = time.monotonic()
            killed = {part: self._deployment.strike(part) for part in strike.parts}

            def replaced(killed: dict[str, int | None] = killed) -> bool:
                return all(self._deployment.replaced(part, pid) for part, pid in killed.items())

            recovery = readiness.wait(struck, replaced, self.stop)
            one = Struck(number, strike.name, round(struck - self.record.began, 1), recovery)
            self.outcome.strikes.append(one)
            self._say(
                f"{number:4}/{len(strikes)}  {strike.name:45} runs again {_seconds(recovery.restarted)}  "
                + "  ".join(f"{name.split()[1]} {_seconds(value)}" for name, value in recovery.ready.items())
            )

    def _endure(self, minutes: float) -> None:
        self.stop.wait(min(WARM_UP_SECONDS, 60 * minutes / 4))
        sessions = connect(self._deployment.database_url)
        samples: list[dict[str, Any]] = []
        until = time.monotonic() + 60 * minutes
        while True:
            with sessions.begin() as session:
                samples.append(
                    {
                        "at": round(time.monotonic() - self.record.began, 1),
                        "processes": resources.of_processes(self._deployment.pids()),
                        "tables": resources.of_tables(session),
                        "artifacts": resources.of_folder(self._deployment.home / "artifacts"),
                    }
                )
            left = until - time.monotonic()
            if left <= 0 or self.stop.wait(min(left, 60)):
                break
        _dispose(sessions)
        self.outcome.figures["samples"] = samples
        self.outcome.figures["grown_mib"] = resources.growth(samples[0]["processes"], samples[-1]["processes"])

    # Checks

    def _check(self) -> None:
        sessions = connect(self._deployment.database_url)
        try:
            self._say("quiet: waiting for the last jobs")
            wait(lambda: self._no_job_open(sessions), QUIET_SECONDS, self.stop.is_set)
            with Client(self._deployment.url) as client:
                self._check_all(client, sessions)
        finally:
            _dispose(sessions)

    def _no_job_open(self, sessions: Sessions) -> bool:
        try:
            with sessions.begin() as session:
                return not job_checks.still_open(session)
        except OperationalError:
            return False  # connections from before the last kill

    def _check_all(self, client: Client, sessions: Sessions) -> None:
        checks, figures = self.outcome.checks, self.outcome.figures
        with sessions.begin() as session:
            checks["every job has ended after a minute of quiet"] = job_checks.check_ended(session)
            checks["no job failed by an internal error"] = job_checks.check_failures(session)
            figures["jobs"] = job_checks.counts(session)
            figures["tables"] = resources.of_tables(session)
        figures["processes"] = resources.of_processes(self._deployment.pids())
        figures["artifacts"] = resources.of_folder(self._deployment.home / "artifacts")
        sent, log = self.record.snapshot(), list(client.label_log(NAME))
        checks["acknowledged labels are in the log once, in order, without gaps"] = log_checks.check_log(
            sent, log
        ) + log_checks.check_order(sent)
        standing = log_checks.fold(log)
        checks["items stand as the log says"] = log_checks.check_items(client.items(NAME), standing)
        with sessions.begin() as session:
            project_id = session.query(Project.id).filter(Project.name == NAME).scalar()
            held = lease_checks.leases(session, project_id)
            figures["leases"] = len(held)
            checks["no item was leased to two annotators at a time"] = lease_checks.check_leases(held)
            checks["no labeled item was suggested"] = lease_checks.check_unlabeled(session, project_id)
        artifacts = Artifacts(self._deployment.supervisor.environment["ARTIFACTS_URL"])
        with sessions() as session:
            report = model_checks.check_model(client, session, artifacts, self._pool, standing)
        checks["the model equals a refit from the log"] = report.wrong
        figures["model"] = report.figures
        figures["log"] = len(log)
        checks[f"ready within {self._ready_seconds:.0f} s of each kill"] = [
            f"strike {one.number} ({one.name}) at {one.at} s: {one.recovery}"
            for one in self.outcome.strikes
            if one.slowest is None or one.slowest > self._ready_seconds
        ]
        checks["nothing odd was answered"] = [
            f"at {odd.at} s, {odd.client}: {odd.what}" for odd in self.record.oddities
        ]


def _dispose(sessions: Sessions) -> None:
    sessions.kw["bind"].dispose()


def _seconds(value: float | None) -> str:
    return "   never" if value is None else f"{value:6.2f} s"
