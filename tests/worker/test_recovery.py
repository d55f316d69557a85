"""Lost workers, a lost queue and a lost database, as the sweeper and the worker see them."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import torch

from ntk.kernel import Items, Ranges
from ntk.kernels import KernelEngine
from store import jobs
from store.jobs import Pulse
from store.tables import Job, KernelPanel, KernelState
from tests.api import Api
from tests.worker.conftest import run_queued
from tests.worker.trainings import job_of
from worker import identity, prepare, queue, warm
from worker.context import Context
from worker.jobs import run_in
from worker.maintenance import SILENT_HERE_SECONDS, SILENT_SECONDS, Silence, Sweeper
from worker.progress import Reporter


@pytest.fixture
def waiting(api: Api) -> str:
    """A project whose checkpoint waits to be prepared, in five panels; the job's id."""
    api.project()
    api.pool(items=40)
    job_id: str = api.mlp()["id"]
    return job_id


@pytest.fixture(autouse=True)
def small_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "PANEL_ROWS", 8)


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sweep_for(context: Context, seconds: float) -> int:
    """A sweep every second; returns how many jobs were queued again."""
    clock = Clock()
    sweeper, again = Sweeper(context, clock), 0
    for _ in range(int(seconds) + 1):
        again += sweeper.sweep()
        clock.now += 1
    return again


def claimed(context: Context, job_id: str, worker: str = "doomed") -> Job:
    with context.sessions.begin() as session:
        job = jobs.claim(session, job_id, worker)
    assert job is not None
    return job


# Who is lost


def test_silence_is_counted_from_the_first_look() -> None:
    clock = Clock()
    silence = Silence(clock)
    first, second = (Pulse(f"job-{number}", 1, "w", None) for number in range(2))
    assert silence.heard([first]) == {first: 0}
    for seconds in range(3):
        clock.now += 1
        assert silence.heard([first, second]) == {first: seconds + 1, second: seconds}
    # What is not running any more is forgotten.
    assert silence.heard([second]) == {second: 2}
    assert silence.heard([first]) == {first: 0}


def test_nobody_is_silent_while_nobody_listened() -> None:
    clock = Clock()
    silence = Silence(clock)
    one = Pulse("job-1", 1, "w", None)
    silence.heard([one])
    clock.now += 3600
    assert silence.heard([one])[one] <= 2


def test_a_worker_that_is_still_there_is_given_more_time(api: Api, waiting: str, worker: Context) -> None:
    claimed(worker, waiting, identity.make_name())
    assert sweep_for(worker, SILENT_HERE_SECONDS - 1) == 0
    assert sweep_for(worker, SILENT_HERE_SECONDS) == 1


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
def test_a_job_whose_heartbeats_come_is_not_lost_whatever_the_clock_says(
    api: Api, waiting: str, worker: Context, jump: timedelta
) -> None:
    claimed(worker, waiting)
    clock = Clock()
    sweeper = Sweeper(worker, clock)
    for beat in range(2 * int(SILENT_SECONDS)):
        moment = sa.func.now() + jump + timedelta(seconds=beat)
        with worker.sessions.begin() as session:
            session.execute(sa.update(Job).values(heartbeat_at=moment))
        sweeper.sweep()
        clock.now += 1
    assert job_of(api, waiting)["status"] == "running"
    assert sweep_for(worker, SILENT_SECONDS - 1) == 0
    assert sweep_for(worker, SILENT_SECONDS) == 1
    assert job_of(api, waiting)["status"] == "queued"


def test_a_worker_whose_process_is_gone_is_known_at_once(api: Api, waiting: str, worker: Context) -> None:
    code = "from worker.identity import make_name; print(make_name(), flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        claimed(worker, waiting, name)
        assert not identity.is_dead(name)
        assert Sweeper(worker).sweep() == 0
        process.kill()
        # Not waited for yet: a zombie has a process id, and runs nothing.
        deadline = time.monotonic() + 30
        while not identity.is_dead(name):
            assert time.monotonic() < deadline
    assert Sweeper(worker).sweep() == 1
    assert job_of(api, waiting)["status"] == "queued"
    assert (waiting, 1) in queue.waiting(worker.redis, "bulk")


def test_nothing_is_known_of_other_hosts_and_other_names() -> None:
    host, token, pid, chance = identity.make_name().rsplit("-", 3)
    gone = 2**22 - 1
    assert identity.is_dead(f"{host}-{token}-{gone}-{chance}")
    assert not identity.is_dead(f"{host}-{token}-{pid}-{chance}")
    for name in (f"{host}-{'0' * len(token)}-{gone}-{chance}", "worker-0", "", f"{host}-{token}-x-{chance}"):
        assert not identity.is_dead(name)
    assert identity.make_name() != identity.make_name()


# What becomes of its job


def test_a_job_that_kills_its_worker_twice_is_failed(api: Api, waiting: str, worker: Context) -> None:
    for again in (1, 0):
        job = claimed(worker, waiting)
        with worker.sessions.begin() as session:
            jobs.note(session, job, {"state_id": _preparing(session, job)})
            assert jobs.report(session, job, stage="kernel", done=3, total=8, unit="panels")
        assert sweep_for(worker, SILENT_SECONDS) == again
    failed = job_of(api, waiting)
    assert failed["status"] == "failed"
    assert failed["error"] == {
        "code": "worker_lost",
        "detail": "the worker died twice while running this job, last in stage kernel at 3 of 8 panels",
        "job": None,
    }
    assert failed["finished_at"] is not None
    with worker.sessions.begin() as session:
        # The last attempt's state will never be ready.
        assert list(session.scalars(sa.select(KernelState.status).order_by(KernelState.id)))[-1] == "failed"


def _preparing(session: Any, job: Job) -> int:
    state = KernelState(
        project_id=job.project_id,
        checkpoint_id=job.arguments["checkpoint_id"],
        options={},
        status="preparing",
        pool_version=1,
        base_seq=0,
        applied_seq=0,
        window="",
    )
    session.add(state)
    session.flush()
    return state.id


def test_orderly_stops_do_not_count(api: Api, waiting: str, new_context: Callable[[], Context]) -> None:
    for _ in range(3):
        stopping = new_context()
        stopping.stopping.set()
        run_in(stopping, waiting)
    assert job_of(api, waiting)["attempt"] == 0


def test_a_cancelled_job_is_not_run_again_when_its_worker_dies(api: Api, waiting: str, worker: Context) -> None:
    claimed(worker, waiting)
    assert api.post(f"/jobs/{waiting}/cancel").json()["status"] == "running"
    sweep_for(worker, SILENT_SECONDS)
    assert job_of(api, waiting)["status"] == "cancelled"


def test_a_worker_given_up_for_lost_cannot_write(api: Api, waiting: str, worker: Context) -> None:
    lost = claimed(worker, waiting, "slow")
    sweep_for(worker, SILENT_SECONDS)
    run_queued(worker)
    with worker.sessions.begin() as session:
        assert not jobs.finish(session, lost, "failed")
        assert not jobs.report(session, lost, stage="late", done=0, total=1, unit="")
        assert not jobs.put_back(session, lost)
    assert job_of(api, waiting)["status"] == "succeeded"


def test_a_worker_given_up_for_lost_leaves_its_successors_state_alone(
    api: Api, waiting: str, new_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, monkeypatched = new_context(), monkeypatch
    monkeypatched.setattr("worker.progress._WRITE_SECONDS", 0.0)
    advance = Reporter.advance
    statuses: list[str] = []

    def overtaken(self: Reporter, units: int = 1) -> None:
        monkeypatched.setattr(Reporter, "advance", advance)
        sweep_for(slow, SILENT_SECONDS)
        claimed(slow, waiting, "successor")
        advance(self, units)

    monkeypatched.setattr(Reporter, "advance", overtaken)
    run_in(slow, waiting)
    with slow.sessions.begin() as session:
        statuses += session.scalars(sa.select(KernelState.status))
    assert statuses == ["preparing"]
    assert job_of(api, waiting)["status"] == "running"


def test_an_interrupted_prepare_goes_on_from_its_last_panel_and_makes_lost_ones_again(
    api: Api, waiting: str, new_context: Callable[[], Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = KernelEngine._panel
    computed: list[int] = []

    def counted(self: KernelEngine, x: Items, ranges: Ranges, start: int, *more: Any) -> torch.Tensor:
        if len(computed) == 3:
            computed.append(-1)
            raise KeyboardInterrupt
        computed.append(start)
        return panel(self, x, ranges, start, *more)

    monkeypatch.setattr(KernelEngine, "_panel", counted)
    first = new_context()
    with pytest.raises(KeyboardInterrupt):
        run_in(first, waiting)
    assert job_of(api, waiting)["status"] == "running"
    second = new_context()
    assert sweep_for(second, SILENT_SECONDS) == 1
    with second.sessions.begin() as session:
        lost = session.scalars(sa.select(KernelPanel.artifact).where(KernelPanel.row_start == 8)).one()
    path = second.artifacts.path(lost)
    path.write_bytes(path.read_bytes()[:-8])
    assert run_queued(second) == 1
    done = job_of(api, waiting)
    assert (done["status"], done["attempt"]) == ("succeeded", 2)
    assert computed == [0, 8, 16, -1, 8, 24, 32]
    with second.sessions.begin() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(KernelPanel)) == 5


# The queue is lost


def test_a_wiped_queue_is_filled_again_at_the_second_look(api: Api, waiting: str, worker: Context) -> None:
    sweeper = Sweeper(worker)
    assert sweeper.sweep() == 0
    assert (waiting, 0) in queue.waiting(worker.redis, "bulk")
    worker.redis.flushdb()
    assert [sweeper.sweep() for _ in range(3)] == [0, 1, 0]
    assert (waiting, 0) in queue.waiting(worker.redis, "bulk")


def test_a_job_that_waits_for_a_dead_worker_is_given_to_another(api: Api, waiting: str, worker: Context) -> None:
    host, token, _, chance = identity.make_name().rsplit("-", 3)
    holder = f"{host}-{token}-{2**22 - 1}-{chance}"
    with worker.sessions.begin() as session:
        project = session.scalars(sa.select(Job.project_id)).one()
    worker.redis.flushdb()
    warm.hold(worker.redis, holder, project)
    assert warm.ring(worker.redis, project, waiting) == holder
    sweeper = Sweeper(worker)
    assert [sweeper.sweep() for _ in range(2)] == [0, 1]
    assert warm.holder(worker.redis, project) is None
